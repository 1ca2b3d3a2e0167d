//! Hands libFuzzer's bytes to `closeby_tests::fuzz::configuration`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| closeby_tests::fuzz::configuration(data));
