//! The log: what happens in a server, one event each, with the fields `app`, `room`,
//! `user` and `code` where they are known. Neither tokens nor session descriptions nor
//! secrets ever stand in it. Events go wherever the process has them go (`tracing`);
//! [`subscriber`] writes them as the configuration has it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, info};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{Layer, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::protocol::{RoomName, word};
use crate::server::room::Fact;

/// Events of one kind that are told in a second; the next one says how many were not.
const MOST_OF_ONE: u64 = 10;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A line for people.
    #[default]
    Text,
    /// A line of JSON.
    Json,
}

/// The least that is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Defects: what the server did wrong.
    Error,
    /// And what it refused.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And by what steps.
    Debug,
}

/// What writes the log to `writer`. \[control\]
pub fn subscriber<W>(format: Format, level: Level, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // Libraries quote what they were sent, session descriptions too, from warnings on.
    let filter = Targets::new().with_default(LevelFilter::OFF).with_target("sidetone", level);
    let layer = Layer::new().with_writer(writer).with_ansi(false).with_target(false);
    let registry = Registry::default().with(filter);
    match format {
        Format::Text => Box::new(registry.with(layer)),
        Format::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(registry.with(layer))
        }
    }
}

/// Tells what happened in a room. \[any\]
pub(super) fn fact((app, room): &(String, RoomName), fact: &Fact) {
    match fact {
        Fact::Joined { user, again, hidden } => info!(app, %room, %user, again, hidden, "joined"),
        Fact::Resumed { user } => info!(app, %room, %user, "resumed"),
        Fact::Left { user, reason, code } => {
            let (reason, code) = (word(reason), code.map(|code| word(&code)));
            info!(app, %room, %user, reason, code, "left");
        }
        Fact::Published { user, stream } => {
            let (source, codec, stream) = (word(&stream.source), &*stream.codec, stream.id.as_str());
            info!(app, %room, %user, stream, source, codec, "published");
        }
    }
}

/// Keeps what comes in floods from being told each time.
#[derive(Debug)]
pub(super) struct Damper<K> {
    /// By what it is: the beginning of the second, how many were told in it, and how
    /// many not since the last that was.
    told: BTreeMap<K, (Instant, u64, u64)>,
}

impl<K: Ord> Damper<K> {
    pub(super) const fn new() -> Self {
        Self { told: BTreeMap::new() }
    }

    /// Whether one more such is to be told; then, how many before it were not. \[any\]
    pub(super) fn tell(&mut self, now: Instant, what: K) -> Option<u64> {
        let (second, told, untold) = self.told.entry(what).or_insert((now, 0, 0));
        if now.saturating_duration_since(*second) >= Duration::from_secs(1) {
            (*second, *told) = (now, 0);
        }
        if *told == MOST_OF_ONE {
            *untold += 1;
            return None;
        }
        *told += 1;
        Some(std::mem::take(untold))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::protocol::Code;

    /// What was written, for who asks later.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("it does not panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, level: Level, does: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(format, level, move || writer.clone());
        tracing::subscriber::with_default(subscriber, does);
        let bytes = written.0.lock().expect("it does not panic").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_line_of_json_has_its_fields_beside_its_message() {
        let place = ("ours".to_owned(), RoomName::new("demo").expect("a name"));
        let user = crate::protocol::UserName::new("alice").expect("a name");
        let left = Fact::Left { user, reason: crate::protocol::Left::Kicked, code: Some(Code::TokenExpired) };
        let line = written(Format::Json, Level::Info, || fact(&place, &left));
        let line: serde_json::Value = serde_json::from_str(line.trim_end()).expect("one object");
        let expected = [
            ("level", "INFO"),
            ("message", "left"),
            ("app", "ours"),
            ("room", "demo"),
            ("user", "alice"),
            ("reason", "kicked"),
            ("code", "token_expired"),
        ];
        for (name, value) in expected {
            assert_eq!(line[name], value, "{name} of {line}");
        }
        let text = written(Format::Text, Level::Info, || fact(&place, &left));
        assert!(text.contains(" INFO left app=\"ours\" room=demo user=alice reason="), "{text}");
        assert_eq!(written(Format::Text, Level::Warn, || fact(&place, &left)), "");
    }

    #[test]
    fn what_libraries_say_is_none_of_the_log() {
        let text = written(Format::Text, Level::Debug, || {
            tracing::error!(target: "str0m", "v=0 and all that");
            tracing::debug!("ours");
        });
        assert!(text.contains("ours") && !text.contains("v=0"), "{text}");
    }

    #[test]
    fn of_a_flood_ten_in_a_second_are_told_and_the_rest_counted() {
        let mut damper = Damper::new();
        let now = Instant::now();
        let told: Vec<_> = (0..25).filter_map(|_| damper.tell(now, Code::BadMessage)).collect();
        assert_eq!(told, [0; 10]);
        assert_eq!(damper.tell(now, Code::BadSdp), Some(0), "of another kind");
        assert_eq!(damper.tell(now + Duration::from_millis(999), Code::BadMessage), None);
        assert_eq!(damper.tell(now + Duration::from_secs(1), Code::BadMessage), Some(16));
        assert_eq!(damper.tell(now + Duration::from_secs(1), Code::BadMessage), Some(0));
    }
}
