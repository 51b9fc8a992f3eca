//! Fuzzes the target `bodies`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver_fuzz::targets::bodies::run(data));
