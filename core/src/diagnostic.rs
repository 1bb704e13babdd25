//! `Diagnostic`: what is wrong with a graph, where, and what to do about it.

/// A stretch of one of the files that a graph was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which file: its index in `Sources`.
    pub file: u32,
    /// Its first byte.
    pub start: u32,
    /// The byte after its last.
    pub end: u32,
}

/// The files that a graph was read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

/// A file that was read.
#[derive(Clone, Debug)]
struct Source {
    label: String,
    text: String,
}
