//! Calls through a room server, between processes: on this machine, and over a link that
//! breaks, in network namespaces of the test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value as Json;
use sidetone::scratch::Scratch;

use crate::{pictures, scratch, shipped, sound};

const SIDETONE: &str = env!("CARGO_BIN_EXE_sidetone");

/// Where a process runs.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a>(pub(crate) Option<&'a str>);

impl Place<'_> {
    fn command(self) -> Command {
        match self.0 {
            None => Command::new(SIDETONE),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, SIDETONE]);
                command
            }
        }
    }
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A room server.
pub(crate) struct Server {
    process: Running,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(place: Place<'_>, args: &[&str]) -> Self {
        let mut process = place.command();
        let process = process.arg("serve").args(args).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Running(process.spawn().unwrap());
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let line =
            lines.find_map(|line| line.unwrap().split_once("serving at ").map(|(_, at)| at.to_owned()));
        let line = line.unwrap();
        let url = line.split([',', ' ']).next().unwrap().to_owned();
        Self { process, url }
    }

    /// A figure of it.
    fn figure(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("ws://")).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let figures = page.lines().filter_map(|line| line.strip_prefix(name));
        let figures = figures.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok());
        figures.sum::<f64>() as u64
    }
}

pub(crate) fn token(user: &str, args: &[&str]) -> String {
    let minted = Command::new(SIDETONE)
        .args(["token", "--room", "demo", "--user", user, "--ttl", "1h"])
        .args(args)
        .output()
        .unwrap();
    assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
    String::from_utf8(minted.stdout).unwrap().trim().to_owned()
}

/// A participant of graphs/join.toml, and its events as they come.
struct Participant {
    process: Running,
    events: BufReader<ChildStderr>,
    seen: Vec<Json>,
}

impl Participant {
    fn start(place: Place<'_>, url: &str, token: &str, out: &str, args: &[&str]) -> Self {
        let mut process = place
            .command()
            .args(["run", &shipped("graphs/join.toml").display().to_string(), "--json"])
            .args(["--set", &format!("url={url}"), "--set", &format!("token={token}")])
            .args(["--set", "cam.size=[320, 180]", "--out", out])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let events = BufReader::new(process.stderr.take().unwrap());
        Self { process: Running(process), events, seen: Vec::new() }
    }

    /// Reads events of its room, and of what it sends, until one is like this; tells those
    /// before.
    fn until(&mut self, is: impl Fn(&Json) -> bool) -> Vec<Json> {
        let mut before = Vec::new();
        loop {
            let mut line = String::new();
            if self.events.read_line(&mut line).unwrap() == 0 {
                panic!("it ended; it saw {:#?}", self.seen);
            }
            let Ok(said) = serde_json::from_str::<Json>(&line) else { continue };
            let said = &said["event"];
            let own = said.get("own").or_else(|| said.get("adapted").map(|_| said));
            let Some(event) = own else { continue };
            self.seen.push(event.clone());
            if is(event) {
                return before;
            }
            before.push(event.clone());
        }
    }

    /// Its report, once it ended by itself.
    fn report(mut self) -> Json {
        let mut report = String::new();
        // What it still says is of no matter, but it must not wait for a reader.
        let events = std::thread::spawn(move || std::io::copy(&mut self.events, &mut std::io::sink()));
        self.process.0.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        events.join().unwrap().unwrap();
        let status = self.process.0.wait().unwrap();
        assert!(status.success(), "{status}");
        serde_json::from_str(&report).unwrap()
    }
}

fn is_state(event: &Json, state: &str) -> bool {
    event["state"] == state || event["state"].get(state).is_some()
}

fn joined(entry: &str) -> impl Fn(&Json) -> bool {
    move |event| event["state"]["joined"]["entry"] == entry
}

fn first_frame(stream: &str) -> impl Fn(&Json) -> bool {
    move |event| event["first_frame"]["stream"] == stream
}

/// How many frames a node of a report took, without what it dropped.
fn frames(report: &Json, node: &str) -> u64 {
    let stages = report["stages"].as_array().unwrap_or_else(|| panic!("{report:#}"));
    let stage = stages.iter().find(|stage| stage["node"] == node);
    stage.unwrap_or_else(|| panic!("no {node} in {report:#}"))["frames"].as_u64().unwrap()
}

/// How many a node let go for this reason.
fn dropped(report: &Json, node: &str, reason: &str) -> u64 {
    let stages = report["stages"].as_array().unwrap_or_else(|| panic!("{report:#}"));
    let reasons = stages.iter().filter(|stage| stage["node"] == node);
    let reasons = reasons.filter_map(|stage| stage["dropped_by_reason"].as_array()).flatten();
    reasons.filter(|of| of[0] == reason).filter_map(|of| of[1].as_u64()).sum()
}

#[test]
fn two_processes_meet_through_a_server_and_what_one_sends_reaches_the_other() {
    let server = Server::start(Place(None), &["--listen", "127.0.0.1:0"]);
    let folders = [scratch(), scratch()];
    let start = |user: &str, folder: &Scratch, seconds: &str| {
        let token = token(user, &[]);
        Participant::start(Place(None), &server.url, &token, &folder.path(""), &["--seconds", seconds])
    };
    let mut alice = start("alice", &folders[0], "6");
    alice.until(joined("first"));
    let mut bob = start("bob", &folders[1], "4");
    bob.until(joined("first"));
    bob.until(first_frame("alice/camera"));
    alice.until(first_frame("bob/camera"));
    alice.until(|event| event["volumes"]["list"].as_array().is_some_and(|list| list.len() == 2));
    alice.until(|event| event["user_left"]["user"] == "bob" && event["user_left"]["reason"] == "left");
    let reports = [alice.report(), bob.report()];
    let sent: u64 = reports
        .iter()
        .map(|report| frames(report, "voice/network") + frames(report, "picture/network"))
        .sum();
    // Not one packet is unaccounted for, from here to the server and from there to here.
    let dropped =
        |reason: &str| -> u64 { reports.iter().map(|report| dropped(report, "room", reason)).sum() };
    let came = server.figure("sidetone_room_packets_total{dir=\"in\"");
    assert_eq!(
        came + dropped("declined") + dropped("overflow"),
        sent,
        "those from before joining are declined"
    );
    let forwarded = server.figure("sidetone_room_packets_total{dir=\"out\"");
    let taken: u64 = reports.iter().map(|report| frames(report, "room")).sum();
    assert_eq!(taken + dropped("unlinked"), forwarded, "those that come after a goodbye have nowhere to go");
    assert!(taken * 100 >= forwarded * 95, "{taken} of {forwarded} taken");
    for folder in &folders {
        assert!(pictures(&folder.path("sees.y4m")).len() >= 30);
        let (heard, rate) = sound(&folder.path("hears.wav"));
        assert!(heard.len() as u32 >= rate && heard.iter().any(|sample| sample.abs() > 0.05));
    }
    drop(server.process);
}

#[test]
fn a_token_that_does_not_hold_ends_the_run_with_why() {
    let server = Server::start(Place(None), &["--listen", "127.0.0.1:0"]);
    let folder = scratch();
    let key = folder.path("key");
    folder.write("key", b"0123456789abcdef0123456789abcdef");
    let foreign = token("alice", &["--app", "other", "--secret-file", &key]);
    let mut alice =
        Participant::start(Place(None), &server.url, &foreign, &folder.path(""), &["--seconds", "5"]);
    alice.until(|event| event["state"]["failed"]["code"] == "app_invalid");
    let status = alice.process.0.wait().unwrap();
    assert!(!status.success());
}

/// Two network namespaces with a link between them: `.1` is the server's, `.2` the
/// participant's.
struct Link {
    near: String,
    far: String,
    /// The first three numbers of their addresses.
    net: String,
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Link {
    /// If this process may make one.
    fn make() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = std::process::id();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("st{id}{end}{number}");
        let net = format!("10.{}.{}", 64 + id % 64, (id / 64 + number) % 256);
        let link = Self { near: name("n"), far: name("f"), net };
        if !ip(&["netns", "add", &link.near]) || !ip(&["netns", "add", &link.far]) {
            return None;
        }
        let made = ip(&[
            "-n", &link.near, "link", "add", "v", "type", "veth", "peer", "name", "v", "netns", &link.far,
        ]);
        for (namespace, host) in [(&link.near, 1), (&link.far, 2)] {
            let address = format!("{}.{host}/24", link.net);
            let up = ip(&["-n", namespace, "addr", "add", &address, "dev", "v"])
                && ip(&["-n", namespace, "link", "set", "lo", "up"])
                && ip(&["-n", namespace, "link", "set", "v", "up"]);
            assert!(made && up, "a namespace can be made, but no link in it");
        }
        Some(link)
    }

    /// A server at the near end, bob there and alice at the far one, each with a graph
    /// that is changed by `args`; bob has joined.
    fn meet(&self, folders: &[Scratch; 3], room: &str, args: &[&str]) -> (Server, Participant, Participant) {
        let [folder, his, hers] = folders;
        folder.write("key", b"0123456789abcdef0123456789abcdef");
        let key = folder.path("key");
        let listen = format!("{}.1:7880", self.net);
        let config = format!(
            "listen = \"{listen}\"\n[room]\n{room}\n[[app]]\nid = \"ours\"\nsecret_file = \"{key}\"\n"
        );
        folder.write("server.toml", config.as_bytes());
        let near = Place(Some(&self.near));
        let server = Server::start(near, &["--config", &folder.path("server.toml")]);
        let start = |user: &str, place: Place<'_>, folder: &Scratch| {
            let token = token(user, &["--app", "ours", "--secret-file", &key]);
            let common = ["--set", "room.allow_remote=true", "--seconds", "120"];
            Participant::start(place, &server.url, &token, &folder.path(""), &[&common, args].concat())
        };
        let mut bob = start("bob", near, his);
        bob.until(joined("first"));
        let alice = start("alice", Place(Some(&self.far)), hers);
        (server, bob, alice)
    }

    fn cut(&self) {
        assert!(ip(&["-n", &self.far, "link", "set", "v", "down"]));
    }

    fn mend(&self) {
        assert!(ip(&["-n", &self.far, "link", "set", "v", "up"]));
    }

    /// Lets no more than this through from the far end, if the kernel can.
    fn narrow(&self, rate: &str) -> bool {
        let limit = ["root", "tbf", "rate", rate, "burst", "5kb", "latency", "200ms"];
        let mut tc = Command::new("ip");
        tc.args(["netns", "exec", &self.far, "tc", "qdisc", "add", "dev", "v"]).args(limit);
        tc.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Lets all through again.
    fn widen(&self) {
        assert!(ip(&["netns", "exec", &self.far, "tc", "qdisc", "del", "dev", "v", "root"]));
    }

    /// Gives the far end another address.
    fn move_to(&self, host: u8) {
        assert!(ip(&["-n", &self.far, "addr", "flush", "dev", "v", "scope", "global"]));
        let address = format!("{}.{host}/24", self.net);
        assert!(ip(&["-n", &self.far, "addr", "add", &address, "dev", "v"]));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.near]);
        ip(&["netns", "delete", &self.far]);
    }
}

#[test]
fn a_link_that_breaks_is_mended_unseen_and_after_the_grace_alice_is_back_again() {
    let Some(link) = Link::make() else {
        println!("skipped: only root may make network namespaces");
        return;
    };
    let folders = [scratch(), scratch(), scratch()];
    let (_server, mut bob, mut alice) = link.meet(&folders, "grace_s = 6", &[]);
    alice.until(first_frame("bob/camera"));
    bob.until(first_frame("alice/camera"));

    // Short: she is back before anybody sees it.
    link.cut();
    alice.until(|event| is_state(event, "reconnecting"));
    link.mend();
    let before = alice.until(joined("resumed"));
    assert!(!before.iter().any(|event| is_state(event, "disconnected")), "{before:#?}");

    // Another address: so soon that even she is not told, but that the server plays on.
    let plays =
        |event: &Json| event["playing"]["stream"] == "bob/camera" && event["playing"]["state"] == "playing";
    alice.until(plays);
    link.move_to(7);
    alice.until(plays);

    // Long: others see a leave, and she comes again.
    link.cut();
    let seen = bob.until(|event| event["user_left"]["user"] == "alice");
    assert_eq!(bob.seen.last().unwrap()["user_left"]["reason"], "timed_out");
    let hers =
        |event: &&Json| event["user_left"]["user"] == "alice" || event["user_joined"]["user"] == "alice";
    assert_eq!(seen.iter().filter(hers).count(), 0, "of the breaks before nothing was seen");
    alice.until(|event| is_state(event, "disconnected"));
    link.mend();
    alice.until(joined("again"));
    alice.until(first_frame("bob/camera"));
    bob.until(|event| event["user_joined"]["user"] == "alice");
    bob.until(first_frame("alice/camera"));
}

#[test]
fn pictures_get_smaller_and_fewer_where_a_link_gets_narrow_and_come_back_with_it() {
    let Some(link) = Link::make() else {
        println!("skipped: only root may make network namespaces");
        return;
    };
    let folders = [scratch(), scratch(), scratch()];
    let (_server, mut bob, mut alice) = link.meet(&folders, "", &["--set", "cam.size=[640, 360]"]);
    bob.until(first_frame("alice/camera"));
    // What the server knows of how much she may send.
    alice.until(|event| event["limit"]["stream"] == "alice/camera");

    if !link.narrow("200kbit") {
        println!("skipped: there is no tc, or the kernel has no token bucket");
        return;
    }
    alice.until(|event| event["adapted"]["height"].as_u64().is_some_and(|height| height < 360));
    assert!(alice.seen.iter().filter(|event| event.get("adapted").is_some()).count() == 1, "at once");
    link.widen();
    alice.until(|event| event["adapted"]["height"] == 360 && event["adapted"]["fps"] == 30.0);
}
