//! A sine from a fixed-point phase, the same bits on every machine.

/// A whole cycle in the units of a phase, as a float.
pub(crate) const CYCLE: f64 = 18_446_744_073_709_551_616.0; // 2^64

/// The sine of `phase`, where the whole range of `u64` is one cycle: adding to
/// a phase wraps by itself and never loses precision, however long it runs.
///
/// The Taylor series to the 15th power, after folding into a quarter cycle:
/// wrong by less than 1e-11. The system's `sin` may differ between machines in
/// its last bit; this may not.
pub(crate) fn sine(phase: u64) -> f64 {
    // As signed, the phase runs over half a cycle either way: −1 to 1.
    #[allow(clippy::cast_possible_wrap)]
    let half_cycles = phase as i64 as f64 / (CYCLE / 2.0);
    let folded = if half_cycles.abs() > 0.5 { half_cycles.signum() - half_cycles } else { half_cycles };
    let x = folded * std::f64::consts::PI;
    let s = x * x;
    let series = [
        -1.0 / 1_307_674_368_000.0,
        1.0 / 6_227_020_800.0,
        -1.0 / 39_916_800.0,
        1.0 / 362_880.0,
        -1.0 / 5_040.0,
        1.0 / 120.0,
        -1.0 / 6.0,
        1.0,
    ];
    x * series.into_iter().fold(0.0, |sum, term| sum * s + term)
}

/// The cosine of `phase`.
pub(crate) fn cosine(phase: u64) -> f64 {
    sine(phase.wrapping_add(1 << 62))
}

/// The phase that stands `cycles` cycles from the start; whole cycles fall
/// away.
pub(crate) fn phase(cycles: f64) -> u64 {
    ((cycles - cycles.floor()) * CYCLE) as u64
}

/// The phase at `nanos` of a wave that repeats every `period_ms`. Exact for any
/// time, so that motion does not coarsen over hours.
pub(crate) fn phase_at(nanos: u64, period_ms: u64) -> u64 {
    let period = period_ms.max(1) * 1_000_000;
    let within = u128::from(nanos % period);
    u64::try_from((within << 64) / u128::from(period)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sine_is_that_of_the_library_all_round() {
        for step in -200..200 {
            let cycles = f64::from(step) / 100.0 + 0.000_31;
            let (ours, theirs) = (sine(phase(cycles)), (cycles * std::f64::consts::TAU).sin());
            assert!((ours - theirs).abs() < 1e-11, "{cycles}: {ours} {theirs}");
            let (ours, theirs) = (cosine(phase(cycles)), (cycles * std::f64::consts::TAU).cos());
            assert!((ours - theirs).abs() < 1e-11, "{cycles}: {ours} {theirs}");
        }
    }

    #[test]
    fn a_phase_stays_exact_after_a_year() {
        let year = 365 * 86_400 * 1_000_000_000u64;
        assert_eq!(phase_at(year + 250_000_000, 1000), 1 << 62);
    }
}
