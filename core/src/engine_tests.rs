//! Whole graphs of mock nodes through the engine, in virtual time and on
//! threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::{Engine, Options, Update};
use crate::graph::{End, Graph, GraphLane, GraphLink, GraphNode, Template, TemplateLink};
use crate::registry::{declared, same};
use crate::*;

/// What sinks saw, by name, and what sources heard from downstream.
#[derive(Default)]
struct Seen(Mutex<Vec<(String, u64)>>);

static PACKETS: MediaType = MediaType::packets(Codec::Opus);

/// A kind of mock node.
macro_rules! spec {
    ($vis:vis $name:ident, $kind:literal, $inputs:expr, $outputs:expr, $params:expr, $placement:expr, $negotiate:expr, $build:expr) => {
        $vis static $name: NodeSpec = NodeSpec {
            kind: $kind,
            summary: "A mock.",
            sheet: "",
            inputs: $inputs,
            outputs: $outputs,
            params: $params,
            placement: $placement,
            real_time: true,
            negotiate: &$negotiate,
            build: &$build,
        };
    };
}

pub(crate) use spec;

pub(crate) const IN: PortSpec = PortSpec::new("in", MediaType::packets(Codec::Opus), "In.");
pub(crate) const OUT: PortSpec = PortSpec::new("out", MediaType::packets(Codec::Opus), "Out.");

/// Puts out `count` frames, one every `every_ms` (0: at once).
struct Source {
    left: u64,
    every: Duration,
    heard: Arc<Mutex<Vec<Control>>>,
}

impl Node for Source {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if self.left == 0 {
            cx.end();
            return Ok(());
        }
        self.left -= 1;
        let header = cx.born(cx.now(), self.every);
        let frame = cx.packet(0, Codec::Opus, &[0; 8], header);
        cx.push(0, frame);
        cx.wake_at(cx.now() + self.every);
        Ok(())
    }

    fn control(&mut self, control: &Control, _: Option<Through>, cx: &mut Context<'_>) -> Result<(), Fault> {
        if let Control::Own(words) = control {
            cx.emit(EventKind::Own(words.clone()));
        }
        self.heard.lock().unwrap().push(control.clone());
        Ok(())
    }
}

static HEARD: Mutex<Vec<Arc<Mutex<Vec<Control>>>>> = Mutex::new(Vec::new());

const SOURCE_PARAMS: &[ParamSpec] = &[
    ParamSpec::int("count", 10, 0, 1_000_000, "Frames."),
    ParamSpec::int("every_ms", 10, 0, 1_000, "Interval."),
];

spec!(pub(crate) SOURCE, "mock.source", &[], &[OUT], SOURCE_PARAMS, Placement::Shared, declared, |setup: Setup<'_>| {
    let heard: Arc<Mutex<Vec<Control>>> = Arc::default();
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&heard));
    let every = Duration::from_millis(setup.params.int("every_ms") as u64);
    Ok(Box::new(Source { left: setup.params.int("count") as u64, every, heard }) as Box<dyn Node>)
});

/// Hands frames on after `hold_ms`; fails or panics at the frame numbered
/// `fail_at` or `panic_at`; asks for a key frame at the first.
struct Pass {
    hold: Duration,
    held: Vec<(Timestamp, Frame)>,
    fail_at: i64,
    panic_at: i64,
    asked: bool,
}

impl Node for Pass {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            if !std::mem::replace(&mut self.asked, true) {
                cx.request(0, &Control::KeyFrame);
            }
            let number = frame.header.sequence as i64;
            if number == self.fail_at {
                return Err(Fault::new(FaultKind::BadMedia, "the mock was told to fail").at(7));
            }
            assert!(number != self.panic_at, "the mock was told to panic");
            self.held.push((cx.now() + self.hold, frame));
        }
        self.finish(cx).map(|_| ())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        let now = cx.now();
        while self.held.first().is_some_and(|(at, _)| *at <= now) {
            cx.push(0, self.held.remove(0).1);
        }
        Ok(match self.held.first() {
            Some((at, _)) => {
                cx.wake_at(*at);
                Finish::Later
            }
            None => Finish::Done,
        })
    }
}

const PASS_PARAMS: &[ParamSpec] = &[
    ParamSpec::int("hold_ms", 0, 0, 10_000, "Delay.").live(),
    ParamSpec::int("fail_at", -1, -1, 1_000_000, "Fails."),
    ParamSpec::int("panic_at", -1, -1, 1_000_000, "Panics."),
];

fn pass(setup: &Setup<'_>) -> Result<Box<dyn Node>, NodeError> {
    Ok(Box::new(Pass {
        hold: Duration::from_millis(setup.params.int("hold_ms") as u64),
        held: Vec::new(),
        fail_at: setup.params.int("fail_at"),
        panic_at: setup.params.int("panic_at"),
        asked: false,
    }))
}

spec!(pub(crate) PASS, "mock.pass", &[IN], &[OUT], PASS_PARAMS, Placement::Shared, same, |setup: Setup<'_>| pass(
    &setup
));
spec!(BURN, "mock.burn", &[IN], &[OUT], PASS_PARAMS, Placement::Own, same, |setup: Setup<'_>| pass(&setup));

spec!(JOIN, "mock.join", &[IN.many()], &[OUT], PASS_PARAMS, Placement::Own, same, |setup: Setup<'_>| pass(
    &setup
));

/// Notes the numbers of the frames it is given.
struct Sink(String, Arc<Seen>);

impl Node for Sink {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            self.1.0.lock().unwrap().push((self.0.clone(), frame.header.sequence));
            cx.rendered(frame);
        }
        Ok(())
    }
}

static ALL_SEEN: Mutex<Vec<(u64, Arc<Seen>)>> = Mutex::new(Vec::new());

spec!(
    pub(crate) SINK,
    "mock.sink",
    &[IN.many()],
    &[],
    &[ParamSpec::int("id", 0, 0, i64::MAX, "Whose.")],
    Placement::Shared,
    declared,
    |setup: Setup<'_>| {
        let seen: Arc<Seen> = setup.shared.get();
        ALL_SEEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((setup.params.int("id") as u64, Arc::clone(&seen)));
        Ok(Box::new(Sink(setup.name.to_owned(), seen)) as Box<dyn Node>)
    }
);

/// A hub with one member, there from 100 ms to 200 ms, that sends a frame every
/// 10 ms; fails at step `fail_at`.
struct Hub {
    step: i64,
    next: Timestamp,
    fail_at: i64,
}

impl Node for Hub {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        // It is also called when somebody is linked to it.
        if cx.now() < self.next {
            return Ok(());
        }
        self.next = cx.now() + Duration::from_millis(10);
        let (key, name) = (Key(7), Arc::from("bob"));
        if self.step == self.fail_at {
            return Err(Fault::new(FaultKind::Io, "the hub was told to fail"));
        }
        match self.step {
            10 => cx.emit(EventKind::Appeared { group: "member", key, name }),
            11..20 => {
                let header = cx.born(cx.now(), Duration::ZERO);
                let frame = cx.packet(0, Codec::Opus, &[1], header);
                cx.push_to(0, key, frame);
            }
            20 => {
                cx.end_key(0, key);
                cx.emit(EventKind::Vanished { group: "member", key, name, reason: LeaveReason::Left });
            }
            _ => {}
        }
        self.step += 1;
        cx.wake_at(self.next);
        Ok(())
    }
}

const HUB_PARAMS: &[ParamSpec] = &[ParamSpec::int("fail_at", -1, -1, 1_000, "Fails.")];

spec!(HUB, "mock.hub", &[], &[OUT.each("member")], HUB_PARAMS, Placement::Own, declared, |setup: Setup<
    '_,
>| {
    Ok(Box::new(Hub { step: 0, next: Timestamp::ZERO, fail_at: setup.params.int("fail_at") })
        as Box<dyn Node>)
});

pub(crate) fn node(name: &str, spec: &'static NodeSpec, params: &[(&str, i64)]) -> GraphNode {
    let given: Vec<_> = params.iter().map(|(name, value)| (*name, Value::Int(*value))).collect();
    GraphNode {
        name: name.into(),
        spec,
        params: Params::new(spec.params, &given).unwrap(),
        lane: None,
        on_fault: OnFault::Stop,
        inputs: spec.inputs.iter().map(|port| Some(port.media)).collect(),
        outputs: spec.outputs.iter().map(|port| port.media).collect(),
        latency: Duration::ZERO,
        foreign: Foreign::No,
        deadline: None,
        place: Place::default(),
    }
}

pub(crate) fn link(from: usize, to: usize) -> GraphLink {
    GraphLink {
        from: (from, 0),
        to: (to, 0),
        capacity: None,
        overflow: Overflow::Wait,
        is_loop: false,
        media: PACKETS,
        place: Default::default(),
    }
}

/// Nodes linked one after another.
pub(crate) fn chain(nodes: Vec<GraphNode>) -> Graph {
    let links = (1..nodes.len()).map(|to| link(to - 1, to)).collect();
    Graph { name: "test".into(), nodes, links, ..Graph::default() }
}

pub(crate) fn virtual_time() -> Options {
    Options { clock: Clock::virtual_time(), ..Options::default() }
}

/// Runs the graph; gives the report, what sinks saw, and the events as text.
pub(crate) fn run(graph: Graph, options: Options) -> (Report, Vec<(String, u64)>, Vec<String>) {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut graph = graph;
    for sink in graph.nodes.iter_mut().filter(|node| node.spec.kind == "mock.sink") {
        sink.params = Params::new(SINK.params, &[("id", Value::Int(id as i64))]).unwrap();
    }
    let mut events = Vec::new();
    let report = Engine::new(graph, options).unwrap().run(|update| {
        if let Update::Event { at, node, kind } = update {
            events.push(format!("{at:.3} {node}: {kind}"));
        }
    });
    let all = ALL_SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = all.iter().find(|(whose, _)| *whose == id).map(|(_, seen)| seen.0.lock().unwrap().clone());
    (report, seen.unwrap_or_default(), events)
}

pub(crate) fn numbers(seen: &[(String, u64)]) -> Vec<u64> {
    seen.iter().map(|(_, number)| *number).collect()
}

#[test]
fn a_chain_in_virtual_time_delivers_all_and_its_shares_add_up() {
    let graph = chain(vec![
        node("source", &SOURCE, &[("count", 100)]),
        node("hold", &BURN, &[("hold_ms", 35)]),
        node("pass", &PASS, &[]),
        node("sink", &SINK, &[]),
    ]);
    let (report, seen, _) = run(graph, virtual_time());
    assert_eq!(numbers(&seen), (0..100).collect::<Vec<_>>());
    let path = &report.paths[0];
    assert_eq!((path.sink.as_str(), path.medium.as_str()), ("sink", "audio"));
    let sum: f64 = path.shares.iter().map(|share| share.wait_ms + share.work_ms + share.buffer_ms).sum();
    assert!((sum - path.end_to_end_ms.mean).abs() < 1e-9, "{sum} of {:?}", path.end_to_end_ms);
    assert!((path.end_to_end_ms.mean - 35.0).abs() < 1e-9);
    assert_eq!(report.stages.iter().map(|stage| stage.frames).collect::<Vec<_>>(), [100; 4]);
    assert!(report.undrained.is_empty() && report.faults.is_empty());
}

#[test]
fn the_virtual_clock_gives_the_same_report_twice() {
    let graph = || {
        chain(vec![
            node("source", &SOURCE, &[("count", 500), ("every_ms", 3)]),
            node("hold", &BURN, &[("hold_ms", 7)]),
            node("sink", &SINK, &[]),
        ])
    };
    let text = || serde_json::to_string(&run(graph(), virtual_time()).0).unwrap();
    assert_eq!(text(), text());
}

#[test]
fn threads_deliver_every_frame_in_order_however_fast() {
    let graph = chain(vec![
        node("source", &SOURCE, &[("count", 20_000), ("every_ms", 0)]),
        node("a", &BURN, &[]),
        node("b", &BURN, &[]),
        node("sink", &SINK, &[]),
    ]);
    let (report, seen, _) = run(graph, Options::default());
    assert_eq!(seen.len(), 20_000);
    assert!(seen.iter().enumerate().all(|(at, (_, number))| at as u64 == *number));
    // One call may put out all it took, which is at most what the link before it holds.
    assert!(
        report.links.iter().all(|link| link.dropped == 0 && link.high_water <= 2 * link.capacity as u64 + 2)
    );
}

#[test]
fn a_full_link_drops_by_its_policy_and_counts_it() {
    for (overflow, kept) in [(Overflow::DropOldest, [18, 19]), (Overflow::DropNewest, [0, 1])] {
        // The gate holds its first frame until the source is long done, and
        // takes no other meanwhile.
        let mut graph =
            chain(vec![node("source", &SOURCE, &[("count", 20), ("every_ms", 0)]), node("sink", &SINK, &[])]);
        graph.nodes[0].lane = Some("one".into());
        graph.nodes[1].lane = Some("two".into());
        graph.links[0].capacity = Some(2);
        graph.links[0].overflow = overflow;
        let (report, seen, _) = run(graph, virtual_time());
        // In virtual time the source's lane runs to completion first.
        assert_eq!(numbers(&seen), kept, "{overflow:?}");
        assert_eq!((report.links[0].frames, report.links[0].dropped), (20, 18));
    }
}

#[test]
fn stopping_drains_what_is_under_way() {
    let graph = chain(vec![
        node("source", &SOURCE, &[("count", 1_000_000), ("every_ms", 10)]),
        node("hold", &PASS, &[("hold_ms", 500)]),
        node("sink", &SINK, &[]),
    ]);
    let options = Options { limit: Some(Duration::from_secs(1)), ..virtual_time() };
    let (report, seen, _) = run(graph, options);
    assert_eq!(numbers(&seen), (0..=100).collect::<Vec<_>>());
    assert!(report.undrained.is_empty());
    assert!((report.seconds - 1.5).abs() < 1e-9, "{}", report.seconds);
}

#[test]
fn each_fault_policy_does_what_it_says() {
    let graph = |policy: OnFault, what: &str| {
        let mut graph = chain(vec![
            node("source", &SOURCE, &[("count", 300)]),
            node("frail", &PASS, &[(what, 50)]),
            node("sink", &SINK, &[]),
        ]);
        graph.nodes[1].on_fault = policy;
        graph
    };
    for what in ["fail_at", "panic_at"] {
        let (report, seen, events) = run(graph(OnFault::Stop, what), virtual_time());
        assert_eq!(numbers(&seen), (0..50).collect::<Vec<_>>());
        assert_eq!(report.faults.len(), 1);
        assert!(
            events.iter().any(|event| event.contains("fault") && event.contains("the node stops")),
            "{events:?}"
        );
        assert_eq!(report.stages[1].dropped, 249, "what came after the end is counted");

        let (report, seen, _) = run(graph(OnFault::Bypass, what), virtual_time());
        assert_eq!((report.faults.len(), seen.len()), (1, 299), "only the frame it choked on is gone");

        let (report, seen, _) = run(graph(OnFault::Restart, what), virtual_time());
        assert_eq!((report.faults.len(), seen.len()), (1, 299), "frames wait for the new node");
    }
    let (report, ..) = run(graph(OnFault::Stop, "fail_at"), virtual_time());
    assert_eq!(
        report.faults[0].to_string(),
        "frail (mock.pass): bad media: the mock was told to fail, at byte 7; the node stops"
    );
}

#[test]
fn messages_travel_upstream_through_lanes() {
    let before = HEARD.lock().unwrap().len();
    let graph = chain(vec![
        node("source", &SOURCE, &[("count", 5), ("every_ms", 20)]),
        node("own", &BURN, &[]),
        node("sink", &SINK, &[]),
    ]);
    run(graph, virtual_time());
    let heard = HEARD.lock().unwrap();
    // Tests run side by side, so look at all sources made since.
    assert!(heard[before..].iter().any(|heard| *heard.lock().unwrap() == [Control::KeyFrame]));
}

fn with_template() -> Graph {
    let mut graph = Graph {
        name: "test".into(),
        nodes: vec![node("hub", &HUB, &[]), node("sink", &SINK, &[])],
        ..Graph::default()
    };
    let link = |from, to| TemplateLink {
        from,
        to,
        capacity: None,
        overflow: Overflow::Wait,
        is_loop: false,
        media: PACKETS,
        place: Default::default(),
    };
    graph.templates.push(Template {
        most: None,
        name: "each".into(),
        hub: 0,
        group: "member",
        nodes: vec![node("part/own", &BURN, &[("hold_ms", 30)]), node("part/pass", &PASS, &[])],
        links: vec![
            link(End::Member { port: 0 }, End::Inside { node: 0, port: 0 }),
            link(End::Inside { node: 0, port: 0 }, End::Inside { node: 1, port: 0 }),
            link(End::Inside { node: 1, port: 0 }, End::Outside { node: 1, port: 0 }),
        ],
        place: Place::default(),
        fills: Vec::new(),
    });
    graph
}

#[test]
fn parts_come_and_go_with_their_member() {
    let options = Options { limit: Some(Duration::from_millis(500)), ..virtual_time() };
    let (report, seen, events) = run(with_template(), options);
    assert_eq!(numbers(&seen), (0..9).collect::<Vec<_>>());
    assert!(events.iter().any(|event| event == "0.100 hub: member bob joined"), "{events:?}");
    assert!(events.iter().any(|event| event == "0.200 hub: member bob left: left by choice"), "{events:?}");
    assert!(events.iter().any(|event| event.contains("each[bob]/part/pass: ended")), "{events:?}");
    assert!(report.undrained.is_empty(), "{:?}", report.undrained);
    let own = report.stages.iter().find(|stage| stage.node == "each[bob]/part/own").unwrap();
    assert_eq!((own.frames, own.buffer_ms.p50), (9, 30.0));
}

#[test]
fn parts_come_and_go_on_threads_too() {
    let options = Options { limit: Some(Duration::from_millis(400)), ..Options::default() };
    let (report, seen, _) = run(with_template(), options);
    assert_eq!(numbers(&seen), (0..9).collect::<Vec<_>>());
    assert!(report.undrained.is_empty(), "{:?}", report.undrained);
}

#[test]
fn words_of_a_kinds_own_reach_its_node_and_come_back() {
    let engine =
        Engine::new(chain(vec![node("source", &SOURCE, &[]), node("sink", &SINK, &[])]), virtual_time());
    let engine = engine.unwrap();
    let handle = engine.handle();
    handle.tell("source", Own::new(String::from("ahoy")));
    handle.tell("nobody", Own::new(String::from("hello?")));
    let (mut own, mut notices) = (Vec::new(), Vec::new());
    engine.run(|update| match update {
        Update::Event { kind: EventKind::Own(words), .. } => own.extend(words.get::<String>().cloned()),
        Update::Event { node, kind: EventKind::Notice(text), .. } => notices.push(format!("{node}: {text}")),
        _ => {}
    });
    assert_eq!((own, notices), (vec!["ahoy".into()], vec!["nobody: there is no node nobody".into()]));
}

#[test]
fn a_live_parameter_that_does_not_fit_is_told() {
    let graph = chain(vec![node("source", &SOURCE, &[]), node("pass", &PASS, &[]), node("sink", &SINK, &[])]);
    let engine = Engine::new(graph, virtual_time()).unwrap();
    let handle = engine.handle();
    handle.set("pass", "hold_ms", Value::Int(-1));
    handle.set("pass", "fail_at", Value::Int(1));
    handle.set("nobody", "x", Value::Int(1));
    let mut notices = Vec::new();
    engine.run(|update| {
        if let Update::Event { node, kind: EventKind::Notice(text), .. } = update {
            notices.push(format!("{node}: {text}"));
        }
    });
    assert_eq!(
        notices,
        [
            "pass: hold_ms must be a whole number from 0 to 10000, not -1",
            "pass: fail_at of mock.pass cannot change while running",
            "nobody: there is no node nobody",
        ]
    );
}

#[test]
fn a_part_that_dies_early_leaves_its_hub_and_the_rest_running() {
    let mut graph = with_template();
    let own = &mut graph.templates[0].nodes[0];
    own.params = Params::new(PASS_PARAMS, &[("fail_at", Value::Int(3))]).unwrap();
    // The hub must not wait for room in a link that nobody empties.
    graph.templates[0].links[0].capacity = Some(1);
    let options = Options { limit: Some(Duration::from_millis(500)), ..virtual_time() };
    let (report, seen, events) = run(graph, options);
    assert_eq!(numbers(&seen), [0, 1, 2]);
    assert!(events.iter().any(|event| event == "0.200 hub: member bob left: left by choice"), "{events:?}");
    assert!(report.undrained.is_empty(), "{:?}", report.undrained);
}

#[test]
fn a_hub_that_fails_lets_what_it_fed_finish() {
    for (policy, fail_at) in [(OnFault::Stop, 5), (OnFault::Stop, 15), (OnFault::Bypass, 15)] {
        let mut graph = with_template();
        graph.nodes[0].params = Params::new(HUB.params, &[("fail_at", Value::Int(fail_at))]).unwrap();
        graph.nodes[0].on_fault = policy;
        let options = Options { limit: Some(Duration::from_secs(2)), ..virtual_time() };
        let (report, seen, _) = run(graph, options);
        assert_eq!(numbers(&seen).len() as i64, (fail_at - 11).max(0), "what was sent before it failed");
        assert_eq!(report.faults.len(), 1);
        assert!(report.undrained.is_empty(), "{policy:?}: {:?}", report.undrained);
    }
}

#[test]
fn a_hub_made_anew_names_its_members_anew() {
    let mut graph = with_template();
    graph.nodes[0].params = Params::new(HUB.params, &[("fail_at", Value::Int(15))]).unwrap();
    graph.nodes[0].on_fault = OnFault::Restart;
    let options = Options { limit: Some(Duration::from_millis(1_500)), ..virtual_time() };
    let (report, seen, _) = run(graph, options);
    // Four frames before the failure at 150 ms, and the same again after it.
    assert_eq!(numbers(&seen).len(), 8, "{seen:?}");
    assert!(report.undrained.is_empty(), "{:?}", report.undrained);
}

#[test]
fn a_sender_that_waits_for_room_hears_of_it_from_a_node_that_is_passed_by() {
    for (policy, left) in [(OnFault::Bypass, 299), (OnFault::Stop, 50)] {
        let mut graph = chain(vec![
            node("source", &SOURCE, &[("count", 300), ("every_ms", 0)]),
            node("frail", &BURN, &[("fail_at", 50)]),
            node("sink", &SINK, &[]),
        ]);
        graph.nodes[1].on_fault = policy;
        graph.links[0].capacity = Some(2);
        let (report, seen, _) = run(graph, virtual_time());
        assert_eq!((report.stages[0].frames, seen.len()), (300, left), "{policy:?}");
    }
}

#[test]
fn a_lane_on_a_cpu_that_is_not_there_is_refused_where_there_are_threads() {
    let graph = || {
        let mut graph = chain(vec![node("source", &SOURCE, &[("count", 3)]), node("sink", &SINK, &[])]);
        graph.nodes.iter_mut().for_each(|node| node.lane = Some("audio".into()));
        let settings = LaneSettings { cpu: Some(1_023), ..LaneSettings::default() };
        graph.lanes = vec![GraphLane { name: "audio".into(), settings, place: Place::default() }];
        graph
    };
    let refused = Engine::new(graph(), Options::default()).err().map(|why| why.list[0].message.clone());
    let why = "lane audio is to stay on CPU 1023, which this program may not use";
    assert_eq!(refused.as_deref(), Some(why));
    let (report, seen, _) = run(graph(), virtual_time());
    assert!(report.stages.iter().all(|stage| stage.lane == "audio"));
    assert_eq!(numbers(&seen), [0, 1, 2]);
}

#[test]
fn a_budget_that_is_not_kept_names_the_guilty_stage() {
    let mut graph = chain(vec![
        node("source", &SOURCE, &[("count", 500)]),
        node("slow", &PASS, &[("hold_ms", 80)]),
        node("sink", &SINK, &[]),
    ]);
    graph.budgets = vec![Budget::whole(Duration::from_millis(50))];
    let (report, _, events) = run(graph, virtual_time());
    let breach = &report.breaches[0];
    assert_eq!((report.breaches.len(), breach.sink.as_str(), breach.stage.as_str()), (1, "sink", "slow"));
    assert!((breach.p95_ms - 80.0).abs() < 1.0 && (breach.stage_ms - 80.0).abs() < 1.0, "{breach:?}");
    assert!(
        events
            .iter()
            .any(|event| event.contains("over budget") && event.contains("the guilty stage is slow, 80 ms"))
    );
}

#[test]
fn a_marked_loop_ends_when_its_source_has() {
    let mut graph = chain(vec![
        node("source", &SOURCE, &[("count", 3)]),
        node("join", &JOIN, &[]),
        node("back", &PASS, &[("hold_ms", 5)]),
    ]);
    graph.links.push(GraphLink { is_loop: true, ..link(2, 1) });
    let (report, ..) = run(graph, virtual_time());
    assert!(report.undrained.is_empty(), "{:?}", report.undrained);
    assert!(report.seconds < 1.0, "it took {} s to end", report.seconds);
}

#[test]
fn a_dry_pool_drops_where_the_graph_says_so_and_loses_nothing_elsewhere() {
    for when_dry in [WhenDry::Allocate, WhenDry::Drop] {
        // One node holds five seconds of frames, more than anybody planned for.
        let mut graph = chain(vec![
            node("source", &SOURCE, &[("count", 1_000)]),
            node("hold", &BURN, &[("hold_ms", 5_000)]),
            node("sink", &SINK, &[]),
        ]);
        graph.when_dry = when_dry;
        let slots = Schedule::compile(&graph, 1).pools[0][0].slots as u64;
        let (report, seen, _) = run(graph, virtual_time());
        let source = &report.stages[0];
        assert!(source.pool_dry > 100 && seen.len() as u64 >= slots, "{when_dry:?}: {}", source.pool_dry);
        let dropped = if when_dry == WhenDry::Drop { source.pool_dry } else { 0 };
        assert_eq!((source.frames, source.dropped), (1_000 - dropped, dropped));
        assert_eq!(seen.len() as u64, 1_000 - dropped);
        assert!(source.dropped_by_reason.iter().all(|(reason, _)| reason == "pool_dry"));
    }
}
