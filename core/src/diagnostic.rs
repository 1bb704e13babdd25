//! `Diagnostic`: what is wrong with a graph, where, and what to do about it.
//!
//! As text it points into the graph file:
//!
//! ```text
//! error: a raw video port cannot feed a packet port
//!   --> graphs/call.toml:9:4
//!    | "cam -> pack_video"
//!    |  ^^^ cam.out gives raw video, I420, 640x360 at 30 fps
//!    |         ^^^^^^^^^^ pack_video.in takes AV1 packets
//!    = put an encoder between them, for example { kind = "codec.av1_encode" }
//! ```
//!
//! As JSON (`serde::Serialize`) it says the same to editors and scripts.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

/// Whether a graph with such a problem can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but is hardly what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

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

/// A place and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// What; may be empty.
    pub text: String,
}

/// A problem with a graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a sentence.
    pub message: String,
    /// Where; the first label is the place that the problem is listed under.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Vec<String>,
    /// What the system said, where it refused a node its file or device.
    pub refused: Option<io::ErrorKind>,
}

impl Diagnostic {
    /// An error that says `message`. \[control\]
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            help: Vec::new(),
            refused: None,
        }
    }

    /// A warning that says `message`. \[control\]
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// The same, pointing at `place` with `text`. \[control\]
    #[must_use]
    pub fn at(mut self, place: Place, text: impl Into<String>) -> Self {
        self.labels.push(Label { place, text: text.into() });
        self
    }

    /// The same, with advice. \[control\]
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.help.push(text);
        }
        self
    }
}

/// The files that a graph was read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

#[derive(Clone)]
struct Source {
    label: String,
    text: String,
    /// Where each line begins.
    lines: Vec<u32>,
    /// Whether it is a file, in which a line and a column lead somewhere.
    is_file: bool,
}

impl fmt::Debug for Source {
    /// Its name alone: its text is long, and may hold what is not to be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.label.fmt(f)
    }
}

impl Sources {
    /// Adds a file and gives its index. \[control\]
    pub fn add(&mut self, label: impl Into<String>, text: impl Into<String>) -> u32 {
        self.files.push(Source::new(label.into(), text.into(), true));
        self.files.len() as u32 - 1
    }

    /// Adds what was given otherwise than in a file.
    pub(crate) fn add_given(&mut self, label: &str, text: String) -> u32 {
        self.files.push(Source::new(label.to_owned(), text, false));
        self.files.len() as u32 - 1
    }

    /// The same, in the place of an earlier text with that label that is not among
    /// the `used` ones, so that however many come there are no more than are used.
    pub(crate) fn add_anew(&mut self, label: &str, text: String, used: &BTreeSet<u32>) -> u32 {
        let is_free = |(index, source): &(usize, &Source)| {
            !source.is_file && source.label == label && !used.contains(&(*index as u32))
        };
        match self.files.iter().enumerate().find(is_free) {
            Some((index, _)) => {
                self.files[index] = Source::new(label.to_owned(), text, false);
                index as u32
            }
            None => self.add_given(label, text),
        }
    }

    /// How many texts there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.files.len()
    }

    /// The name of a file, as it was given to whoever read it. \[control\]
    #[must_use]
    pub fn label(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", |source| &source.label)
    }

    /// The whole text of a file.
    pub(crate) fn whole(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", |source| &source.text)
    }

    /// The text at `place`. \[control\]
    #[must_use]
    pub fn text(&self, place: Place) -> &str {
        let source = self.files.get(place.file as usize);
        source.and_then(|source| source.text.get(place.start as usize..place.end as usize)).unwrap_or("")
    }

    /// The line and the column of a byte, both from 1; columns count
    /// characters. \[control\]
    #[must_use]
    pub fn position(&self, file: u32, offset: u32) -> (usize, usize) {
        let Some(source) = self.files.get(file as usize) else { return (1, 1) };
        let line = source.line_of(offset);
        let before = source.text.get(source.lines[line] as usize..offset as usize).unwrap_or("");
        (line + 1, before.chars().count() + 1)
    }
}

impl Source {
    fn new(label: String, text: String, is_file: bool) -> Self {
        let after_newline = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(after_newline).map(|at| at as u32).collect();
        Self { label, text, lines, is_file }
    }

    fn line_of(&self, offset: u32) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn line(&self, index: usize) -> &str {
        let start = self.lines[index] as usize;
        let end = self.lines.get(index + 1).map_or(self.text.len(), |next| *next as usize);
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }
}

/// Every problem found with a graph, by file and place, and the files'
/// texts. As text the first hundred are shown.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The problems: the first thousand of them.
    pub list: Vec<Diagnostic>,
    /// How many there are beyond those.
    pub more: usize,
    /// The files that they point into.
    pub sources: Arc<Sources>,
}

impl Diagnostics {
    /// `list` in the order of files and places, each problem once. \[control\]
    #[must_use]
    pub fn new(mut list: Vec<Diagnostic>, sources: Arc<Sources>) -> Self {
        let mut seen = std::collections::HashSet::new();
        list.retain(|diagnostic| seen.insert(diagnostic.clone()));
        list.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.place));
        let more = list.len().saturating_sub(KEPT);
        list.truncate(KEPT);
        Self { list, more, sources }
    }

    /// Whether there is an error among them. \[any\]
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// How many problems are kept.
const KEPT: usize = 1_000;
/// How many of them the text shows.
const SHOWN: usize = 100;
/// How many characters of a line the text shows.
const WIDTH: usize = 110;
/// How many of them stand before the first place of interest, in a long line.
const BEFORE: usize = 30;

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            self.write(diagnostic, f)?;
        }
        let more = self.list.len().saturating_sub(SHOWN) + self.more;
        if more > 0 {
            writeln!(f, "\nand {more} more")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostics {
    fn write(&self, diagnostic: &Diagnostic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", diagnostic.severity, plain(&diagnostic.message))?;
        for group in self.groups(&diagnostic.labels) {
            self.write_excerpt(&group, f)?;
        }
        for help in &diagnostic.help {
            for (index, line) in help.lines().enumerate() {
                writeln!(f, "   {} {}", if index == 0 { '=' } else { ' ' }, plain(line))?;
            }
        }
        Ok(())
    }

    /// Labels that share an excerpt, since they stand near each other on one
    /// line.
    fn groups<'a>(&self, labels: &'a [Label]) -> Vec<Vec<&'a Label>> {
        let mut groups: Vec<Vec<&Label>> = Vec::new();
        for label in labels {
            let near = |other: &&Label| {
                let (a, b) = (self.position(label), self.position(other));
                label.place.file == other.place.file && a.0 == b.0 && a.1.abs_diff(b.1) < WIDTH - BEFORE
            };
            match groups.iter_mut().find(|group| group.iter().all(near)) {
                Some(group) => group.push(label),
                None => groups.push(vec![label]),
            }
        }
        for group in &mut groups {
            group.sort_by_key(|label| label.place);
        }
        groups
    }

    fn position(&self, label: &Label) -> (usize, usize) {
        self.sources.position(label.place.file, label.place.start)
    }

    fn write_excerpt(&self, group: &[&Label], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = group.first().map(|label| label.place) else { return Ok(()) };
        let Some(source) = self.sources.files.get(place.file as usize) else { return Ok(()) };
        let (line, column) = self.sources.position(place.file, place.start);
        match source.is_file {
            true => writeln!(f, "  --> {}:{line}:{column}", plain(&source.label))?,
            false => writeln!(f, "  --> {}", plain(&source.label))?,
        }

        let text = source.line(line - 1);
        let line_start = source.lines[line - 1];
        // The stretch of each label in characters of this line; at least one.
        let stretch = |label: &Label| {
            let byte = |at: u32| (at.saturating_sub(line_start) as usize).min(text.len());
            let start = chars_before(text, byte(label.place.start));
            (start, chars_before(text, byte(label.place.end)).max(start + 1))
        };
        let last = group.iter().map(|label| stretch(label).1).max().unwrap_or(0);
        let mut end = text.trim_end().chars().count();
        // A comma that parts this item from the next says nothing here.
        if text.trim_end().ends_with(',') && last < end {
            end -= 1;
        }
        let mut start = text.chars().take_while(|c| c.is_whitespace()).count().min(column - 1);
        if end - start.min(end) > WIDTH {
            start = start.max((column - 1).saturating_sub(BEFORE));
            end = end.min(start + WIDTH);
        }
        let cut = if text.chars().take(start).any(|c| !c.is_whitespace()) { "…" } else { "" };
        let more = if text.trim_end().chars().count() > end + 1 { "…" } else { "" };
        let shown: String = text.chars().skip(start).take(end.saturating_sub(start)).collect();
        writeln!(f, "   | {cut}{}{more}", plain(&shown))?;
        for label in group {
            let (from, to) = stretch(label);
            let from = from.max(start);
            let indent = from - start + cut.chars().count();
            let carets = to.min(end.max(from + 1)).saturating_sub(from).max(1);
            let row = format!("   | {:indent$}{:^<carets$} {}", "", "", plain(&label.text));
            writeln!(f, "{}", row.trim_end())?;
        }
        Ok(())
    }
}

fn chars_before(text: &str, byte: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < byte).count()
}

/// `text` without characters that would act on a terminal.
fn plain(text: &str) -> String {
    let safe = |c: char| match c {
        '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(safe).collect()
}

impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.list.iter().map(|diagnostic| Located(diagnostic, &self.sources)))
    }
}

/// A diagnostic with what its places mean.
struct Located<'a>(&'a Diagnostic, &'a Sources);

impl Serialize for Located<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct LabelJson<'a> {
            file: &'a str,
            line: usize,
            column: usize,
            end_line: usize,
            end_column: usize,
            text: &'a str,
        }
        let Self(diagnostic, sources) = self;
        let labels: Vec<_> = diagnostic
            .labels
            .iter()
            .map(|Label { place, text }| {
                let (line, column) = sources.position(place.file, place.start);
                let (end_line, end_column) = sources.position(place.file, place.end);
                LabelJson { file: sources.label(place.file), line, column, end_line, end_column, text }
            })
            .collect();
        let mut json = serializer.serialize_struct("Diagnostic", 4)?;
        json.serialize_field("severity", &diagnostic.severity)?;
        json.serialize_field("message", &diagnostic.message)?;
        json.serialize_field("labels", &labels)?;
        json.serialize_field("help", &diagnostic.help)?;
        json.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, part: &str) -> Place {
        let start = text.find(part).unwrap() as u32;
        Place { file: 0, start, end: start + part.len() as u32 }
    }

    fn one(text: &str, diagnostic: Diagnostic) -> Diagnostics {
        let mut sources = Sources::default();
        sources.add("graphs/call.toml", text);
        Diagnostics::new(vec![diagnostic], Arc::new(sources))
    }

    #[test]
    fn both_ends_of_a_link_are_underlined_in_one_excerpt() {
        let text = "sidetone = 1\nlinks = [\n  \"cam -> pack_video\",\n]\n";
        let found = Diagnostic::error("a raw video port cannot feed a packet port")
            .at(place(text, "cam"), "cam.out gives raw video, I420, 640x360 at 30 fps")
            .at(place(text, "pack_video"), "pack_video.in takes AV1 packets")
            .help("put an encoder between them, for example { kind = \"codec.av1_encode\" }");
        let expected = r#"error: a raw video port cannot feed a packet port
  --> graphs/call.toml:3:4
   | "cam -> pack_video"
   |  ^^^ cam.out gives raw video, I420, 640x360 at 30 fps
   |         ^^^^^^^^^^ pack_video.in takes AV1 packets
   = put an encoder between them, for example { kind = "codec.av1_encode" }
"#;
        let found = one(text, found);
        assert_eq!(found.to_string(), expected);
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json[0]["labels"][1]["column"], 11);
        assert_eq!(json[0]["labels"][1]["end_column"], 21);
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}HERE{}", "x".repeat(5_000), "y".repeat(5_000));
        let shown = one(&text, Diagnostic::error("m").at(place(&text, "HERE"), "this")).to_string();
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() < 130), "{shown}");
        assert_eq!(lines[2].find("HERE"), lines[3].find("^^^^").map(|at| at + "…".len() - 1), "{shown}");
    }

    #[test]
    fn columns_count_characters_and_terminals_stay_safe() {
        let text = "é\té\u{1b}[31m = HERE\n";
        let shown = one(text, Diagnostic::error("\u{1b}c").at(place(text, "HERE"), "")).to_string();
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert!(shown.contains(":1:12"), "{shown}");
    }

    #[test]
    fn places_outside_the_text_do_no_harm() {
        for (file, start, end) in [(0, 0, 0), (0, 3, 3), (0, 2, 900), (0, 900, 901), (7, 1, 2)] {
            let found =
                one("a\né\n", Diagnostic::error("m").at(Place { file, start, end }, "t").help("a\nb"));
            assert!(found.to_string().starts_with("error: m\n"));
        }
    }
}
