//! `--over`: which parameters a search turns, and over which values.

use std::sync::Arc;

use sidetone::{Diagnostic, Diagnostics, Graph, NoSetting, ParamKind, Place, Setting, Sources};

/// The most values that one knob may have.
const MOST_VALUES: usize = 10_000;

/// A parameter that is searched over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Knob {
    /// As `--set` takes it.
    pub(super) name: String,
    pub(super) values: Values,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    /// These, as `--set` takes them; `ordered` where they are numbers.
    Listed { texts: Vec<String>, ordered: bool },
    /// Any number from the first to the second.
    Between(f64, f64),
}

impl Knob {
    /// The value at `position`, which runs from 0 to `span`.
    pub(super) fn text(&self, position: f64) -> String {
        match &self.values {
            Values::Listed { texts, .. } => {
                let index = (position.max(0.0) as usize).min(texts.len().saturating_sub(1));
                texts.get(index).cloned().unwrap_or_default()
            }
            Values::Between(from, to) => {
                let exact = from + (to - from) * position.clamp(0.0, 1.0);
                // A thousandth of the range is as fine as anybody wants it.
                let decimals = (3.0 - (to - from).log10().floor()).clamp(0.0, 12.0) as usize;
                format!("{exact:.decimals$}")
            }
        }
    }

    /// Positions run from 0 up to this.
    pub(super) fn span(&self) -> f64 {
        self.count().map_or(1.0, |count| count as f64)
    }

    /// How many values there are; `None` where there is no end of them.
    pub(super) fn count(&self) -> Option<usize> {
        match &self.values {
            Values::Listed { texts, .. } => Some(texts.len()),
            Values::Between(..) => None,
        }
    }
}

/// Reads `NAME=VALUES …`, where values are parted by commas and may be ranges:
/// `a..b`, or `a..b/step`.
///
/// # Errors
/// All that is wrong, each with its place in the text.
pub(super) fn read(text: &str, graph: &Graph) -> Result<Vec<Knob>, Diagnostics> {
    let mut sources = Sources::default();
    let file = sources.add("--over", text);
    let mut reader = Reader { file, found: Vec::new() };
    let mut knobs: Vec<(Knob, Place)> = Vec::new();
    for (start, word) in words(text, char::is_whitespace, 0) {
        if let Some((knob, place)) = reader.knob(start, word, graph) {
            match knobs.iter().find(|(known, _)| known.name == knob.name) {
                Some((_, first)) => reader.found.push(
                    Diagnostic::error(format!("{} is given twice", knob.name))
                        .at(place, "")
                        .at(*first, "given here first")
                        .help("put all its values into one list, parted by commas"),
                ),
                None => knobs.push((knob, place)),
            }
        }
    }
    if knobs.is_empty() && reader.found.is_empty() {
        reader.found.push(Diagnostic::error("--over names no parameter").help(EXAMPLE));
    }
    match reader.found.is_empty() {
        true => Ok(knobs.into_iter().map(|(knob, _)| knob).collect()),
        false => Err(Diagnostics::new(reader.found, Arc::new(sources))),
    }
}

const EXAMPLE: &str = "for example --over 'enc.frame_ms=5,10,20 jitter.quantile=0.9..0.99'";

struct Reader {
    file: u32,
    found: Vec<Diagnostic>,
}

impl Reader {
    fn place(&self, start: usize, length: usize) -> Place {
        Place { file: self.file, start: start as u32, end: (start + length) as u32 }
    }

    /// The knob that `word` names, and where it does.
    fn knob(&mut self, start: usize, word: &str, graph: &Graph) -> Option<(Knob, Place)> {
        let Some((name, list)) = word.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let found = Diagnostic::error("this is no NAME=VALUES").at(self.place(start, word.len()), "");
            self.found.push(found.help(EXAMPLE));
            return None;
        };
        let named = self.place(start, name.len());
        let setting = match graph.setting(name) {
            Ok(setting) => setting,
            Err(NoSetting { message, help }) => {
                self.found.push(Diagnostic::error(message).at(named, "").help(help));
                return None;
            }
        };
        let before = self.found.len();
        let mut listed: Vec<String> = Vec::new();
        let mut between = None;
        let items: Vec<_> = words(list, |c| c == ',', start + name.len() + 1).collect();
        for (at, item) in &items {
            let place = self.place(*at, item.len());
            match self.item(name, setting, item, *at) {
                None => {}
                Some(Values::Listed { texts, .. }) => {
                    listed.extend(texts);
                    if listed.len() > MOST_VALUES {
                        let found = Diagnostic::error(format!("{name} has more than {MOST_VALUES} values"));
                        self.found.push(found.at(place, "").help("give the range a step: 0..1000000/1000"));
                        return None;
                    }
                }
                Some(range @ Values::Between(..)) if items.len() == 1 => between = Some(range),
                Some(Values::Between(..)) => {
                    let found = Diagnostic::error("a range without a step cannot stand in a list");
                    self.found.push(found.at(place, "").help(format!("give it a step: {item}/0.01")));
                }
            }
        }
        if self.found.len() > before {
            return None;
        }
        let ordered = matches!(setting.kind(), ParamKind::Int { .. } | ParamKind::Float { .. });
        let mut texts: Vec<String> = Vec::new();
        // Of values that stand there twice the first holds.
        listed.into_iter().for_each(|text| {
            if !texts.contains(&text) {
                texts.push(text);
            }
        });
        if texts.is_empty() && between.is_none() {
            let found = Diagnostic::error(format!("{name} is given no values"));
            self.found.push(found.at(named, "").help(format!("it takes {}", setting.takes())));
            return None;
        }
        let values = between.unwrap_or(Values::Listed { texts, ordered });
        Some((Knob { name: name.to_owned(), values }, named))
    }

    /// A value, or a range of them.
    fn item(&mut self, name: &str, setting: &Setting, item: &str, start: usize) -> Option<Values> {
        let whole = self.place(start, item.len());
        let numbers = matches!(setting.kind(), ParamKind::Int { .. } | ParamKind::Float { .. });
        let Some((from, rest)) = item.split_once("..").filter(|_| numbers) else {
            self.check(name, setting, item, whole)?;
            return Some(Values::Listed { texts: vec![item.to_owned()], ordered: numbers });
        };
        let (to, step) = rest.split_once('/').map_or((rest, None), |(to, step)| (to, Some(step)));
        let ends = [(from, start), (to, start + from.len() + 2)]
            .map(|(text, at)| self.check(name, setting, text, self.place(at, text.len())));
        let [Some(low), Some(high)] = ends else { return None };
        if low >= high {
            let found = Diagnostic::error("a range runs from the lesser to the greater").at(whole, "");
            self.found.push(found.help(format!("for example {name}={to}..{from}")));
            return None;
        }
        let is_whole = matches!(setting.kind(), ParamKind::Int { .. });
        let step = match step.map(str::parse::<f64>) {
            None if is_whole => 1.0,
            None => return Some(Values::Between(low, high)),
            Some(Ok(step)) if step > 0.0 && step.is_finite() && (!is_whole || step.fract() == 0.0) => step,
            Some(_) => {
                let at = start + item.rfind('/').unwrap_or(0) + 1;
                let kind = if is_whole { "a whole number above zero" } else { "a number above zero" };
                let found = Diagnostic::error(format!("a step must be {kind}"));
                self.found.push(found.at(self.place(at, start + item.len() - at), ""));
                return None;
            }
        };
        let count = ((high - low) / step + 1e-9).floor() as usize + 1;
        // One more than may be is enough to be told so.
        let text = |index: usize| number(low + step * index as f64, step, low);
        Some(Values::Listed { texts: (0..count.min(MOST_VALUES + 1)).map(text).collect(), ordered: true })
    }

    /// The number that `text` is, if the parameter takes it; 0 for other things
    /// that it takes.
    fn check(&mut self, name: &str, setting: &Setting, text: &str, place: Place) -> Option<f64> {
        match setting.read(text) {
            Ok(value) => Some(value.as_float()),
            Err(why) => {
                let unit = setting.unit();
                let unit = if unit.is_empty() { String::new() } else { format!("in {unit}") };
                self.found.push(Diagnostic::error(format!("{name} {why}")).at(place, unit));
                None
            }
        }
    }
}

/// `value` with as many decimals as the step and the first value have.
fn number(value: f64, step: f64, first: f64) -> String {
    let decimals = |x: f64| format!("{x}").split_once('.').map_or(0, |(_, decimals)| decimals.len());
    format!("{value:.*}", decimals(step).max(decimals(first)))
}

/// The stretches of `text` between what parts them, with where they begin.
fn words(
    text: &str,
    parts: impl Fn(char) -> bool + Copy,
    start: usize,
) -> impl Iterator<Item = (usize, &str)> {
    let mut at = start;
    text.split_inclusive(parts).filter_map(move |piece| {
        let here = at;
        at += piece.len();
        let word = piece.trim_end_matches(parts);
        (!word.is_empty()).then_some((here, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone::{LoadOptions, registry};
    use std::path::Path;

    fn graph() -> Graph {
        let text = r#"
            sidetone = 1
            links = ["tone -> enc -> pack -> jitter -> unpack -> decode -> level"]
            [params]
            kbps = { type = "int", default = 32, min = 6, max = 64, meaning = "Bitrate" }
            [nodes]
            tone = { kind = "test.tone" }
            enc = { kind = "codec.opus_encode", bitrate_kbps = "${kbps}" }
            pack = { kind = "rtp.pack_opus" }
            jitter = { kind = "rtp.jitter_buffer" }
            unpack = { kind = "rtp.unpack_opus" }
            decode = { kind = "codec.opus_decode" }
            level = { kind = "audio.level" }"#;
        let read = |_: &Path| Ok(text.as_bytes().to_vec());
        let options = LoadOptions { read: &read, ..LoadOptions::default() };
        Graph::load(Path::new("voice.toml"), &registry(), &options).unwrap_or_else(|why| panic!("{why}")).0
    }

    fn listed(texts: &[&str], ordered: bool) -> Values {
        Values::Listed { texts: texts.iter().map(|&text| text.into()).collect(), ordered }
    }

    #[test]
    fn lists_ranges_and_words_become_values() {
        let text = "enc.frame_ms=2.5,5,10,5 jitter.quantile=0.9..0.99 enc.complexity=1..3 \
                    kbps=16..40/8,64 enc.application=voip,audio jitter.min_ms=0..100/50 tone.am_hz=0..1/0.25 \
                    enc.fec=true,false";
        let values: Vec<_> = read(text, &graph())
            .unwrap_or_else(|why| panic!("{why}"))
            .into_iter()
            .map(|knob| knob.values)
            .collect();
        let expected = [
            listed(&["2.5", "5", "10"], true),
            Values::Between(0.9, 0.99),
            listed(&["1", "2", "3"], true),
            listed(&["16", "24", "32", "40", "64"], true),
            listed(&["voip", "audio"], false),
            listed(&["0", "50", "100"], true),
            listed(&["0.00", "0.25", "0.50", "0.75", "1.00"], true),
            listed(&["true", "false"], false),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn a_range_is_read_off_as_finely_as_matters() {
        let knob = Knob { name: String::new(), values: Values::Between(0.9, 0.99) };
        assert_eq!([0.0, 0.5, 1.0].map(|at| knob.text(at)), ["0.90000", "0.94500", "0.99000"]);
        let knob = Knob { name: String::new(), values: Values::Between(0.0, 2000.0) };
        assert_eq!(knob.text(0.123_4), "247");
    }

    #[test]
    fn mistakes_point_at_their_column_and_say_what_was_meant() {
        for (text, column, message, help) in [
            ("jiter.quantile=0.9", 1, "there is no node jiter", "did you mean jitter?"),
            ("jitter.quantil=0.9", 1, "jitter has no parameter quantil", "did you mean quantile?"),
            ("kbs=16", 1, "the graph has no parameter kbs", "did you mean kbps?"),
            ("kbps=16 jitter.quantile=0.9,2", 29, "quantile must be a number from 0.5 to 0.999, not 2", ""),
            ("jitter.quantile=0.9..1.5", 22, "must be a number from 0.5 to 0.999, not 1.5", ""),
            ("jitter.quantile=0.99..0.9", 17, "from the lesser to the greater", "0.9..0.99"),
            ("jitter.quantile=0.6,0.9..0.99", 21, "cannot stand in a list", "give it a step"),
            ("kbps=6..60/0.5", 12, "a step must be a whole number", ""),
            ("enc.application=voip,speach", 22, "must be one of", ""),
            ("kbps=6.5", 6, "must be a whole number from 6 to 64", ""),
            ("kbps=16 kbps=32", 1, "kbps is given twice", "one list"),
            ("kbps", 1, "this is no NAME=VALUES", "for example"),
            ("kbps=,", 1, "kbps is given no values", "from 6 to 64"),
            ("tone.frequency_hz=20..20000/0.1", 19, "more than 10000 values", "step"),
        ] {
            let told = read(text, &graph()).unwrap_err().to_string();
            assert!(told.contains(&format!("--> --over:1:{column}\n")), "{text}: {told}");
            assert!(told.contains(message) && told.contains(help), "{text}: {told}");
        }
        assert!(read("  ", &graph()).unwrap_err().to_string().contains("names no parameter"));
    }
}
