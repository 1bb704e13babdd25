//! AV1 there and back: what the encoder promises of its packets, and what the
//! decoder makes of good, missing and damaged ones.

use std::time::Duration;

use rav1e::prelude::ChromaSampling;
use sidetone_codec::KINDS;
use sidetone_core::frame::{Flags, Frame};
use sidetone_core::harness::Harness;
use sidetone_core::{
    Codec, Control, DropReason, EventKind, FrameRate, MediaType, NodeSpec, Offer, Params, Shared, Size,
    Through, Timestamp, Value,
};

const FRAME: Duration = Duration::from_nanos(33_333_333);
const UP: Option<Through> = Some(Through { port: 0, key: None });

fn spec(kind: &str) -> &'static NodeSpec {
    KINDS.iter().find(|spec| spec.kind == kind).unwrap_or_else(|| panic!("no kind {kind}"))
}

/// An encoder that is given a moving picture, and a decoder.
struct Rig {
    encoder: Harness,
    decoder: Harness,
    size: (u32, u32),
    /// How much the grain changes from picture to picture: what no encoder can
    /// predict, so that more bits are always of use.
    noise: usize,
    frames: usize,
}

impl Rig {
    fn new(params: &[(&str, Value)]) -> Self {
        let encoder = Harness::new(spec("codec.av1_encode"), params);
        Self { encoder, decoder: decoder(), size: (176, 144), noise: 0, frames: 0 }
    }

    /// The picture numbered `at`: shapes and texture that drift.
    fn picture(&self, at: usize) -> Frame {
        let (width, height) = self.size;
        self.encoder.picture(width, height, |plane, x, y| {
            let (x, y) = if plane == 0 { (x, y) } else { (2 * x, 2 * y) };
            let (x, y) = (x + 2 * at, y + at);
            let wave = ((x as f32 / 17.0).sin() + (y as f32 / 11.0).cos()) * 40.0;
            let step = if (x / 24 + y / 24) % 2 == 0 { 20.0 } else { -20.0 };
            let dice = ((x * 7_919 + y * 104_729 + at * 1_299_709) * 2_654_435_761) >> 13;
            let grain = ((x * 31 + y * 17) % 13 + dice % (self.noise + 1)) as f32;
            match plane {
                0 => (120.0 + wave + step + grain) as u8,
                1 => (128.0 + wave / 2.0) as u8,
                _ => (128.0 - step) as u8,
            }
        })
    }

    /// Hands the encoder its next picture; gives what comes out.
    fn encode(&mut self) -> Vec<Frame> {
        let mut frame = self.picture(self.frames);
        frame.header = self.encoder.header(FRAME);
        frame.header.pts = Timestamp::from_nanos(1_000_000_000 + self.frames as u64 * 33_333_333);
        self.frames += 1;
        self.encoder.push(0, frame);
        self.encoder.advance(FRAME);
        assert_eq!(self.encoder.fault(), None);
        self.encoder.take(0)
    }

    fn encode_many(&mut self, count: usize) -> Vec<Frame> {
        (0..count).flat_map(|_| self.encode()).collect()
    }

    fn finish(&mut self) -> Vec<Frame> {
        self.encoder.end(0);
        self.encoder.run();
        self.encoder.take(0)
    }

    fn decode(&mut self, packet: Frame) -> Vec<Frame> {
        decode(&mut self.decoder, packet)
    }
}

fn decoder() -> Harness {
    Harness::new(spec("codec.av1_decode"), &[])
}

fn decode(decoder: &mut Harness, packet: Frame) -> Vec<Frame> {
    decoder.push(0, packet);
    decoder.advance(FRAME);
    assert_eq!(decoder.fault(), None);
    decoder.take(0)
}

fn is_key(frame: &Frame) -> bool {
    frame.header.flags.has(Flags::KEY)
}

fn bytes(packets: &[Frame]) -> usize {
    packets.iter().map(|packet| packet.bytes().len()).sum()
}

/// Peak signal-to-noise ratio of one plane in dB.
fn psnr(a: &Frame, b: &Frame, plane: usize) -> f64 {
    let (a, b) = (a.plane(plane), b.plane(plane));
    assert_eq!((a.width, a.height), (b.width, b.height));
    let rows = (0..a.height).flat_map(|y| a.row(y).iter().zip(b.row(y)));
    let error: f64 = rows.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0_f64.powi(2) * (a.width * a.height) as f64 / error.max(1e-9)).log10()
}

fn corrupt(node: &Harness) -> u64 {
    node.ledger().dropped[DropReason::Corrupt as usize].get()
}

#[test]
fn every_picture_gives_one_packet_at_once_and_comes_back_alike_with_its_header() {
    let mut rig = Rig::new(&[]);
    for at in 0..30 {
        let packets = rig.encode();
        assert_eq!(packets.len(), 1, "picture {at}");
        assert_eq!(is_key(&packets[0]), at == 0);
        assert_eq!(packets[0].bytes()[..2], [0x12, 0], "a temporal delimiter comes first");
        let header = packets[0].header.clone();
        let pictures = rig.decode(packets[0].clone());
        assert_eq!(pictures.len(), 1, "picture {at}");
        let after = &pictures[0].header;
        assert_eq!(
            (after.pts, after.captured, after.sequence, after.duration),
            (header.pts, header.captured, header.sequence, header.duration)
        );
        assert_eq!(header.sequence, at as u64);
        let sent = rig.picture(at);
        for (plane, least) in [(0, 33.0), (1, 36.0), (2, 31.0)] {
            let found = psnr(&sent, &pictures[0], plane);
            assert!(found > least, "plane {plane} of picture {at}: {found} dB");
        }
    }
}

#[test]
fn odd_and_tiny_pictures_come_back_in_their_size() {
    for size in [(1, 1), (2, 3), (17, 9), (175, 143), (64, 512)] {
        let mut rig = Rig::new(&[]);
        rig.size = size;
        for packet in rig.encode_many(3) {
            let pictures = rig.decode(packet);
            let found = pictures[0].video().unwrap().size;
            assert_eq!((found.width, found.height), size);
        }
    }
}

#[test]
fn a_demanded_key_frame_is_the_very_next_packet_and_early_demands_share_one() {
    let mut rig = Rig::new(&[("bitrate_kbps", Value::Int(2_000))]);
    rig.encode_many(12);
    rig.encoder.control(Control::KeyFrame, UP);
    assert!(is_key(&rig.encode()[0]), "400 ms after the last one");
    assert!(rig.encoder.upstream().is_empty(), "the demand ends here");
    let mut keys = Vec::new();
    for at in 1..30 {
        if at < 6 {
            rig.encoder.control(Control::KeyFrame, UP);
        }
        if is_key(&rig.encode()[0]) {
            keys.push(at);
        }
    }
    assert_eq!(keys, [9], "five demands within 300 ms: one key frame, when they are over");
}

#[test]
fn demanded_key_frames_leave_most_of_the_bits_to_the_pictures_between() {
    let mut rig = Rig::new(&[("bitrate_kbps", Value::Int(60))]);
    let mut packets = Vec::new();
    for _ in 0..240 {
        rig.encoder.control(Control::KeyFrame, UP);
        packets.extend(rig.encode());
    }
    let keys: Vec<usize> = (0..240).filter(|at| is_key(&packets[*at])).collect();
    assert!(keys.len() > 3, "{keys:?}");
    for pair in keys.windows(2) {
        // 250 bytes a picture are 60 kbit/s at 30 a second.
        let least = 4 * packets[pair[0]].bytes().len() / 250;
        assert!((least..=least + 2).contains(&(pair[1] - pair[0])), "{least} pictures apart: {keys:?}");
    }
}

#[test]
fn key_frames_come_as_often_as_the_graph_says() {
    let mut rig = Rig::new(&[("keyframe_every_s", Value::Int(1))]);
    let packets = rig.encode_many(70);
    let keys: Vec<usize> = (0..70).filter(|at| is_key(&packets[*at])).collect();
    assert_eq!(keys, [0, 30, 60]);
}

#[test]
fn the_bit_rate_follows_the_network_and_the_graph_without_a_key_frame() {
    let mut rig = Rig::new(&[("bitrate_kbps", Value::Int(200))]);
    rig.noise = 8;
    rig.encode_many(30);
    let before = rig.encode_many(60);
    rig.encoder.control(Control::Bitrate { bps: 100_000 }, UP);
    rig.encode_many(30);
    let halved = rig.encode_many(60);
    let ratio = bytes(&halved) as f64 / bytes(&before) as f64;
    assert!((0.4..0.6).contains(&ratio), "{} then {} bytes", bytes(&before), bytes(&halved));

    rig.encoder.control(Control::Bitrate { bps: 5_000_000 }, UP);
    rig.encode_many(30);
    let bounded = rig.encode_many(60);
    let kbps = bytes(&bounded) as f64 * 8.0 / 2_000.0;
    assert!((160.0..240.0).contains(&kbps), "never above bitrate_kbps: {kbps}");

    rig.encoder.control(Control::Set { param: "bitrate_kbps", value: Value::Int(400) }, None);
    rig.encode_many(30);
    let raised = rig.encode_many(60);
    let ratio = bytes(&raised) as f64 / bytes(&bounded) as f64;
    assert!((1.6..2.4).contains(&ratio), "{} then {} bytes", bytes(&bounded), bytes(&raised));
    let all = [before, halved, bounded, raised].concat();
    assert!(!all.iter().any(is_key));
}

#[test]
fn the_bit_rate_is_met_at_the_pictures_own_rate_not_the_nominal_one() {
    // Each second picture, and two of three, of those that come 30 times a second.
    for (of, left_out) in [(2, 1), (3, 2), (30, 30)] {
        let mut rig = Rig::new(&[("bitrate_kbps", Value::Int(200)), ("fps", Value::Float(30.0))]);
        rig.noise = 8;
        let mut total = 0;
        for at in (0..150).filter(|at| at % of != left_out) {
            let mut frame = rig.picture(at);
            frame.header.pts = Timestamp::from_nanos(at as u64 * 33_333_333);
            rig.encoder.push(0, frame);
            rig.encoder.run();
            let size = bytes(&rig.encoder.take(0));
            total += if at < 30 { 0 } else { size };
        }
        let kbps = total as f64 * 8.0 / 4_000.0;
        assert!((180.0..220.0).contains(&kbps), "{kbps} kbit/s in 4 s without each {of}th");
    }
}

#[test]
fn time_stamps_that_stand_still_or_jump_cost_no_picture() {
    let mut rig = Rig::new(&[]);
    let times = [5_000, 5_000, 4_000, 1, u64::MAX / 1_000_000, 0, 33, 34];
    for (at, time) in times.into_iter().enumerate() {
        let mut frame = rig.picture(at);
        frame.header.pts = Timestamp::from_nanos(time * 1_000_000);
        rig.encoder.push(0, frame);
        rig.encoder.run();
        assert_eq!(rig.encoder.fault(), None);
        assert_eq!(rig.encoder.take(0).len(), 1, "time {time} ms");
    }
}

#[test]
fn a_new_size_begins_with_a_key_frame_and_loses_no_picture() {
    for encoder in ["aom", "rav1e"] {
        let mut rig = Rig::new(&[("encoder", encoder.into())]);
        let mut packets = Vec::new();
        let sizes = [(176, 144), (96, 80), (320, 180), (176, 144)];
        for size in sizes {
            rig.size = size;
            packets.extend(rig.encode_many(6));
        }
        packets.extend(rig.finish());
        assert_eq!(packets.len(), 24, "{encoder}");
        for (at, packet) in packets.into_iter().enumerate() {
            rig.size = sizes[at / 6];
            assert_eq!(packet.header.sequence, at as u64, "{encoder}: in order");
            assert_eq!(is_key(&packet), at % 6 == 0, "{encoder}: packet {at}");
            let picture = rig.decode(packet).remove(0);
            let found = psnr(&rig.picture(at), &picture, 0);
            assert!(found > 28.0, "{encoder}: {found} dB in picture {at}");
        }
    }
}

#[test]
fn what_the_network_carries_is_told_to_what_stands_before_and_again_where_that_is_new() {
    let mut rig = Rig::new(&[]);
    rig.encode_many(2);
    assert!(rig.encoder.upstream().is_empty(), "nothing is known");
    rig.encoder.control(Control::Bitrate { bps: 100_000 }, UP);
    rig.encode_many(2);
    let told = |rig: &mut Rig| rig.encoder.upstream().into_iter().map(|(_, told)| told).collect::<Vec<_>>();
    assert_eq!(told(&mut rig), [Control::Bitrate { bps: 100_000 }]);
    rig.size = (352, 288);
    rig.encode_many(2);
    assert_eq!(told(&mut rig), [Control::Bitrate { bps: 100_000 }], "another size, for whatever reason");
}

#[test]
fn two_runs_give_the_same_bytes() {
    for encoder in ["aom", "rav1e"] {
        let run = || {
            let mut rig = Rig::new(&[("encoder", encoder.into())]);
            let mut packets = rig.encode_many(10);
            rig.encoder.control(Control::KeyFrame, UP);
            packets.extend(rig.encode_many(6));
            packets.extend(rig.finish());
            packets.iter().map(|packet| packet.bytes().to_vec()).collect::<Vec<_>>()
        };
        assert!(run() == run(), "{encoder}");
    }
}

#[test]
fn rav1e_holds_back_as_many_pictures_as_it_declares() {
    let params = [("encoder", Value::from("rav1e"))];
    let spec = spec("codec.av1_encode");
    let inputs = [Some(MediaType::i420(None, Some(FrameRate::new(25, 1))))];
    let given = Params::new(spec.params, &params).unwrap();
    let latency = spec.negotiated(&Offer { params: &given, inputs: &inputs }).unwrap().latency;

    let mut rig = Rig::new(&params);
    let mut held = 0;
    while rig.encode().is_empty() {
        held += 1;
    }
    assert_eq!(latency, Duration::from_millis(40) * held);
    for at in 0..10 {
        let packets = rig.encode();
        assert_eq!(packets.len(), 1);
        assert_eq!(packets[0].header.sequence, at + 1);
    }
    let rest = rig.finish();
    assert_eq!(rest.len(), held as usize);
    assert_eq!(rest.last().map(|packet| packet.header.sequence), Some(u64::from(held) + 10));
}

#[test]
fn rav1e_makes_key_frames_on_demand_and_begins_anew_at_a_new_bit_rate() {
    let mut rig = Rig::new(&[("encoder", "rav1e".into())]);
    let mut packets = rig.encode_many(12);
    rig.encoder.control(Control::KeyFrame, UP);
    packets.extend(rig.encode_many(6));
    rig.encoder.control(Control::Bitrate { bps: 50_000 }, UP);
    packets.extend(rig.encode_many(2));
    rig.encoder.control(Control::Set { param: "bitrate_kbps", value: Value::Int(250) }, None);
    packets.extend(rig.encode_many(4));
    packets.extend(rig.finish());
    let keys: Vec<u64> = packets.iter().filter(|p| is_key(p)).map(|p| p.header.sequence).collect();
    assert_eq!(keys, [0, 12, 20]);
    assert_eq!(packets.len(), 24);
    assert!(packets.into_iter().all(|packet| rig.decode(packet).len() == 1));
}

#[test]
fn settings_that_no_encoder_takes_are_refused() {
    let refused = |params: &[(&str, Value)]| {
        let spec = spec("codec.av1_encode");
        let made = Harness::try_new(spec, params, &Shared::default()).err().map(|why| why.to_string());
        // The checker says the same before anything is made.
        let params = Params::new(spec.params, params).unwrap();
        let checked = spec.negotiated(&Offer { params: &params, inputs: &[None] });
        assert_eq!(checked.err().map(|mismatch| mismatch.help), made);
        made
    };
    let why = refused(&[("encoder", "rav1e".into()), ("speed", Value::Int(11))]);
    assert_eq!(why.as_deref(), Some("speed must be from 6 to 10 with this encoder, not 11"));
    assert!(refused(&[("min_q", Value::Int(40)), ("max_q", Value::Int(30))]).is_some());
    let below = refused(&[("max_q", Value::Int(5))]);
    assert_eq!(below.as_deref(), Some("max_q must not be below min_q (unset: min_q 10, max_q 60)"));
    assert!(
        refused(&[("min_q", Value::Int(5)), ("max_q", Value::Int(5)), ("threads", Value::Int(4))]).is_none()
    );

    let spec = spec("codec.av1_encode");
    let params = Params::new(spec.params, &[]).unwrap();
    let too_large = [Some(MediaType::i420(Some(Size::new(16_384, 16_384)), None))];
    let mismatch = spec.negotiated(&Offer { params: &params, inputs: &too_large }).unwrap_err();
    assert!(mismatch.help.contains("effect.scale"));
}

#[test]
fn after_a_loss_nothing_comes_until_the_key_frame_that_the_decoder_asks_for() {
    let mut rig = Rig::new(&[]);
    let mut packets = rig.encode_many(20);
    rig.encoder.control(Control::KeyFrame, UP);
    packets.extend(rig.encode_many(3));
    // Packet 5 is lost; the jitter buffer marks what follows it.
    packets.remove(5);
    packets[5].header.flags = packets[5].header.flags.with(Flags::DISCONTINUITY);
    let mut shown = Vec::new();
    for packet in packets {
        shown.extend(rig.decode(packet));
    }
    let sequence: Vec<u64> = shown.iter().map(|picture| picture.header.sequence).collect();
    assert_eq!(sequence, [0, 1, 2, 3, 4, 20, 21, 22]);
    assert!(
        shown[5].header.flags.has(Flags::DISCONTINUITY) && !shown[6].header.flags.has(Flags::DISCONTINUITY)
    );
    assert_eq!(corrupt(&rig.decoder), 14);
    // 14 packets in 467 ms: asked at once and again after 300 ms.
    let asked = rig.decoder.upstream();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|(_, control)| *control == Control::KeyFrame));
    assert_eq!(rig.decoder.events().iter().filter(|e| **e == EventKind::KeyFrameRequested).count(), 2);
}

#[test]
fn a_decoder_that_joins_late_waits_for_a_key_frame() {
    let mut rig = Rig::new(&[]);
    let packets = rig.encode_many(3);
    assert!(rig.decode(packets[2].clone()).is_empty());
    assert_eq!(rig.decoder.upstream().len(), 1);
    // A key frame need not be flagged: its sequence header tells.
    let mut key = packets[0].clone();
    key.header.flags = Flags::default();
    assert_eq!(rig.decode(key).len(), 1);
    assert_eq!(rig.decode(packets[1].clone()).len(), 1);
}

#[test]
fn damaged_packets_never_fail_the_decoder_and_the_next_key_frame_shows_again() {
    let mut rig = Rig::new(&[("bitrate_kbps", Value::Int(200))]);
    let packets = rig.encode_many(8);
    let key = packets[0].clone();
    let mut random = fastrand::Rng::with_seed(7);
    let mut lost = 0;
    for round in 0..600 {
        let victim = &packets[random.usize(0..packets.len())];
        let mut damaged = victim.bytes().to_vec();
        match round % 4 {
            0 => damaged.truncate(random.usize(0..damaged.len())),
            1 => (0..random.usize(1..8)).for_each(|_| {
                let at = random.usize(0..damaged.len());
                damaged[at] ^= 1 << random.u32(0..8);
            }),
            2 => random.fill(&mut damaged[2..]),
            // Damage to the headers, which say how large things are.
            _ => {
                let at = random.usize(0..damaged.len().min(40));
                damaged[at] = random.u8(..);
            }
        }
        let mut packet = rig.decoder.packet(Codec::Av1, &damaged);
        packet.header.flags = victim.header.flags;
        let before = corrupt(&rig.decoder);
        let shown = rig.decode(packet).len() as u64;
        assert_eq!(shown + corrupt(&rig.decoder) - before, 1, "each packet is shown or counted");
        lost += corrupt(&rig.decoder) - before;
        if round % 5 == 4 {
            let shown = rig.decode(key.clone());
            assert_eq!(shown.len(), 1, "round {round}");
            assert!(psnr(&rig.picture(0), &shown[0], 0) > 33.0, "round {round}");
        }
    }
    assert!(lost > 100, "the damage was felt: {lost}");
}

#[test]
fn an_empty_packet_is_counted_and_a_key_frame_asked_for() {
    let mut decoder = decoder();
    let mut packet = decoder.packet(Codec::Av1, &[]);
    packet.header.flags = Flags::KEY;
    assert!(decode(&mut decoder, packet).is_empty());
    assert_eq!((corrupt(&decoder), decoder.upstream().len()), (1, 1));
}

#[allow(clippy::unwrap_used)] // called by a test only
/// A picture of `shape` and `depth` bits, one key frame by rav1e, whose planes
/// are gradients: luma across, Cb down, Cr across.
fn gradient<T: rav1e::Pixel>(shape: ChromaSampling, depth: usize, width: usize, height: usize) -> Vec<u8> {
    let mut config = rav1e::EncoderConfig::with_speed_preset(10);
    (config.width, config.height, config.bit_depth) = (width, height, depth);
    (config.chroma_sampling, config.low_latency, config.quantizer) = (shape, true, 20);
    let mut context =
        rav1e::Config::new().with_encoder_config(config).with_threads(1).new_context::<T>().unwrap();
    let mut frame = context.new_frame();
    let planes = if shape == ChromaSampling::Cs400 { 1 } else { 3 };
    for (index, plane) in frame.planes.iter_mut().enumerate().take(planes) {
        let (stride, across) = (plane.cfg.stride, width >> plane.cfg.xdec);
        let down = height >> plane.cfg.ydec;
        for (y, row) in plane.data_origin_mut().chunks_mut(stride).take(down).enumerate() {
            for (x, sample) in row.iter_mut().take(across).enumerate() {
                let part = if index == 1 { y as f32 / down as f32 } else { x as f32 / across as f32 };
                *sample = T::cast_from(((40.0 + 160.0 * part) * (1 << (depth - 8)) as f32) as u16);
            }
        }
    }
    context.send_frame(frame).unwrap();
    context.flush();
    loop {
        match context.receive_packet() {
            Ok(packet) => return packet.data,
            Err(rav1e::EncoderStatus::Encoded) => {}
            Err(why) => panic!("{why}"),
        }
    }
}

#[test]
fn finer_chroma_deeper_samples_and_grey_all_come_out_as_eight_bit_i420() {
    let (width, height) = (64, 48);
    for shape in [ChromaSampling::Cs420, ChromaSampling::Cs422, ChromaSampling::Cs444, ChromaSampling::Cs400]
    {
        for depth in [8, 10, 12] {
            let packet = match depth {
                8 => gradient::<u8>(shape, depth, width, height),
                _ => gradient::<u16>(shape, depth, width, height),
            };
            let mut decoder = decoder();
            let packet = decoder.packet(Codec::Av1, &packet);
            let pictures = decode(&mut decoder, packet);
            assert_eq!(pictures.len(), 1, "{shape:?} {depth} bits");
            for plane in 0..3 {
                let found = pictures[0].plane(plane);
                for (x, y) in [(4, 4), (20, 10), (31, 23), (9, 20)] {
                    let part = match plane {
                        1 => y as f32 / found.height as f32,
                        _ => x as f32 / found.width as f32,
                    };
                    let grey = plane > 0 && shape == ChromaSampling::Cs400;
                    let wanted = if grey { 128.0 } else { 40.0 + 160.0 * part };
                    let found = f32::from(found.row(y)[x]);
                    assert!(
                        (found - wanted).abs() < 6.0,
                        "{shape:?} {depth} bits, plane {plane} at {x},{y}: {found}, not {wanted}"
                    );
                }
            }
        }
    }
}

#[test]
fn doing_less_takes_fewer_bits_and_no_key_frame_and_ends_when_told() {
    let mut rig = Rig::new(&[("bitrate_kbps", Value::Int(200))]);
    rig.noise = 8;
    let mut at_level = |level: i64| {
        rig.encoder.control(Control::Set { param: "degrade", value: Value::Int(level) }, None);
        rig.encode_many(30);
        rig.encode_many(60)
    };
    let [full, least, again] = [0, 3, 0].map(&mut at_level);
    let share = |packets: &[_]| bytes(packets) as f64 / bytes(&full) as f64;
    assert!((0.3..0.5).contains(&share(&least)), "{}", share(&least));
    assert!((0.8..1.2).contains(&share(&again)), "{}", share(&again));
    assert!(![full, least, again].concat().iter().any(is_key));
}
