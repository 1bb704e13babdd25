//! `Recorder`: records packets without holding up whoever passes them on.
//!
//! The node writes records into a ring of bytes, in memory set aside once; a
//! thread takes them from there to the file. Each end of the ring has one user.
//! The thread sleeps (`park`) when it finds the ring empty, and is woken
//! (`unpark`, which a thread that is awake does not notice) after each call that
//! recorded something: a wake that comes between its last look and its sleep
//! ends the sleep at once, so nothing is left lying. What it has taken is with
//! the system before it sleeps, so a crash costs what came in the meantime.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle, Thread};

use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use sidetone_core::recording::{Head, Writer, record_bytes};
use sidetone_core::{Frame, NodeError, Setup, Timestamp};

/// Bytes that may wait for the disk: at 10 Mbit/s, three seconds of packets.
const RING_BYTES: usize = 4 << 20;
/// More than a head or an end takes.
const SPARE: usize = 128;

/// What the thread and the node share beside the ring.
#[derive(Default)]
struct Shared {
    /// The node puts nothing more in.
    closed: AtomicBool,
    /// Why the file cannot be written: a place in `REASONS`, from 1.
    failed: AtomicU8,
}

/// Why a file cannot be written, and what is said of it.
const REASONS: [(Option<ErrorKind>, &str); 3] = [
    (Some(ErrorKind::StorageFull), "the disk is full: the recording ends here, the packets go on; make room"),
    (
        Some(ErrorKind::FileTooLarge),
        "the file system takes no file so large: the recording ends here, the packets go on",
    ),
    (None, "the recording could not be written and ends here; the packets go on"),
];
const TOO_SLOW: &str =
    "the disk does not keep up: packets that go on are missing from the recording, which tells how many";

/// Records packets without holding up whoever passes them on.
pub(crate) struct Recorder {
    /// The recording, once it has begun.
    writer: Option<Writer<Ring>>,
    /// The ring, until then.
    ring: Option<Ring>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// In virtual time nothing may be lost, since time does not pass for the disk.
    waits: bool,
    told_slow: bool,
    told_failed: bool,
    /// What may have to be said, made ahead: `REASONS`, then `TOO_SLOW`.
    notices: Vec<Arc<str>>,
}

/// The node's end of the ring.
struct Ring {
    bytes: HeapProd<u8>,
    reader: Thread,
}

impl Write for Ring {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.bytes.push_slice(bytes) {
            0 if !bytes.is_empty() => Err(ErrorKind::StorageFull.into()),
            count => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reader.unpark();
        Ok(())
    }
}

impl Ring {
    /// Whether there is room for `count` bytes, and `SPARE`; waits for it if
    /// it `may_wait`.
    fn has_room(&self, count: usize, may_wait: bool) -> bool {
        if count + SPARE > RING_BYTES {
            return false;
        }
        while self.bytes.vacant_len() < count + SPARE {
            if !may_wait {
                return false;
            }
            self.reader.unpark();
            thread::yield_now();
        }
        true
    }
}

impl Recorder {
    /// Makes the file that the parameter `path` names, its folders, and the
    /// thread. \[control\]
    pub(crate) fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let path = PathBuf::from(setup.params.text("path"));
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(&path));
        let file = made.map_err(|source| NodeError::Open { path, source })?;
        let (to, from) = HeapRb::new(RING_BYTES).split();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(format!("record {}", setup.name))
            .spawn(move || write_out(from, file, &theirs))
            .map_err(|why| NodeError::Unavailable(format!("cannot start the thread that writes: {why}")))?;
        let notices = REASONS.iter().map(|(_, said)| *said).chain([TOO_SLOW]).map(Arc::from).collect();
        Ok(Self {
            writer: None,
            ring: Some(Ring { bytes: to, reader: thread.thread().clone() }),
            shared,
            thread: Some(thread),
            waits: setup.virtual_time,
            told_slow: false,
            told_failed: false,
            notices,
        })
    }

    /// Begins the recording, if it has not begun. \[real-time\]
    pub(crate) fn begin(&mut self, head: &Head) {
        if let Some(ring) = self.ring.take() {
            // The ring is empty, so there is room.
            self.writer = Writer::new(ring, head).ok();
        }
    }

    /// Records a packet that passes at `now`; false if there is no room. \[real-time\]
    pub(crate) fn record(&mut self, frame: &Frame, now: Timestamp) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        if !writer.inner().has_room(record_bytes(frame.format()), self.waits) {
            writer.skip();
            return false;
        }
        writer.write(frame, now).is_ok()
    }

    /// Has the thread take what was recorded. \[real-time\]
    pub(crate) fn wake(&mut self) {
        if let Some(writer) = &mut self.writer {
            let _ = writer.inner().flush();
        }
    }

    /// What is to be told now, each once; `lost` says that there was no room. \[real-time\]
    pub(crate) fn notice(&mut self, lost: bool) -> Option<Arc<str>> {
        let failed = self.shared.failed.load(Ordering::Acquire);
        if failed > 0 && !self.told_failed {
            self.told_failed = true;
            return self.notices.get(usize::from(failed) - 1).cloned();
        }
        if lost && !self.told_slow && !self.told_failed {
            self.told_slow = true;
            return self.notices.last().cloned();
        }
        None
    }

    /// Ends the recording at `now`; whether all of it is written. Ask again
    /// while it is not. \[real-time\], but in virtual time it waits for the file.
    pub(crate) fn finish(&mut self, now: Timestamp) -> bool {
        if let Some(mut writer) = self.writer.take() {
            if !writer.inner().has_room(0, self.waits) {
                writer.inner().reader.unpark();
                self.writer = Some(writer);
                return false;
            }
            let _ = writer.end(now);
            self.close();
        }
        if self.waits {
            self.join();
        }
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    /// However a run ends, what was recorded is written.
    fn drop(&mut self) {
        self.close();
        self.join();
    }
}

/// What the thread does: takes bytes to the file until the ring is closed and
/// empty. After a failure it goes on taking them, so that the node never waits.
fn write_out(mut from: HeapCons<u8>, mut file: File, shared: &Shared) {
    loop {
        // Looked at before the ring: what was put in before it was closed is seen.
        let closed = shared.closed.load(Ordering::Acquire);
        let (some, more) = from.as_slices();
        let count = some.len() + more.len();
        if count > 0 {
            if shared.failed.load(Ordering::Relaxed) == 0
                && let Err(error) = file.write_all(some).and_then(|()| file.write_all(more))
            {
                let known =
                    |(kind, _): &(Option<ErrorKind>, &str)| kind.is_none_or(|kind| kind == error.kind());
                let place = REASONS.iter().position(known).unwrap_or(REASONS.len() - 1);
                shared.failed.store(place as u8 + 1, Ordering::Release);
            }
            from.skip(count);
        } else if closed {
            return;
        } else {
            thread::park();
        }
    }
}
