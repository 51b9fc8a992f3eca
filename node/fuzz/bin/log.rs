//! Fuzzes the target `log`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver_fuzz::targets::log::run(data));
