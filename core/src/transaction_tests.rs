//! Tests of transactions: what each operation makes, and what each mistake says.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{End, Graph, GraphNode, Template};
use crate::graph_tests::{call, good, load};
use crate::transaction::{NodeLine, Operation, Transaction};
use crate::{Remedy, Size};

const VOICE: &str = r#"
sidetone = 1
links = ["tone -> soft -> out", { path = "other -> mix", capacity = 4 }, "mix -> sum"]
[nodes]
tone = { kind = "test.tone" }
soft = { kind = "audio.gain", gain_db = -6, lane = "audio" }
out = { kind = "file.wav_sink", path = "out.wav" }
other = { kind = "test.tone", frequency_hz = 250 }
mix = { kind = "audio.mix" }
sum = { kind = "file.wav_sink", path = "sum.wav" }
"#;

fn voice() -> Graph {
    good(&[("call.toml", VOICE)], &[])
}

fn node(node: &GraphNode) -> String {
    let GraphNode { name, spec, params, lane, on_fault, inputs, outputs, latency, .. } = node;
    format!("{name} {} {params:?} {lane:?} {on_fault:?} {inputs:?} {outputs:?} {latency:?}", spec.kind)
}

/// All that a graph says, places aside, whatever the order.
fn described(graph: &Graph) -> Vec<String> {
    let out = |(index, port): (usize, usize)| {
        format!("{}.{}", graph.nodes[index].name, graph.nodes[index].spec.outputs[port].name)
    };
    let inp = |(index, port): (usize, usize)| {
        format!("{}.{}", graph.nodes[index].name, graph.nodes[index].spec.inputs[port].name)
    };
    let mut said: Vec<_> = graph.nodes.iter().map(node).collect();
    said.extend(graph.links.iter().map(|link| {
        let (from, to) = (out(link.from), inp(link.to));
        format!("{from} -> {to} {:?} {:?} {} {:?}", link.capacity, link.overflow, link.is_loop, link.media)
    }));
    for template in &graph.templates {
        let hub = &graph.nodes[template.hub].name;
        said.extend(
            template.nodes.iter().map(|inner| format!("{} of {hub}: {}", template.name, node(inner))),
        );
        let name = |template: &Template, end: End| match end {
            End::Member { port } => format!("member {port}"),
            End::Inside { node, port } => format!("{}.{port}", template.nodes[node].name),
            End::Outside { node, port } => format!("outer {}.{port}", graph.nodes[node].name),
        };
        said.extend(template.links.iter().map(|link| {
            let (from, to) = (name(template, link.from), name(template, link.to));
            format!("{}: {from} -> {to} {:?} {:?}", template.name, link.capacity, link.media)
        }));
    }
    said.sort();
    said
}

/// Whether `transaction` makes of the voices what the file says in which these
/// pieces are put in the place of others.
fn makes(transaction: Transaction, edits: &[(&str, &str)]) {
    let mut text = VOICE.to_owned();
    for (old, new) in edits {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text = text.replace(old, new);
    }
    let told = transaction.operations().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let made = transaction.apply(&voice()).unwrap_or_else(|why| panic!("{told}\n{why}"));
    assert_eq!(described(&made), described(&good(&[("call.toml", &text)], &[])), "{told}");
}

/// What `transaction` is refused for.
fn refused(graph: &Graph, transaction: Transaction) -> String {
    match transaction.apply(graph) {
        Ok(made) => panic!("{:#?}", described(&made)),
        Err(found) => found.to_string(),
    }
}

#[test]
fn an_operation_makes_what_the_edited_file_makes() {
    makes(Transaction::new(), &[]);
    makes(Transaction::new().set("soft", "gain_db", -12), &[("gain_db = -6", "gain_db = -12")]);
    makes(
        Transaction::new().set("out", "path", "b/$5.wav").set("mix", "frame_ms", 20),
        &[("out.wav", "b/$$5.wav"), ("\"audio.mix\"", "\"audio.mix\", frame_ms = 20")],
    );
    makes(
        Transaction::new().replace("soft", "audio.level", &[("interval_ms", 50.into())]),
        &[("\"audio.gain\", gain_db = -6, lane = \"audio\"", "\"audio.level\", interval_ms = 50")],
    );
    makes(
        Transaction::new().remove("soft").link("tone -> out"),
        &[("tone -> soft -> out", "tone -> out"), ("soft =", "#")],
    );
    makes(
        Transaction::new().unlink("soft -> out").link("mix -> out").remove("sum").link("soft -> mix"),
        &[("tone -> soft -> out", "tone -> soft -> mix -> out"), (", \"mix -> sum\"", ""), ("sum =", "#")],
    );
    makes(
        Transaction::new()
            .unlink("other -> mix")
            .link_with("other -> mix", &[("capacity", 9.into()), ("overflow", "drop_oldest".into())]),
        &[("capacity = 4", "capacity = 9, overflow = \"drop_oldest\"")],
    );
}

#[test]
fn the_order_matters_for_one_node_alone() {
    let softer = [("gain_db", (-20).into()), ("on_fault", "bypass".into())];
    makes(
        Transaction::new()
            .link("soft -> softer -> out")
            .add("softer", "audio.gain", &softer)
            .set("softer", "gain_db", -30)
            .unlink("soft.out -> out.in"),
        &[
            ("soft -> out", "soft -> softer -> out"),
            ("out =", "softer = { kind = \"audio.gain\", gain_db = -30, on_fault = \"bypass\" }\nout ="),
        ],
    );
    makes(
        Transaction::new().remove("soft").add("soft", "audio.level", &[]).link("tone -> soft -> out"),
        &[("\"audio.gain\", gain_db = -6, lane = \"audio\"", "\"audio.level\"")],
    );
}

#[test]
fn a_name_that_is_not_there_is_told_with_what_was_meant() {
    let voice = voice();
    let nodes = "(nodes: tone, soft, out, other, mix, sum)";
    let said = refused(&voice, Transaction::new().remove("sofd"));
    let expected = format!(
        "error: there is no node sofd\n  --> the transaction\n   | remove = \"sofd\"\n   |           ^^^^\n   = \
         did you mean soft? {nodes}\n"
    );
    assert_eq!(said, expected);
    for (transaction, wanted) in [
        (Transaction::new().replace("ton", "test.tone", &[]), "no node ton"),
        (Transaction::new().set("soff", "gain_db", 0), "| set.soff.gain_db = 0\n   |     ^^^^"),
        (Transaction::new().link("tome -> mix"), "| link = \"tome -> mix\"\n   |         ^^^^"),
        (Transaction::new().unlink("tone -> sotf"), "| unlink = \"tone -> sotf\"\n"),
    ] {
        let said = refused(&voice, transaction);
        assert!(said.contains(wanted) && said.contains("did you mean") && said.contains(nodes), "{said}");
    }
}

#[test]
fn what_does_not_fit_is_told_as_in_graph_files() {
    for (transaction, wanted) in [
        (
            Transaction::new().add("x", "audio.gian", &[]),
            "there is no kind \"audio.gian\"\n  --> the transaction\n   | add.x = { kind = \"audio.gian\" }\n   | \
             ",
        ),
        (
            Transaction::new().add("x", "audio.gain", &[("gain", 1.into())]),
            "audio.gain has no parameter gain\n  --> the transaction\n   | add.x = { kind = \"audio.gain\", gain = \
             1 }\n   |                                ^^^^\n   = did you mean gain_db?",
        ),
        (Transaction::new().add("x", "file.wav_sink", &[]), "file.wav_sink needs path"),
        (Transaction::new().add("My Gain", "audio.gain", &[]), "\"My Gain\" cannot name a node"),
        (Transaction::new().add("x", "audio.gain", &[("on_fault", "byepass".into())]), "on_fault cannot be"),
        (
            Transaction::new().add("x", "audio.gain", &[("kind", "audio.mix".into())]),
            "this name is given twice",
        ),
        (
            Transaction::new().add("x", "audio.gain", &[("part", "voice.toml".into())]),
            "node x has both a kind and a part",
        ),
        (
            Transaction::new().add("soft", "audio.gain", &[]),
            "there is a node soft already\n  --> the transaction\n   | add.soft = {",
        ),
        (Transaction::new().set("soft", "gain_db", 99), "gain_db must be a number from -60 to 20, not 99"),
        (Transaction::new().set("soft", "gain_db", "x"), "gain_db must be a number from"),
        (Transaction::new().set("soft", "gain", 1), "audio.gain has no parameter gain"),
        (Transaction::new().set("tone", "frequency_hz", f64::NAN), "frequency_hz must be a number"),
        (Transaction::new().link("tone => mix"), "=> is no arrow"),
        (Transaction::new().link("tone.left -> mix"), "tone has no output left"),
        (Transaction::new().link("sum -> mix"), "nothing comes out of sum"),
        (
            Transaction::new().link_with("tone -> mix", &[("capacity", 0.into())]),
            "capacity must be a whole number from 1 to 4096, not 0",
        ),
        (
            Transaction::new().link_with("tone -> mix", &[("room", 3.into())]),
            "there is no key room in a link",
        ),
        (
            Transaction::new().unlink("tone -> out"),
            "tone is not linked to out\n  --> the transaction\n   | unlink = \"tone -> out\"\n   |           \
             ^^^^\n   |                   ^^^\n   = links from there: tone.out -> soft.in\n",
        ),
        (
            Transaction::new().unlink("tone -> soft").unlink("tone -> soft"),
            "nothing is linked to what tone gives",
        ),
        (
            Transaction::new().replace("soft", "test.tone", &[]),
            "test.tone has no input in\n  --> the transaction\n   | replace.soft = { kind = \"test.tone\" }\n   |         ^^^^\n  --> \
             call.toml:3:19\n",
        ),
    ] {
        let said = refused(&voice(), transaction);
        assert!(said.contains(wanted), "{wanted:?} is not in:\n{said}");
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
    }
}

#[test]
fn what_operations_make_of_the_graph_is_checked_like_a_graph_file() {
    for (transaction, wanted) in [
        (Transaction::new().remove("tone"), "nothing feeds soft.in\n  --> call.toml:6:1"),
        (
            Transaction::new().link("tone -> out"),
            "out.in takes one link, but two lead to it\n  --> the transaction\n   | link = \"tone -> out\"\n",
        ),
        (Transaction::new().link("tone -> soft"), "tone.out and soft.in are linked twice"),
        (Transaction::new().set("other", "rate", 16_000), "put { kind = \"audio.resample\", rate = 48000 }"),
        (Transaction::new().unlink("tone -> soft").link("soft -> soft"), "soft is linked to itself"),
        (
            Transaction::new()
                .unlink("tone -> soft")
                .add("echo", "audio.gain", &[])
                .link("soft -> echo -> soft"),
            "the links go round in a loop",
        ),
        (
            Transaction::new().add("cam", "test.scene", &[]).unlink("tone -> soft").link("cam -> soft"),
            "a raw video port cannot feed a raw audio port",
        ),
        (Transaction::new().set("sum", "path", "out.wav"), "write the same file"),
        (
            ["tone", "soft", "out", "other", "mix", "sum"]
                .into_iter()
                .fold(Transaction::new(), Transaction::remove),
            "the graph has no nodes",
        ),
    ] {
        let said = refused(&voice(), transaction);
        assert!(said.contains(wanted), "{wanted:?} is not in:\n{said}");
    }
}

#[test]
fn all_that_is_wrong_with_operations_is_told_at_once_and_nothing_else() {
    let transaction = Transaction::new()
        .add("limiter", "audio.gian", &[])
        .link("soft -> limiter -> out")
        .unlink("soft -> mix")
        .remove("sun")
        .set("tone", "frequency", 1);
    let said = refused(&voice(), transaction);
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error")).collect();
    let expected = [
        "error: there is no kind \"audio.gian\"",
        "error: soft is not linked to mix",
        "error: there is no node sun",
        "error: test.tone has no parameter frequency",
    ];
    assert_eq!(errors, expected, "{said}");
}

#[test]
fn a_budget_is_checked_anew_and_keeps_the_nodes_that_it_names() {
    let text = VOICE.replace(
        "sidetone = 1",
        "sidetone = 1\nbudgets = [{ from = \"other\", to = \"sum\", ms = 15, remedy = \"drop_late\" }]",
    );
    let graph = good(&[("call.toml", &text)], &[]);
    let said = refused(&graph, Transaction::new().set("mix", "frame_ms", 20));
    assert!(said.contains("the way from other to sum takes 20 ms, 5 ms more than the budget"), "{said}");
    let said = refused(&graph, Transaction::new().remove("other"));
    assert!(said.contains("a budget names other\n  --> the transaction"), "{said}");
    let made = Transaction::new().remove("soft").link("tone -> out").apply(&graph).unwrap();
    assert_eq!((made.budgets.len(), made.budgets[0].remedy), (1, Remedy::DropLate));
}

#[test]
fn nodes_of_templates_go_by_the_names_that_plans_give_them() {
    let graph = call(&[]);
    let jitter = |graph: &Graph| graph.templates[0].nodes[0].params.int("min_ms");
    for name in ["bobs/remote_audio/jitter", "bobs[]/remote_audio/jitter"] {
        let made = Transaction::new().set(name, "min_ms", 20).apply(&graph).unwrap();
        assert_eq!((jitter(&graph), jitter(&made)), (60, 20));
        let replaced = Transaction::new().replace(name, "rtp.jitter_buffer", &[]).apply(&graph).unwrap();
        assert_eq!(described(&made).len(), described(&replaced).len());
        assert_eq!(jitter(&replaced), 0);
    }
    let made = Transaction::new()
        .add("loud", "audio.gain", &[])
        .unlink("bobs/remote_audio/decode -> mix")
        .unlink("mix -> heard")
        .link("bobs[]/remote_audio/decode -> mix")
        .link("mix -> loud -> heard")
        .apply(&graph)
        .unwrap();
    assert_eq!(made.templates[0].links.len(), graph.templates[0].links.len());
    let made = Transaction::new()
        .add("bobs[]/remote_audio/loud", "audio.gain", &[])
        .unlink("bobs/remote_audio/decode -> mix")
        .link("bobs/remote_audio/decode -> bobs/remote_audio/loud -> mix")
        .apply(&graph)
        .unwrap();
    let (was, is) = (&graph.templates[0], &made.templates[0]);
    assert_eq!((is.nodes.len(), is.links.len()), (was.nodes.len() + 1, was.links.len() + 1));
    assert_eq!(&*is.nodes.last().unwrap().name, "remote_audio/loud");
    let said = refused(&graph, Transaction::new().set("bobs/remote_audio", "min_ms", 20));
    assert!(said.contains("bobs/remote_audio is several nodes") && said.contains("/jitter, "), "{said}");
    let said = refused(&graph, Transaction::new().unlink("bobs.audio -> bobs/remote_audio/jitter"));
    assert!(said.contains("nothing feeds bobs/remote_audio/jitter.in"), "{said}");
    let said =
        refused(&graph, Transaction::new().link("bobs/remote_audio/jitter -> alices/remote_video/jitter"));
    assert!(said.contains("a link cannot lead from one template to another"), "{said}");
}

#[test]
fn what_is_made_for_members_goes_with_the_node_that_they_join() {
    let graph = call(&[]);
    let all = ["mic", "opus", "pack", "room"].map(|what| format!("bob_{what}"));
    let made = all.iter().fold(Transaction::new(), |one, name| one.remove(name)).apply(&graph).unwrap();
    assert_eq!((graph.templates.len(), made.templates.len()), (2, 1));
    assert_eq!(&*made.templates[0].name, "bobs");
    assert_eq!(&*made.nodes[made.templates[0].hub].name, "alice_room");
    assert_eq!(made.nodes.len(), graph.nodes.len() - 4);
    assert!(made.setting("bob_opus.bitrate_kbps").is_err() && made.setting("alice_opus.fec").is_ok());
    let said = refused(&graph, Transaction::new().replace("bob_room", "net.impair", &[]));
    assert!(said.contains("net.impair has no group participant"), "{said}");
    let as_bert = [("url", "mem://demo".into()), ("user", "bert".into())];
    let made = Transaction::new().replace("bob_room", "room.join", &as_bert).apply(&graph).unwrap();
    assert_eq!(described(&made).len(), described(&graph).len());
}

#[test]
fn a_loop_stays_one() {
    let text = r#"
sidetone = 1
links = ["tone -> mix -> soft -> out", { path = "soft -> mix", loop = true }]
[nodes]
tone = { kind = "test.tone" }
mix = { kind = "audio.mix" }
soft = { kind = "audio.gain" }
out = { kind = "file.wav_sink", path = "out.wav" }
"#;
    let graph = good(&[("call.toml", text)], &[]);
    let made = Transaction::new().set("tone", "frequency_hz", 300).apply(&graph).unwrap();
    assert_eq!(made.links.iter().filter(|link| link.is_loop).count(), 1);
    let again = Transaction::new()
        .unlink("soft -> mix")
        .link_with("soft -> mix", &[("loop", true.into())])
        .apply(&made)
        .unwrap();
    assert_eq!(described(&again), described(&made));
}

#[test]
fn what_files_told_of_their_media_is_forgotten_with_the_file() {
    let text = r#"
sidetone = 1
links = ["a -> a_out", "b -> b_out"]
[nodes]
a = { kind = "file.y4m_source", path = "a.y4m" }
b = { kind = "file.y4m_source", path = "b.y4m" }
a_out = { kind = "file.y4m_sink", path = "a_out.y4m" }
b_out = { kind = "file.y4m_sink", path = "b_out.y4m" }
"#;
    let mut graph = good(&[("call.toml", text)], &[]);
    let told = crate::MediaType::i420(Some(Size::new(64, 48)), None);
    graph.renegotiate(0, &[Some(told)]).unwrap();
    graph.renegotiate(1, &[Some(told)]).unwrap();
    let comes_to = |graph: &Graph, name: &str| graph.nodes[graph.node(name).unwrap()].inputs[0];
    let made = Transaction::new().remove("a").remove("a_out").apply(&graph).unwrap();
    assert_eq!(comes_to(&made, "b_out"), Some(told));
    let made = Transaction::new().set("a", "path", "c.y4m").apply(&graph).unwrap();
    assert_ne!(comes_to(&made, "a_out"), Some(told));
    assert_eq!(comes_to(&made, "b_out"), Some(told));
}

#[test]
fn a_thousand_transactions_leave_no_more_text_than_is_pointed_at() {
    let mut graph = voice();
    for number in 0..1_000 {
        let insert =
            Transaction::new().add("x", "audio.gain", &[]).unlink("soft -> out").link("soft -> x -> out");
        let remove = Transaction::new().remove("x").link("soft -> out");
        graph = if number % 2 == 0 { insert } else { remove }.apply(&graph).unwrap();
        assert!(graph.sources.count() <= 6, "{}", graph.sources.count());
    }
}

#[test]
fn a_transaction_may_begin_with_a_graph_of_its_own() {
    let other = Transaction::from(voice()).set("soft", "gain_db", -1).apply(&call(&[])).unwrap();
    assert_eq!(other.nodes[other.node("soft").unwrap()].params.float("gain_db"), -1.0);
    let operation = Operation::Set("a/b".into(), "c".into(), "\"\n$".into());
    assert_eq!(operation.to_string(), r#"set."a/b".c = "\"\u000a$$""#);
}

/// A graph as a test thinks of it: kinds with a parameter, by name, and links with
/// their capacity.
#[derive(Default)]
struct Draft {
    nodes: BTreeMap<String, (&'static str, &'static str, i64)>,
    links: BTreeSet<(String, String, i64)>,
}

impl Draft {
    /// Some of ten nodes, each fed by any before it, as its kind allows.
    fn random(random: &mut fastrand::Rng) -> Self {
        let mut draft = Self::default();
        let mut before: Vec<String> = Vec::new();
        for number in 0..10 {
            let name = format!("n{number}");
            let (kind, param, inputs) = match random.u8(0..6) {
                0 if !before.is_empty() => continue,
                _ if before.is_empty() => ("test.tone", "frequency_hz", 0),
                1 => ("test.tone", "frequency_hz", 0),
                2 | 3 => ("audio.gain", "gain_db", 1),
                4 => ("audio.level", "interval_ms", 1),
                _ => ("audio.mix", "channels", random.usize(1..3)),
            };
            let value = match kind {
                "audio.mix" => 1,
                "test.tone" => random.i64(20..30),
                _ => random.i64(10..20),
            };
            for _ in 0..inputs {
                let from = random.choice(&before).unwrap().clone();
                let there = |(a, b, _): &(String, String, i64)| (a, b) == (&from, &name);
                if !draft.links.iter().any(there) {
                    draft.links.insert((from, name.clone(), random.i64(1..3)));
                }
            }
            draft.nodes.insert(name.clone(), (kind, param, value));
            before.push(name);
        }
        draft
    }

    fn graph(&self) -> Graph {
        let mut text = "sidetone = 1\nlinks = [".to_owned();
        for (from, to, capacity) in &self.links {
            text.push_str(&format!("{{ path = \"{from} -> {to}\", capacity = {capacity} }}, "));
        }
        text.push_str("]\n[nodes]\n");
        for (name, (kind, param, value)) in &self.nodes {
            text.push_str(&format!("{name} = {{ kind = \"{kind}\", {param} = {value} }}\n"));
        }
        load(&text).unwrap_or_else(|why| panic!("{why}")).0
    }

    /// What makes `other` of it, in any order.
    fn to(&self, other: &Self, random: &mut fastrand::Rng) -> Transaction {
        let line = |(kind, param, value): &(&str, &str, i64)| NodeLine {
            kind: (*kind).to_owned(),
            rest: vec![((*param).to_owned(), (*value).into())],
        };
        let mut operations = Vec::new();
        for (from, to, _) in self.links.difference(&other.links) {
            operations.push(Operation::Unlink(format!("{from} -> {to}")));
        }
        for (from, to, capacity) in other.links.difference(&self.links) {
            let options = vec![("capacity".to_owned(), (*capacity).into())];
            operations.push(Operation::Link(format!("{from} -> {to}"), options));
        }
        for (name, node) in &other.nodes {
            match self.nodes.get(name) {
                None => operations.push(Operation::Add(name.clone(), line(node))),
                Some(old) if old == node => {}
                Some((kind, ..)) if *kind == node.0 && random.bool() => {
                    operations.push(Operation::Set(name.clone(), node.1.to_owned(), node.2.into()));
                }
                Some(_) => operations.push(Operation::Replace(name.clone(), line(node))),
            }
        }
        let gone = self.nodes.keys().filter(|name| !other.nodes.contains_key(*name));
        operations.extend(gone.map(|name| Operation::Remove(name.clone())));
        random.shuffle(&mut operations);
        operations.into_iter().fold(Transaction::new(), Transaction::and)
    }
}

#[test]
fn any_graph_becomes_any_other() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut draft = Draft::random(&mut random);
    let mut graph = draft.graph();
    for _ in 0..500 {
        let next = Draft::random(&mut random);
        graph = draft.to(&next, &mut random).apply(&graph).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(described(&graph), described(&next.graph()));
        draft = next;
    }
}

#[test]
fn transactions_of_any_nonsense_are_refused_or_make_a_graph() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut graph = call(&[]);
    let kinds: Vec<_> = graph.registry.iter().map(|spec| spec.kind).collect();
    let (mut made, mut wrong) = (0, 0);
    for _ in 0..3_000 {
        let names: Vec<_> = graph.net().nodes.iter().map(|node| node.name.clone()).collect();
        let other =
            ["bobs", "alices", "bobs/new", "new", "bobs[]/remote_audio/jitter", "", "a b", "->", "\""];
        let name = |random: &mut fastrand::Rng| match random.u8(0..8) {
            0 => (*random.choice(&other).unwrap()).to_owned(),
            1 => format!("{}.in", random.choice(&names).unwrap()),
            _ => random.choice(&names).unwrap().clone(),
        };
        let mut transaction = Transaction::new();
        for _ in 0..random.u8(1..4) {
            let (one, another) = (name(&mut random), name(&mut random));
            let kind = random.choice(&kinds).unwrap();
            let rest = [("path", "x".into()), ("url", "mem://demo".into()), ("user", "x".into())];
            let rest = &rest[random.usize(0..3)..];
            transaction = match random.u8(0..7) {
                0 => transaction.add(&one, kind, rest),
                1 => transaction.remove(&one),
                2 => transaction.replace(&one, kind, rest),
                3 => transaction.link(&format!("{one} -> {another}")),
                4 => transaction.unlink(&format!("{one} -> {another}")),
                5 => transaction.set(&one, "bitrate_kbps", random.i64(0..100)),
                _ => {
                    let links = &graph.net().links;
                    let net = graph.net();
                    let link = random.choice(links).unwrap();
                    let path = format!("{} -> {}", net.sender_name(link), net.receiver_name(link.to));
                    transaction.unlink(&path).link(&path)
                }
            };
        }
        match transaction.apply(&graph) {
            Ok(next) => {
                made += 1;
                assert!(!crate::Schedule::compile(&next, 2).lanes.is_empty());
                // Not to end up with a graph of one node.
                graph = if next.nodes.len() < 8 { call(&[]) } else { next };
            }
            Err(why) => {
                wrong += 1;
                assert!(why.has_errors() && why.to_string().len() > 10);
            }
        }
    }
    assert!(made > 100 && wrong > 1_000, "{made} {wrong}");
}
