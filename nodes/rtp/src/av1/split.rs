//! `Splitter`: a temporal unit becomes RTP payloads.

use std::ops::Range;

use super::{
    HAS_SIZE, Malformed, N, Obu, PADDING, SEQUENCE_HEADER, TEMPORAL_DELIMITER, TILE_LIST, W_SHIFT, Y, Z,
    leb128, leb128_len, starts_sequence,
};

/// Up to this many elements the last needs no length: W counts to 3.
const MOST_COUNTED: usize = 3;
/// A fragment shorter than this is not worth the bytes around it: the OBU
/// begins in the next packet instead.
const LEAST_FRAGMENT: usize = 16;

/// Cuts temporal units into RTP payloads; keeps its plans' storage.
#[derive(Default)]
pub struct Splitter {
    elements: Vec<Element>,
    pieces: Vec<Piece>,
    key: bool,
}

/// An OBU to send, its size field left out.
struct Element {
    head: [u8; 2],
    head_len: usize,
    payload: Range<usize>,
    starts_packet: bool,
}

/// What one payload holds: `count` elements from `first` on, the first of them
/// from `offset`, the last one `last` bytes of.
#[derive(Clone, Copy)]
struct Piece {
    first: usize,
    offset: usize,
    count: usize,
    last: usize,
}

impl Splitter {
    /// Plans the payloads, of at most `limit` bytes each (2 or more), for a
    /// temporal unit in the low-overhead format; gives how many. \[real-time\],
    /// once it has met the largest unit.
    ///
    /// # Errors
    /// If the unit is not whole OBUs, or holds none to send.
    pub fn plan(&mut self, unit: &[u8], limit: usize) -> Result<usize, Malformed> {
        self.elements.clear();
        self.pieces.clear();
        let mut at = 0;
        while at < unit.len() {
            let (obu, taken) = Obu::parse(&unit[at..])?;
            at += taken;
            // AV1 RTP § 5: temporal delimiters and tile lists are not sent;
            // padding says nothing.
            if matches!(obu.kind(), TEMPORAL_DELIMITER | TILE_LIST | PADDING) {
                continue;
            }
            self.elements.push(Element {
                head: [obu.header & !HAS_SIZE, obu.extension.unwrap_or(0)],
                head_len: 1 + usize::from(obu.extension.is_some()),
                payload: at - obu.payload.len()..at,
                // § 5: a sequence header should be first in its packet.
                starts_packet: obu.kind() == SEQUENCE_HEADER,
            });
        }
        if self.elements.is_empty() {
            return Err(Malformed::Empty);
        }
        self.key = starts_sequence(unit);
        let limit = limit.max(2);
        let count = pack(&self.elements, limit, |_| {});
        // The smallest limit that needs no more packets spreads them evenly, so
        // that no straggler of a few bytes follows full ones.
        let (mut low, mut even) = (2, limit);
        while low < even {
            let middle = low.midpoint(even);
            if pack(&self.elements, middle, |_| {}) <= count {
                even = middle;
            } else {
                low = middle + 1;
            }
        }
        let pieces = &mut self.pieces;
        Ok(pack(&self.elements, even, |piece| pieces.push(piece)))
    }

    /// Whether the planned unit starts a coded video sequence. \[real-time\]
    #[must_use]
    pub const fn is_key(&self) -> bool {
        self.key
    }

    /// Writes payload `index` of the plan for `unit` to `to`, which has room for
    /// the limit; gives its length. \[real-time\]
    pub fn write(&self, unit: &[u8], index: usize, to: &mut [u8]) -> usize {
        let Some(piece) = self.pieces.get(index) else { return 0 };
        let elements = &self.elements[piece.first..][..piece.count];
        let counted = piece.count <= MOST_COUNTED;
        let mut aggregation = if counted { (piece.count << W_SHIFT) as u8 } else { 0 };
        aggregation |= if piece.offset > 0 { Z } else { 0 };
        aggregation |= if self.key && index == 0 { N } else { 0 };
        let mut out = Out { to, len: 0 };
        out.put(&[0]);
        for (place, element) in elements.iter().enumerate() {
            let from = if place == 0 { piece.offset } else { 0 };
            let is_last = place + 1 == piece.count;
            let end = if is_last { from + piece.last } else { element.size() };
            if !(counted && is_last) {
                let (bytes, len) = leb128(end - from);
                out.put(&bytes[..len]);
            }
            aggregation |= if end < element.size() { Y } else { 0 };
            let head = element.head_len;
            out.put(&element.head[from.min(head)..end.min(head)]);
            let payload = &unit[element.payload.clone()];
            out.put(&payload[from.max(head) - head..end.max(head) - head]);
        }
        if let Some(first) = out.to.first_mut() {
            *first = aggregation;
        }
        out.len
    }
}

impl Element {
    const fn size(&self) -> usize {
        self.head_len + (self.payload.end - self.payload.start)
    }

    const fn layer(&self) -> Option<u8> {
        if self.head_len == 2 { Some(self.head[1]) } else { None }
    }
}

/// Fills payloads of at most `limit` bytes one after another; gives how many.
fn pack(elements: &[Element], limit: usize, mut each: impl FnMut(Piece)) -> usize {
    let mut pieces = 0;
    let mut flush = |piece: Piece| {
        pieces += 1;
        each(piece);
    };
    let begin = |first, offset| (Piece { first, offset, count: 0, last: 0 }, 1, None);
    // `used` counts the aggregation header and every element with its length.
    let (mut piece, mut used, mut layer) = begin(0, 0);
    for (index, element) in elements.iter().enumerate() {
        // § 5: OBUs of different layers must not share a packet.
        let apart = layer.is_some() && element.layer().is_some() && layer != element.layer();
        if piece.count > 0 && (apart || element.starts_packet) {
            flush(piece);
            (piece, used, layer) = begin(index, 0);
        }
        let mut offset = 0;
        while offset < element.size() {
            let rest = element.size() - offset;
            let room = limit.saturating_sub(used);
            let take = if piece.count < MOST_COUNTED { rest.min(room) } else { with_length(rest, room) };
            if piece.count > 0 && (take == 0 || (take < rest && take < LEAST_FRAGMENT)) {
                flush(piece);
                (piece, used, layer) = begin(index, offset);
                continue;
            }
            piece.count += 1;
            piece.last = take;
            used += leb128_len(take) + take;
            layer = layer.or(element.layer());
            offset += take;
            if offset < element.size() {
                flush(piece);
                (piece, used, layer) = begin(index, offset);
            }
        }
    }
    if piece.count > 0 {
        flush(piece);
    }
    pieces
}

/// The most of `rest` bytes that fit in `room` with their length before them.
fn with_length(rest: usize, room: usize) -> usize {
    let mut take = rest.min(room.saturating_sub(1));
    while take > 0 && take + leb128_len(take) > room {
        take -= 1;
    }
    take
}

/// Bytes put one after another, as far as there is room.
struct Out<'a> {
    to: &'a mut [u8],
    len: usize,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(to) = self.to.get_mut(self.len..self.len + bytes.len()) {
            to.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{obu, random_unit, unit};
    use super::super::{Joiner, payload_starts_sequence};
    use super::*;
    use bytes::Bytes;
    use fastrand::Rng;
    use rtc_rtp::codec::av1::{Av1Depacketizer, Av1Payloader};
    use rtc_rtp::packetizer::{Depacketizer, Payloader};

    fn split(unit: &[u8], limit: usize) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::default();
        let count = splitter.plan(unit, limit).unwrap();
        (0..count)
            .map(|index| {
                let mut payload = vec![0; limit];
                let len = splitter.write(unit, index, &mut payload);
                payload.truncate(len);
                payload
            })
            .collect()
    }

    fn joined(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut joiner = Joiner::default();
        payloads.iter().for_each(|payload| joiner.push(payload).unwrap());
        joiner.finish().unwrap().to_vec()
    }

    #[test]
    fn any_unit_comes_back_whole_through_any_limit() {
        let mut rng = Rng::with_seed(5);
        for round in 0..3_000 {
            let unit = random_unit(&mut rng);
            let limit = if round % 3 == 0 { rng.usize(2..20) } else { rng.usize(20..1_300) };
            let payloads = split(&unit, limit);
            assert!(payloads.iter().all(|payload| (2..=limit).contains(&payload.len())), "limit {limit}");
            assert_eq!(joined(&payloads), unit, "limit {limit}");
        }
    }

    #[test]
    fn the_twin_joins_what_we_split() {
        let mut rng = Rng::with_seed(6);
        for _ in 0..2_000 {
            let unit = random_unit(&mut rng);
            let mut twin = Av1Depacketizer::new();
            let mut whole = vec![0x12, 0];
            for payload in split(&unit, rng.usize(3..1_300)) {
                whole.extend(twin.depacketize(&Bytes::from(payload)).unwrap());
            }
            assert_eq!(whole, unit);
        }
    }

    #[test]
    fn we_join_what_the_twin_splits() {
        let mut rng = Rng::with_seed(7);
        for _ in 0..2_000 {
            let unit = random_unit(&mut rng);
            let payloads = Av1Payloader {}.payload(rng.usize(8..1_300), &Bytes::from(unit.clone())).unwrap();
            // It sets N wherever a sequence header is first; that is its error.
            let payloads: Vec<Vec<u8>> = payloads.iter().map(|payload| payload.to_vec()).collect();
            assert_eq!(joined(&payloads), unit);
        }
    }

    #[test]
    fn the_specifications_size_example_is_written_byte_for_byte() {
        // AV1 RTP § 4.5: two elements of 200 and 100 bytes, W = 2, make a
        // payload of 303 bytes.
        let unit = [obu(3, None, &[7; 199]), obu(4, None, &[8; 99])].concat();
        let payloads = split(&unit, 1_200);
        assert_eq!((payloads.len(), payloads[0].len()), (1, 303));
        assert_eq!(payloads[0][..4], [0x20, 0xc8, 0x01, 3 << 3]);
        assert_eq!(payloads[0][203..205], [4 << 3, 8]);
    }

    #[test]
    fn the_specifications_grouping_example_keeps_layers_apart() {
        // § 5.1: TD SH MD MD(0,0) FH(0,0) TG(0,0) MD(0,1) FH(0,1) TG(0,1).
        let (base, upper) = (Some(0x00), Some(0x08));
        let unit = [
            obu(2, None, &[]),
            obu(1, None, &[0; 4]),
            obu(5, None, &[1; 4]),
            obu(5, base, &[2; 4]),
            obu(3, base, &[0x10; 4]),
            obu(4, base, &[3; 4]),
            obu(5, upper, &[4; 4]),
            obu(3, upper, &[0x10; 4]),
            obu(4, upper, &[5; 4]),
        ]
        .concat();
        let payloads = split(&unit, 1_200);
        assert_eq!(payloads.len(), 2);
        // Five elements: W = 0; three: W = 3. Only the first packet has N.
        assert_eq!((payloads[0][0], payloads[1][0]), (N, 3 << W_SHIFT));
        assert_eq!(joined(&payloads), unit);
    }

    #[test]
    fn a_sequence_start_is_marked_on_its_first_packet_alone() {
        let payloads = split(&unit(true, 5_000), 1_000);
        assert!(payload_starts_sequence(&payloads[0]));
        assert!(payloads[1..].iter().all(|payload| payload[0] & N == 0));
        assert!(split(&unit(false, 5_000), 1_000).iter().all(|payload| payload[0] & N == 0));
        let repeated = [obu(1, None, &[0; 4]), obu(6, None, &[0x30; 9])].concat();
        assert_eq!(split(&repeated, 1_000)[0][0] & N, 0, "a repeated header before an inter frame");
    }

    #[test]
    fn packets_of_a_picture_are_nearly_of_one_size() {
        let sizes: Vec<usize> = split(&unit(false, 3_000), 1_172).iter().map(Vec::len).collect();
        assert_eq!(sizes.len(), 3);
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 3, "{sizes:?}");
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.plan(&[], 100), Err(Malformed::Empty));
        assert_eq!(splitter.plan(&[0x12, 0], 100), Err(Malformed::Empty));
        assert_eq!(splitter.plan(&[0x32, 5, 1], 100), Err(Malformed::Length));
        assert_eq!(splitter.plan(&[0x80], 100), Err(Malformed::Header));
    }
}
