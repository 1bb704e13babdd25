//! `Reading`: one measured figure, as every measuring program prints it: a line
//! of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One measured figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Which row of the results.
    pub(crate) row: String,
    /// Whose figure.
    pub(crate) who: String,
    /// Which case of the row, such as the number of nodes.
    pub(crate) case: String,
    /// What was measured, unit included: `cpu_ns_per_buffer`.
    pub(crate) metric: String,
    /// The figure.
    pub(crate) value: f64,
}

/// What one measurement found: metrics and their values.
pub(crate) type Readings = Vec<(&'static str, f64)>;

/// The value that a share `q` (0 to 1) of `sorted` does not exceed; 0 where
/// there are none.
pub(crate) fn quantile(sorted: &[u64], q: f64) -> u64 {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}

/// Nanoseconds, with their fraction lost.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
