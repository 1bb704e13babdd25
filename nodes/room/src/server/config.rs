//! `Config`: what a server is told by a file. docs/server.toml is such a file, with
//! every setting at its default and what it means; nothing is said twice.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::de::DeTable;

use crate::protocol::Limits;
use crate::server::budget::Rate;
use crate::server::log::{Format, Level};
use crate::server::media;
use crate::server::room::Settings;
use crate::server::token::{App, AppError};

/// A server's settings. Those that a file does not name stay as they are by default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where HTTP and WebSocket are served; port 0 is any that is free.
    pub listen: SocketAddr,
    /// Where media are taken; as `listen` where none is given.
    pub udp: Vec<SocketAddr>,
    /// The addresses at which participants reach those of `udp`, in the same order, where
    /// a network translates addresses one to one; the same port where none is given.
    pub advertise: Vec<Advertised>,
    /// The certificate for `https` and `wss`; without it `http` and `ws` are served.
    pub tls: Option<TlsConfig>,
    /// Whose tokens hold.
    pub app: Vec<AppConfig>,
    /// What rooms are like.
    pub room: RoomConfig,
    /// What there may be, of everything together and of each.
    pub limits: LimitsConfig,
    /// What is told of all that happens, and how.
    pub log: LogConfig,
    /// Seconds in which everybody may leave when the server is told to end.
    pub drain_s: u64,
}

/// What is told of all that happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How.
    pub format: Format,
    /// The least that is told.
    pub level: Level,
}

/// An address at which participants reach a socket: `IP`, or `IP:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Advertised {
    ip: IpAddr,
    port: Option<u16>,
}

impl TryFrom<String> for Advertised {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let with_port = |at: SocketAddr| Self { ip: at.ip(), port: Some(at.port()) };
        let known = text.parse().map(with_port).or_else(|_| text.parse().map(|ip| Self { ip, port: None }));
        let known = known.map_err(|_| format!("\"{text}\" is no address: give an IP address, or IP:PORT"))?;
        if known.ip.is_unspecified() || known.port == Some(0) {
            return Err(format!("\"{text}\" is no address that participants could send to"));
        }
        Ok(known)
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The file with the server's certificate and those that lead from it to its
    /// authority's, in PEM.
    pub cert: PathBuf,
    /// The file with its private key, in PEM.
    pub key: PathBuf,
}

/// An application.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppConfig {
    /// What its tokens name as `iss`.
    pub id: String,
    /// The file that its secret is in.
    pub secret_file: PathBuf,
}

/// What rooms are like.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomConfig {
    /// Seconds for which a session outlives a break.
    pub grace_s: u64,
    /// Seconds between a participant's pings; who misses three is cut off.
    pub ping_s: u64,
    /// How many may be in one.
    pub people: usize,
    /// Streams that each may publish.
    pub streams: u32,
    /// Others' streams of sound that each may receive at once.
    pub audio_slots: u32,
    /// The same of pictures.
    pub video_slots: u32,
    /// Events that are kept for who is away.
    pub replay: usize,
    /// How many streams of sound one hears at once who has not room for all.
    pub loudest: usize,
    /// Milliseconds between telling how loud everyone is.
    pub volume_ms: u64,
}

/// What there may be, of everything together and of each.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Rooms.
    pub rooms: usize,
    /// Participants' connections.
    pub links: usize,
    /// Connections of one IP address, or of one IPv6 network of 64 bits.
    pub sockets_per_ip: usize,
    /// Connections that have not asked for anything yet.
    pub waiting: usize,
    /// Seconds that a connection may take to ask for something: for TLS, and for the
    /// head of each request.
    pub patience_s: u64,
    /// Requests to join in a second from one address.
    pub joins_per_ip: u32,
    /// Messages that one connection may send in a second; of four seconds at once.
    pub messages_per_s: u32,
    /// Offers that a participant may make in ten seconds.
    pub offers_per_10_s: u32,
    /// Thousands of bits per second that a participant may send, all streams together.
    pub ingress_kbps: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7_880)),
            udp: Vec::new(),
            advertise: Vec::new(),
            tls: None,
            app: Vec::new(),
            room: RoomConfig::default(),
            limits: LimitsConfig::default(),
            log: LogConfig::default(),
            drain_s: 30,
        }
    }
}

impl Default for RoomConfig {
    fn default() -> Self {
        let Settings { grace, ping, people, limits, replay, .. } = Settings::default();
        let Limits { streams, audio_slots, video_slots } = limits;
        let media::Settings { loudest, volumes, .. } = media::Settings::default();
        Self {
            grace_s: grace.as_secs(),
            ping_s: ping.as_secs(),
            people,
            streams,
            audio_slots,
            video_slots,
            replay,
            loudest,
            volume_ms: u64::try_from(volumes.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            rooms: 1_000,
            links: 10_000,
            sockets_per_ip: 200,
            waiting: 1_000,
            patience_s: 10,
            joins_per_ip: 50,
            messages_per_s: 50,
            offers_per_10_s: 20,
            ingress_kbps: 20_000,
        }
    }
}

/// Why a server cannot be had as it was configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: {why}", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The text is no configuration: where, and what would be.
    #[error("{0}")]
    Text(#[from] Box<toml::de::Error>),
    /// An application cannot be had.
    #[error(transparent)]
    App(#[from] AppError),
    /// Two applications have one id.
    #[error("there are two applications with the id \"{0}\": a token names one")]
    SameApp(String),
    /// Everyone could enter.
    #[error(
        "{0} can be reached from other machines, and everybody knows the development key: \
         add an [[app]] with a secret of its own, or listen at 127.0.0.1"
    )]
    DevelopmentKey(SocketAddr),
    /// An address that no packet can be sent to.
    #[error(
        "udp = \"{0}\" names no address that participants could send to: name each address of this machine \
         at which they reach it, such as \"192.0.2.1:7880\""
    )]
    Unspecified(SocketAddr),
    /// There are more or fewer addresses to tell than to listen at.
    #[error(
        "advertise has {told} addresses and udp {taken}: give one for each of udp, in the same order, or none"
    )]
    Advertise {
        /// Addresses in `advertise`.
        told: usize,
        /// Addresses in `udp`.
        taken: usize,
    },
    /// Something in a file is not as it should be.
    #[error("{}: {why}", .file.display())]
    In {
        /// Which file.
        file: PathBuf,
        /// What.
        why: Box<ConfigError>,
    },
    /// A number is out of its range.
    #[error("line {line}: {name} = {value} is out of its range: give {least} to {most}")]
    Range {
        /// Where.
        line: usize,
        /// Which setting.
        name: &'static str,
        /// What it is.
        value: u64,
        /// The least that does.
        least: u64,
        /// The most.
        most: u64,
    },
}

impl Config {
    /// Reads a configuration. \[any\]
    ///
    /// # Errors
    /// It is none, or cannot be had: says where and what would do.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(Box::new)?;
        config.check_ranges(text)?;
        let (told, taken) = (config.advertise.len(), config.media().len());
        if told > 0 && told != taken {
            return Err(ConfigError::Advertise { told, taken });
        }
        Ok(config)
    }

    /// Reads the configuration in `file`; paths in it are relative to its folder.
    /// \[control\]
    ///
    /// # Errors
    /// As [`Config::parse`]'s, and it cannot be read.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let config = Self::parse(&String::from_utf8_lossy(&read(file)?));
        let mut config = config.map_err(|why| ConfigError::In { file: file.into(), why: Box::new(why) })?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let secrets = config.app.iter_mut().map(|app| &mut app.secret_file);
        let tls = config.tls.iter_mut().flat_map(|tls| [&mut tls.cert, &mut tls.key]);
        for path in secrets.chain(tls) {
            *path = folder.join(&*path);
        }
        Ok(config)
    }

    /// Whether all numbers are in their ranges.
    fn check_ranges(&self, text: &str) -> Result<(), ConfigError> {
        let RoomConfig {
            grace_s,
            ping_s,
            people,
            streams,
            audio_slots,
            video_slots,
            replay,
            loudest,
            volume_ms,
        } = self.room;
        let LimitsConfig {
            rooms,
            links,
            sockets_per_ip,
            waiting,
            patience_s,
            joins_per_ip,
            messages_per_s,
            offers_per_10_s,
            ingress_kbps,
        } = self.limits;
        let ranges = [
            ("drain_s", self.drain_s, 0, 3_600),
            ("room.grace_s", grace_s, 1, 3_600),
            ("room.ping_s", ping_s, 1, 60),
            ("room.people", people as u64, 1, 1_000),
            ("room.streams", streams.into(), 1, 32),
            ("room.audio_slots", audio_slots.into(), 1, 64),
            ("room.video_slots", video_slots.into(), 1, 64),
            ("room.replay", replay as u64, 1, 65_536),
            ("room.loudest", loudest as u64, 1, 64),
            ("room.volume_ms", volume_ms, 100, 60_000),
            ("limits.rooms", rooms as u64, 1, 100_000),
            ("limits.links", links as u64, 1, 100_000),
            ("limits.sockets_per_ip", sockets_per_ip as u64, 1, 100_000),
            ("limits.waiting", waiting as u64, 1, 100_000),
            ("limits.patience_s", patience_s, 1, 60),
            ("limits.joins_per_ip", joins_per_ip.into(), 1, 100_000),
            ("limits.messages_per_s", messages_per_s.into(), 1, 100_000),
            ("limits.offers_per_10_s", offers_per_10_s.into(), 1, 1_000),
            ("limits.ingress_kbps", ingress_kbps.into(), 100, 1_000_000),
        ];
        match ranges.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((name, value, least, most)) => {
                let line = line_of(text, name).unwrap_or(1);
                Err(ConfigError::Range { line, name, value, least, most })
            }
            None => Ok(()),
        }
    }

    /// Where media are taken.
    #[must_use]
    pub fn media(&self) -> Vec<SocketAddr> {
        if self.udp.is_empty() { vec![self.listen] } else { self.udp.clone() }
    }

    /// The address that participants are told of the socket at `place` among those of
    /// [`Config::media`], which is bound to `bound`. \[any\]
    #[must_use]
    pub fn told(&self, place: usize, bound: SocketAddr) -> SocketAddr {
        let told = self.advertise.get(place);
        told.map_or(bound, |told| SocketAddr::new(told.ip, told.port.unwrap_or(bound.port())))
    }

    /// The applications whose tokens hold, with their secrets, once it is sure that
    /// nobody enters who should not. Without any it is the development's. \[control\]
    ///
    /// # Errors
    /// A secret cannot be read or had, an id is there twice, or the development key
    /// would hold for other machines.
    pub fn apps(&self) -> Result<Vec<App>, ConfigError> {
        let mut apps: Vec<App> = Vec::new();
        for AppConfig { id, secret_file } in &self.app {
            if apps.iter().any(|app| app.id() == id) {
                return Err(ConfigError::SameApp(id.clone()));
            }
            apps.push(App::new(id, &read(secret_file)?)?);
        }
        if apps.is_empty() {
            apps.push(App::development());
        }
        let media = self.media();
        let mut addresses = media.iter().chain([&self.listen]);
        if let Some(public) = addresses.find(|address| !address.ip().is_loopback())
            && apps.iter().any(App::is_development)
        {
            return Err(ConfigError::DevelopmentKey(*public));
        }
        let nowhere = media.iter().find(|address| address.ip().is_unspecified());
        if let Some(nowhere) = nowhere.filter(|_| self.advertise.is_empty()) {
            return Err(ConfigError::Unspecified(*nowhere));
        }
        Ok(apps)
    }

    /// What a room is like that takes media at `udp`. \[any\]
    #[must_use]
    pub fn room(&self, udp: &[SocketAddr]) -> Settings {
        let RoomConfig { grace_s, ping_s, people, streams, audio_slots, video_slots, replay, .. } = self.room;
        Settings {
            grace: Duration::from_secs(grace_s),
            ping: Duration::from_secs(ping_s),
            people,
            limits: Limits { streams, audio_slots, video_slots },
            offers: Rate { most: self.limits.offers_per_10_s, within: Duration::from_secs(10) },
            replay,
            udp: udp.iter().map(SocketAddr::to_string).collect(),
        }
    }

    /// How rooms' media are forwarded. \[any\]
    #[must_use]
    pub const fn forwarding(&self) -> media::Settings {
        let RoomConfig { loudest, volume_ms, .. } = self.room;
        let ingress = Rate { most: self.limits.ingress_kbps * (1_000 / 8), within: Duration::from_secs(1) };
        media::Settings { loudest, volumes: Duration::from_millis(volume_ms), ingress }
    }

    /// How many messages a connection may send. \[any\]
    #[must_use]
    pub const fn messages(&self) -> Rate {
        Rate { most: 4 * self.limits.messages_per_s, within: Duration::from_secs(4) }
    }
}

/// The line of a setting, such as `room.grace_s`, in the text of a configuration.
fn line_of(text: &str, setting: &str) -> Option<usize> {
    let file = DeTable::parse(text).ok()?;
    let (table, key) = setting.split_once('.').map_or((None, setting), |(table, key)| (Some(table), key));
    let within = match table {
        Some(table) => file.get_ref().get(table)?.get_ref().as_table()?,
        None => file.get_ref(),
    };
    let span = within.get(key)?.span();
    Some(text.get(..span.start)?.matches('\n').count() + 1)
}

fn read(file: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(file).map_err(|why| ConfigError::Read { file: file.into(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../../docs/server.toml");

    #[test]
    fn the_file_in_the_docs_says_every_default() {
        let shipped = Config::parse(SHIPPED).expect("a configuration");
        let media = Config { udp: Config::default().media(), ..Config::default() };
        assert_eq!(shipped, media, "udp is as listen where none is given");
        assert_eq!(Config::parse("").expect("a configuration"), Config::default());
        // Each key stands in it, so that there is one place to look.
        let keys = "listen udp advertise drain_s grace_s ping_s people streams audio_slots video_slots replay loudest volume_ms rooms links \
                    sockets_per_ip waiting patience_s joins_per_ip messages_per_s offers_per_10_s ingress_kbps \
                    id secret_file cert key format level";
        for key in keys.split(' ') {
            assert!(SHIPPED.contains(&format!("{key} = ")), "{key}");
        }
    }

    #[test]
    fn participants_are_told_the_addresses_that_are_advertised() {
        let bound = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let config = Config::parse(
            "udp = [\"10.0.0.1:1\", \"10.0.0.1:2\"]\nadvertise = [\"203.0.113.5\", \"[2001:db8::1]:9\"]",
        );
        let config = config.expect("a configuration");
        assert_eq!(config.told(0, bound(1)).to_string(), "203.0.113.5:1");
        assert_eq!(config.told(1, bound(2)).to_string(), "[2001:db8::1]:9");
        assert_eq!(Config::default().told(0, bound(3)), bound(3));
    }

    #[test]
    fn mistakes_say_where_and_what_would_do() {
        let cases = [
            ("lisen = \"127.0.0.1:1\"", "unknown field `lisen`"),
            ("[room]\ngrace = 3", "line 2"),
            ("listen = \"localhost\"", "line 1"),
            ("[room]\ngrace_s = 0", "line 2: room.grace_s = 0 is out of its range: give 1 to 3600"),
            ("\n# links\nlimits = {\n  links = 0 }", "line 4: limits.links = 0"),
            ("drain_s = 9999", "line 1: drain_s"),
            ("advertise = [\"example.org\"]", "\"example.org\" is no address"),
            ("advertise = [\"0.0.0.0\"]", "no address that participants could send to"),
            ("advertise = [\"192.0.2.1\", \"192.0.2.2\"]", "advertise has 2 addresses and udp 1"),
            ("[limits]\nlinks = 1000000", "limits.links"),
            ("[[app]]\nid = \"ours\"", "secret_file"),
        ];
        for (text, why) in cases {
            let message = Config::parse(text).expect_err(text).to_string();
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    #[test]
    fn the_development_key_never_serves_other_machines() {
        let apps = |text: &str| Config::parse(text).expect("a configuration").apps().map(|apps| apps.len());
        assert!(matches!(apps(""), Ok(1)));
        assert!(matches!(apps("listen = \"[::1]:0\""), Ok(1)));
        for public in ["listen = \"192.0.2.1:7880\"", "listen = \"0.0.0.0:7880\"", "udp = [\"192.0.2.1:1\"]"]
        {
            assert!(matches!(apps(public), Err(ConfigError::DevelopmentKey(_))), "{public}");
        }
        let folder = std::env::temp_dir().join(format!("sidetone-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("server.toml");
        let own = "[[app]]\nid = \"ours\"\nsecret_file = \"ours.secret\"\n";
        let load = |listen: &str, apps: &str| {
            std::fs::write(&file, format!("listen = \"{listen}\"\n{apps}")).expect("a file");
            Config::load(&file).and_then(|config| config.apps()).map(|apps| apps.len())
        };
        std::fs::write(folder.join("ours.secret"), "0123456789abcdef0123456789abcdef\n").expect("a file");
        assert!(matches!(load("192.0.2.1:7880", own), Ok(1)));
        assert!(matches!(load("0.0.0.0:7880", own), Err(ConfigError::Unspecified(_))));
        assert!(matches!(load("127.0.0.1:0", &own.repeat(2)), Err(ConfigError::SameApp(_))));
        let known = "sidetone-development-key-not-for-public-use\n";
        std::fs::write(folder.join("ours.secret"), known).expect("a file");
        assert!(
            matches!(load("192.0.2.1:7880", own), Err(ConfigError::DevelopmentKey(_))),
            "under another id"
        );
        let advertised = format!("advertise = [\"203.0.113.5\"]\n{own}");
        std::fs::write(folder.join("ours.secret"), "0123456789abcdef0123456789abcdef\n").expect("a file");
        assert!(matches!(load("0.0.0.0:7880", &advertised), Ok(1)), "they are told another address");
        std::fs::write(&file, "[room]\npeople = 0\n").expect("a file");
        let why = Config::load(&file).expect_err("nobody").to_string();
        assert!(
            why.ends_with("server.toml: line 2: room.people = 0 is out of its range: give 1 to 1000"),
            "{why}"
        );
        std::fs::remove_dir_all(&folder).expect("the folder");
        assert!(matches!(Config::load(&file), Err(ConfigError::Read { .. })));
    }
}
