//! `Loudest`: whom a subscriber hears who has less room than there are streams.

use std::time::Duration;

use sidetone_core::Timestamp;

/// Somebody gives way to one who is louder by this factor (3.5 dB),
const LOUDER: f64 = 1.5;
/// for this long,
const LOUDER_FOR: Duration = Duration::from_millis(200);
/// and to anybody with a voice after so long a silence. All three are our own: voices
/// of like loudness are not to take turns, and a pause in a sentence is not its end.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// A stream that may be heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) no: u32,
    /// 0 is nobody's voice.
    pub(super) amplitude: f64,
}

/// Whom a subscriber hears.
#[derive(Debug, Default)]
pub(super) struct Loudest {
    heard: Vec<Heard>,
    /// Who is louder than the quietest of them, since when.
    rival: Option<(u32, Timestamp)>,
}

#[derive(Debug)]
struct Heard {
    no: u32,
    amplitude: f64,
    /// When it last had a voice.
    voice: Timestamp,
}

impl Loudest {
    /// The streams that are heard.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.heard.iter().map(|heard| heard.no)
    }

    /// Somebody begins to speak: they are heard at once if there is room, so that no
    /// first syllable is lost. Whether that changes anything.
    pub(super) fn begin(&mut self, now: Timestamp, no: u32, room: usize) -> bool {
        if self.numbers().any(|other| other == no) {
            return false;
        }
        let newcomer = Heard { no, amplitude: 0.0, voice: now };
        if self.heard.len() < room {
            self.heard.push(newcomer);
            return true;
        }
        let silent = self.heard.iter().position(|heard| now.since(heard.voice) >= SILENT_FOR);
        if let Some(at) = silent {
            self.heard[at] = newcomer;
        }
        silent.is_some()
    }

    /// Chooses at most `room` of these. Whether that changes anything.
    pub(super) fn choose(&mut self, now: Timestamp, room: usize, candidates: &[Candidate]) -> bool {
        let before: Vec<u32> = self.numbers().collect();
        self.heard.retain_mut(|heard| {
            let candidate = candidates.iter().find(|candidate| candidate.no == heard.no);
            heard.amplitude = candidate.map_or(0.0, |candidate| candidate.amplitude);
            if heard.amplitude > 0.0 {
                heard.voice = now;
            }
            candidate.is_some()
        });
        self.heard.truncate(room);
        loop {
            let outside = candidates.iter().filter(|candidate| {
                candidate.amplitude > 0.0 && !self.numbers().any(|no| no == candidate.no)
            });
            let Some(&Candidate { no, amplitude }) =
                outside.max_by(|one, other| one.amplitude.total_cmp(&other.amplitude))
            else {
                self.rival = None;
                break;
            };
            if self.begin(now, no, room) {
                continue;
            }
            let quietest =
                self.heard.iter_mut().min_by(|one, other| one.amplitude.total_cmp(&other.amplitude));
            let Some(quietest) = quietest.filter(|quietest| amplitude > quietest.amplitude * LOUDER) else {
                self.rival = None;
                break;
            };
            let since = self.rival.filter(|(rival, _)| *rival == no).map_or(now, |(_, since)| since);
            self.rival = Some((no, since));
            if now.since(since) >= LOUDER_FOR {
                *quietest = Heard { no, amplitude, voice: now };
                self.rival = None;
            }
            break;
        }
        !self.numbers().eq(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is heard after each step of 100 ms, given the loudness of streams 1, 2, ….
    fn heard(room: usize, steps: &[&[f64]]) -> Vec<Vec<u32>> {
        let mut loudest = Loudest::default();
        let mut now = Timestamp::from_nanos(7_000_000_000);
        steps
            .iter()
            .map(|step| {
                now += Duration::from_millis(100);
                let candidates: Vec<_> =
                    step.iter().zip(1..).map(|(&amplitude, no)| Candidate { no, amplitude }).collect();
                loudest.choose(now, room, &candidates);
                loudest.numbers().collect()
            })
            .collect()
    }

    fn last(room: usize, steps: &[&[f64]]) -> Vec<u32> {
        heard(room, steps).pop().unwrap()
    }

    #[test]
    fn the_loudest_are_heard_and_whoever_is_silent_is_not() {
        assert_eq!(last(2, &[&[0.1, 0.3, 0.2]]), [2, 3]);
        assert_eq!(last(2, &[&[0.0, 0.0, 0.2]]), [3]);
        assert_eq!(last(2, &[&[0.0; 3]]), [] as [u32; 0]);
        assert_eq!(last(0, &[&[1.0; 3]]), [] as [u32; 0]);
    }

    #[test]
    fn one_gives_way_to_who_is_much_louder_for_a_while_only() {
        let slightly: &[f64] = &[0.2, 0.29];
        let much: &[f64] = &[0.2, 0.31];
        assert_eq!(last(1, &[&[0.2, 0.0], slightly, slightly, slightly, slightly]), [1]);
        assert_eq!(last(1, &[&[0.2, 0.0], much, much]), [1], "100 ms");
        assert_eq!(last(1, &[&[0.2, 0.0], much, much, much]), [2], "200 ms");
        assert_eq!(last(1, &[&[0.2, 0.0], much, slightly, much, much]), [1], "not without a break");
    }

    #[test]
    fn a_pause_costs_no_place_to_the_quiet_and_a_silence_costs_it_to_anybody() {
        let mut steps: Vec<&[f64]> = vec![&[0.2, 0.0]];
        steps.extend([&[0.0, 0.0] as &[f64]; 19]);
        assert_eq!(last(1, &steps), [1], "nobody else speaks");
        steps.push(&[0.0, 0.01]);
        assert_eq!(last(1, &steps), [2], "two seconds of silence");
        assert_eq!(last(1, &[&[0.2, 0.0], &[0.0, 0.01]]), [1], "one tenth of one");
    }

    #[test]
    fn who_begins_to_speak_is_heard_at_once_where_there_is_room() {
        let mut loudest = Loudest::default();
        let now = Timestamp::from_nanos(7_000_000_000);
        assert!(loudest.begin(now, 1, 1));
        assert!(!loudest.begin(now, 1, 1), "it is heard already");
        assert!(!loudest.begin(now + Duration::from_millis(1_999), 2, 1), "no room");
        assert!(loudest.begin(now + SILENT_FOR, 2, 1), "in the place of who is silent");
        assert_eq!(loudest.numbers().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn whoever_is_no_candidate_any_more_leaves_its_place() {
        assert_eq!(heard(1, &[&[0.2, 0.1], &[0.1]]), [[1], [1]]);
        let mut loudest = Loudest::default();
        loudest.begin(Timestamp::from_nanos(1), 9, 2);
        assert!(loudest.choose(Timestamp::from_nanos(2), 2, &[]));
        assert_eq!(loudest.numbers().count(), 0);
    }
}
