//! `Image`: a copy of a library's file that nobody can change, so that the file
//! may be written over while what was loaded of it runs.
//!
//! It lies in memory (a sealed memfd): there is no temporary file to be left
//! behind, or for others to write to. The system's loader takes it by the name that
//! /proc has for its descriptor.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// No library is longer, in bytes.
const LONGEST: u64 = 1 << 30;
/// Bytes that are compared at once.
const BLOCK: usize = 64 << 10;

/// A copy of a library's file.
pub(crate) struct Image {
    file: File,
    /// Tells it from all others of this process, also from those that are gone.
    number: u32,
}

impl Image {
    /// Of what `path` holds now. \[control\]
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut from = File::open(path)?.take(LONGEST + 1);
        let name = path.file_name().unwrap_or_default();
        let copy = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(copy);
        if io::copy(&mut from, &mut file)? > LONGEST {
            return Err(io::Error::other(format!("it has more than {LONGEST} bytes")));
        }
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        Ok(Self::new(file))
    }

    fn new(file: File) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self { file, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The file itself.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Whether both are copies of the same bytes. \[control\]
    pub(crate) fn is_same(&self, other: &Self) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        if other.file.metadata()?.len() != length {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (vec![0; BLOCK], vec![0; BLOCK]);
        for at in (0..length).step_by(BLOCK) {
            let block = BLOCK.min((length - at) as usize);
            self.file.read_exact_at(&mut ours[..block], at)?;
            other.file.read_exact_at(&mut theirs[..block], at)?;
            if ours[..block] != theirs[..block] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A path that the system's loader can open as long as this is there. The
    /// loader takes a path that it knows for the library that it knows, and
    /// descriptors are used again: so the number is woven into the path, in which
    /// "." and nothing between two slashes say the same.
    pub(crate) fn path(&self) -> PathBuf {
        let bits = (0..u32::BITS).map(|bit| if self.number >> bit & 1 == 1 { "./" } else { "/" });
        PathBuf::from(format!("/proc/self/fd/{}{}", bits.collect::<String>(), self.file.as_raw_fd()))
    }
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// One that another process made.
impl From<OwnedFd> for Image {
    fn from(copy: OwnedFd) -> Self {
        Self::new(copy.into())
    }
}
