//! What to do next: names that were meant, kinds that fit between two ports.

use crate::media_type::MediaType;
use crate::registry::{NodeSpec, Registry};

/// The name among `known` that `given` was hardly meant to differ from.
pub(crate) fn meant<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names are compared without what people forget: case, `-` for `_`.
    let bare = |name: &str| name.to_lowercase().replace('-', "_");
    let given = bare(given);
    let far = |name: &str| strsim::damerau_levenshtein(&given, &bare(name));
    let length = given.chars().count();
    // Long names are left alone: the distance takes the product of the lengths.
    if length > 100 {
        return None;
    }
    let near = |name: &&str| far(name) <= (length / 4).clamp(1, 6) && far(name) < length;
    // One begins like the other: `bitrate` for `bitrate_kbps`.
    let begins = |name: &&str| {
        let name = bare(name);
        given.len().min(name.len()) >= 2 && (given.starts_with(&name) || name.starts_with(&given))
    };
    let known: Vec<_> = known.into_iter().filter(|name| name.len() <= 100).collect();
    let closest = known.iter().copied().filter(near).min_by_key(|name| far(name));
    closest.or_else(|| known.iter().copied().find(begins))
}

/// Advice for an unknown name: the one that was meant, and what there is. \[control\]
pub fn names<'a>(
    given: &str,
    what: &str,
    known: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> String {
    let known = known.into_iter();
    let list = list(known.clone());
    let there = if list.is_empty() { format!("there are no {what}") } else { format!("{what}: {list}") };
    match meant(given, known) {
        Some(name) => format!("did you mean {name}? ({there})"),
        None => there,
    }
}

/// Names, parted by commas; the first twenty of them.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut list: Vec<_> = names.by_ref().take(20).collect();
    let more = format!("and {} more", names.count());
    if more != "and 0 more" {
        list.push(&more);
    }
    list.join(", ")
}

/// Advice for an unknown kind.
pub(crate) fn kinds(given: &str, registry: &Registry) -> String {
    if let Some((family, member)) = registry.member(given) {
        let name = given[family.kind.len() + 1..].escape_debug();
        let line = format!("kind = \"{}\", {} = \"{name}\"", family.kind, family.chosen_by);
        return match member {
            Some(_) => format!("in graph files: {{ {line} }}"),
            None => family.advice(&given[family.kind.len() + 1..]),
        };
    }
    let families = registry.families().map(|family| family.kind);
    let mut all: Vec<_> = registry.iter().map(|spec| spec.kind).chain(families).collect();
    all.sort_unstable();
    let job = |kind: &str| kind.split('.').next().unwrap_or_default().to_owned();
    let what = given.rsplit('.').next().unwrap_or(given);
    let guess = meant(given, all.iter().copied());
    if guess.is_none() && what.len() >= 3 {
        // What it is may be right where its job is wrong or missing.
        let last = |kind: &str| kind.rsplit('.').next().unwrap_or_default().to_owned();
        let mut alike: Vec<_> = all.iter().copied().filter(|kind| last(kind) == what).collect();
        if alike.is_empty() {
            alike =
                all.iter().copied().filter(|kind| last(kind).split('_').any(|word| word == what)).collect();
        }
        if !alike.is_empty() {
            let alike: Vec<_> = alike.iter().map(|kind| format!("\"{kind}\"")).collect();
            return format!("did you mean {}?", alike.join(" or "));
        }
    }
    let same_job: Vec<_> = all.iter().copied().filter(|kind| job(kind) == job(given)).collect();
    let there = if same_job.is_empty() {
        let mut jobs: Vec<_> = all.iter().map(|kind| job(kind)).collect();
        jobs.dedup();
        format!("kinds begin with one of: {}", list(jobs.iter().map(String::as_str)))
    } else {
        format!("kinds of {}: {}", job(given), list(same_job))
    };
    guess.map_or(there.clone(), |guess| format!("did you mean \"{guess}\"? ({there})"))
}

impl Registry {
    /// Advice for who asks for a kind that is not there: the one that was
    /// meant, and what there is. \[control\]
    #[must_use]
    pub fn advice(&self, kind: &str) -> String {
        kinds(kind, self)
    }
}

/// The kinds, one or two of them in a row, that make what `to` takes of what
/// `from` is.
pub(crate) fn converters(from: &MediaType, to: &MediaType, registry: &Registry) -> Option<Vec<&'static str>> {
    let steps: Vec<_> = registry.iter().filter_map(step).collect();
    let first =
        || steps.iter().filter(|(_, takes, gives)| from.meet(takes).is_some() && !gives.same_family(from));
    if let Some((kind, ..)) = first().find(|(_, _, gives)| gives.meet(to).is_some()) {
        return Some(vec![kind]);
    }
    first().filter(|(_, _, between)| !between.same_family(to)).find_map(|(a, _, between)| {
        let second = |(_, takes, gives): &&(&str, MediaType, MediaType)| {
            between.meet(takes).is_some() && gives.meet(to).is_some()
        };
        steps.iter().find(second).map(|(b, ..)| vec![*a, *b])
    })
}

/// A kind that does nothing but turn one thing into another.
fn step(spec: &'static NodeSpec) -> Option<(&'static str, MediaType, MediaType)> {
    match (spec.inputs, spec.outputs) {
        // What takes anything turns it into nothing else.
        ([input], [output]) if output.each.is_none() && input.media != MediaType::Any => {
            Some((spec.kind, input.media, output.media))
        }
        _ => None,
    }
}

/// The kind that brings many links of `media` into one.
pub(crate) fn mixer(media: &MediaType, registry: &Registry) -> Option<&'static str> {
    let mixes = |spec: &&NodeSpec| match (spec.inputs, spec.outputs) {
        ([input], [output]) => {
            input.many && input.media.meet(media).is_some() && output.media.same_family(media)
        }
        _ => false,
    };
    registry.iter().find(mixes).map(|spec| spec.kind)
}

/// What a kind is, in a word with its article, for advice.
pub(crate) fn noun(kind: &str) -> &'static str {
    let what = kind.rsplit('.').next().unwrap_or(kind);
    match what.split('_').next_back().unwrap_or(what) {
        "encode" => "an encoder",
        "decode" => "a decoder",
        _ if what.starts_with("unpack") => "an unpacker",
        _ if what.starts_with("pack") => "a packer",
        _ => "a converter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["bitrate_kbps", "frame_ms", "loss", "fps"];
        assert_eq!(meant("bitrate-kpbs", known), Some("bitrate_kbps"));
        assert_eq!(meant("FrameMs", known), Some("frame_ms"));
        assert_eq!(meant("strength", known), None);
        assert_eq!(meant("x", known), None);
        assert_eq!(meant(&"fps".repeat(1_000), known), None);
    }

    #[test]
    fn long_lists_end_early() {
        let names: Vec<_> = (0..30).map(|n| format!("n{n}")).collect();
        assert!(list(names.iter().map(String::as_str)).ends_with("n19, and 10 more"));
    }
}
