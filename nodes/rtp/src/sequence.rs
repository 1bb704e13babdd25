//! Sequence numbers and timestamps that do not wrap.

use sidetone_core::rtp::Ssrc;

use crate::packet::Header;

/// RFC 3550, appendix A.1: a gap up to this is loss …
const MAX_DROPOUT: u16 = 3_000;
/// … and a step back up to this is reordering; anything else is a restart.
const MAX_MISORDER: u16 = 100;

/// Where a packet stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the stream so far.
    Here(Position),
    /// The first of a new stream: the sender changed its source identifier or
    /// began to count anew.
    Anew(Position),
    /// Far off; a restart if the next packet follows it, else a stray.
    Stray,
}

/// Sequence number and timestamp, counted on past their wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) sequence: i64,
    pub(crate) timestamp: i64,
}

/// Follows one stream; RFC 3550, appendix A.1, without its probation, since a
/// room has said already that the stream is there.
#[derive(Default)]
pub(crate) struct Sequence {
    ssrc: Option<Ssrc>,
    newest: Position,
    expected_stray: Option<u16>,
}

impl Sequence {
    /// The place of a packet. \[real-time\]
    pub(crate) fn place(&mut self, header: &Header) -> Place {
        let step = header.sequence.wrapping_sub(low_16(self.newest.sequence));
        let back = low_16(self.newest.sequence).wrapping_sub(header.sequence);
        if self.ssrc != Some(header.ssrc) {
            return self.begin(header);
        }
        if step >= MAX_DROPOUT && back > MAX_MISORDER {
            if self.expected_stray == Some(header.sequence) {
                return self.begin(header);
            }
            self.expected_stray = Some(header.sequence.wrapping_add(1));
            return Place::Stray;
        }
        self.expected_stray = None;
        let sequence = if step < MAX_DROPOUT {
            self.newest.sequence + i64::from(step)
        } else {
            self.newest.sequence - i64::from(back)
        };
        let ahead = header.timestamp.wrapping_sub(low_32(self.newest.timestamp)).cast_signed();
        let position = Position { sequence, timestamp: self.newest.timestamp + i64::from(ahead) };
        if sequence > self.newest.sequence {
            self.newest = position;
        }
        Place::Here(position)
    }

    fn begin(&mut self, header: &Header) -> Place {
        self.ssrc = Some(header.ssrc);
        self.expected_stray = None;
        // Far from zero, so that what comes a little before stays positive.
        let sequence = (1 << 32) + i64::from(header.sequence);
        self.newest = Position { sequence, timestamp: (1 << 40) + i64::from(header.timestamp) };
        Place::Anew(self.newest)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the low bits are what is wanted
const fn low_16(value: i64) -> u16 {
    value as u16
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as above
const fn low_32(value: i64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u16, timestamp: u32, ssrc: u32) -> Header {
        Header { sequence, timestamp, ssrc: Ssrc(ssrc), ..Header::default() }
    }

    fn step(from: Position, to: Place) -> (i64, i64) {
        let (Place::Here(to) | Place::Anew(to)) = to else { panic!("a stray") };
        (to.sequence - from.sequence, to.timestamp - from.timestamp)
    }

    #[test]
    fn both_counters_wrap_without_a_jump_either_way() {
        let mut sequence = Sequence::default();
        let Place::Anew(first) = sequence.place(&header(65_534, u32::MAX - 900, 1)) else { panic!() };
        assert_eq!(step(first, sequence.place(&header(1, 1_979, 1))), (3, 2_880));
        assert_eq!(step(first, sequence.place(&header(65_535, 59, 1))), (1, 960));
    }

    #[test]
    fn a_stray_restarts_only_with_its_successor() {
        let mut sequence = Sequence::default();
        sequence.place(&header(100, 0, 1));
        assert_eq!(sequence.place(&header(30_000, 0, 1)), Place::Stray);
        assert!(matches!(sequence.place(&header(101, 960, 1)), Place::Here(_)));
        assert_eq!(sequence.place(&header(30_001, 0, 1)), Place::Stray);
        assert!(matches!(sequence.place(&header(30_002, 960, 1)), Place::Anew(_)));
        assert!(matches!(sequence.place(&header(7, 0, 2)), Place::Anew(_)));
    }
}
