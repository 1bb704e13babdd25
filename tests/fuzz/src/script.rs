//! A sequence of packets in one input: what a peer sends, and when.
//!
//! Each step is a byte of time to wait, a byte of flags, a 16-bit length, and so
//! many bytes, or as many as there are. Any bytes are a script.

use std::time::Duration;

use sidetone::Flags;

/// The flags that a bit of a step's second byte stands for.
const FLAGS: [Flags; 5] = [Flags::KEY, Flags::LOST, Flags::DISCONTINUITY, Flags::SILENCE, Flags::MARKER];

/// The most steps that are looked at.
const MOST_STEPS: usize = 512;

/// Up to this a wait counts milliseconds, above it tenths of a second.
const FINE: u8 = 200;

/// One packet.
pub(crate) struct Step<'a> {
    pub(crate) wait: Duration,
    pub(crate) flags: Flags,
    pub(crate) bytes: &'a [u8],
}

/// The steps of a script.
pub(crate) fn steps(mut script: &[u8]) -> impl Iterator<Item = Step<'_>> {
    let next = move || {
        let (&[wait, flags, high, low], rest) = script.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        script = rest;
        let millis = if wait <= FINE { u64::from(wait) } else { 100 * u64::from(wait - FINE) };
        let set = (0..FLAGS.len()).filter(|bit| flags >> bit & 1 == 1);
        let flags = set.fold(Flags::default(), |all, bit| all.with(FLAGS[bit]));
        Some(Step { wait: Duration::from_millis(millis), flags, bytes })
    };
    std::iter::from_fn(next).take(MOST_STEPS)
}

/// The script in which `packets` come `wait_ms` apart (200 at most).
pub(crate) fn script(wait_ms: u8, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut script = Vec::new();
    for packet in packets {
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        let [high, low] = length.to_be_bytes();
        script.extend([wait_ms, 0, high, low]);
        script.extend(&packet[..usize::from(length)]);
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_written_and_a_cut_one_as_far_as_it_goes() {
        let mut bytes = script(20, &[vec![1, 2, 3], vec![], vec![4; 300]]);
        bytes[1] = 0b10010;
        let read: Vec<_> = steps(&bytes[..bytes.len() - 1]).collect();
        assert_eq!(read.iter().map(|step| step.bytes.len()).collect::<Vec<_>>(), [3, 0, 299]);
        assert_eq!(read[0].flags, Flags::LOST.with(Flags::MARKER));
        assert_eq!(read[1].wait, Duration::from_millis(20));
        assert_eq!(steps(&[255; 7]).next().unwrap().wait, Duration::from_millis(5_500));
    }
}
