//! WAV: RIFF chunks with PCM or float samples.
//!
//! Source: "Multimedia Programming Interface and Data Specifications 1.0" (IBM
//! and Microsoft, 1991), and Microsoft's `WAVEFORMATEXTENSIBLE`. Read here and
//! not through `hound`, which passes over no pad byte after odd chunks, takes
//! no data of unknown length, and says of no error where it stands.

use std::io::{Read, Seek};

use sidetone_core::ReadError;

use super::Counted;

/// The most channels that any node takes.
const MOST_CHANNELS: u16 = 8;
/// The highest rate, in Hz.
const HIGHEST_RATE: u32 = 768_000;

/// How a sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 8 bits, 128 is silence.
    U8,
    /// 16 bits.
    I16,
    /// 24 bits.
    I24,
    /// 32 bits.
    I32,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
}

impl Encoding {
    const fn of(is_float: bool, bits: u16) -> Option<Self> {
        Some(match (is_float, bits) {
            (false, 8) => Self::U8,
            (false, 16) => Self::I16,
            (false, 24) => Self::I24,
            (false, 32) => Self::I32,
            (true, 32) => Self::F32,
            (true, 64) => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of one sample. \[any\]
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn decode(self, bytes: &[u8], into: &mut Vec<f32>) {
        let each = bytes.chunks_exact(self.bytes());
        match self {
            Self::U8 => into.extend(each.map(|b| (f32::from(b[0]) - 128.0) / 128.0)),
            Self::I16 => into.extend(each.map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0)),
            // The top three bytes of an i32, so that the sign is in its place.
            Self::I24 => into.extend(each.map(|b| whole(i32::from_le_bytes([0, b[0], b[1], b[2]])))),
            Self::I32 => into.extend(each.map(|b| whole(i32::from_le_bytes([b[0], b[1], b[2], b[3]])))),
            Self::F32 => into.extend(each.map(|b| finite(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))),
            Self::F64 => into.extend(each.map(|b| {
                finite(f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            })),
        }
    }
}

/// What the file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wav {
    /// Samples per second.
    pub rate: u32,
    /// Channels, 1 to 8.
    pub channels: u16,
    /// How a sample is stored.
    pub encoding: Encoding,
}

impl Wav {
    /// Bytes of one sample of every channel.
    const fn block(self) -> usize {
        self.encoding.bytes() * self.channels as usize
    }
}

/// Reads a WAV.
pub struct Reader<R> {
    input: Counted<R>,
    wav: Wav,
    data_start: u64,
    /// Bytes of whole blocks; `None` reads on to the end of the file.
    data_bytes: Option<u64>,
    left: u64,
    bytes: Vec<u8>,
    samples: Vec<f32>,
}

impl<R: Read> Reader<R> {
    /// Reads up to the first sample. \[control\]
    ///
    /// # Errors
    /// When it is no WAV, holds something other than PCM or float, or ends
    /// before its first sample.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut input = Counted::new(input);
        let (wav, data_bytes) = read_headers(&mut input)?;
        let data_start = input.offset;
        // What is left of the last block, if the length is odd, is no sample.
        let data_bytes = data_bytes.map(|bytes| bytes - bytes % wav.block() as u64);
        let left = data_bytes.unwrap_or(u64::MAX);
        Ok(Self { input, wav, data_start, data_bytes, left, bytes: Vec::new(), samples: Vec::new() })
    }

    /// What the file says of itself. \[any\]
    pub const fn wav(&self) -> Wav {
        self.wav
    }

    /// Whether every sample that the file declares was read. \[any\]
    pub const fn is_at_end(&self) -> bool {
        self.left == 0
    }

    /// The next `count` samples of every channel, one channel beside the other;
    /// fewer where the file ends, none at its end. \[control\]
    ///
    /// # Errors
    /// When the file ends before the samples it declares, once those that are
    /// there have been given.
    pub fn read(&mut self, count: usize) -> Result<&[f32], ReadError> {
        let block = self.wav.block();
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = count.saturating_mul(block).min(left - left % block);
        self.bytes.resize(wanted, 0);
        self.samples.clear();
        let got = self.input.fill(&mut self.bytes)?;
        let whole = got - got % block;
        if whole == 0 && wanted > 0 && self.data_bytes.is_some() {
            let why = "the file ends before the samples it declares";
            return Err(ReadError::bad(why, self.input.offset));
        }
        if self.data_bytes.is_some() {
            // A part of a sample at a cut stays owed, so that the next call
            // tells of the cut.
            self.left -= whole as u64;
        } else if got < wanted {
            self.left = 0;
        }
        self.wav.encoding.decode(&self.bytes[..whole], &mut self.samples);
        Ok(&self.samples)
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Goes back to the first sample. \[control\]
    ///
    /// # Errors
    /// When the input cannot go back.
    pub fn rewind(&mut self) -> Result<(), ReadError> {
        self.input.go_to(self.data_start)?;
        self.left = self.data_bytes.unwrap_or(u64::MAX);
        Ok(())
    }
}

/// Reads all of `bytes`; gives how many samples each channel has. \[any\]
///
/// # Errors
/// As [`Reader::new`] and [`Reader::read`].
pub fn walk(bytes: &[u8]) -> Result<u64, ReadError> {
    let mut reader = Reader::new(bytes)?;
    let channels = u64::from(reader.wav().channels);
    let mut samples = 0;
    loop {
        match reader.read(480)?.len() as u64 {
            0 => return Ok(samples / channels),
            more => samples += more,
        }
    }
}

const TRUNCATED: &str = "the file ends inside its header";

/// Reads up to the data; gives the format and how many bytes of data follow,
/// unless that is not known.
fn read_headers<R: Read>(input: &mut Counted<R>) -> Result<(Wav, Option<u64>), ReadError> {
    let riff = input.array::<4>(TRUNCATED)?;
    if matches!(&riff, b"RIFX" | b"RF64" | b"BW64") {
        return Err(ReadError::bad("only WAV of the RIFF form is read; convert it", 0));
    }
    if &riff != b"RIFF" {
        return Err(ReadError::bad("no WAV: it does not begin with RIFF", 0));
    }
    let riff_bytes = u32::from_le_bytes(input.array(TRUNCATED)?);
    if &input.array::<4>(TRUNCATED)? != b"WAVE" {
        return Err(ReadError::bad("no WAV: its RIFF form is not WAVE", 8));
    }
    let mut wav = None;
    loop {
        let chunk_start = input.offset;
        let id = input.array::<4>(TRUNCATED)?;
        let length = u32::from_le_bytes(input.array(TRUNCATED)?);
        if &id == b"data" {
            let wav = wav.ok_or_else(|| ReadError::bad("the data comes before its format", chunk_start))?;
            // A recorder that streams, or that died, leaves the length open.
            let open = length == u32::MAX || (length == 0 && matches!(riff_bytes, 0 | u32::MAX));
            return Ok((wav, (!open).then_some(u64::from(length))));
        }
        let mut read = 0;
        if &id == b"fmt " && wav.is_none() {
            (wav, read) = read_format(input, length).map(|(wav, read)| (Some(wav), read))?;
        }
        // Chunks begin on even bytes: an odd one is followed by one more.
        let rest = u64::from(length) + u64::from(length % 2) - u64::from(read);
        input.skip(rest, TRUNCATED)?;
    }
}

/// Reads as much of a `fmt ` chunk of `length` bytes as is needed; gives how
/// much.
fn read_format<R: Read>(input: &mut Counted<R>, length: u32) -> Result<(Wav, u32), ReadError> {
    let start = input.offset;
    if length < 16 {
        return Err(ReadError::bad("the format chunk is too short", start - 4));
    }
    let head: [u8; 16] = input.array(TRUNCATED)?;
    let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let (mut tag, channels, block, bits) = (word(0), word(2), word(12), word(14));
    let rate = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let mut read = 16;
    if tag == 0xfffe && length >= 40 {
        let more: [u8; 24] = input.array(TRUNCATED)?;
        read = 40;
        // WAVEFORMATEXTENSIBLE: the sub-format's first two bytes are the tag it
        // stands for. Samples of fewer valid bits lie at the container's top.
        tag = u16::from_le_bytes([more[8], more[9]]);
    }
    if !(1..=MOST_CHANNELS).contains(&channels) {
        return Err(ReadError::bad(format!("{channels} channels; 1 to {MOST_CHANNELS} are read"), start + 2));
    }
    if !(1..=HIGHEST_RATE).contains(&rate) {
        return Err(ReadError::bad(format!("{rate} Hz; 1 to {HIGHEST_RATE} are read"), start + 4));
    }
    let is_float = match tag {
        1 => false,
        3 => true,
        _ => {
            let why = format!("coding 0x{tag:04x}; only PCM and float WAV are read");
            return Err(ReadError::bad(why, start));
        }
    };
    let encoding = Encoding::of(is_float, bits).ok_or_else(|| {
        let why = format!("{bits} bits a sample; PCM of 8, 16, 24 and 32 and float of 32 and 64 are read");
        ReadError::bad(why, start + 14)
    })?;
    let wav = Wav { rate, channels, encoding };
    if usize::from(block) != wav.block() {
        let why = format!("{block} bytes for one sample of every channel, where {} are due", wav.block());
        return Err(ReadError::bad(why, start + 12));
    }
    Ok((wav, read))
}

#[allow(clippy::cast_precision_loss)] // 24 bits of precision are what a float has
fn whole(sample: i32) -> f32 {
    sample as f32 / 2_147_483_648.0
}

/// No node need fear a file's NaN.
const fn finite(sample: f32) -> f32 {
    if sample.is_finite() { sample } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A WAV with these chunks after the RIFF header.
    fn riff(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let mut body = b"WAVE".to_vec();
        for (id, data) in chunks {
            body.extend_from_slice(*id);
            body.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
            body.extend_from_slice(data);
            body.resize(body.len().next_multiple_of(2), 0);
        }
        let length = u32::try_from(body.len()).unwrap();
        [b"RIFF".as_slice(), &length.to_le_bytes(), &body].concat()
    }

    fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let block = channels * (bits / 8);
        [
            tag.to_le_bytes().as_slice(),
            &channels.to_le_bytes(),
            &rate.to_le_bytes(),
            &(rate * u32::from(block)).to_le_bytes(),
            &block.to_le_bytes(),
            &bits.to_le_bytes(),
        ]
        .concat()
    }

    fn samples(bytes: &[u8]) -> Vec<f32> {
        Reader::new(bytes).unwrap().read(1000).unwrap().to_vec()
    }

    #[test]
    fn each_encoding_reaches_both_ends_of_its_range() {
        let f32s: Vec<u8> = [-1.0f32, 0.0, 0.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        let f64s: Vec<u8> = [-1.0f64, 0.0, 0.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        let cases: [(u16, u16, Vec<u8>); 6] = [
            (1, 8, vec![0, 128, 192]),
            (1, 16, vec![0, 0x80, 0, 0, 0, 0x40]),
            (1, 24, vec![0, 0, 0x80, 0, 0, 0, 0, 0, 0x40]),
            (1, 32, vec![0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x40]),
            (3, 32, f32s),
            (3, 64, f64s),
        ];
        for (tag, bits, data) in cases {
            let file = riff(&[(b"fmt ", format(tag, 1, 8000, bits)), (b"data", data)]);
            assert_eq!(samples(&file), [-1.0, 0.0, 0.5], "{bits} bits");
        }
    }

    #[test]
    fn odd_chunks_and_chunks_of_no_interest_are_passed_over() {
        let file = riff(&[
            (b"LIST", vec![7; 13]),
            (b"fmt ", format(1, 2, 44_100, 8)),
            (b"fact", vec![0; 4]),
            (b"data", vec![128, 192]),
            (b"LIST", vec![7; 13]),
        ]);
        let mut reader = Reader::new(file.as_slice()).unwrap();
        assert_eq!(reader.wav(), Wav { rate: 44_100, channels: 2, encoding: Encoding::U8 });
        assert_eq!(reader.read(10).unwrap(), [0.0, 0.5]);
        assert!(reader.is_at_end() && reader.read(10).unwrap().is_empty());
    }

    #[test]
    fn the_extensible_form_is_read_by_its_sub_format() {
        let mut fmt = format(0xfffe, 1, 48_000, 32);
        fmt.extend([22, 0, 24, 0, 4, 0, 0, 0, 3, 0, 0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113]);
        let file = riff(&[(b"fmt ", fmt), (b"data", 0.25f32.to_le_bytes().to_vec())]);
        assert_eq!(samples(&file), [0.25]);
    }

    #[test]
    fn a_length_left_open_reads_to_the_end_of_the_file() {
        for (riff_length, data_length) in [(0, 0), (u32::MAX, u32::MAX), (0x24, u32::MAX)] {
            let mut file = riff(&[(b"fmt ", format(1, 1, 8000, 8)), (b"data", vec![192; 1000])]);
            file[4..8].copy_from_slice(&u32::to_le_bytes(riff_length));
            file[40..44].copy_from_slice(&u32::to_le_bytes(data_length));
            assert_eq!(walk(&file).unwrap(), 1000);
        }
    }

    #[test]
    fn what_is_not_finite_becomes_silence() {
        let data = [f32::NAN, f32::INFINITY, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(samples(&riff(&[(b"fmt ", format(3, 1, 8000, 32)), (b"data", data)])), [0.0, 0.0, 2.0]);
    }

    #[test]
    fn cut_at_every_byte_it_gives_what_is_there_and_then_names_the_cut() {
        let data: Vec<u8> = (0..120).collect();
        let file = riff(&[(b"LIST", vec![1; 5]), (b"fmt ", format(1, 2, 8000, 24)), (b"data", data)]);
        let start = file.len() - 120;
        for cut in 0..file.len() {
            let whole = cut.saturating_sub(start) / 6;
            let mut got = 0;
            let error = match Reader::new(&file[..cut]) {
                Err(error) => error,
                Ok(mut reader) => loop {
                    match reader.read(7) {
                        Ok(samples) => {
                            assert!(!samples.is_empty(), "cut at {cut} it seems whole");
                            got += samples.len() / 2;
                        }
                        Err(error) => break error,
                    }
                },
            };
            assert_eq!((got, error.offset()), (whole, cut as u64));
        }
        assert_eq!(walk(&file).unwrap(), 20);
    }

    #[test]
    fn what_is_not_read_is_refused_where_it_stands() {
        let with = |fmt: Vec<u8>| riff(&[(b"fmt ", fmt), (b"data", vec![0; 8])]);
        let mut bad_block = format(1, 1, 8000, 16);
        bad_block[12] = 4;
        for (file, offset, says) in [
            (b"OggS0000".to_vec(), 0, "RIFF"),
            (b"RF640000".to_vec(), 0, "convert"),
            (b"RIFF0000AVI ".to_vec(), 8, "WAVE"),
            (with(format(2, 1, 8000, 8)), 20, "0x0002"),
            (with(format(1, 0, 8000, 8)), 22, "0 channels"),
            (with(format(1, 9, 8000, 8)), 22, "9 channels"),
            (with(format(1, 1, 0, 8)), 24, "0 Hz"),
            (with(bad_block), 32, "4 bytes"),
            (with(format(1, 1, 8000, 40)), 34, "40 bits"),
            (with(vec![1; 15]), 16, "too short"),
            (riff(&[(b"data", vec![])]), 12, "before its format"),
        ] {
            let error = Reader::new(file.as_slice()).err().unwrap();
            assert!(error.offset() == offset && error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_rewound_file_reads_the_same() {
        let file = riff(&[(b"fmt ", format(1, 1, 8000, 8)), (b"data", vec![10, 20, 30])]);
        let mut reader = Reader::new(Cursor::new(file)).unwrap();
        let first = reader.read(2).unwrap().to_vec();
        reader.rewind().unwrap();
        assert_eq!(reader.read(2).unwrap(), first);
    }

    #[test]
    fn no_bytes_whatever_make_it_panic() {
        let file = riff(&[(b"fmt ", format(1, 2, 8000, 16)), (b"data", vec![5; 64])]);
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes = file.clone();
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            if let Err(error) = walk(&bytes) {
                assert!(error.offset() <= bytes.len() as u64);
            }
        }
    }
}
