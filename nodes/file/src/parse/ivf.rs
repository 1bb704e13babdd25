//! IVF: packets of one video stream, each behind its length and time.
//!
//! The format has no standard; its 32-byte header and 12-byte frame headers are
//! as libvpx and libaom write them (`ivfenc.c`).

use std::io::{Read, Seek};

use sidetone_core::ReadError;

use super::Counted;

/// The most bytes of one packet: 64 MiB.
pub const MOST_PACKET_BYTES: u32 = 64 << 20;
const HEADER_BYTES: u16 = 32;

/// What the file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ivf {
    /// The codec: `AV01`.
    pub fourcc: [u8; 4],
    /// Width of the pictures; not to be relied on.
    pub width: u16,
    /// Height of the pictures; not to be relied on.
    pub height: u16,
    /// Units of time a second …
    pub rate: u32,
    /// … times this.
    pub scale: u32,
}

impl Ivf {
    /// The time `pts` as nanoseconds, at most 584 years. \[any\]
    #[must_use]
    pub fn nanos(&self, pts: u64) -> u64 {
        let nanos = u128::from(pts) * u128::from(self.scale) * 1_000_000_000 / u128::from(self.rate.max(1));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// Reads an IVF.
pub struct Reader<R> {
    input: Counted<R>,
    ivf: Ivf,
    first_packet: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the header. \[control\]
    ///
    /// # Errors
    /// When it is no IVF, its time base is zero, or it ends inside the header.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut input = Counted::new(input);
        let ivf = read_header(&mut input)?;
        let first_packet = input.offset;
        Ok(Self { input, ivf, first_packet })
    }

    /// What the file says of itself. \[any\]
    pub const fn ivf(&self) -> Ivf {
        self.ivf
    }

    /// How many bytes were read: where the next packet's header begins. \[any\]
    pub const fn offset(&self) -> u64 {
        self.input.offset
    }

    /// Reads the next packet into `packet`, in place of what it held; gives its
    /// time in the file's units, or `None` at the end. \[control\]
    ///
    /// # Errors
    /// When the file ends inside a packet, or one is longer than
    /// [`MOST_PACKET_BYTES`].
    pub fn read(&mut self, packet: &mut Vec<u8>) -> Result<Option<u64>, ReadError> {
        packet.clear();
        let start = self.input.offset;
        let mut head = [0; 12];
        match self.input.fill(&mut head)? {
            0 => return Ok(None),
            12 => {}
            _ => return Err(ReadError::bad("the file ends inside a packet's header", self.input.offset)),
        }
        let [a, b, c, d, pts @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length > MOST_PACKET_BYTES {
            return Err(ReadError::bad("a packet of more than 64 MiB", start));
        }
        // Reads piece by piece, so that memory follows what is really there.
        let mut rest = length as usize;
        while rest > 0 {
            let (at, piece) = (packet.len(), rest.min(1 << 16));
            packet.resize(at + piece, 0);
            self.input.exact(&mut packet[at..], "the file ends inside a packet")?;
            rest -= piece;
        }
        Ok(Some(u64::from_le_bytes(pts)))
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Goes back to the first packet. \[control\]
    ///
    /// # Errors
    /// When the input cannot go back.
    pub fn rewind(&mut self) -> Result<(), ReadError> {
        self.input.go_to(self.first_packet)
    }
}

/// Reads all of `bytes`, and the AV1 in it; gives how many packets there are. \[any\]
///
/// # Errors
/// As [`Reader::new`] and [`Reader::read`].
pub fn walk(bytes: &[u8]) -> Result<u64, ReadError> {
    let mut reader = Reader::new(bytes)?;
    let (mut packet, mut packets) = (Vec::new(), 0);
    while let Some(pts) = reader.read(&mut packet)? {
        let _ = reader.ivf.nanos(pts);
        let _ = super::av1::is_key(&packet);
        let _ = super::av1::picture_size(&packet);
        packets += 1;
    }
    Ok(packets)
}

/// A header for packets of `fourcc` with this time base. \[any\]
pub(crate) fn header(ivf: &Ivf, packets: u32) -> [u8; 32] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..4].copy_from_slice(b"DKIF");
    header[6..8].copy_from_slice(&HEADER_BYTES.to_le_bytes());
    header[8..12].copy_from_slice(&ivf.fourcc);
    header[12..14].copy_from_slice(&ivf.width.to_le_bytes());
    header[14..16].copy_from_slice(&ivf.height.to_le_bytes());
    header[16..20].copy_from_slice(&ivf.rate.to_le_bytes());
    header[20..24].copy_from_slice(&ivf.scale.to_le_bytes());
    header[24..28].copy_from_slice(&packets.to_le_bytes());
    header
}

fn read_header<R: Read>(input: &mut Counted<R>) -> Result<Ivf, ReadError> {
    const TRUNCATED: &str = "the file ends inside its header";
    let mut head = [0; HEADER_BYTES as usize];
    let got = input.fill(&mut head)?;
    if head[..got.min(4)] != b"DKIF"[..got.min(4)] {
        return Err(ReadError::bad("no IVF: it does not begin with DKIF", 0));
    }
    if got < head.len() {
        return Err(ReadError::bad(TRUNCATED, input.offset));
    }
    let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(4) != 0 {
        return Err(ReadError::bad(format!("IVF of version {}; only 0 is read", word(4)), 4));
    }
    let length = word(6);
    if length < HEADER_BYTES {
        return Err(ReadError::bad("the header's length is too small", 6));
    }
    let ivf = Ivf {
        fourcc: [head[8], head[9], head[10], head[11]],
        width: word(12),
        height: word(14),
        rate: long(16),
        scale: long(20),
    };
    if ivf.rate == 0 || ivf.scale == 0 {
        return Err(ReadError::bad("its time base is zero", 16));
    }
    // The number of packets (at 24) is not relied on.
    input.skip(u64::from(length - HEADER_BYTES), TRUNCATED)?;
    Ok(ivf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const IVF: Ivf = Ivf { fourcc: *b"AV01", width: 640, height: 360, rate: 30_000, scale: 1_001 };

    fn file() -> Vec<u8> {
        let mut file = header(&IVF, 99).to_vec();
        for (pts, packet) in [(0u64, "first"), (1, ""), (5, "third packet")] {
            file.extend(u32::try_from(packet.len()).unwrap().to_le_bytes());
            file.extend(pts.to_le_bytes());
            file.extend(packet.as_bytes());
        }
        file
    }

    #[test]
    fn a_file_reads_as_written_whatever_count_its_header_has() {
        let mut reader = Reader::new(Cursor::new(file())).unwrap();
        assert_eq!(reader.ivf(), IVF);
        let mut packet = Vec::new();
        for _ in 0..2 {
            for (pts, data) in [(0, "first"), (1, ""), (5, "third packet")] {
                assert_eq!(reader.read(&mut packet).unwrap(), Some(pts));
                assert_eq!(packet, data.as_bytes());
            }
            assert_eq!(reader.read(&mut packet).unwrap(), None);
            reader.rewind().unwrap();
        }
        assert_eq!(IVF.nanos(30_000), 1_001_000_000_000);
        assert_eq!(IVF.nanos(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_longer_header_is_passed_over() {
        let mut file = file();
        file[6] = 35;
        file.splice(32..32, [1, 2, 3]);
        assert_eq!(walk(&file).unwrap(), 3);
    }

    #[test]
    fn cut_at_every_byte_it_gives_what_is_there_and_then_names_the_cut() {
        let file = file();
        let ends = [32, 32 + 17, 32 + 29, file.len()];
        for cut in 0..file.len() {
            let (mut packets, mut packet) = (0, Vec::new());
            let outcome = Reader::new(&file[..cut]).and_then(|mut reader| {
                while reader.read(&mut packet)?.is_some() {
                    packets += 1;
                }
                Ok(())
            });
            assert_eq!(packets, ends.iter().skip(1).filter(|end| **end <= cut).count());
            match outcome {
                Ok(()) => assert!(ends.contains(&cut)),
                Err(error) => assert!(!ends.contains(&cut) && error.offset() == cut as u64, "{cut}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_not_read_is_refused_where_it_stands() {
        let changed = |at: usize, byte: u8| {
            let mut file = file();
            file[at] = byte;
            walk(&file).unwrap_err()
        };
        assert_eq!(changed(0, b'X').offset(), 0);
        assert_eq!(changed(4, 1).offset(), 4);
        assert_eq!(changed(6, 31).offset(), 6);
        assert!(changed(35, 0xff).to_string().contains("64 MiB, at byte 32"));
        let mut file = file();
        file[16..20].fill(0);
        assert_eq!(walk(&file).unwrap_err().offset(), 16);
    }

    #[test]
    fn memory_follows_what_is_there_not_what_is_declared() {
        let mut file = header(&IVF, 1).to_vec();
        file.extend(MOST_PACKET_BYTES.to_le_bytes());
        file.extend([0; 20]);
        let mut packet = Vec::new();
        let error = Reader::new(file.as_slice()).unwrap().read(&mut packet).unwrap_err();
        assert_eq!(error.offset(), file.len() as u64);
        assert!(packet.capacity() <= 1 << 16);
    }

    #[test]
    fn no_bytes_whatever_make_it_panic() {
        let file = file();
        let mut rng = fastrand::Rng::with_seed(3);
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
