//! Fuzzes [`corelog_fuzz::batch`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corelog_fuzz::batch::check(bytes));
