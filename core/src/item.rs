//! `Item`: a value of a graph file, with its place, whatever it stands for.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Place};

/// Something and where a graph file says it.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) place: Place,
    pub(crate) it: T,
}

impl<T> At<T> {
    pub(crate) const fn new(place: Place, it: T) -> Self {
        Self { place, it }
    }
}

/// A value of a graph file.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    Array(Vec<At<Item>>),
    Table(Table),
    /// A date, or a number that no parameter can hold: the word for it.
    Other(&'static str),
}

impl Item {
    /// What it is, as a phrase.
    pub(crate) const fn what(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(what) => what,
        }
    }
}

/// The entries of a table, in the order of the file.
pub(crate) type Table = Vec<(At<String>, At<Item>)>;

/// Text, and where each of its bytes stands in the file: what an editor shows
/// may be longer than what it means, by quotes and escapes.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// The stretch of the file, quotes included.
    place: Place,
    /// For each place where the distance between text and file changes: the
    /// byte of the text, and that of the file.
    steps: Vec<(u32, u32)>,
}

impl Text {
    fn quoted(text: &str, source: &str, place: Place) -> Self {
        let raw = source.get(place.start as usize..place.end as usize).unwrap_or("");
        Self { text: text.to_owned(), place, steps: steps(raw, place.start) }
    }

    /// Where bytes `from` to `to` of the text stand in the file.
    pub(crate) fn place(&self, from: usize, to: usize) -> Place {
        let start = self.offset(from);
        let end = if to > from { self.offset(to - 1) + 1 } else { start };
        // The last character may be longer than a byte, or an escape.
        let end = if to >= self.text.len() { self.whole().end } else { end.max(self.offset(to)) };
        Place { file: self.place.file, start, end: end.max(start) }
    }

    /// Where the text stands, quotes aside.
    pub(crate) fn whole(&self) -> Place {
        let first = self.steps.first().map_or(self.place.start, |step| step.1);
        let quote = first - self.place.start;
        let quote = if quote >= 3 { 3 } else { quote };
        Place { file: self.place.file, start: first, end: self.place.end.saturating_sub(quote).max(first) }
    }

    fn offset(&self, at: usize) -> u32 {
        let at = at as u32;
        let step = self.steps.partition_point(|(text, _)| *text <= at);
        let (text, file) = step.checked_sub(1).map_or((0, self.place.start), |index| self.steps[index]);
        (file + (at - text)).min(self.place.end)
    }
}

/// Where text and file part company in a TOML string `raw` that begins at
/// `start`: after its opening quotes and after each escape.
fn steps(raw: &str, start: u32) -> Vec<(u32, u32)> {
    let quote = raw.chars().next().unwrap_or('"');
    let long = raw.len() >= 6 && raw.starts_with(&quote.to_string().repeat(3));
    let mut at = if long { 3 } else { 1 };
    if long {
        // A line break right after the opening quotes is not part of the text.
        at += if raw[at..].starts_with("\r\n") { 2 } else { usize::from(raw[at..].starts_with('\n')) };
    }
    let mut text = 0;
    let mut steps = vec![(0, start + at as u32)];
    if quote != '"' {
        return steps;
    }
    while let Some(next) = raw.get(at..).and_then(|rest| rest.find('\\')) {
        text += next;
        at += next;
        let rest = &raw[at + 1..];
        let digits = |count: usize| {
            let code = rest.get(1..=count).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            (count + 2, code.and_then(char::from_u32).map_or(1, char::len_utf8))
        };
        let (length, meaning) = match rest.chars().next() {
            Some('u') => digits(4),
            Some('U') => digits(8),
            Some('x') => digits(2),
            Some(c) if c.is_whitespace() => (1 + rest.len() - rest.trim_start().len(), 0),
            Some(c) => (1 + c.len_utf8(), 1),
            None => (1, 0),
        };
        at += length;
        text += meaning;
        steps.push((text as u32, start + at as u32));
    }
    steps
}

/// How many dots of keys such as `a.b.c.d.e.f.g.h.i` a file may hold: each one
/// nests a table, and what is nested without bound takes the stack with it.
const DOTS: usize = 512;

/// The tables of a TOML text. What is no TOML is added to `found`, in which
/// case what is given back is of no use.
pub(crate) fn parse(file: u32, source: &str, found: &mut Vec<Diagnostic>) -> Table {
    if let Some(start) = too_many_dots(source) {
        let place = Place { file, start, end: start + 1 };
        let message = "keys are nested too deeply";
        found.push(Diagnostic::error(message).at(place, "").help("no part of a graph file nests this deep"));
        return Table::new();
    }
    let (table, errors) = DeTable::parse_recoverable(source);
    let mut spans: Vec<_> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    spans.sort_by_key(|(span, _)| span.start);
    let mut line_end = None;
    for (span, message) in spans {
        // What follows a mistake in its line is mostly an echo of it.
        if line_end.is_some_and(|end| span.start < end) {
            continue;
        }
        let rest = source.get(span.start..).unwrap_or("");
        line_end = Some(span.start + rest.find('\n').map_or(rest.len(), |at| at + 1));
        found.push(syntax_error(message, rest, place(file, &span)));
    }
    convert_table(file, source, table.get_ref())
}

fn syntax_error(message: &str, rest: &str, place: Place) -> Diagnostic {
    let found = |message: &str| Diagnostic::error(message).at(place, "");
    let quoted = "text stands between double quotes, on one line: \"like this\"";
    match message {
        "duplicate key" => Diagnostic::error("this name is given twice")
            .at(place, "given before, too")
            .help("keep one of them, or rename the other"),
        m if m.contains("recursion") => {
            found("this is nested too deeply").help("no part of a graph file nests this deep")
        }
        m if m.contains("must be quoted")
            && rest.trim_start_matches([' ', '\t', '\r']).starts_with(['\n', '#']) =>
        {
            found("a value is missing here").help("give one, or take the line out")
        }
        m if m.contains("must be quoted") && !rest.is_empty() => {
            found("text must be quoted here").help(quoted)
        }
        m if m.contains("must be quoted") => found("the file ends where a value should be"),
        m if m.contains("invalid basic string") => found("this text has no closing quote").help(quoted),
        m if m.contains("string") => found(&format!("this is not TOML: {m}")).help(quoted),
        m => found(&format!("this is not TOML: {m}")),
    }
}

/// Where the dots of dotted keys become too many, if they do.
fn too_many_dots(source: &str) -> Option<u32> {
    let mut total = 0;
    let mut start = 0;
    for line in source.split_inclusive('\n') {
        if !line.trim_start().starts_with('#') {
            let mut run = 0;
            for (at, byte) in line.bytes().enumerate() {
                match byte {
                    b'.' => run += 1,
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'"' | b'\'' | b' ' | b'\t' => {}
                    _ => run = 0,
                }
                // Short runs are bounded by the depth of brackets.
                total += usize::from(byte == b'.' && run > 8);
                if total > DOTS {
                    return Some((start + at) as u32);
                }
            }
        }
        start += line.len();
    }
    None
}

fn place(file: u32, span: &std::ops::Range<usize>) -> Place {
    Place { file, start: span.start as u32, end: span.end as u32 }
}

fn convert_table(file: u32, source: &str, table: &DeTable<'_>) -> Table {
    let mut entries: Table = table
        .iter()
        .map(|(key, value)| {
            (At::new(place(file, &key.span()), key.get_ref().to_string()), convert(file, source, value))
        })
        .collect();
    entries.sort_by_key(|(key, _)| key.place);
    entries
}

fn convert(file: u32, source: &str, value: &Spanned<DeValue<'_>>) -> At<Item> {
    let place = place(file, &value.span());
    let item = match value.get_ref() {
        DeValue::String(text) => Item::Text(Text::quoted(text, source, place)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Item::Other("a number too large"), Item::Int),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Item::Other("a number too large"), Item::Float)
        }
        DeValue::Boolean(value) => Item::Bool(*value),
        DeValue::Datetime(_) => Item::Other("a date"),
        DeValue::Array(items) => Item::Array(items.iter().map(|item| convert(file, source, item)).collect()),
        DeValue::Table(table) => Item::Table(convert_table(file, source, table)),
    };
    At::new(place, item)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(source: &str) -> Text {
        let mut found = Vec::new();
        let mut table = parse(0, source, &mut found);
        assert_eq!(found, []);
        match table.remove(0).1.it {
            Item::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_inside_text_survive_quotes_and_escapes() {
        for source in [
            "k = \"say mic now\"",
            "k = 'say mic now'",
            "k = \"\"\"\nsay mic now\"\"\"",
            "k = \"\"\"\\\n   say mic now\"\"\"",
            "k = \"\\u00e9\\\"\\\\ mic\\t now\"",
            "k = \"éé mic \\x41\"",
            "k = '''\r\na 'quoted' mic'''",
        ] {
            let text = text_of(source);
            let at = text.text.find("mic").unwrap();
            let place = text.place(at, at + 3);
            assert_eq!(&source[place.start as usize..place.end as usize], "mic", "{source}");
        }
    }

    #[test]
    fn the_last_word_ends_before_the_quote() {
        let text = text_of("k = \"mic é\"");
        let place = text.place(4, text.text.len());
        assert_eq!((place.start, place.end), (9, 11));
        assert_eq!(text.whole(), Place { file: 0, start: 5, end: 11 });
    }

    #[test]
    fn several_mistakes_are_found_at_once_each_line_once() {
        let mut found = Vec::new();
        parse(0, "a = \nb = \"open\nc = 1\nc = 2\nd = [1, 2\n", &mut found);
        let lines: Vec<_> = found.iter().map(|f| f.labels[0].place.start).collect();
        assert!(found.len() >= 3, "{found:?}");
        assert!(lines.is_sorted(), "{found:?}");
    }

    #[test]
    fn nesting_without_end_is_refused_in_every_shape() {
        for source in [
            "a.".repeat(500_000) + "a = 1",
            format!("[{}a]", "a.".repeat(500_000)),
            format!("x = {}", "[".repeat(1_000_000)),
            format!("x = {}", "{a=".repeat(300_000)),
            format!("x = {}", "{a.b.c.d.e.f.g.h=".repeat(60_000)),
            (0..50_000).map(|n| format!("a.b.c.d.e.f.g.h.i.j.k.l.m{n} = 1\n")).collect(),
        ] {
            let mut found = Vec::new();
            parse(0, &source, &mut found);
            assert!(!found.is_empty());
        }
    }
}
