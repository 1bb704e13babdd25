//! `sidetone diff`: where two recordings part.

mod comparison;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};
use sidetone::recording::Record;

use self::comparison::{Comparison, Field, Parting, Side};
use super::{FAILED, FINE, WRONG, note, say};
use crate::table::{Align, table};

/// Say where two recordings part, frame by frame
///
/// Recordings are what file.frames_sink and net.record write. Frames are paired
/// by what they are: RTP packets by their source and number, others by their
/// number at the source; a frame that only one recording has is told as such,
/// and the rest is compared on.
#[derive(Args)]
#[command(after_help = "Make two recordings to compare by tapping any link, with a link of its own:\n  \
                  links = [\"jitter -> unpack\", \"jitter -> tape\"]\n  \
                  nodes.tape = { kind = \"file.frames_sink\", path = \"out/a.frames\" }\n\n\
                  Has the decoder's output changed, whenever it came?\n  \
                  sidetone diff before.frames after.frames --ignore arrival,end\n\n\
                  Exit codes: 0 the same, 1 they differ, 2 one cannot be read.")]
pub(super) struct Diff {
    /// A recording
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another
    #[arg(value_name = "B")]
    b: PathBuf,
    /// What need not be the same
    #[arg(long, value_name = "WHAT,…", value_delimiter = ',')]
    ignore: Vec<Field>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(super) fn run(&self) -> u8 {
        let comparison = match Comparison::new(&self.a, &self.b, &self.ignore) {
            Ok(comparison) => comparison,
            Err(why) => {
                note(&format!("error: {why}\n"));
                return WRONG;
            }
        };
        say(&if self.json { as_json(&comparison) } else { self.as_text(&comparison) });
        if comparison.is_same() { FINE } else { FAILED }
    }

    fn as_text(&self, comparison: &Comparison) -> String {
        let mut text = String::new();
        for (name, side) in ["A", "B"].iter().zip(&comparison.sides) {
            text.push_str(&format!("{name}: {}\n", described(side)));
        }
        let aside: Vec<_> = self.ignore.iter().map(|field| field.name()).collect();
        let aside = if aside.is_empty() { String::new() } else { format!(" ({} aside)", aside.join(", ")) };
        let Some(first) = &comparison.first else {
            let same = format!("\nthe same{aside}: {} frames\n", comparison.pairs);
            return text + &same;
        };
        text.push_str(&format!("\nthey first part {}\n", parting(first)));
        for (field, how) in &first.how {
            text.push_str(&format!("  {:<9} {how}\n", field.name()));
        }
        text.push_str(&format!(
            "\n{} of {} frames that both have differ{aside}\n\n",
            comparison.differing, comparison.pairs
        ));
        text.push_str(&tallies(comparison));
        if let Some(sound) = &comparison.sound {
            text.push_str(&format!(
                "\nsound: SNR {}, largest difference {:.2e}, mean {:.2e}\n",
                decibels(sound.snr_db()),
                sound.largest,
                sound.mean()
            ));
        }
        if let Some(pictures) = &comparison.pictures {
            let worst = pictures.worst.map_or_else(String::new, |(ratio, number)| {
                format!(", worst {} at frame {number}", decibels(ratio))
            });
            text.push_str(&format!("\npictures: luma PSNR {}{worst}\n", decibels(pictures.psnr_db())));
        }
        text
    }
}

/// A recording in a line.
fn described(side: &Side) -> String {
    let lasted = side.ending.map_or(0.0, |ending| ending.at.as_secs_f64());
    let mut text = format!(
        "{}: {}, {} frames in {lasted:.3} s, seed {}",
        side.path.display(),
        side.head.media,
        side.frames,
        side.head.seed
    );
    for complaint in side.ending.iter().flat_map(|ending| ending.complaints(side.frames)) {
        text.push_str(&format!("; {complaint}"));
    }
    text
}

/// Where they first part, as a phrase.
fn parting(first: &Parting) -> String {
    let when = |record: &Record| format!("{:.9} s", record.arrival.as_secs_f64());
    match &first.at {
        [Some(a), Some(b)] => {
            let numbers = if a.number == b.number {
                format!("at frame {}", a.number)
            } else {
                format!("at frame {} of A, which is {} of B", a.number, b.number)
            };
            let times = if a.arrival == b.arrival {
                format!("after {}", when(a))
            } else {
                format!("after {} in A, {} in B", when(a), when(b))
            };
            format!("{numbers}, {times}, sequence {}:", a.sequence)
        }
        [Some(record), None] | [None, Some(record)] => {
            let (one, other) = if first.at[0].is_some() { ("A", "B") } else { ("B", "A") };
            format!(
                "at frame {} of {one}, after {}, sequence {}: {other} lacks it",
                record.number,
                when(record),
                record.sequence
            )
        }
        [None, None] => "as wholes; every frame is the same:".into(),
    }
}

fn tallies(comparison: &Comparison) -> String {
    let mut rows = Vec::new();
    for field in Field::ALL {
        let tally = &comparison.tallies[field as usize];
        if tally.count > 0 {
            let largest = tally
                .largest
                .map_or_else(String::new, |apart| format!("{:.3} ms", apart.as_secs_f64() * 1e3));
            // The end belongs to no frame.
            let first = if field == Field::End { String::new() } else { tally.first.to_string() };
            rows.push(vec![field.name().into(), tally.count.to_string(), first, largest]);
        }
    }
    for (name, side) in ["A", "B"].iter().zip(&comparison.sides) {
        if side.alone > 0 {
            rows.push(vec![format!("only in {name}"), side.alone.to_string(), String::new(), String::new()]);
        }
    }
    let head = [
        ("WHAT DIFFERS", Align::Left),
        ("TIMES", Align::Right),
        ("FIRST AT FRAME", Align::Right),
        ("BY AT MOST", Align::Right),
    ];
    table(&head, &rows)
}

fn decibels(ratio: f64) -> String {
    if ratio.is_infinite() && ratio > 0.0 { "without bound".into() } else { format!("{ratio:.2} dB") }
}

fn as_json(comparison: &Comparison) -> String {
    let side = |side: &Side| {
        json!({ "file": side.path.display().to_string(), "carries": side.head.media.to_string(),
                "seed": side.head.seed, "frames": side.frames, "missing": side.missing(),
                "seconds": side.ending.map(|ending| ending.at.as_secs_f64()),
                "cut_at_byte": side.ending.and_then(|ending| ending.cut), "alone": side.alone })
    };
    let record = |record: &Option<Record>| {
        record.map(|record| {
            json!({ "frame": record.number, "arrival_s": record.arrival.as_secs_f64(),
                    "pts_s": record.pts as f64 / 1e9, "sequence": record.sequence })
        })
    };
    let first = comparison.first.as_ref().map(|first| {
        let how: serde_json::Map<String, Json> =
            first.how.iter().map(|(field, how)| (field.name().to_owned(), how.as_str().into())).collect();
        json!({ "a": record(&first.at[0]), "b": record(&first.at[1]), "how": how })
    });
    let differences: serde_json::Map<String, Json> = Field::ALL
        .iter()
        .map(|field| (field, &comparison.tallies[*field as usize]))
        .filter(|(_, tally)| tally.count > 0)
        .map(|(field, tally)| {
            let largest_ms = tally.largest.map(|apart| apart.as_secs_f64() * 1e3);
            let how =
                json!({ "times": tally.count, "first_at_frame": tally.first, "largest_ms": largest_ms });
            (field.name().to_owned(), how)
        })
        .collect();
    // A ratio without bound is no JSON number: null.
    let sound = comparison
        .sound
        .map(|sound| json!({ "snr_db": sound.snr_db(), "largest": sound.largest, "mean": sound.mean() }));
    let pictures = comparison.pictures.map(|pictures| {
        json!({ "psnr_db": pictures.psnr_db(), "worst_psnr_db": pictures.worst.map(|(ratio, _)| ratio),
                "worst_at_frame": pictures.worst.map(|(_, number)| number) })
    });
    format!(
        "{:#}\n",
        json!({ "same": comparison.is_same(), "a": side(&comparison.sides[0]), "b": side(&comparison.sides[1]),
                "pairs": comparison.pairs, "differing": comparison.differing, "first": first,
                "differences": differences, "sound": sound, "pictures": pictures })
    )
}
