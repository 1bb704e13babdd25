//! `Room`: takes part in a call by a room server, without writing a graph.
//!
//! Behind it is one: `room.join`, an encoder and a packetizer for each stream that is
//! published, and decoders for whoever is played, made when they appear. What media
//! begin with and end in are kinds of nodes, of Sidetone or of one's own ([`End`]).
//!
//! ```no_run
//! use sidetone::room::{End, Options, Play, Room, RoomEvent, Source};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let token = std::env::var("TOKEN")?; // of `sidetone token --room demo --user alice`
//! let room = Room::join(Options {
//!     hear: Play::Together(End::new("file.wav_sink").set("path", "heard.wav")),
//!     publish: vec![(Source::Microphone, End::new("test.tone"))],
//!     ..Options::new("ws://127.0.0.1:7880", token)
//! })?;
//! for event in room.events() {
//!     println!("{event}");
//!     if matches!(event, RoomEvent::UserLeft { .. }) {
//!         break;
//!     }
//! }
//! room.leave();
//! # Ok(())
//! # }
//! ```
//!
//! What each thing is called in other kits stands in docs/room_api.md.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use sidetone_core::diagnostic::Diagnostic;
use sidetone_core::{
    Diagnostics, Engine, EventKind, Handle, Own, Registry, Report, Size, Transaction, Update, Value,
};
use sidetone_room::client::session::{Command, MuteRemote};
pub use sidetone_room::events::{DeviceCode, Entry, PublishState, RoomEvent, RoomState};
use sidetone_room::login;
pub use sidetone_room::protocol::{
    Code, Kind, Left, PlayState, Quality, Removed, Source, StreamId, StreamInfo, UserName, Wish,
};
use sidetone_room::protocol::{Mute, Play as Wished};
pub use sidetone_room::statistics::Statistics;

mod sketch;

/// Where media begin or end: a kind of node, with one output or one input, and its
/// parameters. `sidetone nodes` lists those that there are; one's own are added to
/// [`Options::registry`].
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    kind: String,
    params: Vec<(String, Value)>,
}

impl End {
    /// A kind with its defaults. \[any\]
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned(), params: Vec::new() }
    }

    /// The same with a parameter. \[any\]
    #[must_use]
    pub fn set(mut self, param: &str, value: impl Into<Value>) -> Self {
        self.params.push((param.to_owned(), value.into()));
        self
    }
}

/// Where others are heard, or seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Play {
    /// Nowhere: what comes is let go.
    #[default]
    Nowhere,
    /// All in one: sound is mixed, pictures stand side by side.
    Together(End),
    /// Each in one of their own; in its text parameters `${participant}` is their name
    /// and `${source}` what it is of: `audio`, `screen_audio`, `video` or `screen`.
    Each(End),
}

/// How a stream of one's own is encoded, at best: where less gets through it is less, and
/// as before when that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderSettings {
    /// The most that it takes, in kbit/s: pictures 20 to 20,000, sound 6 to 510. Default
    /// 500.
    pub kbps: u32,
    /// The largest pictures, in pixels; larger ones are fitted in. Default 1280x720.
    pub size: Size,
    /// The most pictures a second, 1 to 240. Default 30.
    pub fps: f64,
    /// What is given up last. Default [`Prefer::Balanced`].
    pub prefer: Prefer,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self { kbps: 500, size: Size::new(1280, 720), fps: 30.0, prefer: Prefer::Balanced }
    }
}

/// What of pictures is given up last while less gets through, in W3C's words
/// `degradationPreference`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// Size and rate in turn ("balanced").
    #[default]
    Balanced,
    /// The size: pictures become fewer first ("maintain-resolution").
    Sharpness,
    /// The rate: pictures become smaller first ("maintain-framerate").
    Smoothness,
}

impl Prefer {
    /// As `effect.adapt` has it.
    const fn word(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Sharpness => "sharpness",
            Self::Smoothness => "smoothness",
        }
    }
}

/// How to take part.
#[derive(Clone)]
pub struct Options {
    /// The room server: `ws://HOST:PORT` or `wss://HOST:PORT`.
    pub url: String,
    /// What says who this is, which room it enters and what it may do there.
    pub token: String,
    /// What is published as soon as it is in; more by [`Room::publish`].
    pub publish: Vec<(Source, End)>,
    /// Whether others' streams are played without being asked for. Default true.
    pub auto_play: bool,
    /// Where the others' microphones and their screens' sound are heard.
    pub hear: Play,
    /// Where their cameras and screens are seen.
    pub see: Play,
    /// The size of the picture in which they stand together, and of those of each. Default
    /// 1280x720.
    pub size: Size,
    /// How pictures of one's own are encoded, until [`Room::encode`] says otherwise.
    pub encoder: EncoderSettings,
    /// A PEM file of the certificates that vouch for a `wss://` server; default those
    /// that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// Whether a `ws://` server may be on another machine, to which the token and all
    /// messages then go as they are. Default false.
    pub allow_remote: bool,
    /// The kinds of nodes that there are. Default all of Sidetone's.
    pub registry: Registry,
}

impl fmt::Debug for Options {
    /// Without the token, which nobody else is to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &self.url)
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// With the defaults: nothing published, all played, nowhere. \[any\]
    #[must_use]
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            publish: Vec::new(),
            auto_play: true,
            hear: Play::Nowhere,
            see: Play::Nowhere,
            size: Size::new(1280, 720),
            encoder: EncoderSettings::default(),
            ca_file: None,
            allow_remote: false,
            registry: crate::registry(),
        }
    }
}

/// A room that is taken part in, until it is left or dropped. All calls may come from
/// any thread; those that change what is published wait until that is done, which
/// takes as long as a camera or a file takes to open.
pub struct Room {
    user: UserName,
    handle: Handle,
    events: Receiver<RoomEvent>,
    /// What posts them, as long as the graph runs.
    post: Weak<Sender<RoomEvent>>,
    run: Option<JoinHandle<Option<Report>>>,
    encoder: EncoderSettings,
}

impl Room {
    /// Sets out to join, and to publish what the options say: events tell what becomes
    /// of it, [`RoomState::Joined`] or [`RoomState::Failed`] with a code above all. What
    /// cannot be published is told as [`RoomEvent::Device`]; the rest goes on. \[control\]
    ///
    /// # Errors
    /// The url, the token or an [`End`] to play in is none, or such a node cannot be
    /// made.
    pub fn join(options: Options) -> Result<Self, Diagnostics> {
        let user = login::named(&options.token).map_err(|why| mistake(&format!("the token {why}")))?;
        let Options { publish, encoder, .. } = options.clone();
        let (post, events) = unbounded();
        let (ready, started) = bounded(1);
        let poster = Arc::new(post);
        let post = Arc::downgrade(&poster);
        let run =
            std::thread::Builder::new().name("room".into()).spawn(move || run(&options, &ready, &poster));
        let run = run.map_err(|why| mistake(&format!("cannot start a thread: {why}")))?;
        let handle = started.recv().map_err(|_| mistake("the room's thread panicked"))??;
        let room = Self { user, handle, events, post, run: Some(run), encoder };
        for (source, feed) in publish {
            // It was told as an event.
            let _ = room.publish(source, feed);
        }
        Ok(room)
    }

    /// Who this is: whom the token names. \[any\]
    #[must_use]
    pub const fn user(&self) -> &UserName {
        &self.user
    }

    /// What happens, from the first on; ends when it left or failed. Of events that come
    /// again and again (volumes, statistics) some are missing where nobody takes them.
    /// \[any\]
    #[must_use]
    pub const fn events(&self) -> &Receiver<RoomEvent> {
        &self.events
    }

    /// The id of a stream of its own: `USER/SOURCE`. \[any\]
    #[must_use]
    pub fn stream(&self, source: Source) -> Option<StreamId> {
        StreamId::new(&format!("{}/{}", self.user, source.word())).ok()
    }

    /// Publishes what comes from `feed`, at most one for each source: raw sound, or raw
    /// pictures. \[control\]
    ///
    /// # Errors
    /// The source is published already, or the feed is no such kind or cannot be made; the
    /// last [`RoomEvent::Device`] tells, too. All else goes on.
    pub fn publish(&self, source: Source, feed: End) -> Result<(), Diagnostics> {
        let [first, adapt, encode, pack] = names(source);
        let rest: Vec<_> = feed.params.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let change = Transaction::new().add(&first, &feed.kind, &rest);
        let change = match source.kind() {
            Kind::Audio => change
                .add(&encode, "codec.opus_encode", &[])
                .add(&pack, "rtp.pack_opus", &[])
                .link(&format!("{first} -> {encode}")),
            Kind::Video => {
                let EncoderSettings { kbps, size, fps, prefer } = self.encoder;
                let shape = [("size", size.into()), ("fps", fps.into()), ("prefer", prefer.word().into())];
                change
                    .add(&adapt, "effect.adapt", &shape)
                    .add(&encode, "codec.av1_encode", &[("bitrate_kbps", i64::from(kbps).into())])
                    .add(&pack, "rtp.pack_av1", &[])
                    .link(&format!("{first} -> {adapt}"))
                    // When the encoder falls behind, old pictures go rather than wait.
                    .link_with(
                        &format!("{adapt} -> {encode}"),
                        &[("capacity", 4.into()), ("overflow", "drop_oldest".into())],
                    )
            }
        };
        let change = change.link(&format!("{encode} -> {pack} -> room.{}", input(source)));
        self.handle.edit(change).wait().map(drop).inspect_err(|why| {
            // "camera: …" cannot be made; all else is wrong with what was asked.
            let is_it = |diagnostic: &&Diagnostic| diagnostic.message.starts_with(&format!("{first}: "));
            if let (Some(fault), Some(post)) = (why.list.iter().find(is_it), self.post.upgrade()) {
                let (code, why) = (DeviceCode::of(fault.refused), fault.message.clone());
                let _ = post.send(RoomEvent::Device { source, code, why });
            }
        })
    }

    /// Ends a stream of its own. \[control\]
    ///
    /// # Errors
    /// The source is not published.
    pub fn unpublish(&self, source: Source) -> Result<(), Diagnostics> {
        let [feed, adapt, encode, pack] = names(source);
        let mut change = Transaction::new().remove(&feed).remove(&encode).remove(&pack);
        if source.kind() == Kind::Video {
            change = change.remove(&adapt);
        }
        self.handle.edit(change).wait().map(drop)
    }

    /// Holds back a stream of its own, which others are told, or goes on with it, from a
    /// key frame. \[any\]
    pub fn mute(&self, source: Source, muted: bool) {
        if let Some(stream) = self.stream(source) {
            self.tell(Command::Mute(Mute { stream, muted }));
        }
    }

    /// Does not play what somebody (none: everyone, now and later) lets hear, or see, or
    /// plays it again as before; nobody else is told. Pictures go on at a key frame.
    /// \[any\]
    pub fn mute_remote(&self, user: Option<&UserName>, kind: Kind, muted: bool) {
        self.tell(Command::MuteRemote(MuteRemote { user: user.cloned(), kind, muted }));
    }

    /// Plays another's stream, or plays it in another size where it is sent in several;
    /// now and whenever it is there. \[any\]
    pub fn play(&self, stream: &StreamId, quality: Wish) {
        self.tell(Command::Play(Wished { stream: stream.clone(), quality }));
    }

    /// Plays another's stream no more, now and whenever it is there. \[any\]
    pub fn stop(&self, stream: &StreamId) {
        self.tell(Command::Stop(stream.clone()));
    }

    /// Encodes a stream of its own otherwise from now on; of sound `kbps` alone counts.
    /// \[control\]
    ///
    /// # Errors
    /// The source is not published, or a value is out of its range; all goes on as it was.
    pub fn encode(&self, source: Source, settings: EncoderSettings) -> Result<(), Diagnostics> {
        let [_, adapt, encode, _] = names(source);
        let EncoderSettings { kbps, size, fps, prefer } = settings;
        let mut change = Transaction::new().set(&encode, "bitrate_kbps", i64::from(kbps));
        if source.kind() == Kind::Video {
            change = change.set(&adapt, "size", size).set(&adapt, "fps", fps);
            change = change.set(&adapt, "prefer", prefer.word());
        }
        self.handle.edit(change).wait().map(drop)
    }

    /// Goes on with another token, of the same room and user. \[any\]
    pub fn renew(&self, token: &str) {
        self.tell(Command::Renew(token.to_owned()));
    }

    /// For what this does not offer: the running graph, whose node of the room is "room".
    /// \[any\]
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Leaves, and gives what became of every frame. \[control\]
    ///
    /// # Panics
    /// The engine did.
    pub fn leave(mut self) -> Report {
        self.handle.stop();
        let run = self.run.take().expect("only leaving takes it");
        let report = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        report.expect("what was joined was made")
    }

    fn tell(&self, command: Command) {
        self.handle.tell("room", Own::new(command));
    }
}

impl Drop for Room {
    /// Leaves.
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(run) = self.run.take() {
            let _ = run.join();
        }
    }
}

/// Events of which more wait than this are not joined by periodic ones.
const MANY: usize = 256;

/// Runs the graph behind a room.
fn run(
    options: &Options,
    ready: &Sender<Result<Handle, Diagnostics>>,
    post: &Sender<RoomEvent>,
) -> Option<Report> {
    let engine = sketch::load(options).and_then(|graph| Engine::new(graph, crate::Options::default()));
    let engine = match engine {
        Ok(engine) => engine,
        Err(why) => {
            let _ = ready.send(Err(why));
            return None;
        }
    };
    let handle = engine.handle();
    let _ = ready.send(Ok(handle.clone()));
    Some(engine.run(|update| {
        let Update::Event { node, kind, .. } = update else { return };
        let event = match kind {
            EventKind::Own(words) => words.get::<RoomEvent>().cloned(),
            EventKind::Fault { fault, .. } => {
                let source = Source::ALL.into_iter().find(|source| names(*source)[0] == node);
                let code = DeviceCode::Failed;
                source.map(|source| RoomEvent::Device { source, code, why: fault.to_string() })
            }
            _ => None,
        };
        let Some(event) = event else { return };
        if matches!(event, RoomEvent::State(RoomState::Left { .. } | RoomState::Failed { .. })) {
            handle.stop();
        }
        if !event.is_periodic() || post.len() < MANY {
            let _ = post.send(event);
        }
    }))
}

/// The nodes of a stream of its own: what feeds it, what fits pictures to what gets
/// through, what encodes it, what packs it.
fn names(source: Source) -> [String; 4] {
    ["", "_adapt", "_encode", "_pack"].map(|part| format!("{}{part}", source.word()))
}

/// The input of `room.join` that takes it.
const fn input(source: Source) -> &'static str {
    match source {
        Source::Microphone => "audio_in",
        Source::Camera => "video_in",
        Source::Screen => "screen_in",
        Source::ScreenAudio => "screen_audio_in",
    }
}

fn mistake(what: &str) -> Diagnostics {
    Diagnostics::new(vec![Diagnostic::error(what)], Arc::default())
}
