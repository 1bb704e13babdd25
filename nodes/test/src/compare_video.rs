//! `test.compare_video`: says how much pictures have lost on their way.
//!
//! Ports: `reference` raw video as it was, and `in` raw video as it came, of the
//! same size. What comes to `in` counts as rendered here.
//!
//! Parameters: `hold_ms`, 20 to 10000 ms, default 1000: how long a reference is
//! kept for its picture to come.
//!
//! Latency: none.
//!
//! Method: a picture is compared with the reference that was captured at the
//! same time, give or take half the time between two references. Its peak
//! signal-to-noise ratio is 10 log10(255² / e), where e is the mean square of
//! the differences in luma; 100 dB where there are none. The figures, told once a
//! second and at the end: `psnr`, the mean over all pictures; `psnr_worst`, that
//! of the worst; `missing`, the share of references for which no picture came.
//! A picture for which there is no reference is not compared.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> av1 -> decode -> compare.in", "scene -> compare.reference"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.av1 = { kind = "codec.av1_encode", bitrate_kbps = 300 }
//! nodes.decode = { kind = "codec.av1_decode" }
//! nodes.compare = { kind = "test.compare_video" }
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use sidetone_core::{
    Context, Fault, FaultKind, Finish, Frame, MediaType, Mismatch, Negotiated, Node, NodeSpec, Offer,
    ParamSpec, Placement, PortSpec, Size, Timestamp,
};

use crate::comparison::{Comparison, IN, REFERENCE, alike};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "test.compare_video",
    summary: "Says how much pictures have lost on their way.",
    sheet: sidetone_core::data_sheet!("compare_video.rs"),
    inputs: &[
        PortSpec::new("reference", MediaType::i420(None, None), "The pictures as they were."),
        PortSpec::new("in", MediaType::i420(None, None), "The pictures as they came."),
    ],
    outputs: &[],
    params: &[ParamSpec::int("hold_ms", 1_000, 20, 10_000, "How long a reference waits for its picture.")
        .unit("ms")],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| {
        let hold = Duration::from_millis(u64::try_from(setup.params.int("hold_ms")).unwrap_or(1_000));
        Ok(Box::new(CompareVideo::new(hold)))
    },
};

/// What identical pictures are given.
const MOST_DB: f64 = 100.0;
/// References that are kept, whatever their rate.
const MOST_HELD: usize = 1_200;
/// How much is compared between two words on it.
const TELL_EVERY: Duration = Duration::from_secs(1);

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let size = |media| match media {
        MediaType::Video { size, .. } => size,
        _ => None,
    };
    alike(offer, size, |was| Mismatch {
        port: IN,
        takes: format!("takes the reference's size, {was}"),
        help: format!("put {{ kind = \"effect.scale\", size = [{}, {}] }} before it", was.width, was.height),
    })
}

struct CompareVideo {
    hold: Duration,
    held: VecDeque<Held>,
    /// Room of references that are no longer needed.
    spare: Vec<Vec<u8>>,
    /// Half the time between two references.
    half: Duration,
    last: Option<Timestamp>,
    /// Of the pictures.
    found: Comparison,
    references: u64,
    missing: u64,
    tell_at: Option<Timestamp>,
}

/// The luma of a reference. A copy, since a frame that is held keeps its buffer
/// from whoever makes the pictures.
struct Held {
    captured: Timestamp,
    size: Size,
    luma: Vec<u8>,
    /// Whether its picture came.
    met: bool,
}

impl CompareVideo {
    fn new(hold: Duration) -> Self {
        Self {
            hold,
            held: VecDeque::with_capacity(MOST_HELD + 1),
            spare: Vec::with_capacity(MOST_HELD + 1),
            half: Duration::from_millis(8),
            last: None,
            found: Comparison::new(["psnr", "psnr_worst"]),
            references: 0,
            missing: 0,
            tell_at: None,
        }
    }

    fn keep(&mut self, frame: &Frame) -> Result<(), Fault> {
        let Some(video) = frame.video() else { return Err(WRONG) };
        let captured = frame.header.captured;
        if let Some(last) = self.last.filter(|last| *last < captured) {
            self.half = captured.since(last) / 2;
        }
        self.last = Some(captured);
        let mut luma = self.spare.pop().unwrap_or_default();
        luma.clear();
        let plane = frame.plane(0);
        (0..plane.height).for_each(|y| luma.extend_from_slice(plane.row(y)));
        self.held.push_back(Held { captured, size: video.size, luma, met: false });
        self.references += 1;
        while self.held.len() > MOST_HELD
            || self.held.front().is_some_and(|held| held.captured + self.hold < captured)
        {
            self.let_go();
        }
        Ok(())
    }

    /// The oldest reference goes.
    fn let_go(&mut self) {
        let Some(held) = self.held.pop_front() else { return };
        self.missing += u64::from(!held.met);
        self.spare.push(held.luma);
    }

    fn compare(&mut self, frame: &Frame) -> Result<(), Fault> {
        let Some(video) = frame.video() else { return Err(WRONG) };
        let captured = frame.header.captured;
        let off = |held: &Held| captured.since(held.captured).max(held.captured.since(captured));
        let nearest = self.held.iter_mut().min_by_key(|held| off(held));
        let Some(held) = nearest.filter(|held| off(held) <= self.half) else { return Ok(()) };
        if held.size != video.size {
            return Err(Fault::new(
                FaultKind::WrongFormat,
                "the pictures have another size than the reference",
            ));
        }
        held.met = true;
        let plane = frame.plane(0);
        let rows = held.luma.chunks_exact(plane.width.max(1)).enumerate();
        let squares: u64 = rows.map(|(y, row)| squares(row, plane.row(y))).sum();
        let mean = squares as f64 / held.luma.len().max(1) as f64;
        let db = if squares == 0 { MOST_DB } else { (10.0 * (255.0 * 255.0 / mean).log10()).min(MOST_DB) };
        self.found.add(db);
        Ok(())
    }

    /// Tells the figures; `missing` of the references that are no longer held.
    fn tell(&self, cx: &mut Context<'_>) {
        self.found.tell(self.missing, self.references - self.held.len() as u64, cx);
    }
}

const WRONG: Fault = Fault::new(FaultKind::WrongFormat, "test.compare_video takes raw video");

/// The sum of the squares of the differences.
fn squares(a: &[u8], b: &[u8]) -> u64 {
    // In parts that no sum of 32 bits overflows.
    let part = |(a, b): (&[u8], &[u8])| -> u32 {
        a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b)) * u32::from(a.abs_diff(*b))).sum()
    };
    a.chunks(4_096).zip(b.chunks(4_096)).map(|pair| u64::from(part(pair))).sum()
}

impl Node for CompareVideo {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(REFERENCE) {
            self.keep(&frame)?;
        }
        while let Some(frame) = cx.pop(IN) {
            self.compare(&frame)?;
            let captured = frame.header.captured;
            cx.rendered(frame);
            let tell_at = *self.tell_at.get_or_insert(captured + TELL_EVERY);
            if captured >= tell_at {
                self.tell_at = Some(captured + TELL_EVERY);
                self.tell(cx);
            }
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        while !self.held.is_empty() {
            self.let_go();
        }
        self.tell(cx);
        Ok(Finish::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::figures;
    use sidetone_core::harness::Harness;

    /// References come at 30 a second; `came` gives what is added to each on its
    /// way, or that it was lost. Each comes 100 ms later.
    fn compared(count: u64, came: impl Fn(u64) -> Option<u8>) -> Vec<(&'static str, f64)> {
        let mut node = Harness::new(&SPEC, &[]);
        let began = node.now();
        let mut frames = Vec::new();
        for index in 0..count + 3 {
            node.advance_to(Timestamp::ZERO.after_units(index, 30).since(Timestamp::ZERO));
            let shade = |x: usize, y: usize| ((x * 7 + y * 3 + index as usize * 5) % 200) as u8;
            if index < count {
                let reference = node.picture(65, 33, |_, x, y| shade(x, y));
                let on_its_way = came(index).map(|more| {
                    let mut frame = node.picture(65, 33, |_, x, y| shade(x, y) + more);
                    // RTP rounds capture times a little.
                    frame.header.captured += Duration::from_nanos(index % 7 * 1_000);
                    frame
                });
                node.push(REFERENCE, reference);
                frames.push(on_its_way);
            }
            if let Some(late) = index.checked_sub(3)
                && let Some(frame) = frames.get_mut(late as usize).and_then(Option::take)
            {
                node.push(IN, frame);
            }
            node.run();
        }
        assert!(node.now() > began && node.fault().is_none());
        node.end(REFERENCE);
        node.end(IN);
        node.run();
        figures(&mut node)
    }

    #[test]
    fn known_differences_have_their_known_ratio() {
        assert_eq!(compared(40, |_| Some(0)), [("psnr", 100.0), ("psnr_worst", 100.0), ("missing", 0.0)]);
        // A difference of 5 everywhere: 10 log10(255² / 25).
        let known = 10.0 * (255.0f64 * 255.0 / 25.0).log10();
        let figures = compared(40, |_| Some(5));
        assert!((figures[0].1 - known).abs() < 1e-9 && (figures[1].1 - known).abs() < 1e-9, "{figures:?}");
        // Half of them by 5, the others by 10, which is 6.02 dB worse.
        let figures = compared(40, |n| Some(if n % 2 == 0 { 5 } else { 10 }));
        assert!((figures[0].1 - (known - 10.0 * 4f64.log10() / 2.0)).abs() < 1e-9, "{figures:?}");
        assert!((figures[1].1 - (known - 10.0 * 4f64.log10())).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn lost_pictures_are_missing_and_the_others_still_meet_their_own() {
        let figures = compared(100, |n| (n % 4 != 1).then_some(0));
        assert_eq!(figures, [("psnr", 100.0), ("psnr_worst", 100.0), ("missing", 25.0)]);
    }

    #[test]
    fn a_picture_without_a_reference_is_not_compared() {
        let mut node = Harness::new(&SPEC, &[("hold_ms", 20.into())]);
        let old = node.picture(16, 16, |_, _, _| 9);
        for _ in 0..5 {
            node.push(REFERENCE, node.picture(16, 16, |_, _, _| 50));
            node.advance(Duration::from_millis(40));
        }
        node.push(IN, old);
        node.end(REFERENCE);
        node.end(IN);
        node.run();
        assert_eq!(figures(&mut node), [("missing", 100.0)]);
    }

    #[test]
    fn another_size_is_refused_when_checked_and_while_running() {
        let params = sidetone_core::Params::new(SPEC.params, &[]).unwrap();
        let video = |width| Some(MediaType::i420(Some(Size::new(width, 360)), None));
        let why = negotiate(&Offer { params: &params, inputs: &[video(640), video(320)] }).unwrap_err();
        assert!(why.help.contains("effect.scale") && why.help.contains("[640, 360]"), "{}", why.help);
        let mut node = Harness::new(&SPEC, &[]);
        node.push(REFERENCE, node.picture(16, 16, |_, _, _| 0));
        node.push(IN, node.picture(16, 18, |_, _, _| 0));
        node.run();
        assert_eq!(node.fault().map(|fault| fault.kind), Some(FaultKind::WrongFormat));
    }
}
