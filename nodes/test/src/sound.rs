//! What every source of sound here may be asked for.

use sidetone_core::{AudioFormat, MediaType, Negotiated, ParamSpec, Params};

/// Samples per second.
pub(crate) const RATE: ParamSpec =
    ParamSpec::int("rate", 48_000, 8_000, 192_000, "Samples per second.").unit("Hz");

/// How many channels.
pub(crate) const CHANNELS: ParamSpec = ParamSpec::int("channels", 1, 1, 8, "Channels, all alike.");

/// How long a frame is.
pub(crate) const FRAME: ParamSpec =
    ParamSpec::float("frame_ms", 10.0, 2.5, 60.0, "Length of a frame.").unit("ms");

/// The layout that `rate`, `channels` and `frame_ms` ask for.
pub(crate) fn format(params: &Params) -> AudioFormat {
    let rate = params.int("rate") as u32;
    let samples = (f64::from(rate) * params.float("frame_ms") / 1000.0).round() as u32;
    AudioFormat { rate, channels: params.int("channels") as u16, samples }
}

/// What a source's port carries, and the frame it waits for: it comes out when
/// its last sample has been captured.
pub(crate) fn negotiated(params: &Params) -> Negotiated {
    let format = format(params);
    let media = MediaType::Audio {
        rate: Some(format.rate),
        channels: Some(format.channels),
        samples: Some(format.samples),
    };
    Negotiated::new([media]).latency(format.duration())
}
