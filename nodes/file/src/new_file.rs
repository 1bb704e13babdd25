//! What sinks share: making a file, and what to say when it cannot be written.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use sidetone_core::{Fault, FaultKind, NodeError, Setup, Timestamp};

/// How often a sink makes what it wrote so far a whole file.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes the file that the parameter `path` names, empty, and its folders.
pub(crate) fn create(setup: &Setup<'_>) -> Result<File, NodeError> {
    let path = PathBuf::from(setup.params.text("path"));
    let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(&path));
    made.map_err(|source| NodeError::Open { path, source })
}

/// Why a sink could not write.
pub(crate) fn write_fault(error: &io::Error) -> Fault {
    Fault::new(
        FaultKind::Io,
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full; make room",
            ErrorKind::FileTooLarge => "the file system takes no file so large",
            ErrorKind::NotSeekable => "the path names something that cannot go back; name a regular file",
            ErrorKind::BrokenPipe => "whoever read the pipe is gone",
            _ => "the file could not be written",
        },
    )
}

/// Says when the next second is over.
#[derive(Default)]
pub(crate) struct Checkpoint(Option<Timestamp>);

impl Checkpoint {
    /// Whether a second has passed since this last said so, or since it was
    /// asked first.
    pub(crate) fn is_due(&mut self, now: Timestamp) -> bool {
        let is_due = now.since(*self.0.get_or_insert(now)) >= INTERVAL;
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}
