//! Reading what foreign code points at, and the numbers it gives.

use std::ffi::c_char;

/// The longest text that is read; whatever a plugin says beyond is cut off.
const LONGEST: usize = 4096;

/// The text at `text`, invalid UTF-8 replaced, at most 4096 bytes of it; empty for
/// a null pointer. \[control\]
///
/// # Safety
/// `text` is null or points at bytes that can be read up to a zero or to the
/// 4096th.
pub(crate) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST {
        // SAFETY: the caller promises that what stands before a zero can be read.
        match unsafe { text.add(bytes.len()).read() } {
            0 => break,
            byte => bytes.push(byte.cast_unsigned()),
        }
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// `value` to seven places, all that a 32-bit number holds: 0.1, not 0.10000000149. \[control\]
pub(crate) fn round7(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_cut_mended_and_may_be_missing() {
        // SAFETY: null, and two texts that end with a zero or are long enough.
        let read = |bytes: &[u8]| unsafe { text(bytes.as_ptr().cast()) };
        // SAFETY: null is allowed.
        assert_eq!(unsafe { text(std::ptr::null()) }, "");
        assert_eq!(read(b" a\xffb \0c"), "a\u{fffd}b");
        assert_eq!(read(&[b'x'; 5000]).len(), LONGEST);
    }
}
