//! `sidetone token`: mints a token for a room.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use sidetone_room::protocol::{RoomName, Source, UserName};
use sidetone_room::server::claims::Grants;
use sidetone_room::server::token::{App, DEVELOPMENT_APP, Pass};

use super::{FINE, WRONG, note, say};

/// Print a token, with which somebody may enter a room
///
/// Without --secret-file it is signed with the development key, which a server takes
/// that was started without applications of its own. Everybody knows that key, so such
/// a server serves its own machine only. For others give an application a secret, in the
/// server's configuration and here.
#[derive(Args)]
#[command(after_help = "For example:\n  \
    sidetone token --room demo --user alice --ttl 6h\n  \
    sidetone token --room demo --user watcher --publish none --hidden\n  \
    sidetone token --room '*' --user root --admin --app shop --secret-file shop.secret\n\n\
    A token that joins needs no more than --room and --user.")]
pub(super) struct Token {
    /// The room; '*' for all, with --admin
    #[arg(long, value_name = "NAME")]
    room: String,
    /// The user whose it is, as others in the room see it
    #[arg(long, value_name = "NAME", value_parser = UserName::new)]
    user: UserName,
    /// How long it holds: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = span)]
    ttl: Duration,
    /// What may be published: microphone, camera, screen, screen_audio, with commas between; or none
    #[arg(long, value_name = "SOURCES", default_value = "microphone,camera,screen,screen_audio", value_parser = sources)]
    publish: Sources,
    /// Nobody sees whose it is, and nothing is published
    #[arg(long)]
    hidden: bool,
    /// Others may be put out and the room closed with it
    #[arg(long)]
    admin: bool,
    /// The application that signs it
    #[arg(long, value_name = "ID", default_value = DEVELOPMENT_APP, requires = "secret_file")]
    app: String,
    /// The file with its secret
    #[arg(long, value_name = "FILE", requires = "app")]
    secret_file: Option<PathBuf>,
}

#[derive(Clone)]
struct Sources(Vec<Source>);

impl Token {
    pub(super) fn run(&self) -> u8 {
        match self.mint() {
            Ok(token) => {
                say(&format!("{token}\n"));
                FINE
            }
            Err(why) => {
                note(&format!("error: {why}\n"));
                WRONG
            }
        }
    }

    fn mint(&self) -> Result<String, String> {
        let room = match self.room.as_str() {
            "*" if self.admin => None,
            "*" => return Err("--room '*' is for administrators: add --admin, or name a room".into()),
            name => Some(RoomName::new(name).map_err(|why| format!("--room: {why}"))?),
        };
        let app = match &self.secret_file {
            None => App::development(),
            Some(file) => {
                let secret = std::fs::read(file).map_err(|why| format!("{}: {why}", file.display()))?;
                App::new(&self.app, &secret).map_err(|why| format!("{}: {why}", file.display()))?
            }
        };
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall = wall.map_err(|_| "this machine's clock says that it is before 1970: set it")?;
        let publish = if self.hidden { Vec::new() } else { self.publish.0.clone() };
        let grants = Grants { join: true, publish, subscribe: true, hidden: self.hidden, admin: self.admin };
        Ok(app.mint(&Pass { user: self.user.clone(), room, grants }, wall, self.ttl))
    }
}

/// Reads a time such as 90s, 30m, 6h or 7d.
fn span(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let read = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok().filter(|count| *count > 0)?;
        count.checked_mul(*seconds)
    });
    read.map(Duration::from_secs).ok_or_else(|| "give a number and a unit, such as 90s, 30m, 6h or 7d".into())
}

/// Reads sources with commas between, or "none".
fn sources(text: &str) -> Result<Sources, String> {
    if text == "none" {
        return Ok(Sources(Vec::new()));
    }
    let source = |word: &str| Source::ALL.into_iter().find(|source| source.word() == word.trim());
    let read: Option<Vec<_>> = text.split(',').map(source).collect();
    let words = || Source::ALL.map(Source::word).join(", ");
    read.map(Sources).ok_or_else(|| format!("give some of {}, with commas between, or none", words()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("6h"), Ok(Duration::from_secs(21_600)));
        assert_eq!(span("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "6", "h", "0m", "-1h", "1.5h", "6 h", "99999999999999999999d", "300000000000000d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sources_are_named_as_in_the_protocol() {
        assert_eq!(
            sources("camera, screen_audio").map(|it| it.0),
            Ok(vec![Source::Camera, Source::ScreenAudio])
        );
        assert_eq!(sources("none").map(|it| it.0), Ok(Vec::new()));
        assert!(sources("camera,printer").map(|it| it.0).unwrap_err().contains("screen_audio"));
    }
}
