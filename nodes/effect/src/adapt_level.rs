//! How far pictures are cut down for what the network carries: plain rules, for
//! `effect.adapt`.

use std::time::Duration;

use sidetone_core::{Size, Timestamp};

/// What pictures get at least before they are cut down further, in bits a pixel. It
/// leaves room for the key frames that are asked for while a network gets slower.
/// libwebrtc begins a size at 0.017 (1280x720) to 0.03 (480x270) with VP9, 0.033 to 0.05
/// with VP8 (`EncoderInfoSettings::GetDefaultSinglecastBitrateLimits`, 30 frames/s).
const FLOOR: f64 = 0.04;
/// Pictures come no slower than this for the network's sake, in frames/s.
const LEAST_FPS: f64 = 5.0;
/// What the sides of a picture are cut to: so many in so many parts.
const SIDES: [(u32, u32); 5] = [(1, 1), (3, 4), (1, 2), (3, 8), (1, 4)];
/// What the rate is cut to: a picture of so many, so that they are evenly apart.
const RATES: [f64; SIDES.len()] = [1.0, 2.0, 3.0, 4.0, 6.0];
/// The last places of the two tables, and the last level.
const END: usize = SIDES.len() - 1;
const LAST: usize = 2 * END;
/// How long a level lasts before pictures are cut down further: as long as an
/// estimate takes to settle, since each new size costs a key frame.
const BEFORE_LESS: Duration = Duration::from_secs(1);
/// For how long more must have got through before there is more again …
const BEFORE_MORE: Duration = Duration::from_secs(2);
/// … and how much more than that needs: so many times.
const TO_SPARE: f64 = 1.25;

/// What is given up last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// Size and rate are given up in turn.
    Balanced,
    /// The rate is given up first.
    Sharpness,
    /// The size is given up first.
    Smoothness,
}

impl Prefer {
    /// The words of the graph file.
    pub(crate) const WORDS: &[&str] = &["balanced", "sharpness", "smoothness"];

    /// What `word` means; balanced for an unknown one. \[any\]
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "sharpness" => Self::Sharpness,
            "smoothness" => Self::Smoothness,
            _ => Self::Balanced,
        }
    }

    /// Where in the tables of sides and of rates a level stands.
    fn places(self, level: usize) -> (usize, usize) {
        let first = level.min(END);
        match self {
            Self::Balanced => (level.div_ceil(2), level / 2),
            Self::Sharpness => (level - first, first),
            Self::Smoothness => (first, level - first),
        }
    }
}

/// How large and how many pictures are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pictures {
    pub(crate) size: Size,
    pub(crate) fps: f64,
}

impl Pictures {
    /// What is left of them at `level`: 0 (all) to 8. \[any\]
    pub(crate) fn at(self, prefer: Prefer, level: usize) -> Self {
        let (side, rate) = prefer.places(level.min(LAST));
        let fps = (self.fps / RATES[rate]).max(LEAST_FPS).min(self.fps);
        Self { size: part(self.size, SIDES[side]), fps }
    }

    /// Bits a second that they need at least.
    fn floor(self) -> f64 {
        FLOOR * f64::from(self.size.width) * f64::from(self.size.height) * self.fps
    }

    /// The first level at which `bps` bits a second are enough, or the last. \[any\]
    pub(crate) fn level(self, prefer: Prefer, bps: f64) -> usize {
        (0..LAST).find(|level| self.at(prefer, *level).floor() <= bps).unwrap_or(LAST)
    }
}

/// The sizes to which pictures of `full` are cut down, that first. \[any\]
pub(crate) fn sizes(full: Size) -> impl Iterator<Item = Size> {
    SIDES.into_iter().map(move |cut| part(full, cut))
}

/// `full` with its shape, where it fits into `most`. \[any\]
pub(crate) fn within(full: Size, most: Size) -> Size {
    if full.width <= most.width && full.height <= most.height {
        return full;
    }
    // Compares the two shapes without dividing: exact in 64 bits.
    let across = u64::from(most.width) * u64::from(full.height);
    let down = u64::from(most.height) * u64::from(full.width);
    if across <= down { part(full, (most.width, full.width)) } else { part(full, (most.height, full.height)) }
}

/// So many in so many parts of the sides of `full`, even unless they are all there
/// is, so that chroma ends where luma does.
fn part(full: Size, (of, all): (u32, u32)) -> Size {
    let side = |side: u32| match u64::from(side) * u64::from(of) / u64::from(all.max(1)) {
        cut if cut >= u64::from(side) => side,
        #[allow(clippy::cast_possible_truncation)] // below `side`
        cut => (cut as u32 & !1).max(2).min(side),
    };
    Size::new(side(full.width), side(full.height))
}

/// Which level holds as time passes: less after a second, more after two.
#[derive(Default)]
pub(crate) struct Course {
    level: usize,
    /// When that became so.
    since: Option<Timestamp>,
    /// Since when more gets through, and up to which level at the worst since.
    better: Option<(Timestamp, usize)>,
}

impl Course {
    /// The level from `now` on, where the network carries `bps` bits a second of
    /// pictures that are `full`. \[real-time\]
    pub(crate) fn at(&mut self, now: Timestamp, full: Pictures, prefer: Prefer, bps: f64) -> usize {
        let (less, more) = (full.level(prefer, bps), full.level(prefer, bps / TO_SPARE));
        if less > self.level {
            self.better = None;
            if self.since.is_none_or(|since| now.since(since) >= BEFORE_LESS) {
                self.change(now, less);
            }
        } else if more < self.level {
            let (since, worst) = self.better.map_or((now, more), |(since, worst)| (since, worst.max(more)));
            self.better = Some((since, worst));
            if now.since(since) >= BEFORE_MORE {
                self.change(now, worst);
            }
        } else {
            self.better = None;
        }
        self.level
    }

    fn change(&mut self, now: Timestamp, level: usize) {
        *self = Self { level, since: Some(now), better: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Pictures = Pictures { size: Size::new(640, 360), fps: 30.0 };
    const EACH: [Prefer; 3] = [Prefer::Sharpness, Prefer::Smoothness, Prefer::Balanced];

    #[test]
    fn what_is_given_up_first_is_as_preferred() {
        // Kilobits a second, and what is left for sharpness, smoothness, balance.
        let table = [
            (277, [(640, 360, 30), (640, 360, 30), (640, 360, 30)]),
            (276, [(640, 360, 15), (480, 270, 30), (480, 270, 30)]),
            (150, [(640, 360, 15), (320, 180, 30), (480, 270, 15)]),
            (100, [(640, 360, 10), (320, 180, 30), (480, 270, 15)]),
            (77, [(640, 360, 8), (320, 180, 30), (320, 180, 15)]),
            (40, [(480, 270, 5), (240, 134, 30), (320, 180, 15)]),
            (20, [(320, 180, 5), (160, 90, 30), (240, 134, 10)]),
            (10, [(240, 134, 5), (160, 90, 15), (240, 134, 8)]),
            (3, [(160, 90, 5), (160, 90, 5), (160, 90, 5)]),
            (0, [(160, 90, 5), (160, 90, 5), (160, 90, 5)]),
        ];
        for (kbps, expected) in table {
            for (prefer, (width, height, fps)) in EACH.into_iter().zip(expected) {
                let left = FULL.at(prefer, FULL.level(prefer, f64::from(kbps) * 1e3));
                assert_eq!(
                    (left.size, left.fps.round() as i32),
                    (Size::new(width, height), fps),
                    "{prefer:?} at {kbps} kbit/s"
                );
            }
        }
    }

    #[test]
    fn each_level_needs_less_than_the_one_before_and_no_more_is_given_up_than_must_be() {
        for prefer in EACH {
            for size in [FULL.size, Size::new(1280, 720), Size::new(352, 288)] {
                let full = Pictures { size, fps: 30.0 };
                for level in 0..LAST {
                    let (here, next) = (full.at(prefer, level), full.at(prefer, level + 1));
                    assert!(next.floor() < here.floor(), "{prefer:?} {level}");
                    assert_eq!(full.level(prefer, here.floor()), level);
                    assert_eq!(full.level(prefer, here.floor() - 1.0), level + 1);
                }
            }
        }
    }

    #[test]
    fn a_rate_below_five_a_second_is_left_alone_and_sides_stay_even() {
        let slow = Pictures { size: Size::new(33, 17), fps: 2.0 };
        assert_eq!(slow.at(Prefer::Balanced, 0), slow);
        for prefer in EACH {
            for level in 1..=LAST {
                let left = slow.at(prefer, level);
                assert_eq!(left.fps, 2.0);
                let is_fine = |side: u32, full: u32| side == full || (side.is_multiple_of(2) && side > 0);
                assert!(is_fine(left.size.width, 33) && is_fine(left.size.height, 17), "{left:?}");
            }
        }
    }

    #[test]
    fn what_is_too_large_is_fitted_in_with_its_shape() {
        let most = Size::new(640, 480);
        for (full, expected) in [
            (Size::new(640, 480), Size::new(640, 480)),
            (Size::new(33, 17), Size::new(33, 17)),
            (Size::new(1280, 720), Size::new(640, 360)),
            (Size::new(720, 1280), Size::new(270, 480)),
            (Size::new(16_384, 1), Size::new(640, 1)),
        ] {
            assert_eq!(within(full, most), expected);
        }
    }

    /// Runs a course over (milliseconds, kbit/s); gives the changes.
    fn course(told: &[(u64, u32)]) -> Vec<(u64, usize)> {
        let (mut course, mut level, mut changes) = (Course::default(), 0, Vec::new());
        for pair in told.windows(2) {
            for ms in (pair[0].0..pair[1].0).step_by(20) {
                let now = Timestamp::from_nanos(ms * 1_000_000);
                let next = course.at(now, FULL, Prefer::Smoothness, f64::from(pair[0].1) * 1e3);
                if std::mem::replace(&mut level, next) != next {
                    changes.push((ms, next));
                }
            }
        }
        changes
    }

    #[test]
    fn less_comes_at_once_but_not_twice_a_second_and_more_after_two_that_are_good_enough() {
        assert_eq!(course(&[(0, 500), (2_000, 200), (3_000, 500), (9_000, 0)]), [(2_000, 1), (5_000, 0)]);
        // It goes on falling, and comes back bit by bit.
        assert_eq!(course(&[(0, 200), (200, 100), (5_000, 190), (9_000, 0)]), [(0, 1), (1_000, 2)]);
        assert_eq!(course(&[(0, 100), (5_000, 195), (9_000, 0)]), [(0, 2), (7_000, 1)]);
        // Just enough is not enough to go back; a moment without begins anew.
        assert_eq!(course(&[(0, 200), (2_000, 300), (9_000, 0)]), [(0, 1)]);
        let dip = [(0, 200), (2_000, 500), (3_500, 300), (3_520, 500), (9_000, 0)];
        assert_eq!(course(&dip), [(0, 1), (5_520, 0)]);
        // As far as the worst of those two seconds allows.
        let worst = [(0, 100), (2_000, 500), (2_500, 200), (3_000, 500), (4_500, 0)];
        assert_eq!(course(&worst), [(0, 2), (4_000, 1)]);
    }
}
