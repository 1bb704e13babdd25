//! `sidetone plan`: what would run where, carrying what, how late.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use sidetone::schedule::{TemplateLane, cores};
use sidetone::{Clock, End, Graph, GraphNode, Schedule};

use super::{FINE, load, say, setting};
use crate::table::{Align, table};

/// Show lanes, links, types and declared latency, without running
///
/// On a graph that does not check it prints the mistakes instead, and which
/// converter is missing where.
#[derive(Args)]
pub(super) struct Plan {
    /// The graph file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Give a parameter of the graph, or of a node (cam.fps=15)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Plan for a machine of so many cores, instead of this one
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A link as it is shown.
struct Row {
    from: String,
    to: String,
    media: String,
    how: String,
    capacity: usize,
    overflow: &'static str,
}

impl Plan {
    pub(super) fn run(&self) -> u8 {
        // Where a converter is missing the graph does not check, and the
        // mistakes printed here name it.
        let graph = match load(&self.file, &self.set, self.json) {
            Ok(graph) => graph,
            Err(code) => return code,
        };
        let schedule = Schedule::compile(&graph, self.cores.unwrap_or_else(|| cores(&Clock::real())));
        say(&if self.json { as_json(&graph, &schedule) } else { as_text(&graph, &schedule) });
        FINE
    }
}

fn rows(graph: &Graph, schedule: &Schedule) -> Vec<Row> {
    let how = |crosses: bool| if crosses { "ring and wake" } else { "call" }.to_owned();
    let out = |node: &GraphNode, port: usize| format!("{}.{}", node.name, node.spec.outputs[port].name);
    let inp = |node: &GraphNode, port: usize| format!("{}.{}", node.name, node.spec.inputs[port].name);
    let mut rows: Vec<Row> = graph
        .links
        .iter()
        .zip(&schedule.links)
        .map(|(link, plan)| Row {
            from: out(&graph.nodes[link.from.0], link.from.1),
            to: inp(&graph.nodes[link.to.0], link.to.1),
            media: link.media.to_string(),
            how: how(plan.crosses),
            capacity: plan.capacity,
            overflow: link.overflow.word(),
        })
        .collect();
    for (template, plan) in graph.templates.iter().zip(&schedule.templates) {
        for (link, link_plan) in template.links.iter().zip(&plan.links) {
            let inside = |node: usize| {
                let mut node = template.nodes[node].clone();
                node.name = format!("{}[]/{}", template.name, node.name).into();
                node
            };
            let from = match link.from {
                End::Member { port } => {
                    format!("{}.{}", template.name, graph.nodes[template.hub].spec.outputs[port].name)
                }
                End::Inside { node, port } => out(&inside(node), port),
                End::Outside { node, port } => out(&graph.nodes[node], port),
            };
            let to = match link.to {
                End::Inside { node, port } => inp(&inside(node), port),
                End::Outside { node, port } => inp(&graph.nodes[node], port),
                End::Member { .. } => continue,
            };
            let media = link.media.to_string();
            let overflow = link.overflow.word();
            rows.push(Row {
                from,
                to,
                media,
                how: how(link_plan.crosses),
                capacity: link_plan.capacity,
                overflow,
            });
        }
    }
    rows
}

/// The links as a reader follows them: each chain from its first node on to a
/// sink, and what branches off after it.
fn chains(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let node = |end: &str| end.rsplit_once('.').map_or(end, |(node, _)| node).to_owned();
    let fed: HashSet<String> = rows.iter().map(|row| node(&row.to)).collect();
    // What nothing feeds begins a chain; what is then left branches off, or goes round.
    let (begin, branches): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| !fed.contains(&node(&row.from)));
    let mut rest = VecDeque::from(begin);
    rest.extend(branches);
    let mut chains = Vec::new();
    while let Some(first) = rest.pop_front() {
        let mut at = node(&first.to);
        let mut chain = vec![first];
        while let Some(next) = rest.iter().position(|row| node(&row.from) == at) {
            let Some(row) = rest.remove(next) else { break };
            at = node(&row.to);
            chain.push(row);
        }
        chains.push(chain);
    }
    chains
}

/// An end as a graph file would name it, "in" and "out" left out.
fn short(end: &str) -> String {
    end.strip_suffix(".in").or_else(|| end.strip_suffix(".out")).unwrap_or(end).to_owned()
}

/// Every lane with its nodes; a template's own lanes once, for each member.
fn lanes(graph: &Graph, schedule: &Schedule) -> Vec<(String, Vec<String>, bool)> {
    let mut lanes: Vec<_> = schedule
        .lanes
        .iter()
        .map(|lane| {
            let nodes: Vec<String> =
                lane.nodes.iter().map(|&node| graph.nodes[node].name.to_string()).collect();
            (lane.name.to_string(), nodes, lane.real_time)
        })
        .collect();
    for (template, plan) in graph.templates.iter().zip(&schedule.templates) {
        let name = |node: usize| format!("{}[]/{}", template.name, template.nodes[node].name);
        for lane in &plan.lanes {
            let nodes = lane.nodes.iter().map(|&node| name(node)).collect();
            lanes.push((format!("{}[]/{}", template.name, lane.name), nodes, lane.real_time));
        }
        for &node in &plan.order {
            match plan.lane_of[node] {
                TemplateLane::Outer(outer) => lanes[outer].1.push(name(node)),
                TemplateLane::Members(class) => {
                    for &lane in &schedule.member_lanes[class as usize] {
                        lanes[lane].1.push(name(node));
                    }
                }
                TemplateLane::Own(_) => {}
            }
        }
    }
    lanes
}

fn all_nodes(graph: &Graph) -> Vec<(String, &GraphNode)> {
    let own = graph.nodes.iter().map(|node| (node.name.to_string(), node));
    let parts = graph.templates.iter().flat_map(|template| {
        template.nodes.iter().map(|node| (format!("{}[]/{}", template.name, node.name), node))
    });
    own.chain(parts).collect()
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

fn as_text(graph: &Graph, schedule: &Schedule) -> String {
    let mut text = String::new();
    let lane_rows: Vec<_> = lanes(graph, schedule)
        .into_iter()
        .map(|(name, nodes, real_time)| {
            vec![name, if real_time { "real-time".into() } else { String::new() }, nodes.join(", ")]
        })
        .collect();
    text.push_str(&format!("{} lanes, each a thread; [] stands for each member\n\n", lane_rows.len()));
    text.push_str(&table(
        &["LANE", "RULES", "NODES, UPSTREAM FIRST"].map(|name| (name, Align::Left)),
        &lane_rows,
    ));

    let mut link_rows = Vec::new();
    for chain in chains(rows(graph, schedule)) {
        let mut before = String::new();
        for row in chain {
            // Within a chain only another port than the usual one is worth a line.
            let is_usual = row.from.ends_with(".out") && row.from.trim_end_matches(".out") == before;
            if !is_usual {
                let mut start = vec![short(&row.from)];
                start.resize(5, String::new());
                link_rows.push(start);
            }
            before = row.to.rsplit_once('.').map_or(String::new(), |(node, _)| node.to_owned());
            let to = format!("  -> {}", short(&row.to));
            link_rows.push(vec![to, row.media, row.how, row.capacity.to_string(), row.overflow.into()]);
        }
    }
    let head = [
        ("LINKS, FROM SOURCE TO SINK", Align::Left),
        ("CARRIES", Align::Left),
        ("HOP", Align::Left),
        ("HOLDS", Align::Right),
        ("WHEN FULL", Align::Left),
    ];
    text.push_str(&format!("\n{}", table(&head, &link_rows)));

    let late: Vec<_> = all_nodes(graph)
        .into_iter()
        .filter(|(_, node)| !node.latency.is_zero())
        .map(|(name, node)| vec![name, node.spec.kind.into(), millis(node.latency)])
        .collect();
    text.push_str("\nDeclared latency\n\n");
    let head = [("NODE", Align::Left), ("KIND", Align::Left), ("MS", Align::Right)];
    text.push_str(&if late.is_empty() { "none\n".into() } else { table(&head, &late) });
    text.push_str("not counted: work, queueing between lanes, and the jitter of networks\n");
    let path = graph.slowest_path();
    if !path.is_empty() {
        let sum: Duration = path.iter().map(|(_, latency)| *latency).sum();
        let names: Vec<_> = path.iter().map(|(name, _)| name.as_str()).collect();
        text.push_str(&format!("\nslowest path: {} ms\n  {}\n", millis(sum), names.join(" -> ")));
    }
    if let Some(budget) = graph.budget {
        text.push_str(&format!("budget:       {} ms\n", millis(budget)));
    }
    text
}

fn as_json(graph: &Graph, schedule: &Schedule) -> String {
    let lanes: Vec<_> = lanes(graph, schedule)
        .into_iter()
        .map(|(name, nodes, real_time)| json!({ "name": name, "nodes": nodes, "real_time": real_time }))
        .collect();
    let links: Vec<_> = rows(graph, schedule)
        .into_iter()
        .map(|row| {
            json!({ "from": row.from, "to": row.to, "carries": row.media, "hop": row.how,
                    "capacity": row.capacity, "overflow": row.overflow })
        })
        .collect();
    let nodes: Vec<_> = all_nodes(graph)
        .into_iter()
        .map(|(name, node)| {
            json!({ "node": name, "kind": node.spec.kind, "latency_ms": node.latency.as_secs_f64() * 1e3,
                    "outputs": node.outputs.iter().map(ToString::to_string).collect::<Vec<_>>() })
        })
        .collect();
    let budget = graph.budget.map(|budget| budget.as_secs_f64() * 1e3);
    format!(
        "{:#}\n",
        json!({ "graph": graph.name, "budget_ms": budget, "lanes": lanes, "links": links, "nodes": nodes })
    )
}
