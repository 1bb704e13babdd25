//! `KeyFrames`: asks a publisher for key frames on behalf of all who need one.

use std::time::Duration;

use sidetone_core::Timestamp;

/// A publisher is asked at most once in so long, whoever wants it: as LiveKit's
/// `pli_throttle` for the least layer.
const LEAST_APART: Duration = Duration::from_millis(500);
/// Where none comes it is asked again after this, then after twice as long and so on,
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// up to this.
const AGAIN_AT_LAST: Duration = Duration::from_secs(4);

/// Requests for key frames of one layer of a stream.
#[derive(Debug)]
pub(super) struct KeyFrames {
    asked: Option<Timestamp>,
    /// When to ask next, while one is wanted.
    due: Option<Timestamp>,
    /// How long to wait for an answer.
    patience: Duration,
}

impl KeyFrames {
    pub(super) const fn new() -> Self {
        Self { asked: None, due: None, patience: AGAIN_AFTER }
    }

    /// Somebody needs one.
    pub(super) fn want(&mut self, now: Timestamp) {
        let soonest = self.asked.map_or(now, |asked| now.max(asked + LEAST_APART));
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    /// The layer only begins: nobody was there to hear what was asked before. Whether one
    /// is wanted.
    pub(super) fn unheard(&mut self) -> bool {
        (self.asked, self.patience) = (None, AGAIN_AFTER);
        self.due.is_some()
    }

    /// One came, or nobody needs it any more.
    pub(super) fn done(&mut self) {
        (self.due, self.patience) = (None, AGAIN_AFTER);
    }

    /// When it is to be asked for, if it is.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Whether it is to be asked for now; then it counts as asked for.
    pub(super) fn ask(&mut self, now: Timestamp) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.asked = Some(now);
        self.due = Some(now + self.patience);
        self.patience = (self.patience * 2).min(AGAIN_AT_LAST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When it is asked within `ms`, looked at every 10 ms, where one is wanted and
    /// comes at these instants.
    fn asked(ms: u64, wanted: &[u64], come: &[u64]) -> Vec<u64> {
        let mut key_frames = KeyFrames::new();
        let begin = Timestamp::from_nanos(5_000_000_000);
        let mut asked = Vec::new();
        for at in (0..ms).step_by(10) {
            let now = begin + Duration::from_millis(at);
            if come.contains(&at) {
                key_frames.done();
            }
            if wanted.contains(&at) {
                key_frames.want(now);
            }
            if key_frames.ask(now) {
                asked.push(at);
            }
        }
        asked
    }

    #[test]
    fn it_is_asked_at_once_then_at_most_every_half_second_and_ever_more_rarely() {
        // When it is wanted, when it comes, when it is asked for.
        type Row<'a> = (&'a [u64], &'a [u64], &'a [u64], &'a str);
        #[rustfmt::skip]
        let table: [Row<'_>; 5] = [
            (&[], &[], &[], "nobody wants one"),
            (&[100], &[150], &[100], "it comes"),
            (&[100, 150, 200], &[400], &[100], "three want the same one"),
            (&[100, 200], &[150], &[100, 600, 1_600, 3_600, 7_600], "it came before the second wanted it"),
            (&[100], &[], &[100, 1_100, 3_100, 7_100, 11_100], "none comes"),
        ];
        for (wanted, come, expected, why) in table {
            assert_eq!(asked(11_500, wanted, come), expected, "{why}");
        }
        let often: Vec<u64> = (0..3_000).step_by(30).collect();
        assert_eq!(asked(3_000, &often, &[]), [0, 500, 1_000, 1_500, 2_000, 2_500], "often wanted");
    }
}
