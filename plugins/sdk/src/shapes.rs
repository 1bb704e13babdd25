//! Data of the shapes that Sidetone itself knows: read with every length checked.

use sidetone_plugin_abi as abi;

use crate::media::{Reading, View};
use crate::{Error, Packet};

/// Where faces are: data of `sidetone.face_landmarks/1`. \[real-time\]
#[derive(Clone, Copy, Debug)]
pub struct Faces<'a> {
    faces: &'a [u8],
    stride: usize,
    points: usize,
    count: usize,
}

/// A face. All lengths are parts of the picture: 0 is its left or upper edge, 1 the
/// right or lower; faces may reach beyond. \[real-time\]
#[derive(Clone, Copy, Debug)]
pub struct Face<'a> {
    /// How sure it is, 0 to 1.
    pub confidence: f32,
    /// The left edge.
    pub left: f32,
    /// The upper edge.
    pub top: f32,
    /// Its width.
    pub width: f32,
    /// Its height.
    pub height: f32,
    points: &'a [u8],
}

/// What is in front: data of `sidetone.mask/1`, which covers the whole picture,
/// whatever its size. \[real-time\]
#[derive(Clone, Copy, Debug)]
pub struct Foreground<'a> {
    rows: &'a [u8],
    width: usize,
    height: usize,
    stride: usize,
}

const FACES: u32 = 64;
const MASK_SIDE: u32 = 4096;

fn damaged() -> Error {
    Error::media("data is damaged")
}

/// Number `index` of those that `bytes` begins with.
fn word(bytes: &[u8], index: usize) -> Result<u32, Error> {
    let bytes = bytes.get(index * 4..index * 4 + 4).ok_or_else(damaged)?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn float(bytes: &[u8], index: usize) -> f32 {
    word(bytes, index).map_or(0.0, f32::from_bits)
}

impl<'a> Faces<'a> {
    /// Reads data of this shape: an error says that it is damaged.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let [size, points, count, stride, offset] = [0, 1, 2, 3, 4].map(|index| word(bytes, index));
        let (size, points, count) = (size? as usize, points?, count?);
        let (stride, offset) = (stride? as usize, offset? as usize);
        let least = size_of::<abi::Face>() + points as usize * 8;
        if size < size_of::<abi::FaceLandmarks>()
            || ![5, 68, 106].contains(&points)
            || count > FACES
            || stride < least
            || offset < size
        {
            return Err(damaged());
        }
        let count = count as usize;
        let length = if count == 0 { Some(0) } else { stride.checked_mul(count - 1).map(|all| all + least) };
        let end = length.and_then(|length| offset.checked_add(length)).ok_or_else(damaged)?;
        let faces = bytes.get(offset..end).ok_or_else(damaged)?;
        let read = Self { faces, stride, points: points as usize, count };
        let finite = |face: Face<'_>| {
            [face.confidence, face.left, face.top, face.width, face.height].iter().all(|n| n.is_finite())
                && face.points().all(|(x, y)| x.is_finite() && y.is_finite())
        };
        if read.iter().all(finite) { Ok(read) } else { Err(damaged()) }
    }

    /// How many there are, at most 64.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Points a face: 5, 68 (iBUG 300-W) or 106 (JD-landmark).
    pub fn scheme(&self) -> usize {
        self.points
    }

    /// The faces.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Face<'a>> + use<'a> {
        let Self { faces, stride, points, count } = *self;
        (0..count).map(move |face| {
            let face = &faces[face * stride..];
            Face {
                confidence: float(face, 0),
                left: float(face, 1),
                top: float(face, 2),
                width: float(face, 3),
                height: float(face, 4),
                points: &face[size_of::<abi::Face>()..][..points * 8],
            }
        })
    }
}

impl<'a> Face<'a> {
    /// Its points, x and y: in the scheme of 5 the left eye, the right eye, the tip
    /// of the nose, the left and the right corner of the mouth, as seen in the
    /// picture.
    pub fn points(&self) -> impl ExactSizeIterator<Item = (f32, f32)> + use<'a> {
        self.points.chunks_exact(8).map(|point| (float(point, 0), float(point, 1)))
    }
}

impl<'a> Foreground<'a> {
    /// Reads data of this shape: an error says that it is damaged.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let [size, width, height, stride, offset] = [0, 1, 2, 3, 4].map(|index| word(bytes, index));
        let (size, width, height) = (size? as usize, width?, height?);
        let (stride, offset) = (stride? as usize, offset? as usize);
        let sides = 1..=MASK_SIDE;
        if size < size_of::<abi::Mask>()
            || !sides.contains(&width)
            || !sides.contains(&height)
            || offset < size
        {
            return Err(damaged());
        }
        let (width, height) = (width as usize, height as usize);
        let length = stride.checked_mul(height - 1).and_then(|before| before.checked_add(width));
        let end = length.and_then(|length| offset.checked_add(length)).ok_or_else(damaged)?;
        let rows = bytes.get(offset..end).filter(|_| stride >= width).ok_or_else(damaged)?;
        Ok(Self { rows, width, height, stride })
    }

    /// Bytes in a row, 1 to 4,096.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows, 1 to 4,096.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Row `y`, from the top: 255 is in front, 0 behind. Panics where there is none.
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.rows[y * self.stride..][..self.width]
    }
}

impl<'a> View<'a> for Faces<'a> {
    fn of(frame: Reading<'a>) -> Result<Self, Error> {
        Self::read(Packet::of_shape(frame, abi::SIDETONE_SHAPE_FACE_LANDMARKS)?.bytes())
    }
}

impl<'a> View<'a> for Foreground<'a> {
    fn of(frame: Reading<'a>) -> Result<Self, Error> {
        Self::read(Packet::of_shape(frame, abi::SIDETONE_SHAPE_MASK)?.bytes())
    }
}
