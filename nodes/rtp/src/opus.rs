//! What an Opus packet's first bytes say, RFC 6716 § 3.

/// Samples at 48 kHz that `payload` decodes to, 120 to 5,760; `None` if it is
/// no Opus packet. \[real-time\]
#[must_use]
pub fn samples(payload: &[u8]) -> Option<u32> {
    let toc = *payload.first()?;
    // § 3.1, table 2: the frame size by configuration.
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    // § 3.2: frames in the packet, by code.
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(payload.get(1)? & 0x3f),
    };
    let samples = frame * frames;
    // § 3.2.5: at most 120 ms, and not nothing.
    (1..=5_760).contains(&samples).then_some(samples)
}

/// Whether an encoder with discontinuous transmission says by `payload` that
/// nothing follows: a packet without audio data, at most two bytes. \[real-time\]
///
/// Such a frame has no length or length 0, § 3.2.1. libopus gives one for every
/// silent frame; senders (libwebrtc among them) transmit only the first.
#[must_use]
pub const fn is_silence(payload: &[u8]) -> bool {
    payload.len() <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_table() {
        for (payload, expected) in [
            (&[0u8 << 3][..], Some(480)),     // SILK 10 ms
            (&[3 << 3], Some(2_880)),         // SILK 60 ms
            (&[13 << 3], Some(960)),          // hybrid 20 ms
            (&[16 << 3], Some(120)),          // CELT 2.5 ms
            (&[31 << 3], Some(960)),          // CELT 20 ms
            (&[31 << 3 | 1], Some(1_920)),    // two frames
            (&[31 << 3 | 3, 6], Some(5_760)), // six: 120 ms
            (&[31 << 3 | 3, 7], None),        // seven: too long
            (&[31 << 3 | 3, 0], None),        // none
            (&[31 << 3 | 3], None),           // count missing
            (&[], None),
        ] {
            assert_eq!(samples(payload), expected, "{payload:?}");
        }
    }
}
