//! Readers of WAV, Y4M and IVF over any `Read`, and of as much AV1 as they need.
//!
//! They trust no length: what is set aside is bounded by what was really read
//! and by the limits below, and each error says at which byte it stands. Each
//! format has a `walk`, which reads all of some bytes and keeps nothing.

pub mod av1;
pub mod ivf;
pub mod wav;
pub mod y4m;

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use sidetone_core::ReadError;

/// The most bytes that one raw picture may have: 512 MiB.
pub const MOST_PICTURE_BYTES: u64 = 512 << 20;

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
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.inner.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(more) => {
                    filled += more;
                    self.offset += more as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Io { source, offset: self.offset }),
            }
        }
        Ok(filled)
    }

    /// Fills all of `bytes`, or says `why` not.
    fn exact(&mut self, bytes: &mut [u8], why: &'static str) -> Result<(), ReadError> {
        if self.fill(bytes)? == bytes.len() { Ok(()) } else { Err(ReadError::bad(why, self.offset)) }
    }

    /// The next `N` bytes, or says `why` not.
    fn array<const N: usize>(&mut self, why: &'static str) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.exact(&mut bytes, why)?;
        Ok(bytes)
    }

    /// Passes over `count` bytes, or says `why` not. Reads them, since a seek
    /// would go past the end without a word.
    fn skip(&mut self, mut count: u64, why: &'static str) -> Result<(), ReadError> {
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
    fn go_to(&mut self, offset: u64) -> Result<(), ReadError> {
        self.inner
            .seek(SeekFrom::Start(offset))
            .map_err(|source| ReadError::Io { source, offset: self.offset })?;
        self.offset = offset;
        Ok(())
    }
}
