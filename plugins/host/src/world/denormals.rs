//! Numbers too small for full speed count as zero while sound effects run: filters
//! that ring out would else take a hundred times as long.

/// Runs `work` with numbers that are too small for full precision read and written
/// as zero, where the processor can (x86-64, AArch64). \[real-time\]
pub fn flushed<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(Word);
    impl Drop for Restore {
        fn drop(&mut self) {
            write(self.0);
        }
    }
    let before = read();
    let _restore = Restore(before);
    write(before | FLUSH);
    work()
}

#[cfg(target_arch = "x86_64")]
type Word = u32;
/// Flush to zero (bit 15) and denormals are zero (bit 6) of MXCSR.
#[cfg(target_arch = "x86_64")]
const FLUSH: Word = 1 << 15 | 1 << 6;

#[cfg(target_arch = "x86_64")]
fn read() -> Word {
    let mut word = 0_u32;
    // SAFETY: every x86-64 has MXCSR; it is stored to `word`, nothing else changes.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
    word
}

#[cfg(target_arch = "x86_64")]
fn write(word: Word) {
    // SAFETY: `word` was read from MXCSR, with two defined bits set at most;
    // `flushed` writes the old word back before any other code of ours goes on.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags)) };
}

#[cfg(target_arch = "aarch64")]
type Word = u64;
/// Flush to zero (bit 24) of FPCR.
#[cfg(target_arch = "aarch64")]
const FLUSH: Word = 1 << 24;

#[cfg(target_arch = "aarch64")]
fn read() -> Word {
    let word;
    // SAFETY: every AArch64 has FPCR; reading it changes nothing.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) };
    word
}

#[cfg(target_arch = "aarch64")]
fn write(word: Word) {
    // SAFETY: `word` was read from FPCR, with one defined bit set at most;
    // `flushed` writes the old word back before any other code of ours goes on.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) word, options(nomem, nostack, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Word = u8;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FLUSH: Word = 0;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn read() -> Word {
    0
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn write(_: Word) {}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn tiny_numbers_are_zero_inside_and_themselves_after_even_when_work_panics() {
        let halved = || black_box(black_box(f32::MIN_POSITIVE) * black_box(0.5));
        assert!(halved() > 0.0);
        assert_eq!(flushed(halved).to_bits(), 0);
        assert!(std::panic::catch_unwind(|| flushed(|| panic!("on purpose"))).is_err());
        assert!(halved() > 0.0);
    }
}
