#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| memberspot_fuzz_targets::cursors::run(input));
