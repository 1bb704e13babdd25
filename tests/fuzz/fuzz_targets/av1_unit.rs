//! Run it with `cargo fuzz run av1_unit`; see the README.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidetone_fuzz::run("av1_unit", bytes));
