//! `Comparison`: what comparing media with how they were came to, as figures.

use sidetone_core::{Context, EventKind, Figure, MediaType, Mismatch, Negotiated, Offer};

/// The input of what was.
pub(crate) const REFERENCE: usize = 0;
/// The input of what came of it.
pub(crate) const IN: usize = 1;

/// Ratios in dB: their mean, and the worst of them.
pub(crate) struct Comparison {
    /// What both are called.
    names: [&'static str; 2],
    pub(crate) count: u64,
    sum_db: f64,
    worst_db: f64,
}

impl Comparison {
    pub(crate) const fn new(names: [&'static str; 2]) -> Self {
        Self { names, count: 0, sum_db: 0.0, worst_db: f64::INFINITY }
    }

    pub(crate) fn add(&mut self, db: f64) {
        self.count += 1;
        self.sum_db += db;
        self.worst_db = self.worst_db.min(db);
    }

    /// Tells both, if anything was compared, and which share of `all` is missing.
    pub(crate) fn tell(&self, missing: u64, all: u64, cx: &mut Context<'_>) {
        let mut tell = |name, unit, value| cx.emit(EventKind::Figure(Figure { name, unit, value }));
        if self.count > 0 {
            tell(self.names[0], "dB", self.sum_db / self.count as f64);
            tell(self.names[1], "dB", self.worst_db);
        }
        if all > 0 {
            tell("missing", "%", 100.0 * missing as f64 / all as f64);
        }
    }
}

/// Refuses what differs from the reference in what `of` gives, where both are
/// known: by `refuse`, given the reference's.
pub(crate) fn alike<T: PartialEq>(
    offer: &Offer<'_>,
    of: impl Fn(MediaType) -> Option<T>,
    refuse: impl Fn(T) -> Mismatch,
) -> Result<Negotiated, Mismatch> {
    let at = |port: usize| offer.inputs.get(port).copied().flatten().and_then(&of);
    match (at(REFERENCE), at(IN)) {
        (Some(was), Some(is)) if was != is => Err(refuse(was)),
        _ => Ok(Negotiated::default()),
    }
}

/// The last figures that `node` told.
#[cfg(test)]
pub(crate) fn figures(node: &mut sidetone_core::harness::Harness) -> Vec<(&'static str, f64)> {
    let mut last: Vec<(&'static str, f64)> = Vec::new();
    for event in node.events() {
        if let EventKind::Figure(Figure { name, value, .. }) = event {
            last.retain(|(known, _)| *known != name);
            last.push((name, value));
        }
    }
    last
}
