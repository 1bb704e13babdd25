//! `Opened`: a file to read, with its path and length.

use std::fs::File;
use std::io::{BufReader, Result};
use std::path::{Path, PathBuf};

use sidetone_core::{NodeError, Setup};

/// Bytes read from the system at once; rows of pictures are copied from here.
const READ_AHEAD: usize = 1 << 17;

/// A file to read.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    /// How long it is; `None` for what is no regular file, such as a pipe.
    pub(crate) bytes: Option<u64>,
    pub(crate) reader: BufReader<File>,
}

impl Opened {
    /// Opens what the parameter `path` names.
    pub(crate) fn new(setup: &Setup<'_>) -> std::result::Result<Self, NodeError> {
        let path = PathBuf::from(setup.params.text("path"));
        match open(&path) {
            Ok((file, bytes)) => Ok(Self { path, bytes, reader: BufReader::with_capacity(READ_AHEAD, file) }),
            Err(source) => Err(NodeError::Open { path, source }),
        }
    }
}

fn open(path: &Path) -> Result<(File, Option<u64>)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata.is_file().then_some(metadata.len())))
}
