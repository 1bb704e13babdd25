//! A running engine, as others see it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sidetone::{Engine, Options, Snapshot};

use crate::{Scratch, load, scratch, shipped};

fn sidetone(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
    command.args(args).current_dir(shipped("")).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn another_thread_reads_the_ledger_while_the_engine_runs_and_no_longer() {
    let folder = scratch();
    let graph = load(&shipped("graphs/voice_low_latency.toml"), &[("out", &*folder.path(""))]);
    let engine = Engine::new(graph, Options::default()).unwrap_or_else(|why| panic!("{why}"));
    let handle = engine.handle();
    let mut watch = handle.watch();
    let run = std::thread::spawn(move || engine.run(|_| {}));

    let mut recent = vec![0; 64];
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let snapshot = watch.snapshot().expect("a running engine answers");
        for (sum, stage) in recent.iter_mut().zip(&snapshot.recent.stages) {
            *sum += stage.frames;
        }
        if snapshot.report.end_to_end_ms.audio.is_some_and(|audio| audio.count > 0) {
            seen.push(snapshot);
        }
    }
    handle.stop();
    let whole = run.join().unwrap();
    assert!(watch.snapshot().is_none(), "a run that is over has nothing to tell");

    let names = |stages: &[sidetone::report::Stage]| -> Vec<String> {
        stages.iter().map(|stage| stage.node.clone()).collect()
    };
    let last = seen.last().unwrap();
    assert_eq!(names(&last.report.stages), names(&whole.stages));
    assert!(last.report.undrained.is_empty() && !whole.lanes.is_empty());
    for (index, stage) in whole.stages.iter().enumerate() {
        let [first, .., last] = &seen[..] else { panic!() };
        assert!(first.report.stages[index].frames <= last.report.stages[index].frames);
        // What came between readings adds up to no more than there was, and to no
        // less than the reading before showed.
        assert!(recent[index] <= last.report.stages[index].frames, "{}", stage.node);
        assert!(recent[index] >= seen[1].report.stages[index].frames, "{}", stage.node);
        assert!(last.report.stages[index].frames <= stage.frames, "{}", stage.node);
    }
    let back: Snapshot = serde_json::from_str(&serde_json::to_string(last).unwrap()).unwrap();
    assert_eq!(names(&back.report.stages), names(&whole.stages), "a snapshot survives its JSON form");
    assert_eq!(back.recent.stages.len(), last.recent.stages.len());
}

/// In nanoseconds, exactly: microseconds with three decimals.
fn nanos(value: &Value) -> u64 {
    let micros = value.as_f64().unwrap();
    (micros * 1e3).round() as u64
}

#[test]
fn a_trace_holds_every_call_in_its_lane_and_follows_frames_to_the_end() {
    let folder = scratch();
    let (trace, report) = (folder.path("trace.json"), folder.path("report.json"));
    let out = folder.path("");
    let args = ["run", "graphs/call.toml", "--seconds", "2", "--out", &out, "--trace", &trace];
    let output = sidetone(&[&args[..], &["--report", &report]].concat()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let read = |path: &str| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let (trace, report) = (read(&trace), read(&report));
    assert_eq!(
        (trace["otherData"]["graph"].as_str(), trace["otherData"]["lost"].as_u64()),
        (Some("call"), Some(0))
    );

    let mut tracks = BTreeMap::new();
    let mut busy: BTreeMap<&str, u64> = BTreeMap::new();
    let mut slices: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    let mut flows: BTreeMap<u64, Vec<(u64, &str)>> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().unwrap() {
        assert_eq!(event["pid"], 1, "{event}");
        let name = event["name"].as_str().unwrap();
        let track = event["tid"].as_u64().unwrap();
        match event["ph"].as_str().unwrap() {
            "M" if name == "thread_name" => {
                tracks.insert(track, event["args"]["name"].as_str().unwrap());
            }
            "M" => assert!(["process_name", "thread_sort_index"].contains(&name), "{event}"),
            "X" => {
                assert!(event["cat"].as_str().unwrap().contains('.'), "{event}");
                assert!(tracks.contains_key(&track), "{event}");
                let (start, length) = (nanos(&event["ts"]), nanos(&event["dur"]));
                *busy.entry(name).or_default() += length;
                slices.entry(track).or_default().push((start, start + length));
            }
            phase @ ("s" | "t" | "f") => {
                let at = nanos(&event["ts"]);
                let last = slices[&track].last().unwrap();
                assert!((last.0..=last.1).contains(&at), "{event} lies outside its slice");
                assert_eq!(phase == "f", event["bp"] == "e");
                flows.entry(event["id"].as_u64().unwrap()).or_default().push((at, phase));
            }
            _ => panic!("{event}"),
        }
    }

    for (track, slices) in &slices {
        assert!(slices.windows(2).all(|pair| pair[0].1 <= pair[1].0), "slices of {} overlap", tracks[track]);
    }
    for stage in report["stages"].as_array().unwrap() {
        let (node, ledger) = (stage["node"].as_str().unwrap(), stage["busy_ms"].as_f64().unwrap());
        let slices = busy.get(node).copied().unwrap_or(0) as f64 / 1e6;
        assert!(
            (slices - ledger).abs() <= 0.01 * ledger,
            "{node}: {slices} ms of slices, {ledger} in the ledger"
        );
    }
    let mut through = 0;
    for (id, steps) in &mut flows {
        // Lanes take turns in the file; a flow's order is that of its instants.
        steps.sort_by_key(|(at, phase)| (*at, *phase != "s"));
        let begins = steps.iter().filter(|(_, phase)| *phase == "s").count();
        assert_eq!((begins, steps[0].1), (1, "s"), "flow {id}: {steps:?}");
        through += usize::from(steps.len() > 3 && steps.last().unwrap().1 == "f");
    }
    let rendered: u64 = ["audio", "video"]
        .iter()
        .map(|medium| report["end_to_end_ms"][medium]["count"].as_u64().unwrap())
        .sum();
    assert!(through as u64 > rendered / 4, "{through} frames followed to the end of {rendered} rendered");
}

/// A run that serves its figures, ended with the test.
struct Served(Child, String);

impl Served {
    fn new(folder: &Scratch) -> Self {
        let out = folder.path("");
        let args = ["run", "graphs/voice_low_latency.toml", "--out", &out, "--metrics", "0"];
        let mut run = sidetone(&args).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(run.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self(run, address)
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.1).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.1).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_serves_its_figures_to_prometheus_and_to_top() {
    let folder = scratch();
    let served = Served::new(&folder);
    assert!(
        served.1.starts_with("127.0.0.1:"),
        "a port alone is reached from this machine only: {}",
        served.1
    );

    let rendered = |page: &str| {
        let line = page.lines().find(|line| line.starts_with("sidetone_end_to_end_seconds_count"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    let mut page = String::new();
    while rendered(&page).is_none_or(|count| count == 0) {
        page = served.get("/metrics");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    }
    assert!(page.contains("text/plain; version=0.0.4"), "{page}");
    assert!(page.contains("sidetone_info{graph=\"voice_low_latency\"} 1"), "{page}");
    assert!(page.contains("sidetone_stage_frames_total{node=\"mic\",kind=\"test.clicks\""), "{page}");

    let report = served.get("/report.json");
    let (_, body) = report.split_once("\r\n\r\n").unwrap();
    let report: Value = serde_json::from_str(body).unwrap();
    assert_eq!(report["graph"], "voice_low_latency");
    assert!(
        report["recent"]["stages"].as_array().unwrap().len() == report["stages"].as_array().unwrap().len()
    );

    let top = sidetone(&["top", &served.1, "--once"]).output().unwrap();
    let (shown, said) = (String::from_utf8(top.stdout).unwrap(), String::from_utf8(top.stderr).unwrap());
    assert!(top.status.success(), "{said}");
    for part in ["voice_low_latency", "CAPTURE TO RENDER", "audio", "LANE", "STAGE", "mic"] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    drop(served);
}

#[test]
fn top_runs_a_graph_of_its_own_and_says_so_where_nothing_runs() {
    let folder = scratch();
    let out = folder.path("");
    let top = sidetone(&["top", "graphs/voice_low_latency.toml", "--seconds", "1.5", "--out", &out])
        .output()
        .unwrap();
    let shown = String::from_utf8(top.stdout).unwrap();
    assert!(top.status.success(), "{shown}");
    assert!(shown.matches("frames/s").count() >= 2 && shown.contains("real time"), "{shown}");

    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let lost = sidetone(&["top", &free, "--once"]).output().unwrap();
    let said = String::from_utf8(lost.stderr).unwrap();
    assert!(lost.status.code() == Some(1) && said.contains("--metrics"), "{said}");
    assert_eq!(sidetone(&["top", "no such thing"]).output().unwrap().status.code(), Some(2));
}
