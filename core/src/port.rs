//! `PortSpec`: a typed end of a node, as its kind declares it.

use crate::media_type::MediaType;

/// A port that a kind of node declares.
#[derive(Clone, Copy, Debug)]
pub struct PortSpec {
    /// Its name in graph files.
    pub name: &'static str,
    /// What it carries, as far as the kind fixes it.
    pub media: MediaType,
    /// For an input: whether the graph must link it.
    pub required: bool,
    /// For an input: whether several links may feed it.
    pub many: bool,
    /// For an output: the group whose every member has one of it, such as
    /// "participant"; a template links it.
    pub each: Option<&'static str>,
    /// Whether only a link that names it means it: where a port is left out, it does
    /// not come into question.
    pub by_name: bool,
    /// One sentence.
    pub doc: &'static str,
}

impl PortSpec {
    /// An input that must be linked once, or an output. \[any\]
    #[must_use]
    pub const fn new(name: &'static str, media: MediaType, doc: &'static str) -> Self {
        Self { name, media, required: true, many: false, each: None, by_name: false, doc }
    }

    /// The same input, but it may stay unlinked. \[any\]
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// The same input, but any number of links may feed it. \[any\]
    #[must_use]
    pub const fn many(mut self) -> Self {
        self.many = true;
        self
    }

    /// The same port, but only a link that names it means it. \[any\]
    #[must_use]
    pub const fn by_name(mut self) -> Self {
        self.by_name = true;
        self
    }

    /// The same output, but one for every member of `group`. \[any\]
    #[must_use]
    pub const fn each(mut self, group: &'static str) -> Self {
        self.each = Some(group);
        self
    }
}
