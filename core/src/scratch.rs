//! `Scratch`: a folder of its own for a test of nodes that read or write files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::param::Value;

static MADE: AtomicU32 = AtomicU32::new(0);

/// A folder of a test's own, gone when the test has passed; what a failed test
/// leaves is worth looking at.
///
/// # Panics
/// All of it does where the system refuses a file or a folder.
pub struct Scratch(PathBuf);

impl Scratch {
    /// One among the system's temporary files. \[control\]
    #[must_use]
    #[allow(clippy::new_without_default)] // each one makes a folder
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// One in the folder `parent`. \[control\]
    #[must_use]
    pub fn within(parent: &Path) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("sidetone-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        Self(path)
    }

    /// The path of `name` inside. \[control\]
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// The same, as a parameter takes it. \[control\]
    #[must_use]
    pub fn param(&self, name: &str) -> Value {
        self.path(name).as_str().into()
    }

    /// Makes the file `name`, and gives its path. \[control\]
    pub fn write(&self, name: &str, bytes: &[u8]) -> Value {
        fs::write(self.path(name), bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
        self.param(name)
    }

    /// What the file `name` holds. \[control\]
    #[must_use]
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // A folder that stays does no harm.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
