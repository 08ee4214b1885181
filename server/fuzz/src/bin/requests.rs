//! Fuzzes [`corelog_fuzz::request`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corelog_fuzz::request::check(bytes));
