//! Y4M: uncompressed pictures, each behind a line of text.
//!
//! Source: the yuv4mpeg(5) manual page of mjpegtools. Taken are progressive (or
//! unmarked) 8-bit 4:2:0 pictures; interlaced ones are taken as whole pictures.

use std::io::{Read, Seek};

use sidetone_core::{Frame, FrameRate, ReadError, Size};

use super::{Counted, MOST_PICTURE_BYTES};

/// The longest line of text.
const LONGEST_LINE: usize = 1024;
/// The rate where the file leaves it open.
const USUAL_RATE: FrameRate = FrameRate::new(30, 1);
const MAGIC: &[u8] = b"YUV4MPEG2";
const TRUNCATED: &str = "the file ends inside its header";

/// What the file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Y4m {
    /// Width and height.
    pub size: Size,
    /// Pictures a second; 30 where the file leaves it open.
    pub fps: FrameRate,
}

impl Y4m {
    /// Bytes of one picture. \[any\]
    #[must_use]
    pub const fn picture_bytes(&self) -> u64 {
        let (width, height) = (self.size.width as u64, self.size.height as u64);
        width * height + 2 * width.div_ceil(2) * height.div_ceil(2)
    }
}

/// Reads a Y4M.
pub struct Reader<R> {
    input: Counted<R>,
    y4m: Y4m,
    first_picture: u64,
    file_bytes: Option<u64>,
}

impl<R: Read> Reader<R> {
    /// Reads the header. `file_bytes` is the file's length where that is known:
    /// then no memory is set aside for a picture that is not all there. \[control\]
    ///
    /// # Errors
    /// When it is no Y4M, holds something other than 8-bit 4:2:0, or ends
    /// inside the header.
    pub fn new(input: R, file_bytes: Option<u64>) -> Result<Self, ReadError> {
        let mut input = Counted::new(input);
        let y4m = read_header(&mut input)?;
        let first_picture = input.offset;
        Ok(Self { input, y4m, first_picture, file_bytes })
    }

    /// What the file says of itself. \[any\]
    pub const fn y4m(&self) -> Y4m {
        self.y4m
    }

    /// Reads up to the samples of the next picture; whether there is one. \[control\]
    ///
    /// # Errors
    /// When something else than a picture comes, or less than one.
    pub fn next_picture(&mut self) -> Result<bool, ReadError> {
        let start = self.input.offset;
        let mut word = [0; 5];
        match self.input.fill(&mut word)? {
            0 => return Ok(false),
            some if word[..some] != b"FRAME"[..some] => {
                return Err(ReadError::bad("where a picture should begin there is no FRAME", start));
            }
            5 => {}
            _ => return Err(ReadError::bad("the file ends where a picture begins", self.input.offset)),
        }
        // A picture's own parameters say nothing that matters here.
        let mut line = Vec::new();
        read_line(&mut self.input, &mut line, "the file ends where a picture begins")?;
        match self.file_bytes {
            Some(end) if end.saturating_sub(self.input.offset) < self.y4m.picture_bytes() => {
                Err(ReadError::bad(CUT_PICTURE, end.max(self.input.offset)))
            }
            _ => Ok(true),
        }
    }

    /// Reads the next samples of the picture into all of `row`. \[control\]
    ///
    /// # Errors
    /// When the file ends before.
    pub fn read_row(&mut self, row: &mut [u8]) -> Result<(), ReadError> {
        self.input.exact(row, CUT_PICTURE)
    }

    /// Reads the picture into `frame`, which has its size. \[control\]
    ///
    /// # Errors
    /// When the file ends before.
    ///
    /// # Panics
    /// If the frame is not a picture.
    pub fn read_picture(&mut self, frame: &mut Frame) -> Result<(), ReadError> {
        for mut plane in frame.planes_mut() {
            for y in 0..plane.height {
                self.read_row(plane.row_mut(y))?;
            }
        }
        Ok(())
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Goes back to the first picture. \[control\]
    ///
    /// # Errors
    /// When the input cannot go back.
    pub fn rewind(&mut self) -> Result<(), ReadError> {
        self.input.go_to(self.first_picture)
    }
}

/// Reads all of `bytes`; gives how many pictures there are. \[any\]
///
/// # Errors
/// As [`Reader::new`] and [`Reader::next_picture`].
pub fn walk(bytes: &[u8]) -> Result<u64, ReadError> {
    let mut reader = Reader::new(bytes, None)?;
    let mut pictures = 0;
    while reader.next_picture()? {
        let picture_bytes = reader.y4m.picture_bytes();
        reader.input.skip(picture_bytes, CUT_PICTURE)?;
        pictures += 1;
    }
    Ok(pictures)
}

const CUT_PICTURE: &str = "the file ends inside a picture";

/// Reads the rest of a line into `line`, its end left out.
fn read_line<R: Read>(
    input: &mut Counted<R>,
    line: &mut Vec<u8>,
    truncated: &'static str,
) -> Result<(), ReadError> {
    loop {
        let [byte] = input.array(truncated)?;
        if byte == b'\n' {
            return Ok(());
        }
        if line.len() == LONGEST_LINE {
            return Err(ReadError::bad("a line of the header is too long", input.offset));
        }
        line.push(byte);
    }
}

fn read_header<R: Read>(input: &mut Counted<R>) -> Result<Y4m, ReadError> {
    let mut magic = [0; MAGIC.len()];
    let got = input.fill(&mut magic)?;
    if magic[..got] != MAGIC[..got] {
        return Err(ReadError::bad("no Y4M: it does not begin with YUV4MPEG2", 0));
    }
    if got < MAGIC.len() {
        return Err(ReadError::bad(TRUNCATED, input.offset));
    }
    let mut line = Vec::new();
    read_line(input, &mut line, TRUNCATED)?;

    let (mut width, mut height, mut fps) = (None, None, USUAL_RATE);
    let mut offset = MAGIC.len() as u64;
    for field in line.split(|byte| *byte == b' ') {
        let (name, value) = field.split_at(field.len().min(1));
        match name {
            b"W" => width = Some(read_side(value, offset)?),
            b"H" => height = Some(read_side(value, offset)?),
            b"F" => fps = read_rate(value, offset)?,
            b"C" if !matches!(value, b"420" | b"420jpeg" | b"420mpeg2" | b"420paldv") => {
                let why = format!(
                    "its pictures are C{}; only 8-bit 4:2:0 is read: convert it (ffmpeg: -pix_fmt yuv420p)",
                    shown(value)
                );
                return Err(ReadError::bad(why, offset));
            }
            // Interlacing, aspect, comments: nothing that changes the samples.
            _ => {}
        }
        offset += field.len() as u64 + 1;
    }
    let (Some(width), Some(height)) = (width, height) else {
        return Err(ReadError::bad("the header names no width or no height", 0));
    };
    let y4m = Y4m { size: Size::new(width, height), fps };
    if y4m.picture_bytes() > MOST_PICTURE_BYTES {
        return Err(ReadError::bad("a picture of more than 512 MiB", 0));
    }
    Ok(y4m)
}

fn read_side(value: &[u8], offset: u64) -> Result<u32, ReadError> {
    number(value).filter(|side| (1..=Size::MAX_SIDE).contains(side)).ok_or_else(|| {
        let why = format!("a width or height of {}; 1 to {} are read", shown(value), Size::MAX_SIDE);
        ReadError::bad(why, offset)
    })
}

fn read_rate(value: &[u8], offset: u64) -> Result<FrameRate, ReadError> {
    let mut parts = value.split(|byte| *byte == b':');
    let rate = match (parts.next().and_then(number), parts.next().and_then(number), parts.next()) {
        // "0:0" leaves it open.
        (Some(0), Some(0), None) => return Ok(USUAL_RATE),
        (Some(num), Some(den), None) if num > 0 && den > 0 => Some(FrameRate::new(num, den)),
        _ => None,
    };
    rate.filter(|rate| (0.001..=1000.0).contains(&rate.per_second())).ok_or_else(|| {
        let why = format!("a rate of {}; 1:1000 to 1000:1 pictures a second are read", shown(value));
        ReadError::bad(why, offset)
    })
}

fn number(digits: &[u8]) -> Option<u32> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if plain { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

/// A little of what stands in a file, fit to be shown.
fn shown(value: &[u8]) -> String {
    value.iter().take(24).map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn y4m(text: &str) -> Result<Y4m, ReadError> {
        Reader::new(text.as_bytes(), None).map(|reader| reader.y4m())
    }

    #[test]
    fn a_header_is_read_in_any_order_with_anything_else_in_it() {
        let found = y4m("YUV4MPEG2 C420paldv H17 XYSCSS=420 It F30000:1001 A1:1 W33\n").unwrap();
        assert_eq!(found, Y4m { size: Size::new(33, 17), fps: FrameRate::new(30_000, 1_001) });
        assert_eq!(found.picture_bytes(), 33 * 17 + 2 * 17 * 9);
        assert_eq!(y4m("YUV4MPEG2 W2 H2 F0:0\n").unwrap().fps, FrameRate::new(30, 1));
    }

    #[test]
    fn what_is_not_read_is_refused_where_it_stands() {
        for (header, offset, says) in [
            ("RIFF", 0, "YUV4MPEG2"),
            ("YUV4MPEG2 W2 H2 C422\n", 16, "C422; only 8-bit 4:2:0"),
            ("YUV4MPEG2 W2 H2 C420p10\n", 16, "C420p10"),
            ("YUV4MPEG2 C444 W2 H2\n", 10, "yuv420p"),
            ("YUV4MPEG2 W0 H2\n", 10, "height of 0"),
            ("YUV4MPEG2 W16385 H2\n", 10, "16385"),
            ("YUV4MPEG2 W2 H99999999999999999999\n", 13, "9999"),
            ("YUV4MPEG2 W-2 H2\n", 10, "-2"),
            ("YUV4MPEG2 W2 H2 F30\n", 16, "30"),
            ("YUV4MPEG2 W2 H2 F0:1\n", 16, "0:1"),
            ("YUV4MPEG2 W2 H2 F4000000000:1\n", 16, "1000:1"),
            ("YUV4MPEG2 H2\n", 0, "no width"),
        ] {
            let error = y4m(header).unwrap_err();
            assert!(error.offset() == offset && error.to_string().contains(says), "{header}: {error}");
        }
        let endless = format!("YUV4MPEG2 {}", "x".repeat(100_000));
        assert!(y4m(&endless).unwrap_err().to_string().contains("too long"));
    }

    fn file() -> Vec<u8> {
        let mut file = b"YUV4MPEG2 W3 H3 F25:1\n".to_vec();
        for picture in 0..3u8 {
            file.extend(b"FRAME Ip\n");
            file.extend([picture; 9 + 2 * 4]);
        }
        file
    }

    #[test]
    fn cut_at_every_byte_it_gives_what_is_there_and_then_names_the_cut() {
        let file = file();
        let (header, each) = (22, 9 + 17);
        for cut in 0..file.len() {
            let boundary = cut >= header && (cut - header) % each == 0;
            for known in [None, Some(cut as u64)] {
                let mut pictures = 0;
                let outcome = Reader::new(&file[..cut], known).and_then(|mut reader| {
                    let mut row = [0; 17];
                    while reader.next_picture()? {
                        reader.read_row(&mut row)?;
                        assert_eq!(row, [pictures; 17]);
                        pictures += 1;
                    }
                    Ok(())
                });
                assert_eq!(usize::from(pictures), cut.saturating_sub(header) / each);
                match outcome {
                    Ok(()) => assert!(boundary),
                    Err(error) => assert!(!boundary && error.offset() == cut as u64, "{cut}: {error}"),
                }
            }
        }
        assert_eq!(walk(&file).unwrap(), 3);
    }

    #[test]
    fn a_huge_picture_that_is_not_there_is_refused_before_memory_is_set_aside() {
        let file = b"YUV4MPEG2 W16384 H16384\nFRAME\nabc";
        let mut reader = Reader::new(file.as_slice(), Some(file.len() as u64)).unwrap();
        assert_eq!(reader.next_picture().unwrap_err().offset(), file.len() as u64);
    }

    #[test]
    fn a_picture_that_does_not_begin_with_frame_is_refused_where_it_stands() {
        let mut file = file();
        file[22 + 26] = b'X';
        assert_eq!(walk(&file).unwrap_err().offset(), 22 + 26);
    }

    #[test]
    fn a_rewound_file_begins_with_its_first_picture() {
        let mut reader = Reader::new(Cursor::new(file()), None).unwrap();
        let mut row = [9; 17];
        for _ in 0..2 {
            assert!(reader.next_picture().unwrap());
            reader.read_row(&mut row).unwrap();
            assert_eq!(row, [0; 17]);
            reader.rewind().unwrap();
        }
    }

    #[test]
    fn no_bytes_whatever_make_it_panic() {
        let file = file();
        let mut rng = fastrand::Rng::with_seed(2);
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
