//! Readers of WAV, Y4M and IVF over any `Read`, and of as much AV1 as they need.
//!
//! They trust no length: what is set aside is bounded by what was really read
//! and by the limits below, and each error says at which byte it stands. Each
//! format has a `walk`, which reads all of some bytes and keeps nothing.

pub mod av1;
pub mod ivf;
pub mod wav;
pub mod y4m;

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use sidetone_core::{Fault, FaultKind, NodeError};

/// The most bytes that one raw picture may have: 512 MiB.
pub const MOST_PICTURE_BYTES: u64 = 512 << 20;

/// Why a file could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not what it should be, or damaged, or ends too early.
    #[error("{why}, at byte {offset}")]
    Bad {
        /// What is wrong, in a phrase.
        why: Cow<'static, str>,
        /// Where, in bytes from the start; where the data ends, if it ends too
        /// early.
        offset: u64,
    },
    /// The system refused to read.
    #[error("cannot be read: {source}, at byte {offset}")]
    Io {
        /// What it said.
        source: io::Error,
        /// Where, in bytes from the start.
        offset: u64,
    },
}

impl ParseError {
    /// A damaged file. \[any\]
    pub(crate) fn bad(why: impl Into<Cow<'static, str>>, offset: u64) -> Self {
        Self::Bad { why: why.into(), offset }
    }

    /// Where, in bytes from the start. \[any\]
    #[must_use]
    pub const fn offset(&self) -> u64 {
        match self {
            Self::Bad { offset, .. } | Self::Io { offset, .. } => *offset,
        }
    }

    /// The same, as a node gives it while running.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Bad { why: Cow::Borrowed(why), offset } => Fault::new(FaultKind::BadMedia, why).at(*offset),
            Self::Bad { offset, .. } => Fault::new(FaultKind::BadMedia, "the file is damaged").at(*offset),
            Self::Io { offset, .. } => Fault::new(FaultKind::Io, "the file could not be read").at(*offset),
        }
    }

    /// The same, as a node gives it when it is made.
    pub(crate) fn opening(self, path: &Path) -> NodeError {
        let path = path.to_owned();
        match self {
            Self::Bad { why, offset } => NodeError::BadMedia { path, why: why.into_owned(), offset },
            Self::Io { source, .. } => NodeError::Open { path, source },
        }
    }
}

/// A reader that knows how many bytes it gave.
struct Counted<R> {
    inner: R,
    offset: u64,
}

impl<R: Read> Counted<R> {
    const fn new(inner: R) -> Self {
        Self { inner, offset: 0 }
    }

    /// Fills `bytes` as far as the data goes; gives how far.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ParseError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.inner.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(more) => {
                    filled += more;
                    self.offset += more as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(ParseError::Io { source, offset: self.offset }),
            }
        }
        Ok(filled)
    }

    /// Fills all of `bytes`, or says `why` not.
    fn exact(&mut self, bytes: &mut [u8], why: &'static str) -> Result<(), ParseError> {
        if self.fill(bytes)? == bytes.len() { Ok(()) } else { Err(ParseError::bad(why, self.offset)) }
    }

    /// The next `N` bytes, or says `why` not.
    fn array<const N: usize>(&mut self, why: &'static str) -> Result<[u8; N], ParseError> {
        let mut bytes = [0; N];
        self.exact(&mut bytes, why)?;
        Ok(bytes)
    }

    /// Passes over `count` bytes, or says `why` not. Reads them, since a seek
    /// would go past the end without a word.
    fn skip(&mut self, mut count: u64, why: &'static str) -> Result<(), ParseError> {
        let mut bytes = [0; 4096];
        while count > 0 {
            let now = bytes.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            self.exact(&mut bytes[..now], why)?;
            count -= now as u64;
        }
        Ok(())
    }
}

impl<R: Seek> Counted<R> {
    fn go_to(&mut self, offset: u64) -> Result<(), ParseError> {
        self.inner
            .seek(SeekFrom::Start(offset))
            .map_err(|source| ParseError::Io { source, offset: self.offset })?;
        self.offset = offset;
        Ok(())
    }
}
