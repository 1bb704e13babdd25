//! Run it with `cargo fuzz run data_shape`; see the README.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidetone_fuzz::run("data_shape", bytes));
