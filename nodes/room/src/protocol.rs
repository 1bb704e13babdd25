//! The room protocol: what participants and a room server say to each other, as JSON
//! text over WebSocket, one object a message. docs/protocol.md tells it for clients in
//! other languages; the schemas beside it are made from these types.
//!
//! No I/O here and no clock: server and clients of any kind read and write with it.

mod code;
mod message;
mod names;
pub mod sdp;

pub use code::{Code, Retry};
pub use message::{
    Ask, Candidate, Client, Join, Joined, Kind, Layer, Left, Limits, Mute, News, Offer, Person, Play,
    PlayState, Quality, QualityOf, Receive, Removed, Request, Resume, Send, Slot, SlotOf, Source, StreamInfo,
    Told, Volume, Wish,
};
pub use names::{RoomName, StreamId, UserName, WrongName};

/// The protocol's word for a value that is one, such as a [`Code`]. \[any\]
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("it is a word in JSON: {other:?}"),
    }
}

/// The version of the protocol: of `v` in messages.
pub const VERSION: u32 = 1;

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "sidetone.room.1";

/// The longest message, in bytes.
pub const MOST_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/protocol.md");
    const ASKS: &str = include_str!("../tests/data/asks.jsonl");
    const TOLD: &str = include_str!("../tests/data/told.jsonl");

    /// The examples of the page, a message a line.
    fn examples() -> Vec<&'static str> {
        let blocks = PAGE.split("```json\n").skip(1).filter_map(|block| block.split("```").next());
        blocks.flat_map(str::lines).filter(|line| line.starts_with('{')).collect()
    }

    #[test]
    fn the_page_shows_each_message_once_and_as_it_is() {
        let golden: Vec<_> = ASKS.lines().chain(TOLD.lines()).collect();
        for line in examples() {
            assert!(golden.contains(&line), "no golden message: {line}");
        }
        let tags = |schema: &schemars::Schema| {
            let text = serde_json::to_string(schema).expect("JSON");
            let after = text.split(r#""t":{"const":""#).skip(1).filter_map(|rest| rest.split('"').next());
            let before = text.split(r#""const":""#).skip(1).filter_map(|rest| rest.split('"').next());
            after.chain(before).map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        let (asks, told) = (tags(&schemars::schema_for!(Ask)), tags(&schemars::schema_for!(Told)));
        assert!(asks.contains("join") && told.contains("stream_removed"), "{asks:?} {told:?}");
        let shown = |tag: &str| examples().iter().any(|line| line.contains(&format!("\"t\":\"{tag}\"")));
        for tag in asks.iter().chain(&told) {
            let is_message = golden.iter().any(|line| line.contains(&format!("\"t\":\"{tag}\"")));
            assert!(!is_message || shown(tag), "the page does not show {tag}");
        }
    }

    #[test]
    fn the_page_lists_every_code() {
        for code in Code::ALL {
            let word = |value: String| value.replace('"', "`");
            let (name, retry) = (serde_json::to_string(code), serde_json::to_string(&code.retry()));
            let (name, retry) = (word(name.expect("JSON")), word(retry.expect("JSON")));
            let line = format!("| {} | {name} | {retry} | {} |", code.number(), code.text());
            assert!(PAGE.contains(&line), "the page lacks {line}");
        }
    }

    /// `SIDETONE_WRITE_SCHEMAS=1` writes the file anew.
    #[test]
    fn the_schema_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.schema.json");
        let mut generator = schemars::SchemaGenerator::default();
        let (request, told) = (generator.subschema_for::<Request>(), generator.subschema_for::<Told>());
        let definitions = generator.take_definitions(true);
        let schema = serde_json::json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "The Sidetone room protocol",
            "anyOf": [request, told],
            "$defs": definitions,
        });
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        if std::env::var_os("SIDETONE_WRITE_SCHEMAS").is_some() {
            std::fs::write(path, &text).expect("a file that can be written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/protocol.schema.json is out of date: run this with SIDETONE_WRITE_SCHEMAS=1"
        );
    }
}
