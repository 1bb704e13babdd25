//! `net.impair`: makes a packet link as bad as a real network.
//!
//! Ports: `in` RTP packets of any codec → `out` the same.
//!
//! Parameters: `preset`, one of none, clean, home, mobile, bad, satellite,
//! default none: a set of figures, each of which a parameter below replaces
//! where it is given.
//!
//! | preset | delay | jitter | loss | why |
//! |---|---|---|---|---|
//! | none, clean | 0 | 0 | 0 | a cable; the figure to compare with |
//! | home | 15 ms | 2.5 ms | 0.1 % random | a fixed line and good Wi-Fi, to a server in the same country |
//! | mobile | 40 ms | 12 ms | 1 % in bursts of 3 | LTE while moving: the radio's scheduling and retransmissions make jitter, fades make bursts |
//! | bad | 80 ms | 35 ms | 6 % in bursts of 5 | crowded Wi-Fi or the edge of a cell: what a call should survive |
//! | satellite | 300 ms | 4 ms | 0.5 % random | 36,000 km up and down takes 240 ms; the path itself is steady |
//!
//! `delay_ms`, 0 to 10,000 ms, the mean one-way delay; `jitter_ms`, 0 to 1,000
//! ms, its standard deviation; `loss_percent`, 0 to 100, packets lost each by
//! itself; `burst_loss_percent`, 0 to 90, packets lost in bursts, beside those;
//! `burst_length`, 1 to 1,000 packets, the bursts' mean length;
//! `reorder_percent`, 0 to 100, packets held back for `reorder_ms` (1 to 1,000
//! ms, default 30) so that later ones overtake them; `duplicate_percent`, 0 to
//! 100, packets that come twice. Where neither they nor a preset say otherwise
//! they are 0, and bursts 1 packet long. All of these may change while running.
//!
//! `rate_kbps`, 0 to 10,000,000 kbit/s, default 0 (no limit), what the path
//! carries, IP and UDP headers included; may change while running. `trace`, the
//! path of a recorded link, instead of a rate: each line is a millisecond at
//! which one 1500-byte packet could leave, in mahimahi's format, and the
//! recording begins anew when it ends. `queue_ms`, 1 to 10,000 ms, default 200
//! and with a trace 1,000: a packet that would wait there for longer is
//! dropped. `seed`, 0 or more, default 0: other dice with the same graph.
//!
//! Latency: `delay_ms`, or the preset's, in the mean, and so much is declared;
//! jitter and the queue's waits are not counted. Order is kept except where
//! `reorder_percent` breaks it, so a late packet holds up those behind it and
//! large jitter adds to the mean. Requests that travel upstream are held for
//! `delay_ms` too. At most 8,192 packets are held; one more is dropped.
//!
//! Method: queue with tail drop, then loss, then delay. Bursts: the two-state
//! chain of Gilbert (BSTJ 1960) and Elliott (BSTJ 1963). Jitter: a normal
//! deviation that forgets itself in 20 ms, cut where the delay would fall below
//! zero, so that packets sent at once stay together.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> pack -> path -> jitter -> unpack -> decode -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode" }
//! nodes.pack = { kind = "rtp.pack_opus" }
//! nodes.path = { kind = "net.impair", preset = "mobile", loss_percent = 2 }
//! nodes.jitter = { kind = "rtp.jitter_buffer" }
//! nodes.unpack = { kind = "rtp.unpack_opus" }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.file = { kind = "file.wav_sink", path = "heard.wav" }
//! ```

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use sidetone_core::{
    Context, Control, DropReason, Fault, FaultKind, Finish, Format, MediaType, Negotiated, Node, NodeError,
    NodeSpec, Offer, ParamSpec, Params, Placement, PortSpec, Setup, Through, Timestamp,
};

use crate::delay_line::DelayLine;
use crate::model::{Bottleneck, Figures, Model};
use crate::trace::{MAX_BYTES, OPPORTUNITY_BYTES, Trace};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "net.impair",
    summary: "Makes a packet link as bad as a real network.",
    sheet: sidetone_core::data_sheet!("impair.rs"),
    inputs: &[PortSpec::new("in", MediaType::RTP, "The packets as sent.")],
    outputs: &[PortSpec::new("out", MediaType::RTP, "The packets as a network delivers them.")],
    params: &[
        ParamSpec::choice(
            "preset",
            "none",
            &["none", "clean", "home", "mobile", "bad", "satellite"],
            "A set of figures; parameters that are given replace its own.",
        ),
        ParamSpec::float("delay_ms", 0.0, 0.0, 10_000.0, "Mean one-way delay.").unit("ms").optional().live(),
        ParamSpec::float("jitter_ms", 0.0, 0.0, 1_000.0, "Standard deviation of the delay.")
            .unit("ms")
            .optional()
            .live(),
        ParamSpec::float("loss_percent", 0.0, 0.0, 100.0, "Packets lost, each by itself.")
            .unit("%")
            .optional()
            .live(),
        ParamSpec::float("burst_loss_percent", 0.0, 0.0, 90.0, "Packets lost in bursts, beside those.")
            .unit("%")
            .optional()
            .live(),
        ParamSpec::float("burst_length", 1.0, 1.0, 1_000.0, "Mean length of a burst.")
            .unit("packets")
            .optional()
            .live(),
        ParamSpec::float(
            "reorder_percent",
            0.0,
            0.0,
            100.0,
            "Packets held back so that later ones overtake them.",
        )
        .unit("%")
        .optional()
        .live(),
        ParamSpec::float("reorder_ms", 30.0, 1.0, 1_000.0, "How long those are held back.").unit("ms").live(),
        ParamSpec::float("duplicate_percent", 0.0, 0.0, 100.0, "Packets that come twice.")
            .unit("%")
            .optional()
            .live(),
        ParamSpec::int("rate_kbps", 0, 0, 10_000_000, "What the path carries; 0 sets no limit.")
            .unit("kbit/s")
            .live(),
        ParamSpec::path("trace", "A recorded link, instead of a rate.").optional(),
        ParamSpec::int("queue_ms", 200, 1, 10_000, "The longest wait at the rate's or trace's queue.")
            .unit("ms")
            .optional(),
        ParamSpec::int("seed", 0, 0, i64::MAX, "Other dice with the same graph."),
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| Ok(Box::new(Impair::new(&setup)?)),
};

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, sidetone_core::Mismatch> {
    let figures = figures(offer.params)?;
    Ok(sidetone_core::registry::same(offer)?.latency(figures.delay()))
}

/// The preset's figures, with those that were given in their place, if a path
/// can have them.
fn figures(params: &Params) -> Result<Figures, NodeError> {
    let mut figures = Figures::preset(params.text("preset"));
    params.iter().for_each(|(name, value)| figures.set(name, value.as_float()));
    if figures.burst_loss_percent > figures.most_burst_loss() {
        return Err(NodeError::Param {
            name: "burst_loss_percent",
            why: format!(
                "cannot be {} with bursts of {} packets in the mean, at most {:.1}: make burst_length longer",
                figures.burst_loss_percent,
                figures.burst_length,
                figures.most_burst_loss()
            ),
        });
    }
    if params.get("trace").is_some() && params.int("rate_kbps") > 0 {
        return Err(NodeError::Param {
            name: "rate_kbps",
            why: "cannot be given together with a trace, which has rates of its own: remove one".into(),
        });
    }
    Ok(figures)
}

/// The most requests under way upstream; they are asked again when lost.
const MOST_REQUESTS: usize = 64;

struct Impair {
    model: Model,
    held: DelayLine,
    requests: VecDeque<(Timestamp, Control)>,
}

impl Impair {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let params = setup.params;
        let figures = figures(params)?;
        let trace = params.get("trace").map(|_| read(Path::new(params.text("trace")))).transpose()?;
        let kbps = params.int("rate_kbps") as f64;
        let (bottleneck, queue_ms) = match trace {
            Some(trace) => {
                (Bottleneck::Recorded { trace, start: None, index: 0, left: OPPORTUNITY_BYTES }, 1_000)
            }
            None => (limit(kbps, Timestamp::ZERO), 200),
        };
        let queue_ms = params.get("queue_ms").map_or(queue_ms, |_| params.int("queue_ms").unsigned_abs());
        let seed = setup.seed ^ params.int("seed").unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Ok(Self {
            model: Model::new(figures, bottleneck, Duration::from_millis(queue_ms), seed),
            held: DelayLine::new(),
            requests: VecDeque::with_capacity(MOST_REQUESTS),
        })
    }

    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            let Format::Rtp { len, .. } = *frame.format() else {
                return Err(Fault::new(
                    FaultKind::WrongFormat,
                    "net.impair takes RTP: put rtp.pack_… before it",
                ));
            };
            let Some(delivery) = self.model.fate(cx.now(), len) else {
                cx.dropped(DropReason::Impaired);
                continue;
            };
            let copy = delivery.twice.then(|| frame.clone());
            for frame in copy.into_iter().chain([frame]) {
                if !self.held.hold(delivery.at, frame) {
                    cx.dropped(DropReason::Overflow);
                }
            }
        }
        Ok(())
    }

    /// Lets go what is due, and asks to be called when the next is.
    fn let_out(&mut self, cx: &mut Context<'_>) {
        while let Some(frame) = self.held.due(cx.now()) {
            cx.push(0, frame);
        }
        while self.requests.front().is_some_and(|(due, _)| *due <= cx.now()) {
            if let Some((_, control)) = self.requests.pop_front() {
                cx.forward(&control);
            }
        }
        let next = self.held.next().into_iter().chain(self.requests.front().map(|(due, _)| *due)).min();
        if let Some(next) = next {
            cx.wake_at(next);
        }
    }
}

impl Node for Impair {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.take_in(cx)?;
        self.let_out(cx);
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.let_out(cx);
        Ok(if self.held.next().is_none() { Finish::Done } else { Finish::Later })
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match control {
            Control::Set { param: "rate_kbps", value } => match &mut self.model.bottleneck {
                // A recording has rates of its own.
                Bottleneck::Recorded { .. } => {}
                Bottleneck::Rate { free, .. } => self.model.bottleneck = limit(value.as_float(), *free),
                Bottleneck::None => self.model.bottleneck = limit(value.as_float(), Timestamp::ZERO),
            },
            Control::Set { param, value } => self.model.figures.set(param, value.as_float()),
            _ if from.is_some() && self.requests.len() < MOST_REQUESTS => {
                // In order, even where the delay has become shorter meanwhile.
                let last = self.requests.back().map_or(Timestamp::ZERO, |(due, _)| *due);
                self.requests.push_back(((cx.now() + self.model.figures.delay()).max(last), control.clone()));
            }
            _ => {}
        }
        Ok(())
    }
}

fn limit(kbps: f64, free: Timestamp) -> Bottleneck {
    if kbps > 0.0 { Bottleneck::Rate { kbps, free } } else { Bottleneck::None }
}

fn read(path: &Path) -> Result<Trace, NodeError> {
    let open = |source| NodeError::Open { path: path.into(), source };
    let mut bytes = Vec::new();
    // One byte more than a trace may have, so that the parser sees it is too long.
    let file = std::fs::File::open(path).map_err(open)?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(open)?;
    Trace::parse(&bytes).map_err(|error| NodeError::BadMedia {
        path: path.into(),
        why: error.to_string(),
        offset: error.offset as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delay_line::MOST_HELD;
    use sidetone_core::harness::Harness;
    use sidetone_core::scratch::Scratch;
    use sidetone_core::{Codec, Shared, Value};

    const TICK: Duration = Duration::from_millis(10);

    /// Sends `count` packets, one every 10 ms; what came out, by number and
    /// when, after the node has put out all it held.
    fn sent(node: &mut Harness, count: u8) -> Vec<(u8, Duration)> {
        let start = node.now();
        let mut seen = Vec::new();
        for tick in 0..500u32 {
            if tick < u32::from(count) {
                node.push(0, node.rtp(Codec::Opus, &[u8::try_from(tick).unwrap(); 100]));
            } else if tick == u32::from(count) {
                node.end(0);
            }
            for _ in 0..10 {
                node.advance(Duration::from_millis(1));
                let now = node.now();
                seen.extend(node.take(0).iter().map(|frame| (frame.bytes()[0], now.since(start))));
            }
        }
        seen
    }

    #[test]
    fn a_clean_path_passes_everything_at_once() {
        for preset in ["none", "clean"] {
            let mut node = Harness::new(&SPEC, &[("preset", preset.into())]);
            node.push(0, node.rtp(Codec::Opus, &[7; 20]));
            node.run();
            assert_eq!(node.take(0).len(), 1);
        }
    }

    #[test]
    fn what_is_given_replaces_the_presets_figure_alone() {
        let params = Params::new(SPEC.params, &[("preset", "bad".into()), ("delay_ms", 5.0.into())]).unwrap();
        assert_eq!(figures(&params).unwrap(), Figures { delay_ms: 5.0, ..Figures::preset("bad") });
        let offer = Offer { params: &params, inputs: &[Some(MediaType::rtp(Codec::Av1))] };
        let negotiated = SPEC.negotiated(&offer).unwrap();
        assert_eq!(negotiated.latency, Duration::from_millis(5));
        assert_eq!(negotiated.outputs, [MediaType::rtp(Codec::Av1)]);
    }

    #[test]
    fn the_end_comes_after_the_last_delayed_packet() {
        let mut node = Harness::new(&SPEC, &[("delay_ms", 300.0.into())]);
        let seen = sent(&mut node, 20);
        assert!(node.has_ended());
        assert_eq!(seen.len(), 20);
        assert!(seen.iter().all(|(n, at)| {
            let delay = at.as_millis() - u128::from(*n) * 10;
            (300..=301).contains(&delay)
        }));
    }

    #[test]
    fn the_same_seed_gives_the_same_path_and_another_does_not() {
        let run = |seed: i64| {
            let mut node = Harness::new(&SPEC, &[("preset", "bad".into()), ("seed", seed.into())]);
            sent(&mut node, 200)
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn every_packet_is_put_out_or_counted() {
        let mut node = Harness::new(&SPEC, &[("preset", "bad".into()), ("duplicate_percent", 10.0.into())]);
        let seen = sent(&mut node, 250);
        let numbers: std::collections::BTreeSet<u8> = seen.iter().map(|(n, _)| *n).collect();
        let lost = node.ledger().dropped[DropReason::Impaired as usize].get();
        assert!(lost > 0 && seen.len() > numbers.len());
        assert_eq!(numbers.len() as u64 + lost, 250);
    }

    #[test]
    fn requests_travel_upstream_with_the_same_delay() {
        let mut node = Harness::new(&SPEC, &[("delay_ms", 50.0.into())]);
        node.control(Control::KeyFrame, Some(Through { port: 0, key: None }));
        node.advance(Duration::from_millis(49));
        assert!(node.upstream().is_empty());
        node.advance(Duration::from_millis(1));
        assert!(matches!(node.upstream()[..], [(_, Control::KeyFrame)]));
    }

    #[test]
    fn figures_change_while_running() {
        let mut node = Harness::new(&SPEC, &[]);
        node.control(Control::Set { param: "loss_percent", value: Value::Float(100.0) }, None);
        node.push(0, node.rtp(Codec::Opus, &[0; 20]));
        node.run();
        assert_eq!(node.take(0).len(), 0);
        node.control(Control::Set { param: "loss_percent", value: Value::Float(0.0) }, None);
        node.control(Control::Set { param: "rate_kbps", value: Value::Int(8) }, None);
        node.push(0, node.rtp(Codec::Opus, &[0; 72]));
        node.advance(Duration::from_millis(99));
        assert_eq!(node.take(0).len(), 0);
        node.advance(Duration::from_millis(1));
        assert_eq!(node.take(0).len(), 1, "100 bytes take 100 ms at 8 kbit/s");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut node = Harness::new(&SPEC, &[("delay_ms", 10_000.0.into())]);
        for _ in 0..MOST_HELD + 10 {
            node.push(0, node.rtp(Codec::Av1, &[0; 12]));
        }
        node.advance(TICK);
        assert_eq!(node.ledger().dropped[DropReason::Overflow as usize].get(), 10);
    }

    #[test]
    fn parameters_that_cannot_be_met_say_what_would() {
        let why = |params: &[(&str, Value)]| {
            Harness::try_new(&SPEC, params, &Shared::default()).err().unwrap().to_string()
        };
        let message = why(&[("burst_loss_percent", 60.0.into()), ("burst_length", 1.0.into())]);
        assert!(message.contains("at most 50.0") && message.contains("burst_length"), "{message}");
        assert!(why(&[("trace", "no/such/trace".into())]).contains("no/such/trace"));
        // The checker says so too, and opens no trace.
        let checked = |params: &[(&str, Value)]| {
            let params = Params::new(SPEC.params, params).unwrap();
            SPEC.negotiated(&Offer { params: &params, inputs: &[None] }).err().map(|mismatch| mismatch.help)
        };
        let bursts = [("burst_loss_percent", 60.0.into()), ("burst_length", 1.0.into())];
        assert_eq!(checked(&bursts), Some(message));
        let both = [("trace", "no/such/trace".into()), ("rate_kbps", 100.into())];
        assert!(checked(&both).unwrap().starts_with("rate_kbps cannot be given together with a trace"));
        assert_eq!(checked(&[("trace", "no/such/trace".into())]), None);
    }

    #[test]
    fn a_trace_file_is_followed_and_its_mistakes_are_named() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("trace", folder.write("a.trace", b"40\n80\n"))]);
        let first = sent(&mut node, 3);
        let params = [("trace", folder.write("a.trace", b"40\nnext\n"))];
        let error = Harness::try_new(&SPEC, &params, &Shared::default()).err().unwrap().to_string();
        let both = [("trace", folder.write("a.trace", b"40\n")), ("rate_kbps", 100.into())];
        let both = Harness::try_new(&SPEC, &both, &Shared::default()).err().unwrap().to_string();
        assert_eq!(first.iter().map(|(_, at)| at.as_millis()).collect::<Vec<_>>(), [40, 40, 40]);
        assert!(error.contains("line 2") && error.contains("at byte 3"), "{error}");
        assert!(both.contains("remove one"), "{both}");
    }
}
