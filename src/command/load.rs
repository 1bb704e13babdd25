//! `sidetone load`: puts load on a room server, and says how it did.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use sidetone_room::load::{self, Media, Plan, Progress, Recording};
use sidetone_room::protocol::Kind;
use sidetone_room::server::token::{App, DEVELOPMENT_APP};

use super::{FAILED, FINE, WRONG, note, say};

/// Put load on a room server: many participants, who neither encode nor decode
///
/// Once all are in, what is sent within --seconds is counted at every subscriber: what
/// was lost, came twice or came late. Nothing is decoded: packets have the sizes and
/// instants of Opus and AV1 of the given bitrates, or of packets that were recorded.
#[derive(Args)]
#[command(after_help = "For example:\n  \
    sidetone load --rooms 10 --subscribers 20 --video 500k --server-pid $(pgrep -f 'sidetone serve')\n  \
    sidetone load --publishers 50 --subscribers 0 --audio 32k --seconds 30\n  \
    sidetone load --subscribers 5 --audio 32k --churn 10 --json report.json\n\n\
    A recording is what file.frames_sink makes of a link behind rtp.pack_opus or\n\
    rtp.pack_av1, such as \"voice -> tape\" in graphs/join.toml; it is sent over and over.\n\n\
    All come from one address: the server's configuration says how many connections and\n\
    joins it takes from one (sockets_per_ip, joins_per_ip). `load itself` near 100 % for\n\
    each of --threads means that this program is what limits, not the server.")]
pub(super) struct Load {
    /// The server
    #[arg(long, value_name = "ws://ADDRESS", default_value = "ws://127.0.0.1:7880")]
    url: String,
    /// Rooms
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rooms: u32,
    /// Participants in each who publish, and play each other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    publishers: u32,
    /// Participants in each who only play
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    subscribers: u32,
    /// Sound that each publisher sends: bits per second such as 32k, or a recording of RTP
    #[arg(long, value_name = "BITRATE|FILE", value_parser = audio)]
    audio: Option<Media>,
    /// Pictures that each publisher sends: bits per second such as 500k or 1.5M, or a
    /// recording of RTP
    #[arg(long, value_name = "BITRATE|FILE", value_parser = video)]
    video: Option<Media>,
    /// Seconds that are measured
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Seconds within which all come in
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    ramp: u64,
    /// Participants more who come in each second, and leave after three
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    churn: u32,
    /// Threads of this program
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    /// The server's process on this machine: tells its processor time and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The application that signs the tokens
    #[arg(long, value_name = "ID", default_value = DEVELOPMENT_APP, requires = "secret_file")]
    app: String,
    /// The file with its secret
    #[arg(long, value_name = "FILE", requires = "app")]
    secret_file: Option<PathBuf>,
}

impl Load {
    pub(super) fn run(&self) -> u8 {
        if self.audio.is_none() && self.video.is_none() {
            return wrong("nothing would be sent: give --audio 32k or --video 500k, or both");
        }
        let app = match &self.secret_file {
            None => Ok(App::development()),
            Some(file) => {
                std::fs::read(file).map_err(|why| format!("{}: {why}", file.display())).and_then(|secret| {
                    App::new(&self.app, &secret).map_err(|why| format!("{}: {why}", file.display()))
                })
            }
        };
        let app = match app {
            Ok(app) => app,
            Err(why) => return wrong(&why),
        };
        let plan = Plan {
            url: self.url.clone(),
            app,
            rooms: self.rooms,
            publishers: self.publishers,
            subscribers: self.subscribers,
            audio: self.audio.clone(),
            video: self.video.clone(),
            seconds: self.seconds,
            ramp: self.ramp,
            churn: self.churn,
            threads: usize::try_from(self.threads).unwrap_or(1),
        };
        let pid = self.server_pid.map(|pid| pid.to_string());
        let report = match load::run(plan, pid.as_deref(), tell) {
            Ok(report) => report,
            Err(why) => {
                note(&format!("error: {why}\n"));
                return FAILED;
            }
        };
        say(&report.to_string());
        if let Some(file) = &self.json {
            let text = serde_json::to_string_pretty(&report).unwrap_or_default();
            if let Err(why) = std::fs::write(file, text + "\n") {
                note(&format!("error: {}: {why}\n", file.display()));
                return FAILED;
            }
        }
        if report.failures.is_empty() { FINE } else { FAILED }
    }
}

fn tell(progress: Progress) {
    let Progress { measured_s, joined, delivered } = progress;
    let phase =
        measured_s.map_or_else(|| "coming in".to_owned(), |seconds| format!("measuring, {seconds} s"));
    note(&format!("{phase}: {joined} in, {delivered} packets delivered\n"));
}

fn wrong(why: &str) -> u8 {
    note(&format!("error: {why}\n"));
    WRONG
}

fn audio(text: &str) -> Result<Media, String> {
    media(Kind::Audio, text)
}

fn video(text: &str) -> Result<Media, String> {
    media(Kind::Video, text)
}

/// A bitrate, where it begins like one and there is no such file; else a recording.
fn media(kind: Kind, text: &str) -> Result<Media, String> {
    if text.starts_with(|first: char| first.is_ascii_digit()) && !Path::new(text).exists() {
        return bitrate(text).map(Media::Made);
    }
    let file = File::open(text).map_err(|why| why.to_string())?;
    Recording::read(kind, BufReader::new(file)).map(Media::Recorded).map_err(|why| why.to_string())
}

/// Reads a bitrate such as 32k, 500k or 1.5M, in bits per second.
fn bitrate(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['k', 'M']) {
        Some(number) => (number, if text.ends_with('k') { 1e3 } else { 1e6 }),
        None => (text, 1.0),
    };
    let bps = number.parse::<f64>().ok().map(|number| number * unit);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in this range it fits
    let bps = bps.filter(|bps| (6e3..=1e8).contains(bps)).map(|bps| bps as u64);
    bps.ok_or_else(|| "give bits per second, 6k to 100M, such as 32k, 500k or 1.5M".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_a_bitrate_or_a_recording() {
        assert!(matches!(audio("32k"), Ok(Media::Made(32_000))));
        for (wrong, why) in
            [("1G", "give bits per second"), ("no/such.frames", "No such file"), ("Cargo.toml", "at byte")]
        {
            let said = video(wrong).err().unwrap_or_default();
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }

    #[test]
    fn bitrates_are_numbers_with_a_unit_or_without() {
        assert_eq!(bitrate("32k"), Ok(32_000));
        assert_eq!(bitrate("1.5M"), Ok(1_500_000));
        assert_eq!(bitrate("64000"), Ok(64_000));
        for wrong in ["", "k", "5", "-1M", "NaN", "1G", "101M", "inf"] {
            assert!(bitrate(wrong).is_err(), "{wrong}");
        }
    }
}
