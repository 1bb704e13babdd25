//! `${…}` in the text of a graph file.

use std::ops::Range;

/// A piece of text.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    Plain(String),
    /// `${name}`
    Param(&'a str, Range<usize>),
    /// `${env:NAME}` or `${env:NAME:-default}`
    Env(&'a str, Option<&'a str>, Range<usize>),
}

/// The pieces of `text`, or where it is malformed, how, and what to do.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, (Range<usize>, &'static str, &'static str)> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(next) = text[at..].find('$') {
        let dollar = at + next;
        plain.push_str(&text[at..dollar]);
        let rest = &text[dollar + 1..];
        if rest.starts_with('$') {
            plain.push('$');
            at = dollar + 2;
            continue;
        }
        let Some(inner) = rest.strip_prefix('{') else {
            let help = "write ${name} for a parameter, $$ for a dollar sign";
            return Err((dollar..dollar + 1, "a lone $ means nothing", help));
        };
        let Some(length) = inner.find('}') else {
            return Err((dollar..dollar + 2, "this ${ has no closing }", "write ${name}"));
        };
        let inner = &inner[..length];
        at = dollar + length + 3;
        if !plain.is_empty() {
            pieces.push(Piece::Plain(std::mem::take(&mut plain)));
        }
        let range = dollar..at;
        pieces.push(match inner.strip_prefix("env:") {
            Some(env) => match env.split_once(":-") {
                Some((name, default)) => Piece::Env(name, Some(default), range),
                None => Piece::Env(env, None, range),
            },
            None => Piece::Param(inner, range),
        });
    }
    plain.push_str(&text[at..]);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Plain(plain));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_falls_into_pieces() {
        let plain = |text: &str| Piece::Plain(text.into());
        assert_eq!(pieces("a$$b"), Ok(vec![plain("a$b")]));
        assert_eq!(pieces(""), Ok(vec![plain("")]));
        assert_eq!(pieces("${x}"), Ok(vec![Piece::Param("x", 0..4)]));
        assert_eq!(pieces("$${x}${y}z"), Ok(vec![plain("${x}"), Piece::Param("y", 5..9), plain("z")]));
        assert_eq!(
            pieces("${env:HOME}/${env:X:-y z}"),
            Ok(vec![Piece::Env("HOME", None, 0..11), plain("/"), Piece::Env("X", Some("y z"), 12..25)])
        );
    }

    #[test]
    fn what_is_malformed_is_pointed_at() {
        assert_eq!(pieces("é$x").unwrap_err().0, 2..3);
        assert_eq!(pieces("a${x").unwrap_err().0, 1..3);
        assert_eq!(pieces("5$").unwrap_err().0, 1..2);
    }
}
