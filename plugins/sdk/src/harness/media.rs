//! Frames as tests write them down.

use std::fmt;

use sidetone_plugin_abi as abi;

/// A frame of any media.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A picture.
    Picture(Picture),
    /// Sound.
    Sound(Sound),
    /// A packet or data.
    Bytes(Bytes),
}

/// A picture, I420.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Y, Cb and Cr, row by row without padding.
    pub planes: [Vec<u8>; 3],
}

/// Sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples per second.
    pub rate: u32,
    /// The samples of each channel.
    pub channels: Vec<Vec<f32>>,
}

/// A packet or data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// `SIDETONE_FORMAT_*` of a packet.
    pub format: u32,
    /// The shape of data.
    pub shape: Option<String>,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Whether a decoder can start at it.
    pub key: bool,
}

impl Picture {
    /// A picture of one colour: Y, Cb and Cr.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        Self::drawn(width, height, |_, _| colour)
    }

    /// A picture with a different colour, Y, Cb and Cr, at each place. Of the colours
    /// within a chroma sample the upper left one counts.
    pub fn drawn(width: u32, height: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Self {
        let plane = |index: usize| {
            let step = if index == 0 { 1 } else { 2 };
            let rows = (0..height).step_by(step);
            rows.flat_map(|y| (0..width).step_by(step).map(move |x| (x, y)))
                .map(|(x, y)| colour(x, y)[index])
                .collect()
        };
        Self { width, height, planes: [plane(0), plane(1), plane(2)] }
    }

    /// A picture in which no two places near each other are the same: for comparing.
    pub fn pattern(width: u32, height: u32) -> Self {
        Self::drawn(width, height, |x, y| {
            let mix = |a: u32, b: u32| (16 + (x * a + y * b + x * y / 7) % 220) as u8;
            [mix(7, 13), mix(5, 3), mix(3, 11)]
        })
    }

    /// Y, Cb and Cr at a place.
    pub fn at(&self, x: u32, y: u32) -> [u8; 3] {
        let half = self.width.div_ceil(2);
        let chroma = (y / 2 * half + x / 2) as usize;
        [self.planes[0][(y * self.width + x) as usize], self.planes[1][chroma], self.planes[2][chroma]]
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |plane: &Vec<u8>| plane.iter().take(8).copied().collect::<Vec<_>>();
        write!(f, "{}x{}, ", self.width, self.height)?;
        let [y, cb, cr] = &self.planes;
        write!(f, "Y {:?}…, Cb {:?}…, Cr {:?}…", first(y), first(cb), first(cr))
    }
}

impl Sound {
    /// A sine of half the full scale in every channel.
    pub fn sine(rate: u32, channels: usize, length: usize, frequency_hz: f32) -> Self {
        let turn = std::f32::consts::TAU * frequency_hz / rate as f32;
        let channel: Vec<_> = (0..length).map(|at| 0.5 * (turn * at as f32).sin()).collect();
        Self { rate, channels: vec![channel; channels] }
    }

    /// Silence.
    pub fn silence(rate: u32, channels: usize, length: usize) -> Self {
        Self { rate, channels: vec![vec![0.0; length]; channels] }
    }

    /// Samples `from` to `to` of every channel.
    pub fn part(&self, from: usize, to: usize) -> Self {
        Self {
            rate: self.rate,
            channels: self.channels.iter().map(|channel| channel[from..to].to_vec()).collect(),
        }
    }
}

impl Bytes {
    /// A packet of a codec, `SIDETONE_FORMAT_*`.
    pub fn packet(format: u32, bytes: &[u8]) -> Self {
        Self { format, shape: None, bytes: bytes.to_vec(), key: false }
    }

    /// Data of a shape.
    pub fn data(shape: &str, bytes: &[u8]) -> Self {
        Self { format: 0, shape: Some(shape.to_owned()), bytes: bytes.to_vec(), key: false }
    }
}

/// Data that says where faces are: left, top, width and height of each, as parts of
/// the picture; their five points lie where they would in a face.
pub fn faces(faces: &[[f32; 4]]) -> Bytes {
    let stride = size_of::<abi::Face>() + 5 * 8;
    let head = size_of::<abi::FaceLandmarks>();
    let mut bytes: Vec<u8> =
        [head, 5, faces.len(), stride, head].iter().flat_map(|n| (*n as u32).to_le_bytes()).collect();
    for &[left, top, width, height] in faces {
        let points = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)];
        let points = points.into_iter().flat_map(|(x, y)| [left + x * width, top + y * height]);
        let all = [1.0, left, top, width, height].into_iter().chain(points);
        bytes.extend(all.flat_map(f32::to_le_bytes));
    }
    Bytes::data(abi::SIDETONE_SHAPE_FACE_LANDMARKS, &bytes)
}

/// Data that says what is in front: rows of bytes, 255 in front and 0 behind.
pub fn mask(width: u32, rows: &[u8]) -> Bytes {
    let head = size_of::<abi::Mask>() as u32;
    let height = rows.len() as u32 / width;
    let mut bytes: Vec<u8> =
        [head, width, height, width, head].iter().flat_map(|n| n.to_le_bytes()).collect();
    bytes.extend(rows);
    Bytes::data(abi::SIDETONE_SHAPE_MASK, &bytes)
}

macro_rules! into {
    ($($type:ident),*) => {
        $(impl From<$type> for Frame {
            fn from(frame: $type) -> Self {
                Self::$type(frame)
            }
        })*
    };
}

into!(Picture, Sound, Bytes);

impl Frame {
    /// A frame of the same format, with nothing sensible in it.
    pub(super) fn blank(&self) -> Self {
        let mut blank = self.clone();
        match &mut blank {
            Self::Picture(picture) => picture.planes.iter_mut().for_each(|plane| plane.fill(0x5A)),
            Self::Sound(sound) => sound.channels.iter_mut().for_each(|channel| channel.fill(f32::NAN)),
            Self::Bytes(bytes) => bytes.bytes.fill(0x5A),
        }
        blank
    }

    /// `SIDETONE_MEDIA_*`.
    pub(super) fn media(&self) -> u32 {
        match self {
            Self::Picture(_) => abi::SIDETONE_MEDIA_VIDEO,
            Self::Sound(_) => abi::SIDETONE_MEDIA_AUDIO,
            Self::Bytes(Bytes { shape: None, .. }) => abi::SIDETONE_MEDIA_PACKET,
            Self::Bytes(_) => abi::SIDETONE_MEDIA_DATA,
        }
    }

    /// `SIDETONE_FORMAT_*`.
    pub(super) fn format(&self) -> u32 {
        match self {
            Self::Picture(_) => abi::SIDETONE_FORMAT_I420,
            Self::Sound(_) => abi::SIDETONE_FORMAT_F32,
            Self::Bytes(bytes) => bytes.format,
        }
    }

    /// Its planes: samples in a row, bytes a sample, and their bytes.
    pub(super) fn planes(&self) -> Vec<(usize, usize, Vec<u8>)> {
        match self {
            Self::Picture(picture) => {
                let halves = picture.width.div_ceil(2) as usize;
                let widths = [picture.width as usize, halves, halves];
                widths
                    .into_iter()
                    .zip(&picture.planes)
                    .map(|(width, plane)| (width, 1, plane.clone()))
                    .collect()
            }
            Self::Sound(sound) => {
                let bytes = |channel: &Vec<f32>| channel.iter().flat_map(|s| s.to_ne_bytes()).collect();
                sound.channels.iter().map(|channel| (channel.len(), 4, bytes(channel))).collect()
            }
            Self::Bytes(bytes) => vec![(bytes.bytes.len(), 1, bytes.bytes.clone())],
        }
    }
}
