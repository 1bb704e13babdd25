//! Tests of what the schedule makes of a graph, and of how many cores.

use std::collections::BTreeSet;

use crate::graph::{Graph, GraphNode};
use crate::graph_tests::{call, good};
use crate::registry::{NodeSpec, Placement};
use crate::schedule::{Class, Schedule, TemplateLane};

/// Marks nodes of `kind` as ones that ask for a lane of their own.
fn own(nodes: &mut [GraphNode], kind: &str) {
    for node in nodes.iter_mut().filter(|node| node.spec.kind == kind) {
        node.spec = Box::leak(Box::new(NodeSpec { placement: Placement::Own, ..*node.spec }));
    }
}

/// `count` streams of sound, each from a tone through two gains to a file.
fn streams(count: usize) -> Graph {
    let mut text = String::from("sidetone = 1\nlinks = [\n");
    (0..count).for_each(|n| text += &format!("\"tone{n} -> loud{n} -> soft{n} -> file{n}\",\n"));
    text += "]\n[nodes]\n";
    // By kind, so that the file's order is not that of the streams.
    (0..count).for_each(|n| text += &format!("file{n} = {{ kind = \"file.wav_sink\", path = \"{n}\" }}\n"));
    for (name, kind) in [("soft", "audio.gain"), ("loud", "audio.gain"), ("tone", "test.tone")] {
        (0..count).for_each(|n| text += &format!("{name}{n} = {{ kind = \"{kind}\" }}\n"));
    }
    good(&[("call.toml", &text)], &[])
}

#[test]
fn a_thousand_streams_share_as_many_lanes_as_there_are_cores() {
    let graph = streams(1_000);
    let schedule = Schedule::compile(&graph, 3);
    let sizes: Vec<_> = schedule.lanes.iter().map(|lane| lane.nodes.len()).collect();
    assert_eq!(sizes, [1_336, 1_332, 1_332], "streams stay whole, lanes differ by one of them");
    assert!(schedule.links.iter().all(|link| !link.crosses), "inside a stream every hop is a call");
    let again = Schedule::compile(&graph, 3);
    assert_eq!(again.lanes, schedule.lanes, "the same graph is placed the same way");
}

#[test]
fn a_lane_finishes_one_stream_before_the_next() {
    let graph = streams(10);
    let schedule = Schedule::compile(&graph, 2);
    let runs = schedule.runs(&graph, 0);
    assert_eq!(runs.len(), 5);
    assert_eq!(runs.concat(), schedule.lanes[0].nodes);
    let names: Vec<_> = runs[1].iter().map(|&node| &*graph.nodes[node].name).collect();
    assert_eq!(names, ["tone2", "loud2", "soft2", "file2"]);
}

#[test]
fn streams_no_more_than_cores_have_a_lane_each() {
    let graph = streams(3);
    let lanes = |cores| Schedule::compile(&graph, cores).lanes.len();
    assert_eq!([lanes(8), lanes(3), lanes(2), lanes(1), lanes(0)], [3, 3, 2, 1, 1]);
}

#[test]
fn sound_and_pictures_are_packed_apart_and_what_blocks_stays_alone() {
    let mut text = String::from("sidetone = 1\nlinks = [\n");
    (0..5).for_each(|n| {
        text += &format!("\"tone{n} -> wav{n}\", \"scene{n} -> mirror{n} -> av{n} -> file{n}\",\n");
    });
    text += "]\n[nodes]\n";
    for n in 0..5 {
        text += &format!(
            "tone{n} = {{ kind = \"test.tone\" }}\nwav{n} = {{ kind = \"file.wav_sink\", path = \"{n}.wav\" }}\n\
             scene{n} = {{ kind = \"test.scene\" }}\nmirror{n} = {{ kind = \"effect.mirror\" }}\n\
             av{n} = {{ kind = \"codec.av1_encode\" }}\nfile{n} = {{ kind = \"file.ivf_sink\", path = \"{n}\" }}\n"
        );
    }
    let mut graph = good(&[("call.toml", &text)], &[]);
    own(&mut graph.nodes, "codec.av1_encode");
    let schedule = Schedule::compile(&graph, 1);
    let of = |name: &str| schedule.lane_of[graph.node(name).unwrap()];
    let lanes = |name: &str| (0..5).map(|n| of(&format!("{name}{n}"))).collect::<BTreeSet<_>>();
    assert_eq!((lanes("tone").len(), lanes("mirror").len(), lanes("av").len()), (1, 4, 5));
    assert!(lanes("tone").is_disjoint(&lanes("mirror")));
    assert!((0..5).all(|n| schedule.lanes[of(&format!("av{n}"))].nodes.len() == 1));
    assert_eq!(schedule.lanes.len(), 10);
}

#[test]
fn members_share_lanes_where_they_join_none_and_block_on_their_own() {
    let mut graph = call(&[]);
    own(&mut graph.templates[1].nodes, "codec.av1_decode");
    let schedule = Schedule::compile(&graph, 2);
    let mix = schedule.lane_of[graph.node("mix").unwrap()];
    assert!(schedule.templates[0].lane_of.iter().all(|lane| *lane == TemplateLane::Outer(mix)));
    let video = &schedule.templates[1];
    let [jitter, unpack, decode, file] = video.lane_of[..] else { panic!("{:?}", video.lane_of) };
    assert_eq!(
        (jitter, unpack),
        (TemplateLane::Members(Class::Pictures), TemplateLane::Members(Class::Pictures))
    );
    assert_eq!((decode, file), (TemplateLane::Own(0), TemplateLane::Members(Class::Pictures)));
    assert_eq!(video.lanes.len(), 1);
    let lanes = &schedule.member_lanes[Class::Pictures as usize];
    assert_eq!(lanes.len(), 2);
    let turns: Vec<_> = (0..4).map(|turn| schedule.member_lane(Class::Pictures, turn)).collect();
    assert_eq!(turns, [lanes[0], lanes[1], lanes[0], lanes[1]]);
}

#[test]
fn there_are_no_more_member_lanes_than_members() {
    let mut graph = call(&[]);
    graph.templates[1].most = Some(1);
    let schedule = Schedule::compile(&graph, 8);
    assert_eq!(schedule.member_lanes.concat().len(), 1);
}

#[test]
fn a_lane_that_templates_alone_name_is_one_for_all_members() {
    let mut graph = call(&[]);
    graph.templates[1].nodes.iter_mut().for_each(|node| node.lane = Some("decoders".into()));
    let schedule = Schedule::compile(&graph, 2);
    let TemplateLane::Outer(lane) = schedule.templates[1].lane_of[0] else { panic!() };
    assert_eq!((&*schedule.lanes[lane].name, schedule.lanes[lane].nodes.len()), ("decoders", 0));
    assert!(schedule.templates[1].lane_of.iter().all(|other| *other == TemplateLane::Outer(lane)));
    assert!(schedule.templates[1].lanes.is_empty());
}
