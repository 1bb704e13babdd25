//! `sidetone plan`: what would run where, carrying what, how late.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use sidetone::pool_plan::{PoolPlan, made_ahead};
use sidetone::schedule::{LanePlan, TemplateLane, cores};
use sidetone::{Clock, End, Foreign, Graph, GraphNode, LaneSettings, MediaType, Priority, Schedule};

use super::{FINE, load, say, setting};
use crate::table::{Align, table};

/// Show lanes, links, types, buffers and declared latency, without running
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

/// A lane as it is shown.
struct LaneRow {
    name: String,
    settings: LaneSettings,
    /// What is called in one go: nodes upstream first, between which hops are
    /// calls.
    runs: Vec<Vec<String>>,
    real_time: bool,
}

impl LaneRow {
    fn thread(&self) -> String {
        let LaneSettings { cpu, priority, spin } = self.settings;
        let cpu = cpu.map(|cpu| format!("CPU {cpu}"));
        let priority = (priority == Priority::Realtime).then(|| "real-time priority".to_owned());
        let spin = (!spin.is_zero()).then(|| format!("spins {} µs", spin.as_micros()));
        [cpu, priority, spin].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Every lane with its nodes; a template's own lanes once, for each member.
fn lanes(graph: &Graph, schedule: &Schedule) -> Vec<LaneRow> {
    let row = |lane: &LanePlan, name: String, runs| LaneRow {
        name,
        settings: lane.settings,
        runs,
        real_time: lane.real_time,
    };
    let names = |run: Vec<usize>| run.into_iter().map(|node| graph.nodes[node].name.to_string()).collect();
    let mut lanes: Vec<_> = schedule
        .lanes
        .iter()
        .enumerate()
        .map(|(index, lane)| {
            let runs = schedule.runs(graph, index).into_iter().map(names).collect();
            row(lane, lane.name.to_string(), runs)
        })
        .collect();
    for (template, plan) in graph.templates.iter().zip(&schedule.templates) {
        let name = |node: usize| format!("{}[]/{}", template.name, template.nodes[node].name);
        for lane in &plan.lanes {
            let nodes = lane.nodes.iter().map(|&node| name(node)).collect();
            lanes.push(row(lane, format!("{}[]/{}", template.name, lane.name), vec![nodes]));
        }
        // What a member brings to a lane that is there already is one run of its own.
        let shared = 0..schedule.lanes.len();
        let mut brought: Vec<Vec<String>> = shared.clone().map(|_| Vec::new()).collect();
        for &node in &plan.order {
            match plan.lane_of[node] {
                TemplateLane::Outer(outer) => brought[outer].push(name(node)),
                TemplateLane::Members(class) => {
                    schedule.member_lanes[class as usize]
                        .iter()
                        .for_each(|&lane| brought[lane].push(name(node)));
                }
                TemplateLane::Own(_) => {}
            }
        }
        for (lane, run) in shared.zip(brought).filter(|(_, run)| !run.is_empty()) {
            lanes[lane].runs.push(run);
        }
    }
    lanes
}

/// The pool of an output as it is shown.
struct PoolRow {
    output: String,
    plan: PoolPlan,
}

/// The pools of all outputs that carry frames; those of a template's nodes once,
/// for each member.
fn pools(graph: &Graph, schedule: &Schedule) -> Vec<PoolRow> {
    let own = schedule.pools.iter();
    let plans = own.chain(schedule.templates.iter().flat_map(|template| &template.pools));
    let outputs = all_nodes(graph).into_iter().zip(plans).flat_map(|((name, node), plans)| {
        node.spec.outputs.iter().zip(&node.outputs).zip(plans).map(move |((port, media), plan)| {
            let carries = !matches!(media, MediaType::Events);
            carries.then(|| PoolRow { output: format!("{name}.{}", port.name), plan: *plan })
        })
    });
    outputs.flatten().collect()
}

/// Bytes that pools make ahead, before the start and with their first frames,
/// and those that they may come to, as far as sizes are known.
fn memory(pools: &[PoolRow]) -> [usize; 3] {
    let sum =
        |rows: fn(&PoolPlan) -> bool| made_ahead(pools.iter().map(|row| &row.plan).filter(|plan| rows(plan)));
    let most = pools.iter().map(|row| row.plan.at_most()).sum();
    [sum(|plan| plan.at_start), sum(|plan| !plan.at_start), most]
}

fn megabytes(bytes: usize) -> String {
    #[allow(clippy::cast_precision_loss)] // shown with one digit
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
}

fn pools_as_text(graph: &Graph, schedule: &Schedule) -> String {
    let pools = pools(graph, schedule);
    let rows: Vec<_> = pools
        .iter()
        .map(|PoolRow { output, plan }| {
            let bytes = plan.bytes.map_or("as the first frame".into(), |bytes| bytes.to_string());
            let when = match plan.shared {
                Some(number) => format!("at the start, shared ({number})"),
                None if plan.at_start => "at the start".into(),
                None => "if asked for".into(),
            };
            let when = if plan.mapped.is_some() { format!("{when}, in shared memory") } else { when };
            vec![short(output), bytes, plan.slots.to_string(), plan.prefill.to_string(), when]
        })
        .collect();
    let head = [
        ("BUFFERS OF", Align::Left),
        ("BYTES EACH", Align::Right),
        ("AT MOST", Align::Right),
        ("AHEAD", Align::Right),
        ("MADE", Align::Left),
    ];
    let [start, first, most] = memory(&pools).map(megabytes);
    format!(
        "\n{}\nmade ahead: {start} at the start, {first} if all are asked for; at most {most}, where sizes are \
         known\nwhen dry:   {}\n",
        table(&head, &rows),
        graph.when_dry.word()
    )
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
    let lanes = lanes(graph, schedule);
    let mut lane_rows = Vec::new();
    for lane in &lanes {
        let rules = if lane.real_time { "real-time" } else { "" };
        let mut start = [lane.name.clone(), lane.thread(), rules.to_owned()];
        for run in &lane.runs {
            lane_rows.push(start.iter_mut().map(std::mem::take).chain([run.join(", ")]).collect());
        }
    }
    text.push_str(&format!("{} lanes, each a thread; [] stands for each member\n\n", lanes.len()));
    text.push_str(&table(
        &["LANE", "THREAD", "RULES", "RUNS: NODES CALLED IN ONE GO, UPSTREAM FIRST"]
            .map(|name| (name, Align::Left)),
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
    text.push_str(&pools_as_text(graph, schedule));

    let late: Vec<_> = all_nodes(graph)
        .into_iter()
        .filter(|(_, node)| !node.latency.is_zero())
        .map(|(name, node)| vec![name, node.spec.kind.into(), millis(node.latency)])
        .collect();
    text.push_str(&foreign_as_text(graph));
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
    text.push_str(&budgets_as_text(graph));
    text
}

/// The nodes that run somebody else's code, where it runs, and how long each of
/// its calls may take.
fn foreign_as_text(graph: &Graph) -> String {
    let nodes = all_nodes(graph).into_iter().filter(|(_, node)| node.foreign != Foreign::No);
    let rows: Vec<_> = nodes
        .map(|(name, node)| {
            let deadline = node.deadline.map_or_else(String::new, millis);
            vec![name, node.spec.kind.into(), node.foreign.to_string(), deadline]
        })
        .collect();
    let head = [
        ("NODE", Align::Left),
        ("KIND", Align::Left),
        ("RUNS", Align::Left),
        ("A CALL MAY TAKE ms", Align::Right),
    ];
    if rows.is_empty() { String::new() } else { format!("\nPlugins\n\n{}", table(&head, &rows)) }
}

/// What each budget allows, what is declared along its slowest path, and what that
/// leaves.
fn budgets_as_text(graph: &Graph) -> String {
    let rows: Vec<_> = graph
        .budgets
        .iter()
        .map(|budget| {
            let path = budget.path.as_ref();
            let what =
                path.map_or("capture to render".into(), |path| format!("{} -> {}", path.from, path.to));
            // A graph whose sum is greater does not check.
            let declared = graph.declared_latency(budget);
            let slack = budget.limit.saturating_sub(declared);
            let [declared, allowed, slack] = [declared, budget.limit, slack].map(millis);
            vec![what, declared, allowed, slack, budget.remedy.word().into()]
        })
        .collect();
    let head = [
        ("BUDGET", Align::Left),
        ("DECLARED", Align::Right),
        ("ALLOWED", Align::Right),
        ("SLACK ms", Align::Right),
        ("WHEN NOT KEPT", Align::Left),
    ];
    if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
}

fn as_json(graph: &Graph, schedule: &Schedule) -> String {
    let lanes: Vec<_> = lanes(graph, schedule)
        .into_iter()
        .map(|lane| {
            json!({ "name": lane.name, "nodes": lane.runs.concat(), "runs": lane.runs,
                    "real_time": lane.real_time, "cpu": lane.settings.cpu,
                    "priority": lane.settings.priority.word(),
                    "spin_us": lane.settings.spin.as_micros() as u64 })
        })
        .collect();
    let pool_rows = pools(graph, schedule);
    let [at_start, at_first_frame, at_most] = memory(&pool_rows);
    let memory = json!({ "at_start": at_start, "at_first_frame": at_first_frame, "at_most": at_most });
    let pools: Vec<_> = pool_rows
        .into_iter()
        .map(|PoolRow { output, plan }| {
            json!({ "output": output, "bytes": plan.bytes, "slots": plan.slots, "prefill": plan.prefill,
                    "at_start": plan.at_start, "shared": plan.shared, "when_dry": plan.when_dry.word(),
                    "shared_memory": plan.mapped.is_some() })
        })
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
                    "foreign": node.foreign, "deadline_ms": node.deadline.map(|deadline| deadline.as_secs_f64() * 1e3),
                    "outputs": node.outputs.iter().map(ToString::to_string).collect::<Vec<_>>() })
        })
        .collect();
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let budgets: Vec<_> = graph
        .budgets
        .iter()
        .map(|budget| {
            let path = budget.path.as_ref();
            let declared = graph.declared_latency(budget);
            json!({ "from": path.map(|path| &*path.from), "to": path.map(|path| &*path.to),
                    "declared_ms": ms(declared), "budget_ms": ms(budget.limit),
                    "slack_ms": ms(budget.limit.saturating_sub(declared)), "remedy": budget.remedy })
        })
        .collect();
    format!(
        "{:#}\n",
        json!({ "graph": graph.name, "budget_ms": graph.budget().map(ms), "budgets": budgets, "lanes": lanes,
                "links": links, "pools": pools, "pool_bytes": memory, "nodes": nodes })
    )
}
