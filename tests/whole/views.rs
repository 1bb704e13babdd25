//! A running engine, as others see it.

use sidetone::{Engine, Options, Snapshot};

use crate::{Scratch, load, shipped};

#[test]
fn another_thread_reads_the_ledger_while_the_engine_runs_and_no_longer() {
    let folder = Scratch::new();
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
