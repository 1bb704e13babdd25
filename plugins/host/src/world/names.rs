//! Names of foreign parameters, as graph files write them.

use std::collections::HashSet;

/// What a graph file says of a node beside its parameters, and what every foreign
/// effect has of its own: no parameter may be called so.
const TAKEN: [&str; 9] =
    ["kind", "part", "when", "lane", "on_fault", "effect", "isolate", "deadline_ms", "degrade"];

/// A unit: how effects write it, lower case; how it stands in names; how people
/// write it.
const UNITS: [(&str, &str, &str); 33] = [
    ("ms", "ms", "ms"),
    ("msec", "ms", "ms"),
    ("milliseconds", "ms", "ms"),
    ("s", "s", "s"),
    ("sec", "s", "s"),
    ("secs", "s", "s"),
    ("seconds", "s", "s"),
    ("us", "us", "µs"),
    ("hz", "hz", "Hz"),
    ("khz", "khz", "kHz"),
    ("db", "db", "dB"),
    ("dbfs", "dbfs", "dBFS"),
    ("db/s", "db_per_s", "dB/s"),
    ("db/oct", "db_per_octave", "dB/octave"),
    ("%", "percent", "%"),
    ("percent", "percent", "%"),
    ("samples", "samples", "samples"),
    ("frames", "frames", "frames"),
    ("cents", "cents", "cents"),
    ("st", "semitones", "semitones"),
    ("semitones", "semitones", "semitones"),
    ("octaves", "octaves", "octaves"),
    ("oct", "octaves", "octaves"),
    ("degrees", "degrees", "°"),
    ("deg", "degrees", "°"),
    ("rad", "rad", "rad"),
    ("bpm", "bpm", "bpm"),
    ("bits", "bits", "bits"),
    ("px", "px", "px"),
    ("pixels", "px", "px"),
    ("m", "m", "m"),
    ("meters", "m", "m"),
    ("q", "q", "Q"),
];

/// `label` as a name: snake_case letters and digits, the unit in its brackets kept
/// at the end, whatever else stands in brackets left out; and the unit as people
/// write it, empty where the label has none. \[any\]
///
/// `Delay time (ms)` is `delay_time_ms`, `Ratio (1:n)` is `ratio`.
#[must_use]
pub fn name_and_unit(label: &str) -> (String, &'static str) {
    let mut outside = String::new();
    let mut unit = None;
    let mut rest = label;
    while let Some(open) = rest.find(['(', '[']) {
        let close = if rest[open..].starts_with('(') { ')' } else { ']' };
        let Some(length) = rest[open..].find(close) else { break };
        outside.push_str(&rest[..open]);
        outside.push(' ');
        unit = unit.or(known_unit(&rest[open + 1..open + length]));
        rest = &rest[open + length + 1..];
    }
    outside.push_str(rest);
    let mut name = snake_case(&outside);
    if let Some((suffix, _)) = unit
        && name != suffix
        && !name.ends_with(&format!("_{suffix}"))
    {
        name = if name.is_empty() { suffix.to_owned() } else { format!("{name}_{suffix}") };
    }
    (name, unit.map_or("", |(_, shown)| shown))
}

/// The unit that `text` is, as names and as people write it. \[any\]
#[must_use]
pub fn known_unit(text: &str) -> Option<(&'static str, &'static str)> {
    let text = text.trim().to_lowercase();
    UNITS.iter().find(|(written, ..)| *written == text).map(|(_, suffix, shown)| (*suffix, *shown))
}

/// `text` in small letters, each run of anything but letters and digits one
/// underscore; a capital after two small letters begins a word. \[any\]
#[must_use]
pub fn snake_case(text: &str) -> String {
    let mut name = String::new();
    let mut small = 0;
    for letter in text.chars() {
        if !letter.is_ascii_alphanumeric() {
            small = 0;
            if !name.is_empty() && !name.ends_with('_') {
                name.push('_');
            }
            continue;
        }
        if letter.is_ascii_uppercase() && small >= 2 {
            name.push('_');
        }
        small = if letter.is_ascii_lowercase() { small + 1 } else { 0 };
        name.push(letter.to_ascii_lowercase());
    }
    name.truncate(name.trim_end_matches('_').len());
    name
}

/// Gives every name to one parameter only.
#[derive(Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// `name`, or with a number behind it where another parameter or the graph file
    /// has it already; `param_INDEX` where nothing is left of it. \[control\]
    pub fn unique(&mut self, name: &str, index: u32) -> String {
        let name = if name.is_empty() { format!("param_{index}") } else { name.to_owned() };
        let is_free = |name: &String| !TAKEN.contains(&name.as_str()) && !self.0.contains(name);
        let free = if is_free(&name) {
            name
        } else {
            (2..).map(|number| format!("{name}_{number}")).find(is_free).unwrap_or(name)
        };
        self.0.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_snake_case_with_their_unit_at_the_end() {
        for (label, name, unit) in [
            ("triplevel", "triplevel", ""),
            ("BPM limit", "bpm_limit", ""),
            ("Delay time (ms)", "delay_time_ms", "ms"),
            ("Gain [dB]", "gain_db", "dB"),
            ("Ratio (1:n)", "ratio", ""),
            ("Wet Level [%] (post)", "wet_level_percent", "%"),
            ("dB", "db", ""),
            ("lowFreq", "low_freq", ""),
            ("Cutoff (Hz", "cutoff_hz", ""),
            ("(Hz)", "hz", "Hz"),
            ("delay_ms (ms)", "delay_ms", "ms"),
            ("Größe", "gr_e", ""),
            ("  ", "", ""),
        ] {
            assert_eq!(name_and_unit(label), (name.to_owned(), unit), "{label}");
        }
    }

    #[test]
    fn no_two_parameters_have_one_name_nor_one_of_the_graph_files() {
        let mut names = Names::default();
        assert_eq!(names.unique("gain", 0), "gain");
        assert_eq!(names.unique("gain", 1), "gain_2");
        assert_eq!(names.unique("gain_2", 2), "gain_2_2");
        assert_eq!(names.unique("effect", 3), "effect_2");
        assert_eq!(names.unique("", 4), "param_4");
    }
}
