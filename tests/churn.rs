//! The server as a process of its own: of those who came and went nothing is left in it.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sidetone_room::load::{Media, Plan, run};
use sidetone_room::server::token::App;
use sidetone_room::usage::Usage;

/// Nothing here takes as long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ends it however the test ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Its open files, sockets among them, and its threads.
    fn holds(&self) -> (usize, usize) {
        let count = |what| fs::read_dir(format!("/proc/{}/{what}", self.0.id())).unwrap().count();
        (count("fd"), count("task"))
    }

    /// Waits until it holds no more than `most`: connections close a little after.
    fn settles(&self, most: (usize, usize)) {
        let begun = Instant::now();
        let is_more = |(files, threads): (usize, usize)| files > most.0 || threads > most.1;
        while is_more(self.holds()) {
            assert!(
                begun.elapsed() < PATIENCE,
                "it holds {:?} of (files, threads), not {most:?}",
                self.holds()
            );
            std::thread::yield_now();
        }
    }
}

#[test]
fn after_a_thousand_joins_and_leaves_nothing_is_left_of_them() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("churn");
    fs::create_dir_all(&folder).unwrap();
    let config = folder.join("server.toml");
    // All come from one address.
    fs::write(&config, "listen = \"127.0.0.1:0\"\n[limits]\nsockets_per_ip = 1000\njoins_per_ip = 1000\n")
        .unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .args(["serve", "--config", config.to_str().unwrap()])
        // Else each thread has a heap of its own, and what they keep for later depends on
        // which of them did what.
        .env("MALLOC_ARENA_MAX", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let server = Server(server);
    let url = said.split_whitespace().nth(2).unwrap().trim_end_matches(',').to_owned();

    // 200 come and go, about a hundred of them there at once, and then their rooms end.
    let churn = || {
        let plan = Plan {
            url: url.clone(),
            app: App::development(),
            rooms: 5,
            publishers: 1,
            subscribers: 0,
            audio: Some(Media::Made(32_000)),
            video: None,
            seconds: 6,
            ramp: 0,
            churn: 34,
            threads: 1,
        };
        let report = run(plan, None, |_| {}).unwrap();
        assert_eq!(report.failures, Vec::<String>::new());
        assert_eq!(report.participants, 5 + 34 * 6);
        assert!(report.delivered > 0);
    };
    let idle = server.holds();
    churn();
    // Threads may have come with the first work, and stay.
    server.settles((idle.0, usize::MAX));
    let (before, rss) = (server.holds(), Usage::of(&server.pid()).unwrap().rss);
    (0..4).for_each(|_| churn());
    server.settles(before);
    let after = Usage::of(&server.pid()).unwrap().rss;
    assert!(after * 100 <= rss * 105, "after 1,000 it has {after} bytes, after 200 it had {rss}");
}
