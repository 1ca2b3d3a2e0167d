//! Hands libFuzzer's bytes to `closeby_tests::fuzz::flows`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| closeby_tests::fuzz::flows(data));
