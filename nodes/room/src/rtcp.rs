//! The few RTCP packets that two rooms exchange: reports with the user's name,
//! goodbye, and requests for a key frame or another bit rate.
//!
//! Written and read in place, without allocating. What is not known is passed
//! over, as RFC 3550 § 6 asks.

use sidetone_core::rtp::Ssrc;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const PAYLOAD_FEEDBACK: u8 = 206;

/// The item of a source description that names its user, RFC 3550 § 6.5.1.
const CNAME: u8 = 1;

/// Feedback formats: picture loss (RFC 4585 § 6.3.1) and application layer
/// (§ 6.4), under which the receiver's bit rate travels.
const PICTURE_LOSS: u8 = 1;
const APPLICATION: u8 = 15;

/// The most sources that one goodbye can name, RFC 3550 § 6.6.
pub const MOST_GOODBYES: usize = 31;

/// What a compound packet said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told<'a> {
    /// The sender's name.
    pub name: Option<&'a str>,
    /// Who reports without sending media itself.
    pub reporter: Option<Ssrc>,
    /// Who says goodbye.
    goodbyes: [Ssrc; MOST_GOODBYES],
    goodbye_count: usize,
    /// Whose next picture is to be a key frame.
    pub key_frame: Option<Ssrc>,
    /// How many bits per second the other side can take, and of whom.
    pub bitrate: Option<(Ssrc, u32)>,
}

impl Told<'_> {
    /// Who says goodbye. \[any\]
    #[must_use]
    pub fn goodbyes(&self) -> &[Ssrc] {
        &self.goodbyes[..self.goodbye_count]
    }

    /// The same without the name, which borrows from the packet. \[any\]
    #[must_use]
    pub const fn without_name(&self) -> Told<'static> {
        let Told { reporter, goodbyes, goodbye_count, key_frame, bitrate, .. } = *self;
        Told { name: None, reporter, goodbyes, goodbye_count, key_frame, bitrate }
    }
}

/// Reads a compound packet; `None` if a length in it does not hold. \[any\]
#[must_use]
pub fn read(mut bytes: &[u8]) -> Option<Told<'_>> {
    let mut told = Told::default();
    if bytes.is_empty() {
        return None;
    }
    while !bytes.is_empty() {
        // RFC 3550 § 6.4.1: version, padding, count; type; length in words.
        let head: &[u8; 4] = bytes.first_chunk()?;
        let length = 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        let body = bytes.get(4..4 + length)?;
        if head[0] >> 6 != 2 {
            return None;
        }
        let count = head[0] & 0x1f;
        match head[1] {
            RECEIVER_REPORT => told.reporter = Some(Ssrc(word(body, 0)?)),
            SOURCE_DESCRIPTION => told.name = told.name.or(name(body, count)),
            GOODBYE => {
                for index in 0..usize::from(count) {
                    let gone = Ssrc(word(body, 4 * index)?);
                    if let Some(place) = told.goodbyes.get_mut(told.goodbye_count) {
                        *place = gone;
                        told.goodbye_count += 1;
                    }
                }
            }
            PAYLOAD_FEEDBACK if count == PICTURE_LOSS => told.key_frame = Some(Ssrc(word(body, 4)?)),
            PAYLOAD_FEEDBACK if count == APPLICATION => told.bitrate = bitrate(body).or(told.bitrate),
            _ => {}
        }
        bytes = &bytes[4 + length..];
    }
    Some(told)
}

/// The first name in a source description of `chunks` chunks.
fn name(mut body: &[u8], chunks: u8) -> Option<&str> {
    for _ in 0..chunks {
        let mut items = body.get(4..)?;
        while let [kind, length, rest @ ..] = items {
            if *kind == 0 {
                break;
            }
            let text = rest.get(..usize::from(*length))?;
            if *kind == CNAME {
                return std::str::from_utf8(text).ok().filter(|name| is_name(name));
            }
            items = &rest[usize::from(*length)..];
        }
        // A zero ends the items; the chunk is padded to a whole word.
        let used = (body.len() - items.len() + 1).next_multiple_of(4);
        body = body.get(used..)?;
    }
    None
}

/// Whether a name may stand in reports and on screens.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.chars().count()) && name.len() <= 255 && !name.chars().any(char::is_control)
}

/// The bit rate of a receiver's estimate, draft-alvestrand-rmcat-remb-03 § 2.2.
fn bitrate(body: &[u8]) -> Option<(Ssrc, u32)> {
    if body.get(8..12)? != b"REMB" {
        return None;
    }
    let (exponent, mantissa) = (body.get(13)? >> 2, word(body, 12)? & 0x3_ffff);
    let bps = u64::from(mantissa)
        .checked_shl(u32::from(exponent))
        .filter(|bps| bps >> exponent == u64::from(mantissa));
    Some((Ssrc(word(body, 16)?), bps.map_or(u32::MAX, |bps| u32::try_from(bps).unwrap_or(u32::MAX))))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// What a stream has sent so far, for its sender report.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Whose.
    pub ssrc: Ssrc,
    /// Packets.
    pub packets: u32,
    /// Payload bytes.
    pub octets: u32,
}

/// Appends an empty receiver report, RFC 3550 § 6.4.2. \[real-time\]
pub fn write_receiver_report(out: &mut Vec<u8>, from: Ssrc) {
    begin(out, 0, RECEIVER_REPORT, 1);
    out.extend(from.0.to_be_bytes());
}

/// Appends a sender report without report blocks, RFC 3550 § 6.4.1: at `ntp`
/// the stream's clock stood at `timestamp`. \[real-time\]
pub fn write_sender_report(out: &mut Vec<u8>, sent: &Sent, ntp: u64, timestamp: u32) {
    begin(out, 0, SENDER_REPORT, 6);
    out.extend(sent.ssrc.0.to_be_bytes());
    out.extend(ntp.to_be_bytes());
    for word in [timestamp, sent.packets, sent.octets] {
        out.extend(word.to_be_bytes());
    }
}

/// Appends a source description: each of `sources` belongs to `name`, RFC 3550
/// § 6.5. At most 255 bytes of the name are written. \[real-time\]
pub fn write_name(out: &mut Vec<u8>, sources: &[Ssrc], name: &str) {
    let name = &name.as_bytes()[..name.len().min(255)];
    // Source, item head, text, at least one zero, to a whole word.
    let words = (4 + 2 + name.len() + 1).div_ceil(4);
    let sources = &sources[..sources.len().min(MOST_GOODBYES)];
    begin(out, sources.len() as u8, SOURCE_DESCRIPTION, (words * sources.len()) as u16);
    for source in sources {
        let end = out.len() + words * 4;
        out.extend(source.0.to_be_bytes());
        out.extend([CNAME, name.len() as u8]);
        out.extend(name);
        out.resize(end, 0);
    }
}

/// Appends a goodbye of `sources`, RFC 3550 § 6.6. \[real-time\]
pub fn write_goodbye(out: &mut Vec<u8>, sources: &[Ssrc]) {
    let sources = &sources[..sources.len().min(MOST_GOODBYES)];
    begin(out, sources.len() as u8, GOODBYE, sources.len() as u16);
    for source in sources {
        out.extend(source.0.to_be_bytes());
    }
}

/// Appends a request for a key frame of `media`, RFC 4585 § 6.3.1. \[real-time\]
pub fn write_picture_loss(out: &mut Vec<u8>, from: Ssrc, media: Ssrc) {
    begin(out, PICTURE_LOSS, PAYLOAD_FEEDBACK, 2);
    out.extend(from.0.to_be_bytes());
    out.extend(media.0.to_be_bytes());
}

/// Appends the bit rate that `media` may have, draft-alvestrand-rmcat-remb-03.
/// \[real-time\]
pub fn write_bitrate(out: &mut Vec<u8>, from: Ssrc, media: Ssrc, bps: u32) {
    begin(out, APPLICATION, PAYLOAD_FEEDBACK, 5);
    out.extend(from.0.to_be_bytes());
    out.extend(0u32.to_be_bytes());
    out.extend(b"REMB");
    // 18 bits of mantissa hold a rate to four parts in a million.
    let exponent = (32 - bps.leading_zeros()).saturating_sub(18);
    out.extend((1 << 24 | exponent << 18 | bps >> exponent).to_be_bytes());
    out.extend(media.0.to_be_bytes());
}

fn begin(out: &mut Vec<u8>, count: u8, kind: u8, words: u16) {
    out.extend([0x80 | count, kind]);
    out.extend(words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc_rtcp::packet::unmarshal;

    const A: Ssrc = Ssrc(0x1122_3344);
    const B: Ssrc = Ssrc(0x5566_7788);

    fn compound() -> Vec<u8> {
        let mut out = Vec::new();
        write_sender_report(&mut out, &Sent { ssrc: B, packets: 3, octets: 400 }, 1 << 32, 90_000);
        write_receiver_report(&mut out, A);
        write_name(&mut out, &[A, B], "Zoë");
        write_picture_loss(&mut out, A, B);
        write_bitrate(&mut out, A, B, 1_234_567);
        write_goodbye(&mut out, &[A, B]);
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let out = compound();
        let told = read(&out).unwrap();
        assert_eq!((told.name, told.reporter, told.key_frame), (Some("Zoë"), Some(A), Some(B)));
        assert_eq!(told.goodbyes(), [A, B]);
        let (of, bps) = told.bitrate.unwrap();
        assert!(of == B && bps.abs_diff(1_234_567) < 8, "{bps}");
    }

    #[test]
    fn another_implementation_reads_what_is_written() {
        let packets = unmarshal(&mut bytes::Bytes::from(compound())).unwrap();
        let texts: Vec<String> = packets.iter().map(|packet| format!("{packet:?}")).collect();
        let kinds = [
            "SenderReport",
            "ReceiverReport",
            "SourceDescription",
            "PictureLoss",
            "ReceiverEstimated",
            "Goodbye",
        ];
        assert_eq!(texts.len(), kinds.len(), "{texts:?}");
        for (text, kind) in texts.iter().zip(kinds) {
            assert!(text.contains(kind), "{text} is no {kind}");
        }
        assert!(texts[0].contains("octet_count: 400"), "{}", texts[0]);
        assert!(texts[4].contains("bitrate: 12345"), "{}", texts[4]);
    }

    #[test]
    fn every_name_from_one_byte_to_the_longest_survives() {
        for length in 1..=64 {
            let name = "ü".repeat(length);
            let mut out = Vec::new();
            write_name(&mut out, &[A, B], &name);
            assert_eq!(out.len() % 4, 0);
            assert_eq!(read(&out).unwrap().name, Some(name.as_str()));
        }
        assert!(!is_name("") && !is_name(&"a".repeat(65)) && !is_name("a\nb"));
    }

    #[test]
    fn cut_and_random_packets_never_panic() {
        let whole = compound();
        for length in 0..whole.len() {
            let _ = read(&whole[..length]);
        }
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..50_000 {
            let mut bytes = whole.clone();
            for _ in 0..rng.usize(1..6) {
                let place = rng.usize(..bytes.len());
                bytes[place] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            let _ = read(&bytes);
        }
    }
}
