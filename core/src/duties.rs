//! `Duties`: what a cell does for the sake of budgets: it measures the paths
//! that end at it, and lets frames go that would come too late.
//!
//! The supervisor makes them off the lanes and hands them over whole; the lane
//! swaps them in between two calls and gives the old ones back.
//!
//! What may go: a frame that is too late, while a newer one waits behind it in
//! the same link. So a node gets frames even where nothing can be in time any
//! more, and what came without waiting always passes. Raw media and Opus
//! packets go singly: each stands for itself (Opus conceals what is missing).
//! AV1 does not: every picture needs those before it. There all goes up to the
//! next key frame, which is asked for upstream.

use std::sync::Arc;
use std::time::Duration;

use crate::context::{Outbox, Wiring};
use crate::control::Control;
use crate::event::EventKind;
use crate::frame::{Flags, Format, Frame};
use crate::ledger::{Counter, DropReason, NodeId, PathLedger, Trail};
use crate::link::{Item, LinkId};
use crate::media_type::Codec;
use crate::timestamp::Timestamp;

/// A key frame that does not come is asked for again after this long.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What one cell does for budgets.
#[derive(Default)]
pub(crate) struct Duties {
    /// Whether paths begin at it.
    pub(crate) begins: bool,
    pub(crate) paths: Vec<PathWatch>,
    pub(crate) late: Vec<LateRule>,
    /// The link in which all goes until a key frame comes, and when that was
    /// asked for last.
    skipping: Option<(LinkId, Timestamp)>,
}

/// A path that ends at the cell.
pub(crate) struct PathWatch {
    /// Where it may begin: one node, or one for each member of a template.
    pub(crate) starts: Arc<[NodeId]>,
    pub(crate) ledger: Arc<PathLedger>,
}

/// Which frames are too late.
pub(crate) struct LateRule {
    /// Where their time is counted from; `None` is from capture.
    pub(crate) starts: Option<Arc<[NodeId]>>,
    /// Those that are older.
    pub(crate) most: Duration,
    /// How many went, written by the lane.
    pub(crate) dropped: Arc<Counter>,
}

impl Duties {
    /// Whether there is nothing to do. \[control\]
    pub(crate) fn is_idle(&self) -> bool {
        !self.begins && self.paths.is_empty() && self.late.is_empty()
    }

    /// Takes the place of `old`, and goes on with what it had begun. \[real-time\]
    pub(crate) const fn succeed(&mut self, old: &Self) {
        self.skipping = old.skipping;
    }

    /// Enters a frame that leaves the cell in the ledgers of the paths that it
    /// came along. \[real-time\]
    pub(crate) fn measure(&self, trail: &Trail) {
        for path in &self.paths {
            let mut steps = trail.steps().skip_while(|step| !path.starts.contains(&step.node)).peekable();
            if steps.peek().is_some() {
                path.ledger.record_part(steps);
            }
        }
    }

    /// Lets go what waits in the cell's links and is too late at `now`. \[real-time\]
    pub(crate) fn prune(&mut self, now: Timestamp, wiring: &mut Wiring, out: &mut Outbox) {
        if self.late.is_empty() && self.skipping.is_none() {
            return;
        }
        for inlet in wiring.inlets.iter_mut().filter(|inlet| inlet.after.is_none()) {
            let link = inlet.link;
            loop {
                let is_newest = inlet.len() < 2;
                let Some(Item::Frame(frame)) = inlet.peek() else { break };
                let rule = self.late.iter().find(|rule| rule.holds(frame, now));
                let asked = self.skipping.filter(|(skipping, _)| *skipping == link).map(|(_, asked)| asked);
                let ask = match asked {
                    Some(_) if frame.header.flags.has(Flags::KEY) => {
                        self.skipping = None;
                        break;
                    }
                    Some(asked) => now.since(asked) >= ASK_EVERY,
                    None if rule.is_none() || is_newest => break,
                    None => is_chained(frame),
                };
                if ask {
                    self.skipping = Some((link, now));
                    out.upstream.push((link, Control::KeyFrame));
                    out.events.push(EventKind::KeyFrameRequested);
                }
                if let Some(rule) = rule.or(self.late.first()) {
                    rule.dropped.add(1);
                }
                inlet.pop();
                inlet.gap = true;
                wiring.ledger.dropped[DropReason::Late as usize].add(1);
            }
        }
    }
}

impl LateRule {
    fn holds(&self, frame: &Frame, now: Timestamp) -> bool {
        let age = match &self.starts {
            None => Some(now.since(frame.header.captured)),
            // What nobody follows cannot be told from what is in time.
            Some(starts) => frame.header.trail.as_ref().and_then(|trail| {
                let mut steps = trail.steps().skip_while(|step| !starts.contains(&step.node));
                let first = steps.next()?;
                let rest: Duration = steps.map(|step| step.wait + step.buffer + step.work).sum();
                Some(first.buffer + first.work + rest + now.since(trail.left()))
            }),
        };
        age.is_some_and(|age| age > self.most)
    }
}

/// Whether a frame is of no use without those before it.
fn is_chained(frame: &Frame) -> bool {
    matches!(frame.format(), Format::Packet { codec: Codec::Av1, .. } | Format::Rtp { codec: Codec::Av1, .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Header;
    use crate::link::{Inlet, Receiver};
    use crate::ring::{Producer, ring};

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    /// Puts packets of `codec` captured at `times` in a queue; those at `keys` are
    /// key frames.
    fn fill(queue: &mut Producer<Item>, codec: Codec, times: std::ops::Range<u64>, keys: &[u64]) {
        for ms in times {
            let mut header = Header::new(at(ms), Duration::ZERO);
            header.flags = if keys.contains(&ms) { Flags::KEY } else { Flags::default() };
            let packet = Item::Frame(Frame::unpooled(header, Format::Packet { codec, len: 1 }));
            assert!(queue.push(packet).is_ok());
        }
    }

    /// A queue of such packets.
    fn queue(codec: Codec, times: std::ops::Range<u64>, keys: &[u64]) -> (Wiring, Producer<Item>) {
        let (mut sender, receiver) = ring(64);
        fill(&mut sender, codec, times, keys);
        let mut wiring =
            Wiring::new(NodeId(0), Vec::new(), Arc::new(crate::ledger::trail_pool(1, 1)), Arc::default());
        wiring.inlets.push(Inlet::new(0, LinkId(7), Receiver::Ring(receiver)));
        (wiring, sender)
    }

    fn rule(most: u64) -> Duties {
        let rule = LateRule { starts: None, most: Duration::from_millis(most), dropped: Arc::default() };
        Duties { late: vec![rule], ..Duties::default() }
    }

    fn first(wiring: &mut Wiring) -> Option<u64> {
        match wiring.inlets[0].peek() {
            Some(Item::Frame(frame)) => Some(frame.header.captured.nanos() / 1_000_000),
            _ => None,
        }
    }

    #[test]
    fn what_is_too_old_goes_singly_and_the_newest_stays() {
        let (mut out, mut duties) = (Outbox::default(), rule(5));
        let (mut wiring, _sender) = queue(Codec::Opus, 0..10, &[]);
        duties.prune(at(12), &mut wiring, &mut out);
        assert_eq!((first(&mut wiring), wiring.inlets[0].gap), (Some(7), true));
        assert_eq!((duties.late[0].dropped.get(), wiring.ledger.drops()), (7, 7));
        duties.prune(at(900), &mut wiring, &mut out);
        assert_eq!(first(&mut wiring), Some(9), "though it is far too old");
        assert!(out.upstream.is_empty() && out.events.is_empty());
    }

    #[test]
    fn of_chained_pictures_all_go_up_to_the_next_key_frame_which_is_asked_for() {
        let (mut out, mut duties) = (Outbox::default(), rule(5));
        let (mut wiring, mut sender) = queue(Codec::Av1, 0..10, &[0]);
        duties.prune(at(7), &mut wiring, &mut out);
        assert_eq!(first(&mut wiring), None, "none can be decoded without the first");
        assert_eq!(out.upstream, [(LinkId(7), Control::KeyFrame)]);

        // What is in time goes, too, while the key frame is on its way; it is
        // asked for again if it does not come.
        fill(&mut sender, Codec::Av1, 507..520, &[515]);
        duties.prune(at(508), &mut wiring, &mut out);
        assert_eq!((first(&mut wiring), out.upstream.len()), (Some(515), 2));
        duties.prune(at(516), &mut wiring, &mut out);
        assert_eq!(first(&mut wiring), Some(515), "it is over");
        assert!(wiring.inlets[0].gap);
    }

    #[test]
    fn a_queue_in_time_is_left_alone() {
        let (mut out, mut duties) = (Outbox::default(), rule(50));
        for codec in [Codec::Opus, Codec::Av1] {
            let (mut wiring, _sender) = queue(codec, 0..10, &[]);
            duties.prune(at(40), &mut wiring, &mut out);
            assert_eq!(
                (first(&mut wiring), wiring.ledger.drops(), wiring.inlets[0].gap),
                (Some(0), 0, false)
            );
        }
    }
}
