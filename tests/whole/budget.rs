//! Budgets that are not kept: who is named, what is done, and that it is undone.

use std::path::Path;
use std::time::Duration;

use sidetone::{Clock, Engine, EventKind, Graph, LoadOptions, Options, Remedy, Report, Update, registry};

use crate::command::sidetone;
use crate::{Scratch, load, scratch, shipped};

/// Runs a graph in virtual time; gives the report and its events.
fn run(graph: Graph, seconds: u64) -> (Report, Vec<(f64, String, EventKind)>) {
    let limit = Some(Duration::from_secs(seconds));
    let options = Options { clock: Clock::virtual_time(), limit, ..Options::default() };
    let engine = Engine::new(graph, options).unwrap_or_else(|why| panic!("{why}"));
    let mut events = Vec::new();
    let report = engine.run(|update| {
        if let Update::Event { at, node, kind } = update
            && !matches!(kind, EventKind::Level { .. })
        {
            events.push((at, node.to_owned(), kind.clone()));
        }
    });
    (report, events)
}

/// A graph given as text.
fn graph(text: &str) -> Graph {
    let read = |_: &Path| Ok(text.as_bytes().to_vec());
    let options = LoadOptions { read: &read, ..LoadOptions::default() };
    let (graph, warnings) =
        Graph::load(Path::new("budget.toml"), &registry(), &options).unwrap_or_else(|why| panic!("{why}"));
    assert!(warnings.list.is_empty(), "{warnings}");
    graph
}

/// The graph of a stage that is slow from the third second to the eighth.
fn slow_stage(folder: &Scratch, settings: &[(&str, &str)]) -> Graph {
    let out = folder.path("");
    let settings: Vec<_> = [("out", out.as_str())].into_iter().chain(settings.iter().copied()).collect();
    load(&shipped("graphs/slow_stage.toml"), &settings)
}

fn late_drops(report: &Report, node: &str) -> u64 {
    let stage = report.stages.iter().find(|stage| stage.node == node).unwrap();
    stage.dropped_by_reason.iter().find(|(reason, _)| *reason == "late").map_or(0, |(_, count)| *count)
}

#[test]
fn a_slow_stage_is_named_and_late_frames_are_dropped_until_it_recovers() {
    let folder = scratch();
    let (report, events) = run(slow_stage(&folder, &[]), 20);
    let told: Vec<_> = events
        .iter()
        .filter(|(.., kind)| !matches!(kind, EventKind::Ended))
        .map(|(at, node, kind)| (*at, node.as_str(), kind))
        .collect();
    let [over, drops, within, undone] = told.as_slice() else { panic!("{told:?}") };
    assert!(over.1 == "screen" && (3.0..4.5).contains(&over.0), "{over:?}");
    assert!(
        matches!(over.2, EventKind::OverBudget { stage, from: None, .. } if &**stage == "slow"),
        "{over:?}"
    );
    assert!(
        matches!(drops, (_, "slow", EventKind::DropsLate { older_than_ms: Some(most) }) if *most < 120.0),
        "{drops:?}"
    );
    // The stage is slow until 8 s, so this is the remedy's doing.
    assert!(matches!(within, (at, "screen", EventKind::WithinBudget { .. }) if *at < 6.0), "{within:?}");
    assert!(matches!(undone, (at, "slow", EventKind::DropsLate { older_than_ms: None }) if *at > 12.0));
    let breach = &report.breaches[0];
    assert_eq!((report.breaches.len(), breach.until), (1, Some(within.0)));
    assert_eq!((breach.stage.as_str(), breach.remedy), ("slow", Remedy::DropLate));

    // Once it has recovered, nothing is dropped any more.
    let dropped = late_drops(&report, "slow");
    let (sooner, _) = run(slow_stage(&folder, &[]), 9);
    assert_eq!(late_drops(&sooner, "slow"), dropped);
    assert!((50..90).contains(&dropped), "of 150 pictures in 5 s some 83 fit: {dropped} were dropped");
}

#[test]
fn without_a_remedy_the_delay_grows_for_as_long_as_the_stage_is_slow() {
    let folder = scratch();
    let (report, events) = run(slow_stage(&folder, &[("remedy", "report")]), 15);
    let within = events.iter().find(|(.., kind)| matches!(kind, EventKind::WithinBudget { .. })).unwrap();
    assert!(within.0 > 8.0 && late_drops(&report, "slow") == 0, "{within:?}");
    let worst = report.end_to_end_ms.video.unwrap().max;
    assert!(worst > 1_500.0, "{worst}");
}

#[test]
fn what_can_do_less_does_less_by_as_much_as_it_takes_and_all_again_later() {
    let folder = scratch();
    let (report, events) = run(slow_stage(&folder, &[("remedy", "degrade")]), 30);
    let levels: Vec<_> = events
        .iter()
        .filter_map(|(at, node, kind)| match kind {
            EventKind::Degraded { level } => Some((*at, node.as_str(), *level)),
            _ => None,
        })
        .collect();
    let steps: Vec<_> = levels.iter().map(|(_, node, level)| (*node, *level)).collect();
    // Half of 60 ms would do, but for the queue that it has to work off.
    assert_eq!(steps, [("slow", 1), ("slow", 2), ("slow", 1), ("slow", 0)], "{levels:?}");
    assert!(levels.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1.0), "{levels:?}");
    let within = events.iter().filter(|(.., kind)| matches!(kind, EventKind::WithinBudget { .. }));
    let within: Vec<_> = within.map(|(at, ..)| *at).collect();
    assert!(within.len() == 1 && within[0] < 7.0, "{within:?}");
    assert_eq!(report.stages.iter().map(|stage| stage.dropped).sum::<u64>(), 0, "nothing is lost");
}

#[test]
fn a_remedy_that_was_lessened_too_early_waits_longer_the_next_time() {
    // 60 ms do not fit every 33 ms, half of that does: for good.
    let text = r#"
        sidetone = 1
        budget_ms = 120
        budget_remedy = "degrade"
        links = ["cam -> slow -> screen"]
        [nodes]
        cam = { kind = "test.scene", size = [64, 48], fps = 30 }
        slow = { kind = "test.slow", work_ms = 60, from_s = 3 }
        screen = { kind = "file.y4m_sink", path = "/dev/null" }"#;
    let (_, events) = run(graph(text), 120);
    let lessened: Vec<_> = events
        .iter()
        .filter_map(|(at, _, kind)| matches!(kind, EventKind::Degraded { level: 0 }).then_some(*at))
        .collect();
    assert!((2..=5).contains(&lessened.len()), "{lessened:?}");
    let gaps: Vec<_> = lessened.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.windows(2).all(|pair| pair[1] > pair[0]), "{gaps:?}");
}

/// A voice from Alice to Bob's file, with a stage before it that is slow.
const CALL: &str = r#"
    sidetone = 1
    budgets = [
      { from = "slow", to = "voices[]/remote/level", ms = 150, remedy = "drop_late" },
      { from = "opus", to = "voices/remote/level", ms = 150 },
      { from = "gain", to = "slow", ms = 60 },
    ]
    links = ["mic -> gain -> slow -> opus -> pack -> alice.audio_in", "mix -> file"]
    [nodes]
    mic = { kind = "test.tone" }
    gain = { kind = "audio.gain", gain_db = -6 }
    slow = { kind = "test.slow", work_ms = 15, from_s = 4, to_s = 8 }
    opus = { kind = "codec.opus_encode" }
    pack = { kind = "rtp.pack_opus" }
    alice = { kind = "room.join", url = "mem://paths", user = "bob[1]/x" }
    bob = { kind = "room.join", url = "mem://paths", user = "bob" }
    mix = { kind = "audio.mix" }
    file = { kind = "file.wav_sink", path = "/dev/null" }
    [each.voices]
    of = "bob.participant"
    parts = ["remote.toml"]
    links = ["voices.audio -> remote -> mix"]"#;

const REMOTE: &str = r#"
    # A remote voice.
    sidetone = 1
    links = ["jitter -> unpack -> opus -> level"]
    budgets = [{ from = "jitter", to = "opus", ms = 100 }]
    ports = { in = "jitter.in", out = "level.out" }
    [nodes]
    jitter = { kind = "rtp.jitter_buffer" }
    unpack = { kind = "rtp.unpack_opus" }
    opus = { kind = "codec.opus_decode" }
    level = { kind = "audio.level" }"#;

fn call_of(call: &str, remote: &str) -> Graph {
    let read =
        |path: &Path| Ok(if path.ends_with("remote.toml") { remote } else { call }.as_bytes().to_vec());
    let options = LoadOptions { read: &read, ..LoadOptions::default() };
    Graph::load(Path::new("call.toml"), &registry(), &options).unwrap_or_else(|why| panic!("{why}")).0
}

#[test]
fn a_path_is_measured_through_a_room_and_into_what_is_made_for_each_member() {
    let graph = call_of(CALL, REMOTE);
    assert_eq!(graph.budgets.len(), 4, "the part's own among them");
    let declared: Vec<_> =
        graph.budgets.iter().map(|budget| graph.declared_latency(budget).as_millis()).collect();
    assert_eq!(declared, [1, 17, 17, 0], "{:?}", graph.budgets);
    let (report, events) = run(graph, 20);
    let over: Vec<_> = report
        .breaches
        .iter()
        .map(|breach| (breach.from.as_deref().unwrap_or(""), breach.sink.as_str(), breach.stage.as_str()))
        .collect();
    // What waits before the slow stage is on the path that ends with it, and not
    // on the one that begins there.
    let jitter = "voices[bob[1]/x]/remote/jitter";
    let (opus, level) = ("voices[bob[1]/x]/remote/opus", "voices[bob[1]/x]/remote/level");
    let after = ("voices/remote/jitter", opus, jitter);
    let expected = [("gain", "slow", "slow"), after, ("slow", level, jitter), ("opus", level, jitter)];
    assert_eq!(over, expected, "{:?}", report.breaches);
    assert!(report.breaches[0].at < 5.0 && report.breaches[1].at > 8.0, "{:?}", report.breaches);
    let drops = events.iter().find(|(_, _, kind)| matches!(kind, EventKind::DropsLate { .. })).unwrap();
    assert_eq!(drops.1, jitter, "nothing else has a remedy");
}

#[test]
fn plans_show_what_budgets_leave_and_runs_when_they_were_not_kept() {
    let folder = scratch();
    let file = folder.path("paths.toml");
    let slow = r#"
        sidetone = 1
        budget_ms = 400
        budgets = [
          { from = "mic", to = "slow", ms = 30.5, remedy = "drop_late" },
          { from = "slow", to = "ear", ms = 25 },
        ]
        links = ["mic -> slow -> mix -> ear.in", "mic -> ear.reference"]
        [nodes]
        mic = { kind = "test.tone" }
        slow = { kind = "test.slow", work_ms = 15, from_s = 2, to_s = 4 }
        mix = { kind = "audio.mix" }
        ear = { kind = "test.compare_audio" }"#;
    std::fs::write(&file, slow).unwrap();
    let said = |arguments: &[&str]| {
        let output = sidetone(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let words = |text: &str, begin: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(begin));
        let line = line.unwrap_or_else(|| panic!("no {begin:?} in:\n{text}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    let plan = said(&["plan", &file]);
    assert_eq!(words(&plan, "capture to render")[3..], ["20.0", "400.0", "380.0", "report"], "{plan}");
    assert_eq!(words(&plan, "mic -> slow")[3..], ["10.0", "30.5", "20.5", "drop_late"], "{plan}");
    assert_eq!(words(&plan, "slow -> ear")[3..], ["10.0", "25.0", "15.0", "report"], "{plan}");

    let run = said(&["run", &file, "--virtual", "--seconds", "10", "--quiet"]);
    let breach = words(&run, "mic -> slow");
    let numbers: Vec<f64> = breach[3..7].iter().map(|word| word.parse().unwrap()).collect();
    let [at, lasted, p95, allowed] = numbers[..] else { panic!("{breach:?}") };
    assert!((2.0..4.0).contains(&at) && (0.2..3.0).contains(&lasted) && p95 > allowed, "{breach:?}");
    assert_eq!((allowed, breach[7].as_str(), breach[9].as_str()), (30.5, "slow", "drop_late"));
}

#[test]
fn delay_that_came_of_a_stall_is_gone_again_within_half_a_minute() {
    // The sender stands still for half a second: all of it then comes at once.
    let text = CALL.replace("work_ms = 15, from_s = 4, to_s = 8", "work_ms = 500, from_s = 4, to_s = 4.001");
    let text = text.replace(r#", remedy = "drop_late""#, "");
    let graph = call_of(&text, &REMOTE.replace("ms = 100", "ms = 25"));
    let (report, _) = run(graph, 45);
    let breach = report.breaches.iter().find(|breach| breach.sink.ends_with("/opus")).unwrap();
    let over = breach.until.unwrap_or(f64::INFINITY);
    assert!((4.0..6.0).contains(&breach.at) && over < 34.0, "{breach:?}");
}

#[test]
fn a_mixer_gives_back_what_a_stall_left_in_it() {
    for work_ms in [25, 500] {
        let text = format!(
            r#"
            sidetone = 1
            budgets = [{{ from = "mix", to = "file", ms = 12 }}]
            links = ["mic -> slow -> mix -> file"]
            [nodes]
            mic = {{ kind = "test.tone" }}
            slow = {{ kind = "test.slow", work_ms = {work_ms}, from_s = 4, to_s = 4.001 }}
            mix = {{ kind = "audio.mix" }}
            file = {{ kind = "file.wav_sink", path = "/dev/null" }}"#
        );
        let (report, _) = run(graph(&text), 15);
        let until: Vec<_> = report.breaches.iter().map(|breach| breach.until).collect();
        assert!(
            matches!(until.as_slice(), [Some(until)] if *until < 10.0),
            "{work_ms}: {:?}",
            report.breaches
        );
    }
}
