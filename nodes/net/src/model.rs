//! `Model`: what a simulated path does to each packet, free of clocks, frames
//! and files.
//!
//! A packet meets, in this order: the bottleneck (its queue, then its turn to
//! leave), loss, and delay. A packet that is lost has taken its share of the
//! bottleneck, as one lost on the air has. All of it is decided when the packet
//! comes.
//!
//! Each effect draws from a generator of its own, and draws the same number of
//! times for every packet, so that turning one knob leaves the others' dice as
//! they were.

use std::time::Duration;

use fastrand::Rng;
use sidetone_core::Timestamp;

use crate::trace::{OPPORTUNITY_BYTES, Trace};

/// The figures of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Mean one-way delay.
    pub(crate) delay_ms: f64,
    /// Standard deviation of the delay.
    pub(crate) jitter_ms: f64,
    /// Packets lost, each by itself.
    pub(crate) loss_percent: f64,
    /// Packets lost in bursts.
    pub(crate) burst_loss_percent: f64,
    /// Mean length of a burst in packets, at least 1.
    pub(crate) burst_length: f64,
    /// Packets held back so that later ones overtake them.
    pub(crate) reorder_percent: f64,
    /// How long those are held back.
    pub(crate) reorder_ms: f64,
    /// Packets that come twice.
    pub(crate) duplicate_percent: f64,
}

impl Figures {
    /// A path that does nothing.
    pub(crate) const CLEAN: Self = Self {
        delay_ms: 0.0,
        jitter_ms: 0.0,
        loss_percent: 0.0,
        burst_loss_percent: 0.0,
        burst_length: 1.0,
        reorder_percent: 0.0,
        reorder_ms: 30.0,
        duplicate_percent: 0.0,
    };

    /// The figures that a name stands for; the reasons are in the data sheet of
    /// `net.impair`.
    pub(crate) fn preset(name: &str) -> Self {
        let clean = Self::CLEAN;
        match name {
            "home" => Self { delay_ms: 15.0, jitter_ms: 2.5, loss_percent: 0.1, ..clean },
            "mobile" => {
                Self { delay_ms: 40.0, jitter_ms: 12.0, burst_loss_percent: 1.0, burst_length: 3.0, ..clean }
            }
            "bad" => {
                Self { delay_ms: 80.0, jitter_ms: 35.0, burst_loss_percent: 6.0, burst_length: 5.0, ..clean }
            }
            "satellite" => Self { delay_ms: 300.0, jitter_ms: 4.0, loss_percent: 0.5, ..clean },
            _ => clean,
        }
    }

    /// Sets the figure that parameter `name` stands for, if it is one.
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        let place = match name {
            "delay_ms" => &mut self.delay_ms,
            "jitter_ms" => &mut self.jitter_ms,
            "loss_percent" => &mut self.loss_percent,
            "burst_loss_percent" => &mut self.burst_loss_percent,
            "burst_length" => &mut self.burst_length,
            "reorder_percent" => &mut self.reorder_percent,
            "reorder_ms" => &mut self.reorder_ms,
            "duplicate_percent" => &mut self.duplicate_percent,
            _ => return,
        };
        *place = value;
    }

    /// The largest share of packets, in percent, that bursts of the mean length
    /// can take: one good packet between any two.
    pub(crate) fn most_burst_loss(&self) -> f64 {
        100.0 * self.burst_length / (self.burst_length + 1.0)
    }

    /// The mean delay.
    pub(crate) fn delay(&self) -> Duration {
        millis(self.delay_ms)
    }
}

/// The narrowest part of the path.
pub(crate) enum Bottleneck {
    /// There is none.
    None,
    /// So many bits leave in a second.
    Rate {
        /// Kilobits per second, above 0.
        kbps: f64,
        /// When the last packet has left.
        free: Timestamp,
    },
    /// Packets leave when the recording says.
    Recorded {
        /// The recording.
        trace: Trace,
        /// When it began; unknown before the first packet.
        start: Option<Timestamp>,
        /// The opportunity under way, counted on through every round.
        index: u64,
        /// What that opportunity has room for still.
        left: usize,
    },
}

/// What becomes of a packet that is not lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// When it arrives.
    pub(crate) at: Timestamp,
    /// Whether it arrives twice.
    pub(crate) twice: bool,
}

/// A path.
pub(crate) struct Model {
    pub(crate) figures: Figures,
    pub(crate) bottleneck: Bottleneck,
    queue: Duration,
    loss: Rng,
    burst: Rng,
    jitter: Rng,
    order: Rng,
    copies: Rng,
    in_burst: bool,
    /// The delay's present deviation in standard deviations, and since when.
    deviation: f64,
    deviated: Timestamp,
    /// When the last packet that keeps its place arrives.
    last: Timestamp,
}

/// How long the delay's deviation lasts: after this time its correlation with
/// itself is 1/e. Packets of one picture, sent at once, meet the same queue.
const JITTER_MEMORY: Duration = Duration::from_millis(20);

/// A deviation beyond so many standard deviations is cut to it.
const MOST_DEVIATION: f64 = 4.0;

/// What the IP and UDP headers add to a packet on the wire.
const HEADER_BYTES: usize = 28;

impl Model {
    pub(crate) fn new(figures: Figures, bottleneck: Bottleneck, queue: Duration, seed: u64) -> Self {
        let mut seeds = Rng::with_seed(seed);
        let mut rng = || Rng::with_seed(seeds.u64(..));
        Self {
            figures,
            bottleneck,
            queue,
            loss: rng(),
            burst: rng(),
            jitter: rng(),
            order: rng(),
            copies: rng(),
            in_burst: false,
            deviation: 0.0,
            deviated: Timestamp::ZERO,
            last: Timestamp::ZERO,
        }
    }

    /// What becomes of a packet of `bytes`, headers of RTP included, that comes
    /// at `now`; `None` if it is lost.
    pub(crate) fn fate(&mut self, now: Timestamp, bytes: usize) -> Option<Delivery> {
        let left = self.bottleneck.leave(now, bytes + HEADER_BYTES, self.queue)?;
        let lost = chance(&mut self.loss, self.figures.loss_percent);
        // Both are drawn for every packet, whatever the other says.
        let burst = self.burst();
        let delay = self.delay(left);
        let reordered = chance(&mut self.order, self.figures.reorder_percent);
        let twice = chance(&mut self.copies, self.figures.duplicate_percent);
        if lost || burst {
            return None;
        }
        let mut at = (left + delay).max(self.last);
        if reordered {
            at += millis(self.figures.reorder_ms);
        } else {
            self.last = at;
        }
        Some(Delivery { at, twice })
    }

    /// One step of the two-state chain of Gilbert ("Capacity of a burst-noise
    /// channel", BSTJ 1960) and Elliott ("Estimates of error rates for codes on
    /// burst-noise channels", BSTJ 1963), with every packet of the bad state
    /// lost and none of the good one: whether this packet is.
    fn burst(&mut self) -> bool {
        let dice = self.burst.f64();
        // The bad state is left with probability r, so it lasts 1 / r packets,
        // and holds p / (p + r) of all.
        let share = self.figures.burst_loss_percent / 100.0;
        let r = 1.0 / self.figures.burst_length.max(1.0);
        let p = if share < 1.0 { r * share / (1.0 - share) } else { 1.0 };
        self.in_burst = if self.in_burst { dice >= r } else { dice < p };
        self.in_burst
    }

    /// The delay of a packet that leaves the bottleneck at `at`: a normal
    /// deviation that forgets itself exponentially (an Ornstein-Uhlenbeck
    /// process), never below zero in all.
    fn delay(&mut self, at: Timestamp) -> Duration {
        let keep = (-at.since(self.deviated).as_secs_f64() / JITTER_MEMORY.as_secs_f64()).exp();
        let fresh = normal(&mut self.jitter) * (1.0 - keep * keep).max(0.0).sqrt();
        self.deviation = (self.deviation * keep + fresh).clamp(-MOST_DEVIATION, MOST_DEVIATION);
        self.deviated = at;
        millis(self.figures.delay_ms + self.figures.jitter_ms * self.deviation)
    }
}

impl Bottleneck {
    /// When a packet of `bytes` that comes at `now` has left; `None` if it would
    /// wait for longer than `queue`, so that it finds the queue full.
    fn leave(&mut self, now: Timestamp, bytes: usize, queue: Duration) -> Option<Timestamp> {
        match self {
            Self::None => Some(now),
            Self::Rate { kbps, free } => {
                let begin = now.max(*free);
                if begin.since(now) > queue {
                    return None;
                }
                *free = begin + Duration::from_secs_f64(bytes as f64 * 8.0 / (*kbps * 1000.0));
                Some(*free)
            }
            Self::Recorded { trace, start, index, left } => {
                let start = *start.get_or_insert(now);
                let first = trace.first_from(start, now);
                let (mut next, mut room) =
                    if *index >= first { (*index, *left) } else { (first, OPPORTUNITY_BYTES) };
                // A large packet takes the room of several opportunities, a
                // small one leaves room for the next.
                let mut rest = bytes;
                while rest > room {
                    rest -= room;
                    (next, room) = (next + 1, OPPORTUNITY_BYTES);
                }
                let at = trace.time(start, next);
                if at.since(now) > queue {
                    return None;
                }
                (*index, *left) = (next, room - rest);
                Some(at)
            }
        }
    }
}

fn chance(rng: &mut Rng, percent: f64) -> bool {
    rng.f64() * 100.0 < percent
}

/// Nearly normal, mean 0, deviation 1: the sum of twelve uniform numbers, which
/// needs additions alone and so gives the same bits on every machine.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.max(0.0) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

    fn model(figures: Figures) -> Model {
        Model::new(figures, Bottleneck::None, Duration::ZERO, 42)
    }

    /// What becomes of `count` packets of 1,000 bytes, one every `every`.
    fn fates(model: &mut Model, count: u32, every: Duration) -> Vec<(Timestamp, Option<Delivery>)> {
        (0..count)
            .map(|n| {
                let now = START + every * n;
                (now, model.fate(now, 1000))
            })
            .collect()
    }

    fn delays_ms(fates: &[(Timestamp, Option<Delivery>)]) -> Vec<f64> {
        fates
            .iter()
            .filter_map(|(now, fate)| Some(fate.as_ref()?.at.since(*now).as_secs_f64() * 1e3))
            .collect()
    }

    fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn random_loss_is_as_frequent_as_asked() {
        let mut path = model(Figures { loss_percent: 5.0, ..Figures::CLEAN });
        let lost =
            fates(&mut path, 100_000, Duration::from_millis(10)).iter().filter(|f| f.1.is_none()).count();
        // Five standard deviations of a binomial: 5 * sqrt(100000 * 0.05 * 0.95) = 345.
        assert!(lost.abs_diff(5_000) < 345, "{lost} of 100000");
    }

    #[test]
    fn bursts_are_as_long_and_as_frequent_as_asked() {
        for name in ["mobile", "bad"] {
            let figures = Figures::preset(name);
            let fates = fates(&mut model(figures), 400_000, Duration::from_millis(10));
            let lost: Vec<bool> = fates.iter().map(|f| f.1.is_none()).collect();
            let total = lost.iter().filter(|lost| **lost).count() as f64;
            let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
            let share = total / lost.len() as f64 * 100.0;
            assert!((share / figures.burst_loss_percent - 1.0).abs() < 0.15, "{name}: {share} %");
            assert!((total / bursts / figures.burst_length - 1.0).abs() < 0.1, "{name}: {}", total / bursts);
        }
    }

    #[test]
    fn delay_has_the_mean_and_deviation_asked_for() {
        let mut path = model(Figures { delay_ms: 60.0, jitter_ms: 12.0, ..Figures::CLEAN });
        // Far enough apart for each packet to meet a delay of its own.
        let (mean, deviation) =
            mean_and_deviation(&delays_ms(&fates(&mut path, 20_000, Duration::from_millis(150))));
        assert!((mean - 60.0).abs() < 0.5 && (deviation - 12.0).abs() < 0.4, "{mean} ± {deviation} ms");
    }

    #[test]
    fn jitter_keeps_the_order_and_packets_sent_at_once_stay_together() {
        let mut path = model(Figures::preset("bad"));
        let every = Duration::from_millis(2);
        let times: Vec<_> = fates(&mut path, 20_000, every).iter().filter_map(|f| Some(f.1?.at)).collect();
        assert!(times.is_sorted());
        let mut path = model(Figures { delay_ms: 80.0, jitter_ms: 35.0, ..Figures::CLEAN });
        let at_once = delays_ms(&fates(&mut path, 10, Duration::ZERO));
        assert!(at_once.iter().all(|delay| *delay == at_once[0]));
    }

    #[test]
    fn reordered_packets_are_overtaken_and_as_many_as_asked() {
        let mut path = model(Figures { delay_ms: 20.0, reorder_percent: 10.0, ..Figures::CLEAN });
        let fates = fates(&mut path, 10_000, Duration::from_millis(10));
        let times: Vec<_> = fates.iter().filter_map(|f| Some(f.1?.at)).collect();
        let overtaken = times.windows(2).filter(|pair| pair[0] > pair[1]).count();
        // Runs of held-back packets are overtaken as one: 10000 * 0.1 * 0.9.
        assert!(overtaken.abs_diff(900) < 150, "{overtaken}");
        let held = delays_ms(&fates).iter().filter(|delay| **delay > 49.0).count();
        assert!(held.abs_diff(1_000) < 150, "{held}");
    }

    #[test]
    fn duplicates_are_as_many_as_asked() {
        let mut path = model(Figures { duplicate_percent: 20.0, ..Figures::CLEAN });
        let fates = fates(&mut path, 10_000, Duration::from_millis(10));
        let twice = fates.iter().filter(|f| f.1.is_some_and(|delivery| delivery.twice)).count();
        assert!(twice.abs_diff(2_000) < 200, "{twice}");
    }

    #[test]
    fn a_rate_limits_throughput_and_a_full_queue_drops() {
        let rate = Bottleneck::Rate { kbps: 400.0, free: Timestamp::ZERO };
        let mut path = Model::new(Figures::CLEAN, rate, Duration::from_millis(100), 1);
        // 1,000 bytes every 10 ms are 800 kbit/s, twice what leaves.
        let fates = fates(&mut path, 2_000, Duration::from_millis(10));
        let arrived = fates.iter().filter(|f| f.1.is_some()).count();
        let kbps = arrived as f64 * 1028.0 * 8.0 / 20_000.0;
        assert!((kbps - 400.0).abs() < 4.0, "{kbps} kbit/s");
        // The longest wait is the queue's and the packet's own 20.56 ms.
        assert!(delays_ms(&fates).iter().all(|delay| *delay <= 120.7));
    }

    #[test]
    fn a_recording_lets_packets_go_when_it_says() {
        let trace = Trace::parse(b"10\n30\n30\n100\n").unwrap();
        let recorded = Bottleneck::Recorded { trace, start: None, index: 0, left: OPPORTUNITY_BYTES };
        let mut path = Model::new(Figures::CLEAN, recorded, Duration::from_secs(1), 1);
        let mut arrival = |ms, bytes| {
            let fate = path.fate(START + Duration::from_millis(ms), bytes - HEADER_BYTES).unwrap();
            fate.at.since(START).as_millis()
        };
        let times = [arrival(0, 1500), arrival(0, 700), arrival(0, 700), arrival(0, 700), arrival(40, 1500)];
        // The fourth has 100 bytes of room in the first packet of millisecond
        // 30 and takes the rest from the second; the fifth comes after both.
        assert_eq!(times, [10, 30, 30, 30, 100]);
        // Three opportunities' worth: 110, 130 and 130, after an idle time.
        assert_eq!(arrival(101, 4500), 130);
        // What was not used is gone.
        assert_eq!(arrival(1_015, 100), 1_030);
    }

    #[test]
    fn a_recorded_gap_longer_than_the_queue_drops() {
        let trace = Trace::parse(b"10\n5000\n").unwrap();
        let recorded = Bottleneck::Recorded { trace, start: None, index: 0, left: OPPORTUNITY_BYTES };
        let mut path = Model::new(Figures::CLEAN, recorded, Duration::from_millis(200), 1);
        assert!(path.fate(START, 1400).is_some());
        assert!(path.fate(START + Duration::from_millis(20), 1400).is_none());
        assert!(path.fate(START + Duration::from_millis(4_900), 1400).is_some());
    }

    #[test]
    fn one_knob_leaves_the_others_dice_alone() {
        let plain = Figures { loss_percent: 3.0, ..Figures::CLEAN };
        let lost = |figures| -> Vec<bool> {
            fates(&mut model(figures), 5_000, Duration::from_millis(5))
                .iter()
                .map(|f| f.1.is_none())
                .collect()
        };
        assert_eq!(
            lost(plain),
            lost(Figures { delay_ms: 50.0, jitter_ms: 9.0, reorder_percent: 5.0, ..plain })
        );
    }
}
