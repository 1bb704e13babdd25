//! `Comparison`: where two recordings part, found in one pass over both.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sidetone::Format;
use sidetone::recording::{Ending, Head, Next, Reader, Record};

/// How far ahead a frame is looked for that the other recording lacks.
const WINDOW_FRAMES: usize = 64;
/// The most bytes that are held for that; one frame is held in any case.
const WINDOW_BYTES: usize = 32 << 20;

/// What of two frames is compared, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Field {
    /// Raw sound or pictures, packets, codec, rate, size
    Type,
    /// The bytes of packets, samples, pixels
    Payload,
    /// Key, lost, discontinuity, silence, marker
    Flags,
    /// The number at the source
    Sequence,
    /// The position on the sender's timeline
    Pts,
    /// When it was captured
    Captured,
    /// How long it lasts
    Duration,
    /// When it was taken
    Arrival,
    /// When the link ended, and whether the recording was finished
    End,
}

impl Field {
    pub(super) const ALL: [Self; 9] = [
        Self::Type,
        Self::Payload,
        Self::Flags,
        Self::Sequence,
        Self::Pts,
        Self::Captured,
        Self::Duration,
        Self::Arrival,
        Self::End,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Payload => "payload",
            Self::Flags => "flags",
            Self::Sequence => "sequence",
            Self::Pts => "pts",
            Self::Captured => "captured",
            Self::Duration => "duration",
            Self::Arrival => "arrival",
            Self::End => "end",
        }
    }
}

/// A frame and its payload.
struct Taken {
    record: Record,
    payload: Vec<u8>,
}

impl Taken {
    /// Which RTP packet it is: its source and number (RFC 3550 § 5.1).
    fn packet(&self) -> Option<[u8; 6]> {
        let header =
            self.payload.first_chunk::<12>().filter(|_| matches!(self.record.format, Format::Rtp { .. }))?;
        let [_, _, high, low, .., a, b, c, d] = *header;
        Some([high, low, a, b, c, d])
    }

    const fn sequence(&self) -> Option<u64> {
        Some(self.record.sequence)
    }
}

/// One of the two recordings.
pub(super) struct Side {
    pub(super) path: PathBuf,
    pub(super) head: Head,
    /// Frames read.
    pub(super) frames: u64,
    /// How it ended; known when all is read.
    pub(super) ending: Option<Ending>,
    /// Frames that the other lacks.
    pub(super) alone: u64,
    reader: Reader<BufReader<File>>,
    window: VecDeque<Taken>,
    bytes: usize,
}

impl Side {
    /// Opens a recording, or says why not.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|why| format!("cannot open {}: {why}", path.display()))?;
        let reader = Reader::new(BufReader::with_capacity(1 << 17, file))
            .map_err(|why| format!("{}: {why}", path.display()))?;
        let head = *reader.head();
        Ok(Self {
            path: path.into(),
            head,
            frames: 0,
            ending: None,
            alone: 0,
            reader,
            window: VecDeque::new(),
            bytes: 0,
        })
    }

    /// Frames that came and could not be recorded.
    pub(super) fn missing(&self) -> u64 {
        self.ending.map_or(0, |ending| ending.frames - self.frames)
    }

    /// Reads ahead as far as may be.
    fn fill(&mut self) -> Result<(), String> {
        while self.ending.is_none()
            && (self.window.is_empty() || (self.window.len() < WINDOW_FRAMES && self.bytes < WINDOW_BYTES))
        {
            match self.reader.read().map_err(|why| format!("{}: {why}", self.path.display()))? {
                Next::Frame(record) => {
                    let payload = self.reader.payload().to_vec();
                    self.bytes += payload.len();
                    self.frames += 1;
                    self.window.push_back(Taken { record, payload });
                }
                Next::End(ending) => self.ending = Some(ending),
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Option<Taken> {
        let taken = self.window.pop_front()?;
        self.bytes -= taken.payload.len();
        Some(taken)
    }

    /// How far ahead a frame stands that `identity` calls `wanted`.
    fn find<T: PartialEq>(&self, identity: fn(&Taken) -> Option<T>, wanted: &T) -> Option<usize> {
        self.window.iter().position(|taken| identity(taken).as_ref() == Some(wanted))
    }
}

/// How one field differs over all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// In how many pairs of frames.
    pub(super) count: u64,
    /// The number of the first of them in A.
    pub(super) first: u64,
    /// The largest difference, for times.
    pub(super) largest: Option<Duration>,
}

/// Where the two first part.
#[derive(Clone, Debug)]
pub(super) struct Parting {
    /// The frame of each recording, where it has one there.
    pub(super) at: [Option<Record>; 2],
    /// What differs, and how; nothing where a frame is in one alone.
    pub(super) how: Vec<(Field, String)>,
}

/// How raw sound differs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sound {
    samples: u64,
    signal: f64,
    error: f64,
    sum: f64,
    /// The largest difference of two samples.
    pub(super) largest: f64,
}

impl Sound {
    /// The mean difference of two samples.
    pub(super) fn mean(&self) -> f64 {
        self.sum / self.samples.max(1) as f64
    }

    /// A's power over that of the difference, in dB; infinite where there is none.
    pub(super) fn snr_db(&self) -> f64 {
        10.0 * (self.signal / self.error).log10()
    }

    fn add(&mut self, a: &[u8], b: &[u8]) {
        for (a, b) in samples(a).zip(samples(b)) {
            let same = a.to_bits() == b.to_bits();
            let apart = if same { 0.0 } else { (f64::from(a) - f64::from(b)).abs() };
            // What is no number differs from every number without bound.
            let apart = if apart.is_nan() { f64::INFINITY } else { apart };
            let power = f64::from(a).powi(2);
            self.samples += 1;
            self.signal += if power.is_finite() { power } else { 0.0 };
            self.error += apart * apart;
            self.sum += apart;
            self.largest = self.largest.max(apart);
        }
    }
}

/// How raw pictures differ, by their luma.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pictures {
    pixels: u64,
    squares: f64,
    /// The lowest ratio of a picture, in dB, and its number in A.
    pub(super) worst: Option<(f64, u64)>,
}

impl Pictures {
    /// Peak signal to noise over all pictures, in dB; infinite where none differs.
    pub(super) fn psnr_db(&self) -> f64 {
        psnr(self.squares, self.pixels)
    }

    fn add(&mut self, a: &[u8], b: &[u8], pixels: usize, number: u64) {
        let squares: u64 = a.iter().zip(b).take(pixels).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
        self.pixels += pixels as u64;
        self.squares += squares as f64;
        let ratio = psnr(squares as f64, pixels as u64);
        if ratio.is_finite() && self.worst.is_none_or(|(worst, _)| ratio < worst) {
            self.worst = Some((ratio, number));
        }
    }
}

fn psnr(squares: f64, pixels: u64) -> f64 {
    10.0 * (255.0 * 255.0 * pixels as f64 / squares).log10()
}

fn samples(payload: &[u8]) -> impl Iterator<Item = f32> {
    payload.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

/// Where two recordings part.
pub(super) struct Comparison {
    pub(super) sides: [Side; 2],
    ignored: Vec<Field>,
    /// Frames that both have.
    pub(super) pairs: u64,
    /// Of those, in how many anything differs.
    pub(super) differing: u64,
    pub(super) first: Option<Parting>,
    /// By `Field`, in its order.
    pub(super) tallies: [Tally; Field::ALL.len()],
    pub(super) sound: Option<Sound>,
    pub(super) pictures: Option<Pictures>,
}

impl Comparison {
    /// Compares two recordings, some fields aside, or says which cannot be read.
    pub(super) fn new(a: &Path, b: &Path, ignored: &[Field]) -> Result<Self, String> {
        let mut this = Self {
            sides: [Side::open(a)?, Side::open(b)?],
            ignored: ignored.to_vec(),
            pairs: 0,
            differing: 0,
            first: None,
            tallies: Default::default(),
            sound: None,
            pictures: None,
        };
        while this.step()? {}
        this.compare_whole();
        Ok(this)
    }

    /// Whether nothing differs.
    pub(super) fn is_same(&self) -> bool {
        self.tallies.iter().all(|tally| tally.count == 0) && self.sides.iter().all(|side| side.alone == 0)
    }

    /// Compares the next frames; false when there are none.
    fn step(&mut self) -> Result<bool, String> {
        self.sides.iter_mut().try_for_each(Side::fill)?;
        let [a, b] = &mut self.sides;
        let (Some(next_a), Some(next_b)) = (a.window.front(), b.window.front()) else {
            let Some(index) = [&*a, b].iter().position(|side| !side.window.is_empty()) else {
                return Ok(false);
            };
            self.alone(index, 1);
            return Ok(true);
        };
        // By RTP's own numbers, or, where another run chose others, by the source's.
        let skip = ahead(a, b, Taken::packet, next_a, next_b)
            .or_else(|| ahead(a, b, Taken::sequence, next_a, next_b))
            .unwrap_or([0, 0]);
        for (index, count) in skip.into_iter().enumerate() {
            self.alone(index, count);
        }
        let [a, b] = &mut self.sides;
        if let (Some(a), Some(b)) = (a.take(), b.take()) {
            self.compare(&a, &b);
        }
        Ok(true)
    }

    /// Counts the next `count` frames of one side as lacking in the other.
    fn alone(&mut self, index: usize, count: usize) {
        for _ in 0..count {
            let Some(taken) = self.sides[index].take() else { return };
            self.sides[index].alone += 1;
            let mut at = [None; 2];
            at[index] = Some(taken.record);
            self.first.get_or_insert(Parting { at, how: Vec::new() });
        }
    }

    fn compare(&mut self, a: &Taken, b: &Taken) {
        self.pairs += 1;
        let mut how = Vec::new();
        for field in Field::ALL.into_iter().filter(|field| !self.ignored.contains(field)) {
            let Some((words, apart)) = difference(field, a, b) else { continue };
            let tally = &mut self.tallies[field as usize];
            if tally.count == 0 {
                tally.first = a.record.number;
            }
            tally.count += 1;
            tally.largest = tally.largest.max(apart);
            how.push((field, words));
        }
        if !self.ignored.contains(&Field::Payload) && a.record.format == b.record.format {
            match a.record.format {
                Format::Audio(_) => self.sound.get_or_insert_default().add(&a.payload, &b.payload),
                Format::Video(video) => {
                    let pixels = video.size.width as usize * video.size.height as usize;
                    let pictures = self.pictures.get_or_insert_default();
                    pictures.add(&a.payload, &b.payload, pixels, a.record.number);
                }
                Format::Packet { .. } | Format::Rtp { .. } | Format::Data { .. } => {}
            }
        }
        if !how.is_empty() {
            self.differing += 1;
            self.first.get_or_insert(Parting { at: [Some(a.record), Some(b.record)], how });
        }
    }

    /// Compares what is true of the recordings as wholes.
    fn compare_whole(&mut self) {
        let [a, b] = &self.sides;
        let mut how = Vec::new();
        if a.head.media != b.head.media && !self.ignored.contains(&Field::Type) {
            how.push((Field::Type, format!("{} against {}", a.head.media, b.head.media), None));
        }
        if let (Some(a), Some(b)) = (a.ending, b.ending)
            && (a.at != b.at || a.cut.is_some() != b.cut.is_some())
            && !self.ignored.contains(&Field::End)
        {
            let words = |end: Ending| match end.cut {
                Some(_) => "never finished".to_owned(),
                None => format!("after {:.9} s", end.at.as_secs_f64()),
            };
            how.push((Field::End, format!("{} against {}", words(a), words(b)), Some(a.at.abs_diff(b.at))));
        }
        for (field, _, apart) in &how {
            let tally = &mut self.tallies[*field as usize];
            tally.count += 1;
            tally.largest = tally.largest.max(*apart);
        }
        if !how.is_empty() {
            let how = how.into_iter().map(|(field, words, _)| (field, words)).collect();
            self.first.get_or_insert(Parting { at: [None; 2], how });
        }
    }
}

/// How many frames of each side to pass over until both stand at the same one,
/// by what `identity` calls them.
fn ahead<T: PartialEq>(
    a: &Side,
    b: &Side,
    identity: fn(&Taken) -> Option<T>,
    next_a: &Taken,
    next_b: &Taken,
) -> Option<[usize; 2]> {
    let (wanted_b, wanted_a) = (identity(next_a)?, identity(next_b)?);
    match (a.find(identity, &wanted_a), b.find(identity, &wanted_b)) {
        (Some(in_a), Some(in_b)) if in_a < in_b => Some([in_a, 0]),
        (_, Some(in_b)) => Some([0, in_b]),
        (Some(in_a), None) => Some([in_a, 0]),
        (None, None) => None,
    }
}

/// How two frames differ in one field, and by how much where it is a time.
fn difference(field: Field, a: &Taken, b: &Taken) -> Option<(String, Option<Duration>)> {
    let (p, q) = (&a.record, &b.record);
    let signed = |a: i64, b: i64| {
        let words = format!("{:.9} s against {:.9} s", a as f64 / 1e9, b as f64 / 1e9);
        (a != b).then(|| (words, Some(Duration::from_nanos(a.abs_diff(b)))))
    };
    let time = |a: Duration, b: Duration| {
        let words = format!("{:.9} s against {:.9} s", a.as_secs_f64(), b.as_secs_f64());
        (a != b).then(|| (words, Some(a.abs_diff(b))))
    };
    match field {
        Field::Type => {
            let (one, other) = (words(&p.format), words(&q.format));
            (one != other).then(|| (format!("{one} against {other}"), None))
        }
        Field::Payload => payload(a, b).map(|words| (words, None)),
        Field::Flags => (p.flags != q.flags).then(|| (format!("{:?} against {:?}", p.flags, q.flags), None)),
        Field::Sequence => {
            (p.sequence != q.sequence).then(|| (format!("{} against {}", p.sequence, q.sequence), None))
        }
        Field::Pts => signed(p.pts, q.pts),
        Field::Captured => signed(p.captured, q.captured),
        Field::Duration => time(p.duration, q.duration),
        Field::Arrival => time(p.arrival, q.arrival),
        Field::End => None,
    }
}

/// What a frame is, its length aside, which counts as payload.
fn words(format: &Format) -> String {
    match format {
        Format::Audio(audio) => {
            format!("sound at {} Hz, {} channels, {} samples", audio.rate, audio.channels, audio.samples)
        }
        Format::Video(video) => format!("a picture, {}", video.size),
        Format::Packet { codec, .. } => format!("a packet of {codec}"),
        Format::Rtp { codec, .. } => format!("an RTP packet of {codec}"),
        Format::Data { shape, .. } => format!("data of {shape}"),
    }
}

/// Where two payloads part.
fn payload(a: &Taken, b: &Taken) -> Option<String> {
    if a.payload == b.payload {
        return None;
    }
    let (p, q) = (&a.payload, &b.payload);
    let at = p.iter().zip(q).position(|(p, q)| p != q);
    let same_format = a.record.format == b.record.format;
    Some(match (at, a.record.format) {
        (Some(at), Format::Audio(audio)) if same_format => {
            let index = at / 4;
            let sample = |payload| samples(payload).nth(index).unwrap_or_default();
            let (channel, place) = (index / audio.samples as usize, index % audio.samples as usize);
            format!("sample {place} of channel {channel}: {:e} against {:e}", sample(p), sample(q))
        }
        (Some(at), Format::Video(video)) if same_format => {
            let (mut plane, mut rest) = (0, at);
            let area = |plane| {
                let size = video.plane_size(plane);
                size.width as usize * size.height as usize
            };
            while plane < 2 && rest >= area(plane) {
                rest -= area(plane);
                plane += 1;
            }
            let width = video.plane_size(plane).width as usize;
            let name = ["Y", "Cb", "Cr"][plane];
            format!("{name} at column {}, row {}: {} against {}", rest % width, rest / width, p[at], q[at])
        }
        (at, _) => {
            let lengths = if p.len() == q.len() {
                String::new()
            } else {
                format!("{} bytes against {}; ", p.len(), q.len())
            };
            let place = match at {
                Some(at) => format!("byte {at}: {:02x} against {:02x}", p[at], q[at]),
                None => "one begins as the other".to_owned(),
            };
            format!("{lengths}{place}")
        }
    })
}
