//! Run it with `cargo fuzz run manifest`; see the README.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidetone_fuzz::run("manifest", bytes));
