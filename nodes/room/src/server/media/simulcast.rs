//! `Choice`: which of the sizes of a stream goes to a subscriber, and from which key
//! frame on.

/// Which size goes, and which is to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Whose packets go out now.
    pub(super) current: Option<usize>,
    /// Whose packets are to; nothing for none.
    pub(super) target: Option<usize>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It goes on what goes out.
    Goes,
    /// From it on its layer goes out.
    Switches,
    /// It is held back.
    Not,
}

impl Choice {
    /// Another layer is to go out. The present one goes on until a key frame comes,
    /// but none goes on when nothing is to.
    pub(super) fn aim(&mut self, target: Option<usize>) {
        self.target = target;
        if target.is_none() {
            self.current = None;
        }
    }

    /// What goes out breaks off: a key frame is needed to go on.
    pub(super) fn break_off(&mut self) {
        self.current = None;
    }

    /// The layer whose key frame is waited for.
    pub(super) fn awaited(&self) -> Option<usize> {
        self.target.filter(|_| self.current != self.target)
    }

    /// A packet of `layer`; `begins` says that its receiver can begin with it: it is
    /// the first of a key frame, or sound.
    pub(super) fn pass(&mut self, layer: usize, begins: bool) -> Pass {
        let Some(target) = self.target else { return Pass::Not };
        if self.current == Some(layer) {
            return Pass::Goes;
        }
        // As in LiveKit's simulcast selector: on the way to the target any step does.
        let is_nearer = match self.current {
            None => layer <= target,
            Some(current) => (current < layer && layer <= target) || (target <= layer && layer < current),
        };
        if begins && is_nearer {
            self.current = Some(layer);
            return Pass::Switches;
        }
        Pass::Not
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_change_at_key_frames_alone_and_toward_the_target_alone() {
        use Pass::{Goes, Not, Switches};
        const KEY: bool = true;
        // From, to: the packet's layer, whether it begins a key frame: what becomes of it.
        #[rustfmt::skip]
        let table = [
            (None,    None,    0, KEY,  Not,      "nothing is to go"),
            (None,    Some(1), 1, !KEY, Not,      "nobody can begin there"),
            (None,    Some(1), 1, KEY,  Switches, "the target"),
            (None,    Some(2), 0, KEY,  Switches, "a lower one is better than nothing"),
            (None,    Some(0), 1, KEY,  Not,      "more than fits"),
            (Some(0), Some(2), 0, !KEY, Goes,     "the present one until the other comes"),
            (Some(0), Some(2), 2, !KEY, Not,      "the target, without a key frame"),
            (Some(0), Some(2), 1, KEY,  Switches, "a step on the way up"),
            (Some(0), Some(1), 2, KEY,  Not,      "beyond the target"),
            (Some(2), Some(0), 1, KEY,  Switches, "a step on the way down"),
            (Some(2), Some(1), 0, KEY,  Not,      "below the target"),
            (Some(1), Some(1), 0, KEY,  Not,      "it is there already"),
            (Some(1), Some(1), 1, KEY,  Goes,     "a key frame of the present one"),
        ];
        for (current, target, layer, begins, pass, why) in table {
            let mut choice = Choice { current, target };
            assert_eq!(choice.pass(layer, begins), pass, "{why}");
            let after = if pass == Switches { Some(layer) } else { current };
            assert_eq!(choice, Choice { current: after, target }, "{why}");
        }
    }

    #[test]
    fn a_key_frame_is_awaited_until_the_target_goes_out() {
        let mut choice = Choice::default();
        assert_eq!(choice.awaited(), None);
        choice.aim(Some(1));
        assert_eq!(choice.awaited(), Some(1));
        choice.pass(0, true);
        assert_eq!(choice.awaited(), Some(1), "a step is not the goal");
        choice.pass(1, true);
        assert_eq!(choice.awaited(), None);
        choice.break_off();
        assert_eq!(choice.awaited(), Some(1));
        choice.aim(None);
        assert_eq!((choice.awaited(), choice.pass(1, true)), (None, Pass::Not));
    }
}
