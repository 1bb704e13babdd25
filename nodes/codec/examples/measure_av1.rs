//! Measures AV1 on a clip: quality, size and time per frame, for each setting.
//!
//! `cargo run --release -p sidetone-codec --example measure_av1 -- clip.y4m 500`,
//! and after it the beginning of the lines wanted, such as `"aom 9"`.

use std::fs;
use std::time::{Duration, Instant};

use sidetone_codec::KINDS;
use sidetone_core::harness::Harness;
use sidetone_core::{Frame, Timestamp, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give a .y4m file, 8 bits 4:2:0")?;
    let kbps: i64 = arguments.next().as_deref().unwrap_or("500").parse()?;
    let wanted = arguments.next().unwrap_or_default();
    let clip = fs::read(&path)?;
    println!(
        "encoder speed threads | kbit/s first-key-bytes | luma dB: mean worst | encode ms: mean worst | decode ms"
    );
    for (encoder, speed, threads) in [
        ("aom", 7, 1),
        ("aom", 8, 1),
        ("aom", 9, 1),
        ("aom", 10, 1),
        ("aom", 11, 1),
        ("aom", 9, 2),
        ("rav1e", 10, 1),
    ] {
        if !format!("{encoder} {speed} {threads}").starts_with(&wanted) {
            continue;
        }
        measure(
            &clip,
            &[
                ("encoder", encoder.into()),
                ("speed", Value::Int(speed)),
                ("threads", Value::Int(threads)),
                ("bitrate_kbps", Value::Int(kbps)),
            ],
        )
        .ok_or("the clip is not 8-bit 4:2:0 YUV4MPEG2 with plain FRAME lines")?;
    }
    Ok(())
}

fn measure(clip: &[u8], settings: &[(&str, Value)]) -> Option<()> {
    let mut encoder = Harness::new(KINDS.iter().find(|kind| kind.kind == "codec.av1_encode")?, settings);
    let mut decoder = Harness::new(KINDS.iter().find(|kind| kind.kind == "codec.av1_decode")?, &[]);
    let (mut encode, mut decode, mut worst) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut bytes, mut key, mut frames) = (0, 0, 0_u32);
    let (mut decibels, mut least) = (0.0, f64::MAX);
    let mut sent: Vec<Frame> = Vec::new();

    let line = clip.split(|byte| *byte == b'\n').next()?;
    let field = |letter| {
        let text = std::str::from_utf8(line).ok()?;
        text.split(' ').find_map(|word| word.strip_prefix(letter)?.parse::<usize>().ok())
    };
    let (width, height) = (field('W')?, field('H')?);
    let (luma, chroma) = (width * height, width.div_ceil(2) * height.div_ceil(2));
    let body = &clip[line.len() + 1..];
    let mut records = body.chunks_exact("FRAME\n".len() + luma + 2 * chroma);
    loop {
        let record = records.next();
        if let Some(record) = record {
            let pixels = record.strip_prefix(b"FRAME\n")?;
            let mut frame = encoder.picture(width as u32, height as u32, |plane, x, y| match plane {
                0 => pixels[y * width + x],
                _ => pixels[luma + (plane - 1) * chroma + y * width.div_ceil(2) + x],
            });
            frame.header.pts = Timestamp::from_nanos(sent.len() as u64 * 1_000_000_000 / 30);
            sent.push(frame.clone());
            encoder.push(0, frame);
        } else {
            encoder.end(0);
        }
        let start = Instant::now();
        encoder.run();
        encode += start.elapsed();
        worst = worst.max(start.elapsed());
        for packet in encoder.take(0) {
            bytes += packet.bytes().len();
            key = if key == 0 { bytes } else { key };
            decoder.push(0, packet);
            let start = Instant::now();
            decoder.run();
            decode += start.elapsed();
            for picture in decoder.take(0) {
                let quality = psnr(&sent[frames as usize], &picture);
                (decibels, least) = (decibels + quality, least.min(quality));
                frames += 1;
            }
        }
        if record.is_none() {
            break;
        }
    }
    let per_frame = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(frames);
    println!(
        "{} {} {} | {:.0} {key} | {:.2} {least:.2} | {:.2} {:.1} | {:.2}   ({frames} of {} frames)",
        settings[0].1,
        settings[1].1,
        settings[2].1,
        bytes as f64 * 8.0 * 30.0 / f64::from(frames) / 1e3,
        decibels / f64::from(frames),
        per_frame(encode),
        worst.as_secs_f64() * 1e3,
        per_frame(decode),
        sent.len(),
    );
    Some(())
}

/// Luma peak signal-to-noise ratio in dB.
fn psnr(a: &Frame, b: &Frame) -> f64 {
    let (a, b) = (a.plane(0), b.plane(0));
    let rows = (0..a.height).flat_map(|y| a.row(y).iter().zip(b.row(y)));
    let error: f64 = rows.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0_f64.powi(2) * (a.width * a.height) as f64 / error.max(1e-9)).log10()
}
