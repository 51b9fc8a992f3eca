//! Fuzzes the target `archives`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver_fuzz::targets::archives::run(data));
