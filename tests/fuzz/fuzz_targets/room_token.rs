//! Run it with `cargo fuzz run room_token`; see the README.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidetone_fuzz::run("room_token", bytes));
