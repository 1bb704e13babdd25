//! `Reader`: takes a recording from any `Read`, trusting no length.

use std::io::Read;
use std::time::Duration;

use super::{
    CODECS, END, FIXED_BYTES, FLAGS, FRAME, FURTHEST, HEAD_BYTES, HIGHEST_RATE, Head, LONGEST, MAGIC,
    MOST_CHANNELS, MOST_PAYLOAD, Record, SHAPES, VERSION, fill, payload_bytes,
};
use crate::frame::{AudioFormat, Flags, Format, Frame, Header, VideoFormat};
use crate::media_type::{Codec, FrameRate, MediaType, PixelFormat, Size};
use crate::read_error::ReadError;
use crate::timestamp::Timestamp;

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How many frames there were, those that could not be recorded too.
    pub frames: u64,
    /// When the link ended, after the recording's start; where that is not
    /// known, when the last frame was taken.
    pub at: Duration,
    /// Where the file breaks off, in bytes from its start, if whoever wrote it
    /// did not come to its end.
    pub cut: Option<u64>,
}

impl Ending {
    /// What to tell a person of a recording that is not whole, of which `played`
    /// frames could be read; each as a phrase after its name. \[control\]
    pub fn complaints(&self, played: u64) -> impl Iterator<Item = String> + use<> {
        let frames = |count: u64| format!("{count} {}", if count == 1 { "frame" } else { "frames" });
        let cut = self.cut.map(|cut| {
            let whole = frames(played).replace(' ', " whole ");
            format!(
                "breaks off at byte {cut}, after {whole}: whoever wrote it did not come to its end, or is still \
                 writing"
            )
        });
        let missing = self.frames.saturating_sub(played);
        let missing = (missing > 0).then(|| format!("lacks {} that could not be recorded", frames(missing)));
        cut.into_iter().chain(missing)
    }
}

/// What comes next in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A frame; its payload is `Reader::payload`.
    Frame(Record),
    /// Nothing more.
    End(Ending),
}

/// Reads a recording from any bytes. Sets aside no more memory than bytes were
/// there.
pub struct Reader<R> {
    from: R,
    head: Head,
    pub(super) body: Vec<u8>,
    /// Bytes read so far.
    offset: u64,
    /// The least number that the next record may have.
    number: u64,
    /// When the last frame was taken.
    arrival: Duration,
    ending: Option<Ending>,
}

impl<R: Read> Reader<R> {
    /// Reads the head. \[control\]
    ///
    /// # Errors
    /// When it is no recording, of a version that is not known, or damaged.
    pub fn new(mut from: R) -> Result<Self, ReadError> {
        let mut body = Vec::new();
        let mut offset = 0;
        let mut get = |most: usize, body: &mut Vec<u8>| read_to(&mut from, most, body, &mut offset);
        get(12, &mut body)?;
        if body.is_empty() {
            return Err(ReadError::bad("the file is empty: nothing was recorded yet", 0));
        }
        if !body.starts_with(&MAGIC) {
            return Err(ReadError::bad("this is no recording of file.frames_sink or net.record", 0));
        }
        let version = u16_at(&body, 8);
        if version != VERSION && body.len() == 12 {
            let why =
                format!("it is a recording of version {version}; this version of Sidetone reads {VERSION}");
            return Err(ReadError::bad(why, 8));
        }
        let length = usize::from(u16_at(&body, 10));
        if body.len() == 12 && length < HEAD_BYTES {
            return Err(ReadError::bad("the recording's head is shorter than any", 10));
        }
        get(length.saturating_sub(12), &mut body)?;
        if body.len() < length || length == 0 {
            return Err(ReadError::bad("the file ends inside the recording's head", body.len() as u64));
        }
        let (said, sum) = body.split_at(length - 4);
        if u32_at(sum, 0) != crc32fast::hash(said) {
            return Err(ReadError::bad("the recording's head is damaged", 0));
        }
        let head = head_of(&body)?;
        Ok(Self { from, head, body, offset, number: 0, arrival: Duration::ZERO, ending: None })
    }

    /// What the recording says of itself. \[any\]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Where it stands, in bytes from the start. \[any\]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The payload of the record last read. \[any\]
    pub fn payload(&self) -> &[u8] {
        let end = self.body.len().saturating_sub(4);
        self.body.get(4 + FIXED_BYTES..end).unwrap_or_default()
    }

    /// Reads the next record. After the end it says the end again. \[control\]
    ///
    /// # Errors
    /// Where the recording is damaged, or cannot be read. A file that breaks off
    /// is no error but an `Ending` with a `cut`.
    pub fn read(&mut self) -> Result<Next, ReadError> {
        if let Some(ending) = self.ending {
            return Ok(Next::End(ending));
        }
        let begin = self.offset;
        self.body.clear();
        self.get(4)?;
        if self.body.len() < 4 {
            return Ok(self.cut());
        }
        let length = u32_at(&self.body, 0) as usize;
        if !(FIXED_BYTES..=FIXED_BYTES + MOST_PAYLOAD).contains(&length) {
            return Err(ReadError::bad("a record is of a length that none has", begin));
        }
        self.get(length + 4)?;
        if self.body.len() < length + 8 {
            return Ok(self.cut());
        }
        let (said, sum) = self.body.split_at(length + 4);
        if u32_at(sum, 0) != crc32fast::hash(said) {
            return Err(ReadError::bad("a record's checksum does not fit its bytes", begin));
        }
        let record = record_of(&said[4..]).map_err(|why| ReadError::bad(why, begin))?;
        if said[4] == FRAME && !self.is_promised(&record.format) {
            return Err(ReadError::bad("a record is of another kind than the recording", begin));
        }
        if record.number < self.number || record.arrival < self.arrival {
            return Err(ReadError::bad("a record stands before one that came earlier", begin));
        }
        self.number = record.number;
        self.arrival = record.arrival;
        if said[4] == FRAME {
            self.number += 1;
            return Ok(Next::Frame(record));
        }
        self.body.clear();
        self.get(1)?;
        if !self.body.is_empty() {
            return Err(ReadError::bad("the file goes on after the recording's end", self.offset - 1));
        }
        Ok(self.end(None))
    }

    /// Whether the head speaks of frames such as these. Measures may change on
    /// any link, and are for whoever takes the frames to look at.
    fn is_promised(&self, format: &Format) -> bool {
        let media = match *format {
            Format::Audio(_) => MediaType::AUDIO,
            Format::Video(_) => MediaType::VIDEO,
            Format::Packet { codec, .. } => MediaType::packets(codec),
            Format::Rtp { codec, .. } => MediaType::rtp(codec),
            Format::Data { shape, .. } => MediaType::Data(shape),
        };
        self.head.media.meet(&media).is_some()
    }

    fn cut(&mut self) -> Next {
        self.body.clear();
        self.end(Some(self.offset))
    }

    fn end(&mut self, cut: Option<u64>) -> Next {
        let ending = Ending { frames: self.number, at: self.arrival, cut };
        self.ending = Some(ending);
        Next::End(ending)
    }

    /// Adds `most` bytes to the body, or as many as there are.
    fn get(&mut self, most: usize) -> Result<(), ReadError> {
        read_to(&mut self.from, most, &mut self.body, &mut self.offset)
    }
}

/// Adds `most` bytes, or as many as there are: memory grows with what came.
fn read_to(from: &mut impl Read, most: usize, to: &mut Vec<u8>, offset: &mut u64) -> Result<(), ReadError> {
    let before = to.len();
    let outcome = from.by_ref().take(most as u64).read_to_end(to);
    *offset += (to.len() - before) as u64;
    outcome.map(drop).map_err(|source| ReadError::Io { source, offset: *offset })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// Zeroes where there are too few bytes; lengths are checked before.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|some| some.try_into().ok()).unwrap_or([0; N])
}

fn head_of(bytes: &[u8]) -> Result<Head, ReadError> {
    let known = |number: u32| (number > 0).then_some(number);
    let (first, second) = (u32_at(bytes, 32), u32_at(bytes, 36));
    let unknown = || ReadError::bad("the recording is of a kind that is not known", 28);
    let codec = || match bytes[29] {
        0 => Ok(None),
        number => codec_of(number).map(Some).ok_or_else(unknown),
    };
    let media = match bytes[28] {
        0 => MediaType::Any,
        1 => {
            let channels = Some(u16_at(bytes, 30)).filter(|channels| *channels > 0);
            if first > HIGHEST_RATE || channels > Some(MOST_CHANNELS) {
                return Err(ReadError::bad("the recording is of sound that nothing takes", 28));
            }
            MediaType::Audio { rate: known(first), channels, samples: known(second) }
        }
        2 => {
            let format = match bytes[29] {
                0 => None,
                1 => Some(PixelFormat::I420),
                _ => return Err(unknown()),
            };
            if first > Size::MAX_SIDE || second > Size::MAX_SIDE {
                return Err(ReadError::bad("the recording is of pictures that nothing takes", 28));
            }
            let size = known(first).zip(known(second)).map(|(width, height)| Size::new(width, height));
            let rate = known(u32_at(bytes, 40)).zip(known(u32_at(bytes, 44)));
            MediaType::Video { format, size, fps: rate.map(|(num, den)| FrameRate::new(num, den)) }
        }
        3 => MediaType::Packets { codec: codec()? },
        4 => MediaType::Rtp { codec: codec()? },
        5 => MediaType::Data(shape_of(bytes[29]).ok_or_else(unknown)?),
        _ => return Err(unknown()),
    };
    Ok(Head { media, seed: u64_at(bytes, 12), started: Timestamp::from_nanos(u64_at(bytes, 20)) })
}

fn shape_of(number: u8) -> Option<&'static str> {
    SHAPES.get(usize::from(number).checked_sub(1)?).copied()
}

fn codec_of(number: u8) -> Option<Codec> {
    CODECS.get(usize::from(number).checked_sub(1)?).copied()
}

/// The record in a body that is at least `FIXED_BYTES` long, or what is wrong
/// with it.
fn record_of(body: &[u8]) -> Result<Record, &'static str> {
    let payload = body.len() - FIXED_BYTES;
    let (first, second) = (u32_at(body, 8), u32_at(body, 12));
    let unknown = "a record is of a kind that is not known";
    let format = match (body[0], body[4]) {
        // What an end says of a format means nothing.
        (END, _) if payload == 0 => Format::Packet { codec: Codec::Opus, len: 0 },
        (FRAME, 1) => Format::Audio(AudioFormat { rate: first, channels: u16_at(body, 6), samples: second }),
        (FRAME, 2) if body[5] == 1 => Format::Video(VideoFormat::i420(Size::new(first, second))),
        (FRAME, 3) => Format::Packet { codec: codec_of(body[5]).ok_or(unknown)?, len: payload },
        (FRAME, 4) => Format::Rtp { codec: codec_of(body[5]).ok_or(unknown)?, len: payload },
        (FRAME, 5) => Format::Data { shape: shape_of(body[5]).ok_or(unknown)?, len: payload },
        _ => return Err(unknown),
    };
    if payload_bytes(&format) != Some(payload) {
        return Err("a record's payload is not as long as its format says");
    }
    let time = |at: usize| Some(u64_at(body, at)).filter(|nanos| *nanos <= LONGEST).map(Duration::from_nanos);
    let (arrival, duration) =
        time(24).zip(time(48)).ok_or("a record lasts, or comes after, more than a year")?;
    let offset = |at: usize| Some(u64_at(body, at).cast_signed()).filter(|n| n.unsigned_abs() <= FURTHEST);
    let (pts, captured) = offset(32).zip(offset(40)).ok_or("a record's time is a century away")?;
    let flags = FLAGS.iter().enumerate().filter(|(bit, _)| body[1] >> bit & 1 == 1);
    let flags = flags.fold(Flags::default(), |all, (_, flag)| all.with(*flag));
    let number =
        Some(u64_at(body, 16)).filter(|number| *number < u64::MAX).ok_or("a record has no number")?;
    Ok(Record { number, arrival, pts, captured, duration, sequence: u64_at(body, 56), flags, format })
}

/// Reads all of a recording and keeps nothing; how many frames it holds. \[control\]
///
/// # Errors
/// As for [`Reader::read`].
pub fn walk(bytes: &[u8]) -> Result<u64, ReadError> {
    let mut reader = Reader::new(bytes)?;
    let mut frames = 0;
    while let Next::Frame(record) = reader.read()? {
        let mut frame = Frame::unpooled(Header::default(), record.format);
        fill(&mut frame, reader.payload());
        frames += 1;
    }
    Ok(frames)
}
