//! `Scratch`: a folder of its own for each test, gone when the test is over.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sidetone_core::Value;

static MADE: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sidetone-net-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of `name` inside, as a parameter takes it.
    pub(crate) fn param(&self, name: &str) -> Value {
        self.0.join(name).to_str().unwrap().into()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Value {
        fs::write(self.0.join(name), bytes).unwrap();
        self.param(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
