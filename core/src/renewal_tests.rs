//! Nodes that are made anew while they run, and kinds that are described anew.

use std::cell::Cell;

use crate::engine::{Engine, Options, Update};
use crate::engine_tests::{IN, OUT, PASS, SINK, SOURCE, chain, node, spec, virtual_time};
use crate::registry::{declared, same};
use crate::*;

thread_local! {
    /// Whether the nodes that are made on this thread refuse any state, or none can
    /// be made.
    static MOOD: Cell<Mood> = const { Cell::new(Mood::Willing) };
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Willing,
    Refusing,
    Panicking,
    Absent,
}

/// Numbers the frames that it hands on, and tells of each; panics at the one
/// numbered `panic_at`.
struct Count {
    count: u64,
    panic_at: i64,
    mood: Mood,
}

impl Node for Count {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if let Some(mut frame) = cx.pop(0) {
            assert!(self.count as i64 != self.panic_at, "the mock was told to panic");
            frame.header.sequence = self.count;
            self.count += 1;
            cx.emit(EventKind::Level { level: 1 });
            cx.push(0, frame);
        }
        Ok(())
    }

    fn save_state(&mut self) -> Option<Vec<u8>> {
        Some(self.count.to_le_bytes().to_vec())
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), Fault> {
        assert!(self.mood != Mood::Panicking, "the mock was told to panic");
        let known = <[u8; 8]>::try_from(state).ok().filter(|_| self.mood == Mood::Willing);
        let known = known.ok_or(Fault::new(FaultKind::BadMedia, "the mock was told to refuse"))?;
        self.count = u64::from_le_bytes(known);
        Ok(())
    }
}

const COUNT_PARAMS: &[ParamSpec] = &[ParamSpec::int("panic_at", -1, -1, 1_000_000, "Panics.")];

fn count(setup: &Setup<'_>) -> Result<Box<dyn Node>, NodeError> {
    match MOOD.get() {
        Mood::Absent => Err(NodeError::Unavailable("the mock is not there".into())),
        mood => Ok(Box::new(Count { count: 0, panic_at: setup.params.int("panic_at"), mood })),
    }
}

spec!(COUNT, "mock.count", &[IN], &[OUT], COUNT_PARAMS, Placement::Own, &same, |setup: Setup<'_>| count(
    &setup
));
// The same kind, from a library that was loaded anew: its parameter is another.
spec!(COUNT_2, "mock.count", &[IN], &[OUT], NEW_PARAMS, Placement::Own, &same, |setup: Setup<'_>| {
    Ok(Box::new(Count { count: setup.params.int("first") as u64, panic_at: -1, mood: Mood::Willing })
        as Box<dyn Node>)
});
const NEW_PARAMS: &[ParamSpec] = &[ParamSpec::int("first", 1_000, 0, 1_000_000, "The first number.").live()];

/// Tells how often the number of a frame did not follow that of the one before.
struct Follow {
    next: u64,
    breaks: u64,
}

impl Node for Follow {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            self.breaks += u64::from(frame.header.sequence != self.next);
            self.next = frame.header.sequence + 1;
            cx.emit(EventKind::Figure(Figure { name: "breaks", unit: "", value: self.breaks as f64 }));
            cx.rendered(frame);
        }
        Ok(())
    }
}

spec!(FOLLOW, "mock.follow", &[IN], &[], &[], Placement::Shared, &declared, |_: Setup<'_>| {
    Ok(Box::new(Follow { next: 0, breaks: 0 }) as Box<dyn Node>)
});

/// `frames` of them, numbered by `count`, and whether the numbers follow one another.
fn counted(frames: i64, every_ms: i64, count: GraphNode) -> Graph {
    chain(vec![
        node("source", &SOURCE, &[("count", frames), ("every_ms", every_ms)]),
        count,
        node("follow", &FOLLOW, &[]),
    ])
}

/// Runs the graph, and renews the counting node at each of its first `times`
/// frames, in `mood`; gives the report and what came of each renewal.
fn renewed(graph: Graph, options: Options, times: usize, mood: Mood) -> (Report, Vec<Renewal>) {
    MOOD.set(Mood::Willing);
    let engine = Engine::new(graph, options).unwrap();
    MOOD.set(mood);
    let handle = engine.handle();
    let (mut asked, mut renewals) = (0, Vec::new());
    let report = engine.run(|update| match update {
        Update::Event { node: "count", kind: EventKind::Level { .. } | EventKind::Fault { .. }, .. }
            if asked < times =>
        {
            asked += 1;
            handle.renew(&["mock.other", "mock.count"]);
        }
        Update::Event { kind: EventKind::Renewed(renewal), .. } => renewals.push(renewal.clone()),
        _ => {}
    });
    (report, renewals)
}

/// How often a number did not follow the one before.
fn breaks(report: &Report) -> f64 {
    report.figures.iter().find(|figure| figure.name == "breaks").unwrap().value
}

#[test]
fn a_hundred_renewals_lose_no_frame_and_no_state() {
    // One frame at a time, and many that wait.
    for every_ms in [10, 0] {
        let graph = counted(1_000, every_ms, node("count", &COUNT, &[]));
        let (report, renewals) = renewed(graph, virtual_time(), 100, Mood::Willing);
        assert_eq!(renewals, vec![Renewal::Continued; 100]);
        assert_eq!((report.stages[2].frames, breaks(&report)), (1_000, 0.0), "every {every_ms} ms");
        assert_eq!((report.stages.len(), report.faults.len()), (3, 0));
        assert!(report.links.iter().all(|link| link.frames == 1_000 && link.dropped == 0));
    }
}

#[test]
fn renewals_on_threads_lose_nothing_either() {
    let graph = counted(20_000, 0, node("count", &COUNT, &[]));
    let (report, renewals) = renewed(graph, Options::default(), 100, Mood::Willing);
    // Some may come when the last frame has gone.
    assert!(!renewals.is_empty() && renewals.iter().all(|renewal| *renewal == Renewal::Continued));
    assert_eq!((report.stages[2].frames, breaks(&report)), (20_000, 0.0));
}

#[test]
fn a_state_that_will_not_do_is_told_and_the_new_node_begins_afresh() {
    for mood in [Mood::Refusing, Mood::Panicking] {
        let graph = counted(50, 10, node("count", &COUNT, &[]));
        let (report, renewals) = renewed(graph, virtual_time(), 1, mood);
        assert!(matches!(renewals[..], [Renewal::Refused(_)]), "{renewals:?}");
        assert_eq!((report.stages[2].frames, breaks(&report), report.faults.len()), (50, 1.0, 0));
    }
}

#[test]
fn where_no_new_node_can_be_made_the_one_before_goes_on() {
    let graph = counted(50, 10, node("count", &COUNT, &[]));
    let (report, renewals) = renewed(graph, virtual_time(), 3, Mood::Absent);
    assert_eq!(renewals, vec![Renewal::Kept("the mock is not there".into()); 3]);
    assert_eq!((report.stages[2].frames, breaks(&report)), (50, 0.0));
}

#[test]
fn a_node_that_was_passed_by_runs_again_when_it_is_renewed() {
    let mut graph = counted(50, 10, node("count", &COUNT, &[("panic_at", 20)]));
    graph.nodes[1].on_fault = OnFault::Bypass;
    let (report, renewals) = renewed(graph, virtual_time(), 21, Mood::Willing);
    // Twenty times at its frames; then at its fault, which leaves no state.
    assert_eq!((renewals.len(), &renewals[20]), (21, &Renewal::Fresh), "{renewals:?}");
    assert_eq!((report.faults.len(), report.stages[2].frames), (2, 48), "it fails again at its twenty-first");
    assert_eq!(breaks(&report), 2.0, "it counts from zero, and is passed by once more");
}

/// What an edit that makes `second` of `first`, after five frames, changes.
fn edited(first: Graph, second: Graph) -> (Change, Report) {
    MOOD.set(Mood::Willing);
    let engine = Engine::new(first, virtual_time()).unwrap();
    let handle = engine.handle();
    let (mut frames, mut second, mut change) = (0, Some(second), None);
    let report = engine.run(|update| match update {
        Update::Event { node: "count", kind: EventKind::Level { .. }, .. } => {
            frames += 1;
            if frames == 5 {
                drop(handle.edit(second.take().unwrap()));
            }
        }
        Update::Edited { outcome, .. } => change = outcome.as_ref().ok().cloned(),
        _ => {}
    });
    (change.unwrap(), report)
}

#[test]
fn a_kind_that_is_described_anew_has_its_nodes_made_anew() {
    let graph = |spec| counted(50, 10, node("count", spec, &[]));
    let (change, report) = edited(graph(&COUNT), graph(&COUNT));
    assert_eq!((change.is_empty(), breaks(&report)), (true, 0.0), "{change}");

    let (change, report) = edited(graph(&COUNT), graph(&COUNT_2));
    assert_eq!((&change.replaced[..], change.set.len()), (&["count".to_owned()][..], 0), "{change}");
    assert_eq!((report.stages[2].frames, breaks(&report)), (50, 1.0), "its numbers begin at a thousand");
}

#[test]
fn other_kinds_are_left_alone() {
    let graph = chain(vec![
        node("source", &SOURCE, &[("count", 20)]),
        node("pass", &PASS, &[("hold_ms", 30)]),
        node("count", &COUNT, &[]),
        node("sink", &SINK, &[]),
    ]);
    MOOD.set(Mood::Willing);
    let engine = Engine::new(graph, virtual_time()).unwrap();
    engine.handle().renew(&["mock.count", "mock.nobody"]);
    let mut names = Vec::new();
    let report = engine.run(|update| {
        if let Update::Event { node, kind: EventKind::Renewed(_), .. } = update {
            names.push(node.to_owned());
        }
    });
    assert_eq!((names, report.stages[3].frames), (vec!["count".to_owned()], 20));
}
