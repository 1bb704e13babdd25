//! Shapes of data: what the bytes of a [`Format::Data`](crate::Format::Data) frame
//! mean. Numbers are little-endian. Readers check every length and number, and pass
//! over what a longer header or a wider stride holds that they do not know, since
//! shapes only grow.
//!
//! ```text
//! sidetone.face_landmarks/1
//!         0  4  bytes of this header, at least 20
//!         4  4  scheme: points of a face, 5, 68 or 106
//!         8  4  faces, at most 64
//!        12  4  bytes from one face to the next, at least 20 + 8 × scheme
//!        16  4  bytes from the start to the first face
//! face    0  4  how sure it is, 32-bit float from 0 to 1
//!         4 16  left, top, width and height of its box
//!        20  …  x and y of each point
//!
//! sidetone.mask/1
//!         0  4  bytes of this header, at least 20
//!         4  4  width, 1 to 4096
//!         8  4  height, 1 to 4096
//!        12  4  bytes from one row to the next, at least the width
//!        16  4  bytes from the start to the first row
//! row     0  …  a byte for each place: 255 foreground, 0 background
//! ```
//!
//! Coordinates are 32-bit floats in widths and heights of the picture: 0 to 1
//! inside, beyond that outside. Scheme 5 is, as seen in the picture: left eye, right
//! eye, tip of the nose, left and right corner of the mouth. A mask is stretched
//! over the picture, whatever the sizes of both.

use std::ops::RangeInclusive;

/// The shape of [`FaceLandmarks`].
pub const FACE_LANDMARKS: &str = "sidetone.face_landmarks/1";
/// The shape of [`Mask`].
pub const MASK: &str = "sidetone.mask/1";
/// The shapes that Sidetone knows; recordings number them from 1.
pub const SHAPES: [&str; 2] = [FACE_LANDMARKS, MASK];

/// The most faces of one picture.
pub const MOST_FACES: usize = 64;
/// The most places of a mask's side.
pub const MOST_SIDE: usize = 4096;

/// Bytes of either header as it is written.
const HEADER: usize = 20;
/// Bytes of a face before its points.
const FACE: usize = 20;

/// Why bytes are not of a shape, or cannot be made so. Small, for use while running.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// Too few bytes: cut on its way, or a count or stride that is wrong.
    #[error("{shape}: it needs {needs} bytes, and there are {there}")]
    Short {
        /// Which shape.
        shape: &'static str,
        /// How many it says it has.
        needs: u64,
        /// How many there are.
        there: usize,
    },
    /// A number of the header is none that it may be.
    #[error("{shape}: {what} must be {wants}, not {value}")]
    Header {
        /// Which shape.
        shape: &'static str,
        /// Which number.
        what: &'static str,
        /// What it may be.
        wants: &'static str,
        /// What it is.
        value: usize,
    },
    /// A number of a face is none that it may be.
    #[error("{FACE_LANDMARKS}: {what} of face {face} must be {wants}, not {value}")]
    Face {
        /// Which face, from 0.
        face: usize,
        /// Which number.
        what: &'static str,
        /// What it may be.
        wants: &'static str,
        /// What it is.
        value: f32,
    },
}

/// A face, its points aside. Coordinates are in widths and heights of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// How sure it is that this is a face, 0 to 1.
    pub confidence: f32,
    /// Left edge of its box.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Width, at least 0.
    pub width: f32,
    /// Height, at least 0.
    pub height: f32,
}

/// The faces of a picture, in bytes of the shape [`FACE_LANDMARKS`] that were
/// checked.
#[derive(Clone, Copy, Debug)]
pub struct FaceLandmarks<'a> {
    scheme: usize,
    count: usize,
    stride: usize,
    /// From the first face on.
    faces: &'a [u8],
}

impl<'a> FaceLandmarks<'a> {
    /// Checks bytes and reads them. \[real-time\]
    ///
    /// # Errors
    /// The first number that is out of range, or not finite; too few bytes.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ShapeError> {
        let [scheme, count, stride, offset] = header(FACE_LANDMARKS, bytes)?;
        is_scheme(scheme)?;
        within(FACE_LANDMARKS, "the number of faces", count, 0..=MOST_FACES, "at most 64")?;
        let face_bytes = FACE + 8 * scheme;
        let wants = "at least 20 and 8 for each point";
        within(FACE_LANDMARKS, "the distance of faces", stride, face_bytes..=usize::MAX, wants)?;
        let faces = body(FACE_LANDMARKS, bytes, offset, count, stride, face_bytes)?;
        let all = Self { scheme, count, stride, faces };
        (0..count).try_for_each(|face| check_face(face, &all.face(face), all.points(face)))?;
        Ok(all)
    }

    /// How many points each face has: 5, 68 or 106. \[any\]
    #[must_use]
    pub const fn scheme(&self) -> usize {
        self.scheme
    }

    /// How many faces there are, at most [`MOST_FACES`]. \[any\]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no face. \[any\]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Face `index`. \[real-time\]
    ///
    /// # Panics
    /// If `index` is not below [`FaceLandmarks::len`].
    #[must_use]
    pub fn face(&self, index: usize) -> Face {
        let bytes = self.bytes_of(index);
        let [confidence, left, top, width, height] = [0, 1, 2, 3, 4].map(|place| f32_at(bytes, 4 * place));
        Face { confidence, left, top, width, height }
    }

    /// The points of face `index`, each x and y, in the order of the scheme.
    /// \[real-time\]
    ///
    /// # Panics
    /// If `index` is not below [`FaceLandmarks::len`].
    pub fn points(&self, index: usize) -> impl ExactSizeIterator<Item = [f32; 2]> + use<'a> {
        self.bytes_of(index)[FACE..].chunks_exact(8).map(|point| [f32_at(point, 0), f32_at(point, 4)])
    }

    fn bytes_of(&self, index: usize) -> &'a [u8] {
        assert!(index < self.count, "there is no face {index}");
        &self.faces[index * self.stride..][..FACE + 8 * self.scheme]
    }

    /// Bytes that `faces` of `scheme` points take. \[any\]
    #[must_use]
    pub const fn bytes(scheme: usize, faces: usize) -> usize {
        HEADER + faces * (FACE + 8 * scheme)
    }

    /// Writes faces with their points, [`FaceLandmarks::bytes`] in all, to the
    /// beginning of `to`; gives how many bytes those are. \[real-time\]
    ///
    /// # Errors
    /// What [`FaceLandmarks::read`] would refuse; points that are not as many as
    /// the scheme has; too little room.
    pub fn write(scheme: usize, faces: &[(Face, &[[f32; 2]])], to: &mut [u8]) -> Result<usize, ShapeError> {
        is_scheme(scheme)?;
        within(FACE_LANDMARKS, "the number of faces", faces.len(), 0..=MOST_FACES, "at most 64")?;
        let stride = FACE + 8 * scheme;
        let length = Self::bytes(scheme, faces.len());
        let to = room(FACE_LANDMARKS, to, length)?;
        put_header(to, [scheme, faces.len(), stride, HEADER]);
        for (index, ((face, points), to)) in
            faces.iter().zip(to[HEADER..].chunks_exact_mut(stride)).enumerate()
        {
            let wants = "as many as the scheme says";
            within(FACE_LANDMARKS, "the number of points", points.len(), scheme..=scheme, wants)?;
            check_face(index, face, points.iter().copied())?;
            let Face { confidence, left, top, width, height } = *face;
            let numbers = [confidence, left, top, width, height].into_iter();
            let numbers = numbers.chain(points.iter().flatten().copied());
            to.chunks_exact_mut(4).zip(numbers).for_each(|(to, number)| {
                to.copy_from_slice(&number.to_le_bytes());
            });
        }
        Ok(length)
    }
}

/// What is foreground in a picture, in bytes of the shape [`MASK`] that were
/// checked.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    width: usize,
    height: usize,
    stride: usize,
    /// From the first row on.
    rows: &'a [u8],
}

impl<'a> Mask<'a> {
    /// Checks bytes and reads them. \[real-time\]
    ///
    /// # Errors
    /// The first number that is out of range; too few bytes.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ShapeError> {
        let [width, height, stride, offset] = header(MASK, bytes)?;
        is_side("the width", width)?;
        is_side("the height", height)?;
        within(MASK, "the distance of rows", stride, width..=usize::MAX, "at least the width")?;
        let rows = body(MASK, bytes, offset, height, stride, width)?;
        Ok(Self { width, height, stride, rows })
    }

    /// Places in a row, 1 to [`MOST_SIDE`]. \[any\]
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Rows, 1 to [`MOST_SIDE`]. \[any\]
    #[must_use]
    pub const fn height(&self) -> usize {
        self.height
    }

    /// Row `y`: a byte for each place. \[real-time\]
    ///
    /// # Panics
    /// If `y` is not below the height.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [u8] {
        assert!(y < self.height, "there is no row {y}");
        &self.rows[y * self.stride..][..self.width]
    }

    /// Bytes that a mask takes. \[any\]
    #[must_use]
    pub const fn bytes(width: usize, height: usize) -> usize {
        HEADER + width * height
    }

    /// Writes a mask, [`Mask::bytes`] in all, to the beginning of `to`; `draw`
    /// draws each row, whose bytes are left over from before. Gives how many bytes
    /// those are. \[real-time\]
    ///
    /// # Errors
    /// A side that is none, or too long; too little room.
    pub fn write(
        width: usize,
        height: usize,
        to: &mut [u8],
        mut draw: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, ShapeError> {
        is_side("the width", width)?;
        is_side("the height", height)?;
        let length = Self::bytes(width, height);
        let to = room(MASK, to, length)?;
        put_header(to, [width, height, width, HEADER]);
        to[HEADER..].chunks_exact_mut(width).enumerate().for_each(|(y, row)| draw(y, row));
        Ok(length)
    }
}

/// The numbers after the header's size.
fn header(shape: &'static str, bytes: &[u8]) -> Result<[usize; 4], ShapeError> {
    let Some(known) = bytes.first_chunk::<HEADER>() else {
        return Err(ShapeError::Short { shape, needs: HEADER as u64, there: bytes.len() });
    };
    let [size, a, b, c, offset] = [0, 4, 8, 12, 16]
        .map(|at| u32::from_le_bytes([known[at], known[at + 1], known[at + 2], known[at + 3]]));
    let [size, a, b, c, offset] = [size, a, b, c, offset].map(|number| number as usize);
    within(shape, "the header's size", size, HEADER..=usize::MAX, "at least 20")?;
    within(shape, "where the header ends", offset, size..=usize::MAX, "at least the header's size")?;
    Ok([a, b, c, offset])
}

/// The bytes from `offset` on, if `count` items of `item` bytes are there, one every
/// `stride`.
fn body<'a>(
    shape: &'static str,
    bytes: &'a [u8],
    offset: usize,
    count: usize,
    stride: usize,
    item: usize,
) -> Result<&'a [u8], ShapeError> {
    let items = match count.checked_sub(1) {
        Some(before) => before as u64 * stride as u64 + item as u64,
        None => 0,
    };
    let needs = offset as u64 + items;
    let there = bytes.len();
    bytes.get(offset..).filter(|_| needs <= there as u64).ok_or(ShapeError::Short { shape, needs, there })
}

fn room<'a>(shape: &'static str, to: &'a mut [u8], needs: usize) -> Result<&'a mut [u8], ShapeError> {
    let there = to.len();
    to.get_mut(..needs).ok_or(ShapeError::Short { shape, needs: needs as u64, there })
}

fn put_header(to: &mut [u8], numbers: [usize; 4]) {
    let numbers = [HEADER].into_iter().chain(numbers);
    for (to, number) in to.chunks_exact_mut(4).zip(numbers) {
        // All were checked to be far below 2^32.
        to.copy_from_slice(&(number as u32).to_le_bytes());
    }
}

fn within(
    shape: &'static str,
    what: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
    wants: &'static str,
) -> Result<(), ShapeError> {
    if range.contains(&value) { Ok(()) } else { Err(ShapeError::Header { shape, what, wants, value }) }
}

fn is_scheme(scheme: usize) -> Result<(), ShapeError> {
    let (what, wants) = ("the scheme", "5, 68 or 106 points");
    match scheme {
        5 | 68 | 106 => Ok(()),
        value => Err(ShapeError::Header { shape: FACE_LANDMARKS, what, wants, value }),
    }
}

fn is_side(what: &'static str, value: usize) -> Result<(), ShapeError> {
    within(MASK, what, value, 1..=MOST_SIDE, "1 to 4096")
}

fn check_face(face: usize, of: &Face, points: impl Iterator<Item = [f32; 2]>) -> Result<(), ShapeError> {
    let bad = |what, wants, value| Err(ShapeError::Face { face, what, wants, value });
    if !(0.0..=1.0).contains(&of.confidence) {
        return bad("the confidence", "from 0 to 1", of.confidence);
    }
    for (what, value) in [("the left edge", of.left), ("the top edge", of.top)] {
        if !value.is_finite() {
            return bad(what, "a finite number", value);
        }
    }
    for (what, value) in [("the width", of.width), ("the height", of.height)] {
        if !(value.is_finite() && value >= 0.0) {
            return bad(what, "a finite number of at least 0", value);
        }
    }
    for [x, y] in points {
        if !(x.is_finite() && y.is_finite()) {
            return bad("a point", "at finite numbers", if x.is_finite() { y } else { x });
        }
    }
    Ok(())
}

/// The float at byte `at` of bytes that were checked to be long enough.
fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACES: [Face; 2] = [
        Face { confidence: 0.9, left: 0.25, top: 0.2, width: 0.5, height: 0.6 },
        Face { confidence: 0.0, left: -0.1, top: 0.9, width: 0.0, height: 1.5 },
    ];

    fn points(scheme: usize) -> Vec<[f32; 2]> {
        (0..scheme).map(|n| [n as f32 / 100.0, 1.0 - n as f32 / 50.0]).collect()
    }

    fn landmarks(scheme: usize) -> Vec<u8> {
        let points = points(scheme);
        let faces = FACES.map(|face| (face, points.as_slice()));
        let mut bytes = vec![0xaa; FaceLandmarks::bytes(scheme, 2)];
        assert_eq!(FaceLandmarks::write(scheme, &faces, &mut bytes), Ok(bytes.len()));
        bytes
    }

    fn mask() -> Vec<u8> {
        let mut bytes = vec![0xaa; Mask::bytes(5, 3)];
        let written = Mask::write(5, 3, &mut bytes, |y, row| row.fill(if y == 1 { 255 } else { 0 }));
        assert_eq!(written, Ok(35));
        bytes
    }

    /// `bytes` with the number at `at` of the header replaced.
    fn with(mut bytes: Vec<u8>, at: usize, number: u32) -> Vec<u8> {
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    #[test]
    fn faces_read_back_as_they_were_written() {
        for scheme in [5, 68, 106] {
            let bytes = landmarks(scheme);
            assert_eq!(bytes.len(), 20 + 2 * (20 + 8 * scheme));
            let read = FaceLandmarks::read(&bytes).unwrap();
            assert_eq!((read.scheme(), read.len(), read.is_empty()), (scheme, 2, false));
            for (index, face) in FACES.iter().enumerate() {
                assert_eq!(read.face(index), *face);
                assert_eq!(read.points(index).collect::<Vec<_>>(), points(scheme));
            }
        }
        let mut none = [0; 20];
        assert_eq!(FaceLandmarks::write(5, &[], &mut none), Ok(20));
        assert!(FaceLandmarks::read(&none).unwrap().is_empty());
    }

    #[test]
    fn the_bytes_stand_where_the_shape_says() {
        let bytes = landmarks(5);
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!([0, 4, 8, 12, 16].map(number), [20, 5, 2, 60, 20]);
        assert_eq!(f32_at(&bytes, 20), 0.9);
        assert_eq!([f32_at(&bytes, 24), f32_at(&bytes, 36)], [0.25, 0.6]);
        assert_eq!([f32_at(&bytes, 48), f32_at(&bytes, 52)], points(5)[1]);
        let bytes = mask();
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!([0, 4, 8, 12, 16].map(number), [20, 5, 3, 5, 20]);
        assert_eq!(&bytes[20..], [[0; 5], [255; 5], [0; 5]].concat());
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        // A header of 28 bytes, then 4 of something, and 12 more with each item.
        let (header, gap, more) = (8, 4, 12);
        let grown = |bytes: &[u8], item: usize, stride_at: usize| {
            let mut grown = bytes[..20].to_vec();
            grown.extend([0xee; 12]);
            for item in bytes[20..].chunks(item) {
                grown.extend(item);
                grown.extend([0xee; 12]);
            }
            let stride = u32::try_from(item + more).unwrap();
            with(with(with(grown, 0, 20 + header), stride_at, stride), 16, 20 + header + gap)
        };
        let bytes = grown(&landmarks(5), 60, 12);
        let read = FaceLandmarks::read(&bytes).unwrap();
        assert_eq!((read.face(1), read.points(1).last()), (FACES[1], points(5).last().copied()));
        let bytes = grown(&mask(), 5, 12);
        let read = Mask::read(&bytes).unwrap();
        assert_eq!([0, 1, 2].map(|y| read.row(y)), [[0; 5], [255; 5], [0; 5]]);
        // Nothing need follow the last item.
        assert!(Mask::read(&bytes[..bytes.len() - 12]).is_ok());
        assert!(Mask::read(&bytes[..bytes.len() - 13]).is_err());
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_what_it_is() {
        let said = |bytes: &[u8]| FaceLandmarks::read(bytes).unwrap_err().to_string();
        let name = "sidetone.face_landmarks/1";
        let bad = |at, number| said(&with(landmarks(5), at, number));
        assert_eq!(said(&[0; 19]), format!("{name}: it needs 20 bytes, and there are 19"));
        assert_eq!(bad(0, 19), format!("{name}: the header's size must be at least 20, not 19"));
        assert_eq!(bad(4, 6), format!("{name}: the scheme must be 5, 68 or 106 points, not 6"));
        assert_eq!(bad(8, 65), format!("{name}: the number of faces must be at most 64, not 65"));
        let wants = "the distance of faces must be at least 20 and 8 for each point, not 59";
        assert_eq!(bad(12, 59), format!("{name}: {wants}"));
        let wants = "where the header ends must be at least the header's size, not 19";
        assert_eq!(bad(16, 19), format!("{name}: {wants}"));
        assert_eq!(bad(8, 3), format!("{name}: it needs 200 bytes, and there are 140"));
        // No product of 32-bit numbers overflows.
        assert!(bad(12, u32::MAX).contains("it needs 4294967375 bytes"));
        let wants = "the confidence of face 1 must be from 0 to 1, not 1.5";
        assert_eq!(bad(80, 1.5f32.to_bits()), format!("{name}: {wants}"));
        assert!(bad(20, f32::NAN.to_bits()).contains("the confidence of face 0"));
        assert!(bad(24, f32::INFINITY.to_bits()).contains("the left edge of face 0"));
        assert!(bad(36, (-0.5f32).to_bits()).contains("the height of face 0"));
        assert!(bad(76, f32::NAN.to_bits()).contains("a point of face 0"));

        let bad = |at, number| Mask::read(&with(mask(), at, number)).unwrap_err().to_string();
        assert_eq!(bad(4, 0), "sidetone.mask/1: the width must be 1 to 4096, not 0");
        assert_eq!(bad(8, 4097), "sidetone.mask/1: the height must be 1 to 4096, not 4097");
        assert_eq!(bad(12, 4), "sidetone.mask/1: the distance of rows must be at least the width, not 4");
        assert_eq!(bad(16, 21), "sidetone.mask/1: it needs 36 bytes, and there are 35");
    }

    #[test]
    fn what_would_be_refused_is_not_written() {
        let five = points(5);
        let mut to = [0; 200];
        assert!(FaceLandmarks::write(7, &[], &mut to).is_err());
        assert!(FaceLandmarks::write(68, &[(FACES[0], &five)], &mut [0; 600]).is_err());
        assert!(FaceLandmarks::write(5, &[(FACES[0], five.as_slice()); 65], &mut [0; 4_000]).is_err());
        assert!(FaceLandmarks::write(5, &[(FACES[0], &five)], &mut to[..79]).is_err());
        let odd = Face { width: f32::NAN, ..FACES[0] };
        assert!(FaceLandmarks::write(5, &[(odd, &five)], &mut to).is_err());
        assert!(Mask::write(0, 3, &mut to, |_, _| ()).is_err());
        assert!(Mask::write(20, 20, &mut to, |_, _| ()).is_err());
    }

    #[test]
    fn readers_take_any_bytes_and_what_they_take_is_all_there() {
        let mut rng = fastrand::Rng::with_seed(11);
        let seeds = [landmarks(5), landmarks(68), landmarks(106), mask()];
        let mut taken = 0;
        for _ in 0..if cfg!(miri) { 200 } else { 50_000 } {
            let mut bytes = seeds[rng.usize(..seeds.len())].clone();
            for _ in 0..rng.usize(..3) {
                let number = if rng.bool() { rng.u32(..200) } else { rng.u32(..) };
                bytes = with(bytes, 4 * rng.usize(..5), number);
            }
            for _ in 0..rng.usize(..3) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            if rng.u8(..) < 64 {
                bytes.truncate(rng.usize(..=bytes.len()));
            }
            if let Ok(read) = FaceLandmarks::read(&bytes) {
                taken += 1;
                assert!(read.len() <= MOST_FACES);
                for face in 0..read.len() {
                    assert!((0.0..=1.0).contains(&read.face(face).confidence));
                    assert_eq!(read.points(face).len(), read.scheme());
                    assert!(read.points(face).flatten().all(f32::is_finite));
                }
            }
            if let Ok(read) = Mask::read(&bytes) {
                taken += 1;
                let sum: usize = (0..read.height()).map(|y| read.row(y).len()).sum();
                assert_eq!(sum, read.width() * read.height());
                assert!(sum <= bytes.len());
            }
        }
        assert!(cfg!(miri) || taken > 5_000, "only {taken} were taken, so this shows little");
    }
}
