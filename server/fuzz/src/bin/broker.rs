//! Fuzzes [`corelog_fuzz::broker`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corelog_fuzz::broker::check(bytes));
