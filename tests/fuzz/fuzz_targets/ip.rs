#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ipsight::fuzz_targets::ip(bytes));
