//! Hands libFuzzer's bytes to `closeby_tests::fuzz::encode`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| closeby_tests::fuzz::encode(data));
