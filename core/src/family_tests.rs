//! Tests of families: kinds whose parameters depend on one of theirs.

use std::path::Path;

use crate::graph::{Graph, LoadOptions};
use crate::graph_tests::{good, load, load_with};
use crate::mock_kinds::registry;
use crate::param::Value;
use crate::transaction::Transaction;

/// A picture through `node`, a line of a graph file.
fn through(node: &str) -> String {
    format!(
        "sidetone = 1\nlinks = [\"cam -> fx -> file\"]\n[nodes]\ncam = {{ kind = \"test.scene\" }}\n\
         fx = {{ {node} }}\nfile = {{ kind = \"file.y4m_sink\", path = \"a.y4m\" }}\n"
    )
}

const CARTOON: &str = "kind = \"host.mock\", effect = \"cartoon\", triplevel = 0.6";

fn cartoon() -> Graph {
    good(&[("call.toml", &through(CARTOON))], &[])
}

fn refused(text: &str) -> String {
    match load(text) {
        Ok(_) => panic!("{text}"),
        Err(found) => found.to_string(),
    }
}

fn fx(graph: &Graph) -> (&'static str, Option<Value>) {
    let node = &graph.nodes[graph.node("fx").unwrap()];
    (node.spec.kind, node.params.get("triplevel").cloned())
}

#[test]
fn a_parameter_says_which_member_the_node_is_and_so_what_parameters_it_has() {
    assert_eq!(fx(&cartoon()), ("host.mock/cartoon", Some(0.6.into())));
    let said = refused(&through("kind = \"host.mock\", effect = \"cartoon\", share = 5"));
    assert!(said.contains("host.mock/cartoon has no parameter share"), "{said}");
    let said = refused(&through("kind = \"host.mock\", effect = \"cartoon\", triplevel = 2"));
    assert!(said.contains("triplevel must be a number from 0 to 1, not 2"), "{said}");
}

#[test]
fn what_is_no_member_is_shown_where_it_stands_with_what_was_meant() {
    let said = refused(&through("kind = \"host.mock\", effect = \"cartoom\""));
    assert_eq!(
        said,
        "error: host.mock has no effect \"cartoom\"\n  --> call.toml:5:38\n   | fx = { kind = \"host.mock\", effect = \"cartoom\" }\n   |                                      ^^^^^^^\n   = did you mean \"cartoon\"? (there are cartoon, mixture; `sidetone nodes host.mock` lists them)\n"
    );
}

#[test]
fn a_member_that_is_not_named_is_asked_for() {
    let said = refused(&through("kind = \"host.mock\""));
    assert!(said.starts_with("error: host.mock needs effect\n  --> call.toml:5:1\n"), "{said}");
    assert!(said.contains("= there are cartoon, mixture; `sidetone nodes host.mock` lists them"), "{said}");
    let said = refused(&through("kind = \"host.mock\", effect = 3"));
    assert!(said.contains("effect must be text, not 3"), "{said}");
}

#[test]
fn a_member_goes_by_two_names_in_listings_alone() {
    let said = refused(&through("kind = \"host.mock/cartoon\""));
    assert!(said.contains("in graph files: { kind = \"host.mock\", effect = \"cartoon\" }"), "{said}");
    let said = refused(&through("kind = \"host.mack\", effect = \"cartoon\""));
    assert!(said.contains("did you mean \"host.mock\"?"), "{said}");
}

#[test]
fn parameters_of_the_graph_and_of_the_command_line_choose_the_member() {
    let text = through("kind = \"${host}\", effect = \"${effect}\"")
        + "[params]\neffect = { type = \"text\", default = \"cartoon\", meaning = \"Which\" }\n\
           host = { type = \"text\", default = \"host.mock\", meaning = \"Whose\" }\n";
    assert_eq!(fx(&good(&[("call.toml", &text)], &[])).0, "host.mock/cartoon");
    let said = load_with(&[("call.toml", &text)], &[("effect", "mixtura")]).unwrap_err().to_string();
    assert!(said.contains("has no effect \"mixtura\"") && said.contains("given here"), "{said}");
    let files = [("call.toml", text.as_str())];
    assert_eq!(fx(&good(&files, &[("effect", "sepia"), ("fx.effect", "cartoon")])).0, "host.mock/cartoon");
    let said = load_with(&files, &[("fx.effect", "cartoons")]).unwrap_err().to_string();
    assert!(said.contains("the command line") && said.contains("did you mean \"cartoon\"?"), "{said}");
    assert_eq!(
        fx(&good(&files, &[("fx.triplevel", "0.25")])),
        ("host.mock/cartoon", Some(0.25.into())),
        "what the member has is reached from outside"
    );
}

#[test]
fn alternatives_that_are_not_chosen_are_checked_as_far_as_their_members_are_there() {
    let text = |other: &str| {
        through(CARTOON).replace(
            &format!("{{ {CARTOON} }}"),
            &format!("[{{ when = false, {other} }}, {{ kind = \"effect.mirror\" }}]"),
        )
    };
    assert_eq!(fx(&good(&[("call.toml", &text(CARTOON))], &[])).0, "effect.mirror");
    // Which effects are installed may be why another alternative was taken.
    let absent = text("kind = \"host.mock\", effect = \"absent\", depth = 3");
    assert_eq!(fx(&good(&[("call.toml", &absent)], &[])).0, "effect.mirror");
    let said = refused(&text("kind = \"host.mock\", effect = \"cartoon\", depth = 3"));
    assert!(said.contains("host.mock/cartoon has no parameter depth"), "{said}");
}

#[test]
fn parts_and_templates_hold_members() {
    let part = "sidetone = 1\nlinks = [\"jitter -> unpack -> decode -> fx -> file\"]\n\
        [ports]\nin = \"jitter.in\"\n\
        [params]\nlook = { type = \"text\", meaning = \"Which effect\" }\n\
        [nodes]\njitter = { kind = \"rtp.jitter_buffer\" }\nunpack = { kind = \"rtp.unpack_av1\" }\n\
        decode = { kind = \"codec.av1_decode\" }\nfx = { kind = \"host.mock\", effect = \"${look}\" }\n\
        file = { kind = \"file.y4m_sink\", path = \"seen/${participant}.y4m\" }\n";
    let text = |look: &str| {
        format!(
            "sidetone = 1\nlinks = [\"cam -> av1 -> pack -> room\"]\n[nodes]\ncam = {{ kind = \"test.scene\" }}\n\
             av1 = {{ kind = \"codec.av1_encode\" }}\npack = {{ kind = \"rtp.pack_av1\" }}\n\
             room = {{ kind = \"room.join\", url = \"mem://demo\", user = \"a\" }}\n\
             [each.remote]\nof = \"room.participant\"\nparts = [{{ part = \"person.toml\", look = \"{look}\" }}]\n"
        )
    };
    let graph = good(&[("call.toml", &text("cartoon")), ("person.toml", part)], &[]);
    assert!(graph.templates[0].nodes.iter().any(|node| node.spec.kind == "host.mock/cartoon"));
    let found = load_with(&[("call.toml", &text("${participant}")), ("person.toml", part)], &[]).unwrap_err();
    assert!(found.to_string().contains("effect cannot hold a participant's name"), "{found}");
    // By itself a part is checked without the values of its parameters.
    let options = LoadOptions { read: &|_| Ok(part.into()), ..LoadOptions::default() };
    Graph::check(Path::new("person.toml"), &registry(), &options).unwrap_or_else(|found| panic!("{found}"));
}

#[test]
fn edits_of_a_running_graph_add_and_replace_members() {
    let plain = good(&[("call.toml", &through("kind = \"effect.mirror\""))], &[]);
    let rest = [("effect", "cartoon".into()), ("triplevel", 0.6.into())];
    let replaced = Transaction::new().replace("fx", "host.mock", &rest).apply(&plain).unwrap();
    assert_eq!(fx(&replaced), fx(&cartoon()));
    let added = Transaction::new()
        .remove("fx")
        .add("fx2", "host.mock", &rest)
        .link("cam -> fx2 -> file")
        .apply(&plain)
        .unwrap();
    assert_eq!(added.nodes[added.node("fx2").unwrap()].spec.kind, "host.mock/cartoon");
    assert_eq!(fx(&Transaction::from(cartoon()).apply(&plain).unwrap()), fx(&cartoon()));

    let set = Transaction::new().set("fx", "triplevel", 0.1).apply(&cartoon()).unwrap();
    assert_eq!(fx(&set), ("host.mock/cartoon", Some(0.1.into())));
    let said = Transaction::new().set("fx", "effect", "mixture").apply(&cartoon()).unwrap_err().to_string();
    assert!(said.contains("effect says which node fx is"), "{said}");
    assert!(said.contains("replace the node by one with kind = \"host.mock\""), "{said}");
}
