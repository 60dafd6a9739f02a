//! See `sprag_tests::fuzzing::flight`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sprag_tests::fuzzing::flight(bytes));
