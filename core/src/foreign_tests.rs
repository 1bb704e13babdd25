//! Nodes that run somebody else's code: how long their calls may take, and what
//! becomes of those that take longer.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use crate::engine_tests::{IN, OUT, PASS, SINK, SOURCE, chain, node, numbers, run, spec, virtual_time};
use crate::graph_tests::good;
use crate::registry::{declared, same};
use crate::*;

thread_local! {
    /// The clock that a dawdling node moves on: in virtual time nothing else can
    /// make a call take long.
    static CLOCK: RefCell<Clock> = RefCell::new(Clock::virtual_time());
}

/// Hands frames on, and takes `ms` for each from the one numbered `from` on, of
/// `every` only one.
struct Dawdle {
    took: Duration,
    from: u64,
    every: u64,
    clock: Clock,
}

impl Node for Dawdle {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if let Some(frame) = cx.pop(0) {
            let number = frame.header.sequence;
            if number >= self.from && number % self.every == 0 {
                self.clock.advance_to(self.clock.now() + self.took);
            }
            cx.push(0, frame);
        }
        Ok(())
    }
}

const DAWDLE_PARAMS: &[ParamSpec] = &[
    ParamSpec::int("ms", 5, 0, 1_000, "How long a call takes."),
    ParamSpec::int("from", 0, 0, 1_000_000, "From which frame on."),
    ParamSpec::int("every", 1, 1, 1_000, "At which frames."),
];

fn dawdle(setup: &Setup<'_>) -> Result<Box<dyn Node>, NodeError> {
    Ok(Box::new(Dawdle {
        took: Duration::from_millis(setup.params.int("ms") as u64),
        from: setup.params.int("from") as u64,
        every: setup.params.int("every") as u64,
        clock: CLOCK.with_borrow(Clock::clone),
    }))
}

spec!(DAWDLE, "mock.dawdle", &[IN], &[OUT], DAWDLE_PARAMS, Placement::Shared, &same, |setup: Setup<'_>| {
    dawdle(&setup)
});
spec!(
    DAWDLING_SINK,
    "mock.dawdling_sink",
    &[IN],
    &[],
    DAWDLE_PARAMS,
    Placement::Shared,
    &declared,
    |setup: Setup<'_>| dawdle(&setup)
);

/// A hundred frames, one every ten milliseconds, through a node that may take
/// 4 ms for each.
fn late(params: &[(&str, i64)], policy: OnFault) -> (Report, Vec<u64>, Vec<String>) {
    let mut graph = chain(vec![
        node("source", &SOURCE, &[("count", 200)]),
        node("plugin", &DAWDLE, params),
        node("sink", &SINK, &[]),
    ]);
    let plugin = &mut graph.nodes[1];
    (plugin.foreign, plugin.deadline, plugin.on_fault) =
        (Foreign::InProcess, Some(Duration::from_millis(4)), policy);
    let options = virtual_time();
    CLOCK.set(options.clock.clone());
    let (report, seen, events) = run(graph, options);
    (report, numbers(&seen), events)
}

#[test]
fn a_node_that_is_late_again_and_again_is_passed_by_whatever_its_policy() {
    for policy in [OnFault::Stop, OnFault::Bypass, OnFault::Restart] {
        // When its calls are timed one by one, and when they took too little for that.
        for from in [0, 100] {
            let (report, seen, events) = late(&[("from", from)], policy);
            assert_eq!(seen, (0..200).collect::<Vec<_>>(), "no frame is lost");
            assert_eq!((report.stages[1].late_calls, report.faults.len()), (5, 1), "{events:?}");
            let fault = report.faults[0].to_string();
            let says = "plugin (mock.dawdle): late: 5 of its last 50 calls came back after their deadline of 4 ms; \
                        the node is bypassed";
            assert_eq!(fault, says);
            assert!(report.faults[0].at < 0.01 * from as f64 + 0.08, "{fault} at {}", report.faults[0].at);
        }
    }
}

#[test]
fn a_node_that_is_late_now_and_then_goes_on() {
    let (report, seen, events) = late(&[("every", 13)], OnFault::Stop);
    assert_eq!((seen.len(), report.faults.len()), (200, 0), "{events:?}");
    assert_eq!(report.stages[1].late_calls, 16);
}

#[test]
fn a_node_that_keeps_its_deadline_is_left_alone() {
    let (report, seen, _) = late(&[("ms", 4)], OnFault::Stop);
    assert_eq!((seen.len(), report.faults.len(), report.stages[1].late_calls), (200, 0, 0));
}

#[test]
fn a_late_node_that_cannot_be_passed_by_stops() {
    let mut graph =
        chain(vec![node("source", &SOURCE, &[("count", 50)]), node("plugin", &DAWDLING_SINK, &[("ms", 9)])]);
    (graph.nodes[1].foreign, graph.nodes[1].deadline) = (Foreign::InProcess, Some(Duration::from_millis(4)));
    let options = virtual_time();
    CLOCK.set(options.clock.clone());
    let (report, _, events) = run(graph, options);
    assert!(report.faults[0].to_string().ends_with("the node stops"), "{events:?}");
    assert_eq!(report.stages[1].late_calls, 5);
}

/// Notes where the frames lie that come to it, and gives others.
struct Apart;

/// A memory, and the offset there.
type At = Option<(u64, usize)>;

/// Where each frame was, and what was made of it.
static PLACES: Mutex<Vec<[At; 2]>> = Mutex::new(Vec::new());

impl Node for Apart {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let place = |frame: &Frame| frame.shared_place().map(|place| (place.memory.id(), place.offset));
        if let Some(frame) = cx.pop(0) {
            let came = place(&frame);
            let made = cx.packet(0, Codec::Opus, &[1; 8], frame.into_header());
            PLACES.lock().unwrap().push([came, place(&made)]);
            cx.push(0, made);
        }
        Ok(())
    }
}

spec!(APART, "mock.apart", &[IN], &[OUT], &[], Placement::Shared, &same, |_: Setup<'_>| Ok(
    Box::new(Apart) as Box<dyn Node>
));

#[test]
fn a_frame_that_came_through_another_node_reaches_one_that_runs_apart_in_shared_memory() {
    let mut graph = chain(vec![
        node("source", &SOURCE, &[("count", 100)]),
        node("pass", &PASS, &[]),
        node("apart", &APART, &[]),
        node("sink", &SINK, &[]),
    ]);
    (graph.nodes[2].foreign, graph.nodes[2].deadline) = (Foreign::Apart, Some(Duration::from_millis(5)));
    let (_, seen, _) = run(graph, virtual_time());
    let places = PLACES.lock().unwrap();
    assert_eq!((seen.len(), places.len()), (100, 100));
    let memories: BTreeSet<_> =
        places.iter().map(|places| places.map(|place| place.map(|(memory, _)| memory))).collect();
    let [[Some(came), Some(made)]] = memories.into_iter().collect::<Vec<_>>()[..] else {
        panic!("not all of it: {places:?}")
    };
    assert_ne!(came, made, "what it may write is not where others write");
    assert!(places.iter().flatten().flatten().all(|(_, offset)| offset % 4_096 == 0));
}

#[test]
fn the_frameworks_own_nodes_have_no_deadline() {
    let graph = chain(vec![node("source", &SOURCE, &[]), node("pass", &PASS, &[]), node("sink", &SINK, &[])]);
    assert!(graph.nodes.iter().all(|node| node.deadline.is_none()));
    let graph = good(&[("call.toml", &pictures("", ""))], &[]);
    let deadlines: Vec<_> = graph.nodes.iter().map(|node| node.deadline.is_some()).collect();
    assert_eq!(deadlines, [false, true, true, false]);
}

/// Pictures through two plugins to a file.
fn pictures(budget: &str, plugin: &str) -> String {
    format!(
        "sidetone = 1\n{budget}\nlinks = [\"cam -> tint -> shade -> file\"]\n[nodes]\n\
         cam = {{ kind = \"test.scene\", fps = 40 }}\n\
         tint = {{ kind = \"plugin.tint\"{plugin} }}\n\
         shade = {{ kind = \"plugin.tint\", isolate = \"process\" }}\n\
         file = {{ kind = \"file.y4m_sink\", path = \"out.y4m\" }}\n"
    )
}

/// How long a call of each plugin may take.
fn deadlines(budget: &str, plugin: &str) -> [Duration; 2] {
    let graph = good(&[("call.toml", &pictures(budget, plugin))], &[]);
    ["tint", "shade"].map(|name| graph.nodes[graph.node(name).unwrap()].deadline.unwrap())
}

#[test]
fn a_call_may_take_the_nodes_share_of_its_tightest_budget() {
    let ms = Duration::from_millis;
    assert_eq!(deadlines("budget_ms = 80", ""), [ms(20), ms(20)], "four nodes");
    let paths = "budget_ms = 80\nbudgets = [{ from = \"cam\", to = \"tint\", ms = 10 }]";
    assert_eq!(deadlines(paths, ""), [ms(5), ms(20)], "the tighter one, for the node on its path");
    assert_eq!(deadlines("budget_ms = 2", ""), [ms(1), ms(1)], "however tight");
}

#[test]
fn a_call_may_take_what_the_graph_says_and_else_as_long_as_a_frame() {
    let [given, frame] = deadlines("", ", deadline_ms = 7");
    assert_eq!((given, frame), (Duration::from_millis(7), Duration::from_millis(25)));
    assert_eq!(deadlines("budget_ms = 80", ", deadline_ms = 7")[0], given, "whatever the budget");
}

#[test]
fn a_node_whose_code_runs_apart_has_a_lane_of_its_own() {
    let graph = good(&[("call.toml", &pictures("", ""))], &[]);
    let schedule = Schedule::compile(&graph, 4);
    let lane = |name: &str| schedule.lane_of[graph.node(name).unwrap()];
    assert_eq!(lane("cam"), lane("tint"));
    assert!(["cam", "tint", "file"].iter().all(|other| lane(other) != lane("shade")));
}
