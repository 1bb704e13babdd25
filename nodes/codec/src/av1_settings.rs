//! What AV1 encoders are made from, read from a node's parameters and checked.

use sidetone_core::{MediaType, NodeError, Params, Size};

use crate::rav1e_encoder as rav1e;

/// What an encoder is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) size: Size,
    pub(crate) bitrate_kbps: u32,
    pub(crate) speed: u8,
    pub(crate) threads: u8,
    /// Frames per second to expect.
    pub(crate) fps: f64,
    /// Quantizers, 0 (best) to 63; `None`: the library's own bounds.
    pub(crate) min_q: Option<u8>,
    pub(crate) max_q: Option<u8>,
}

/// Why an encoder's library refused.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) &'static str);

/// The most pixels of a picture.
pub(crate) const MAX_PIXELS: u32 = 8_192 * 4_320;

/// Whether the encoder takes pictures of this size.
///
/// # Errors
/// What it takes.
pub(crate) fn check_size(size: Size, is_rav1e: bool) -> Result<(), &'static str> {
    let (least, most) = (size.width.min(size.height), size.width.max(size.height));
    if least < 1 || most > Size::MAX_SIDE || size.width * size.height > MAX_PIXELS {
        return Err("takes at most 16384 pixels a side and 8192x4320 in all");
    }
    if is_rav1e && least < rav1e::MIN_SIDE {
        return Err("takes at least 16x16 pixels with encoder = \"rav1e\"");
    }
    Ok(())
}

/// The frame rate given, or else that of the input.
pub(crate) fn fps(params: &Params, inputs: &[Option<MediaType>]) -> f64 {
    let input = match inputs.first() {
        Some(Some(MediaType::Video { fps: Some(fps), .. })) => Some(fps.per_second()),
        _ => None,
    };
    params.get("fps").map(sidetone_core::Value::as_float).or(input).unwrap_or(30.0).clamp(1.0, 240.0)
}

/// What is given for `name`, which is below 256.
fn given(params: &Params, name: &str) -> Option<u8> {
    params.get(name).map(|_| params.int(name) as u8)
}

/// The speed given, or the encoder's usual one.
pub(crate) fn speed(params: &Params) -> Result<u8, NodeError> {
    let (usual, speeds) = if params.text("encoder") == "rav1e" { (10, 6..=10) } else { (9, 5..=11) };
    let speed = given(params, "speed").unwrap_or(usual);
    if speeds.contains(&speed) {
        return Ok(speed);
    }
    let why = format!("must be from {} to {} with this encoder, not {speed}", speeds.start(), speeds.end());
    Err(NodeError::Param { name: "speed", why })
}

/// The least and the greatest, where given.
pub(crate) fn quantizers(params: &Params) -> Result<(Option<u8>, Option<u8>), NodeError> {
    let (min_q, max_q) = (given(params, "min_q"), given(params, "max_q"));
    if min_q.unwrap_or(0) <= max_q.unwrap_or(60) && min_q.unwrap_or(10) <= max_q.unwrap_or(63) {
        return Ok((min_q, max_q));
    }
    // The one that the graph gives is the one to change.
    Err(match min_q {
        Some(_) => NodeError::Param {
            name: "min_q",
            why: "must not be above max_q (unset: min_q 10, max_q 60)".into(),
        },
        None => NodeError::Param {
            name: "max_q",
            why: "must not be below min_q (unset: min_q 10, max_q 60)".into(),
        },
    })
}
