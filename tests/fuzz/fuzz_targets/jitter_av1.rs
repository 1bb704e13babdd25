//! Run it with `cargo fuzz run jitter_av1`; see the README.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidetone_fuzz::run("jitter_av1", bytes));
