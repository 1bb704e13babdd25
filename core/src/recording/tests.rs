use std::time::Duration;

use super::*;
use crate::frame::{Header, VideoFormat};
use crate::media_type::{FrameRate, PixelFormat};
use crate::read_error::ReadError;

const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

fn at(millis: u64) -> Timestamp {
    START + Duration::from_millis(millis)
}

/// A frame of `format` whose bytes count up from `seed`.
fn frame(format: Format, seed: u8) -> Frame {
    let mut header = Header::new(at(u64::from(seed)), Duration::from_millis(20));
    header.pts = at(3);
    header.sequence = 1_000 + u64::from(seed);
    header.flags = Flags::KEY.with(Flags::MARKER);
    let mut frame = Frame::unpooled(header, format);
    let payload: Vec<u8> =
        (0..payload_bytes(&format).unwrap()).map(|n| (n as u8).wrapping_add(seed)).collect();
    fill(&mut frame, &payload);
    frame
}

fn formats() -> Vec<Format> {
    vec![
        Format::Audio(AudioFormat { rate: 48_000, channels: 2, samples: 300 }),
        Format::Video(VideoFormat::i420(Size::new(33, 17))),
        Format::Packet { codec: Codec::Av1, len: 70 },
        Format::Rtp { codec: Codec::Opus, len: 0 },
        Format::Data { shape: SHAPES[0], len: 80 },
        Format::Data { shape: SHAPES[1], len: 35 },
    ]
}

const HEAD: Head = Head { media: MediaType::Any, seed: 7, started: START };

/// A recording of a frame of each format, taken every 10 ms, that ends 10 ms
/// after the last.
fn recording() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &HEAD).unwrap();
    for (index, format) in (0..).zip(formats()) {
        writer.write(&frame(format, index), at(10 * u64::from(index))).unwrap();
    }
    writer.end(at(60)).unwrap();
    writer.inner().clone()
}

/// The payload of a frame as a recording holds it.
fn payload(frame: &Frame) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &HEAD).unwrap();
    writer.write(frame, at(0)).unwrap();
    let bytes = writer.inner();
    bytes[HEAD_BYTES + 4 + FIXED_BYTES..bytes.len() - 4].to_vec()
}

/// What is read of some bytes before the end or a mistake, and that.
fn read(bytes: &[u8]) -> (Vec<Record>, Result<Ending, ReadError>) {
    let mut records = Vec::new();
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(why) => return (records, Err(why)),
    };
    loop {
        match reader.read() {
            Ok(Next::Frame(record)) => records.push(record),
            Ok(Next::End(ending)) => return (records, Ok(ending)),
            Err(why) => return (records, Err(why)),
        }
    }
}

#[test]
fn frames_of_every_kind_read_back_as_they_were() {
    let bytes = recording();
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    assert_eq!(*reader.head(), HEAD);
    for (index, format) in (0..).zip(formats()) {
        let Next::Frame(record) = reader.read().unwrap() else { panic!("no frame {index}") };
        let expected = Record {
            number: u64::from(index),
            arrival: Duration::from_millis(10 * u64::from(index)),
            pts: 3_000_000,
            captured: i64::from(index) * 1_000_000,
            duration: Duration::from_millis(20),
            sequence: 1_000 + u64::from(index),
            flags: Flags::KEY.with(Flags::MARKER),
            format,
        };
        assert_eq!(record, expected);
        assert_eq!(reader.payload(), payload(&frame(format, index)));
        let mut again = Frame::unpooled(Header::default(), format);
        fill(&mut again, reader.payload());
        assert_eq!(payload(&again), reader.payload());
    }
    let ending = Ending { frames: 6, at: Duration::from_millis(60), cut: None };
    assert_eq!(reader.read().unwrap(), Next::End(ending));
    assert_eq!(reader.read().unwrap(), Next::End(ending), "it says the end again");
    assert_eq!(walk(&bytes).unwrap(), 6);
    let sizes: usize = formats().iter().map(record_bytes).sum();
    assert_eq!(bytes.len(), HEAD_BYTES + sizes + FRAMING + FIXED_BYTES);
}

#[test]
fn heads_of_every_type_read_back_as_they_were() {
    let size = Some(Size::new(640, 360));
    let fps = Some(FrameRate::new(30_000, 1_001));
    for media in [
        MediaType::Any,
        MediaType::AUDIO,
        MediaType::Audio { rate: Some(44_100), channels: Some(2), samples: Some(441) },
        MediaType::VIDEO,
        MediaType::Video { format: Some(PixelFormat::I420), size, fps },
        MediaType::PACKETS,
        MediaType::packets(Codec::Av1),
        MediaType::RTP,
        MediaType::rtp(Codec::Opus),
        MediaType::Data(SHAPES[0]),
        MediaType::Data(SHAPES[1]),
    ] {
        let head = Head { media, seed: u64::MAX, started: Timestamp::from_nanos(u64::MAX / 3) };
        let bytes = Writer::new(Vec::new(), &head).unwrap().inner().clone();
        assert_eq!(*Reader::new(bytes.as_slice()).unwrap().head(), head);
    }
}

#[test]
fn cut_anywhere_it_reads_to_the_last_whole_record_and_names_the_byte() {
    let whole = recording();
    let ends: Vec<usize> = formats()
        .iter()
        .scan(HEAD_BYTES, |end, format| {
            *end += record_bytes(format);
            Some(*end)
        })
        .collect();
    for cut in 0..whole.len() {
        let (records, outcome) = read(&whole[..cut]);
        if cut < HEAD_BYTES {
            assert!(
                matches!(outcome, Err(ReadError::Bad { offset, .. }) if offset <= cut as u64),
                "at {cut}"
            );
            continue;
        }
        let frames = ends.iter().filter(|end| **end <= cut).count();
        let ending = outcome.unwrap();
        assert_eq!((records.len(), ending.frames, ending.cut), (frames, frames as u64, Some(cut as u64)));
        assert_eq!(ending.at, records.last().map_or(Duration::ZERO, |record| record.arrival));
        assert!(
            ending
                .complaints(ending.frames)
                .next()
                .unwrap()
                .contains(&format!("breaks off at byte {cut}, after {frames} whole"))
        );
    }
}

#[test]
fn every_changed_byte_is_noticed_at_its_record() {
    let whole = recording();
    let mut begins = vec![HEAD_BYTES as u64];
    for format in formats() {
        begins.push(begins[begins.len() - 1] + record_bytes(&format) as u64);
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        let (records, outcome) = read(&damaged);
        let begin = begins.iter().rposition(|begin| *begin <= at as u64);
        match outcome {
            Err(ReadError::Bad { offset, .. }) => {
                assert_eq!(records.len(), begin.unwrap_or(0));
                assert!(begin.is_none_or(|index| offset == begins[index]), "at {at}");
            }
            // A length that grew leads past the end of the file.
            Ok(ending) => assert!(ending.cut == Some(damaged.len() as u64) && Some(records.len()) == begin),
            Err(other) => panic!("{other}"),
        }
    }
}

/// A recording of one frame whose bytes from `at` on are replaced, with its
/// checksum made to fit.
fn forged(format: Format, at: usize, with: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &HEAD).unwrap();
    writer.write(&frame(format, 0), START).unwrap();
    let mut bytes = writer.inner().clone();
    let place = HEAD_BYTES + 4 + at;
    bytes[place..place + with.len()].copy_from_slice(with);
    let end = bytes.len() - 4;
    let sum = crc32fast::hash(&bytes[HEAD_BYTES..end]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn what_no_writer_writes_is_refused_though_its_checksum_fits() {
    let [sound, picture, packet, _, data, _] = formats()[..] else { panic!("six formats") };
    let cases: [(Format, usize, &[u8], &str); 14] = [
        (packet, 0, &[3], "kind"),
        (packet, 4, &[9], "kind"),
        (packet, 5, &[3], "kind"),
        (packet, 5, &[0], "kind"),
        (data, 5, &[3], "kind"),
        (data, 5, &[0], "kind"),
        (sound, 6, &[3, 0], "as long as"),
        (sound, 12, &u32::MAX.to_le_bytes(), "as long as"),
        (sound, 8, &0u32.to_le_bytes(), "as long as"),
        (picture, 8, &u32::MAX.to_le_bytes(), "as long as"),
        (picture, 12, &0u32.to_le_bytes(), "as long as"),
        (packet, 24, &u64::MAX.to_le_bytes(), "a year"),
        (packet, 32, &i64::MIN.to_le_bytes(), "a century"),
        (packet, 16, &u64::MAX.to_le_bytes(), "number"),
    ];
    for (format, at, with, why) in cases {
        let refused = read(&forged(format, at, with)).1.unwrap_err().to_string();
        assert!(refused.contains(why), "byte {at} made {with:?}: {refused}");
    }
    assert_eq!(read(&forged(packet, 2, &[0])).0.len(), 1, "forging alone is no reason");
}

#[test]
fn a_recording_of_packets_holds_nothing_else() {
    let head = Head { media: MediaType::rtp(Codec::Opus), ..HEAD };
    for (format, fits) in formats().into_iter().zip([false, false, false, true, false, false]) {
        let mut writer = Writer::new(Vec::new(), &head).unwrap();
        writer.write(&frame(format, 0), START).unwrap();
        let refused = read(writer.inner()).1.is_err_and(|why| why.to_string().contains("another kind"));
        assert_ne!(refused, fits, "{format:?}");
    }
}

#[test]
fn data_of_a_shape_that_recordings_do_not_know_is_refused() {
    let mut writer = Writer::new(Vec::new(), &HEAD).unwrap();
    let frame = Frame::unpooled(Header::default(), Format::Data { shape: "acme.depth/1", len: 4 });
    assert_eq!(writer.write(&frame, START).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(writer.inner().len(), HEAD_BYTES, "nothing of it was written");
}

#[test]
fn a_claimed_length_sets_nothing_aside() {
    let mut bytes = recording()[..HEAD_BYTES].to_vec();
    bytes.extend(((FIXED_BYTES + MOST_PAYLOAD) as u32).to_le_bytes());
    bytes.extend([0; 100]);
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    assert!(matches!(reader.read(), Ok(Next::End(Ending { cut: Some(156), .. }))));
    assert!(reader.body.capacity() < 4_096, "{} bytes were set aside", reader.body.capacity());
}

#[test]
fn other_files_and_versions_are_refused_by_name() {
    let why = |bytes: &[u8]| read(bytes).1.unwrap_err().to_string();
    assert!(why(b"").contains("empty"));
    assert!(why(b"RIFF????WAVEfmt ").contains("no recording"));
    let mut newer = recording();
    newer[8] = 2;
    assert!(why(&newer).contains("version 2; this version of Sidetone reads 1"));
    let mut longer = recording();
    longer.push(0);
    assert!(why(&longer).contains("goes on after"));
}

#[test]
fn a_longer_head_is_read_past_what_is_not_known() {
    let bytes = recording();
    let mut longer = bytes[..48].to_vec();
    longer[10] = 60;
    longer.extend(*b"later on");
    longer.extend(crc32fast::hash(&longer).to_le_bytes());
    longer.extend(&bytes[HEAD_BYTES..]);
    assert_eq!(walk(&longer).unwrap(), 6);
}

#[test]
fn what_could_not_be_recorded_leaves_a_gap_in_the_numbers() {
    let mut writer = Writer::new(Vec::new(), &HEAD).unwrap();
    let packet = frame(Format::Packet { codec: Codec::Opus, len: 3 }, 1);
    writer.write(&packet, at(1)).unwrap();
    writer.skip();
    writer.skip();
    writer.write(&packet, at(2)).unwrap();
    writer.end(at(2)).unwrap();
    let (records, ending) = read(writer.inner());
    assert_eq!(records.iter().map(|record| record.number).collect::<Vec<_>>(), [0, 3]);
    assert_eq!(ending.unwrap().frames, 4);
}

#[test]
fn a_format_that_no_reader_takes_is_not_written() {
    let mut writer = Writer::new(Vec::new(), &HEAD).unwrap();
    let odd = Frame::unpooled(
        Header::default(),
        Format::Audio(AudioFormat { rate: 48_000, channels: 9, samples: 1 }),
    );
    assert!(writer.write(&odd, START).is_err());
    assert_eq!(writer.inner().len(), HEAD_BYTES, "nothing of it");
}
