//! A running engine's figures in Prometheus' text format, version 0.0.4.
//!
//! Counts and sums are since the start, as Prometheus wants them; quantiles are
//! of what happened since the scrape before, so that they show what is, and not
//! what was an hour ago.

use std::collections::HashSet;
use std::fmt::Write;

use sidetone::Snapshot;
use sidetone::histogram::Summary;

/// What a scrape is told to be.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a snapshot.
pub(crate) fn metrics(snapshot: &Snapshot) -> String {
    let mut page = Page::default();
    let Snapshot { report, recent, .. } = snapshot;

    page.begin("info", "gauge", "What runs; always 1.");
    page.line("info", &[("graph", &report.graph)], 1.0);
    for (name, kind, help, value) in [
        ("running_seconds", "gauge", "Time since the start.", report.seconds),
        ("window_seconds", "gauge", "The time that quantiles and utilisation are of.", recent.seconds),
        ("members", "gauge", "Members of templates present.", count(snapshot.members as u64)),
        ("faults_total", "counter", "Failures of nodes.", count(report.faults.len() as u64)),
        (
            "breaches_total",
            "counter",
            "Times that the budget was not kept.",
            count(report.breaches.len() as u64),
        ),
        ("lost_events_total", "counter", "Events that found no room.", count(report.lost_events)),
    ] {
        page.begin(name, kind, help);
        page.line(name, &[], value);
    }

    page.begin("lane_utilisation", "gauge", "The share of the window that a lane was awake.");
    for lane in &recent.lanes {
        page.line("lane_utilisation", &[("lane", &lane.lane)], lane.utilisation);
    }
    page.begin("lane_turns_total", "counter", "Turns through a lane's nodes.");
    for lane in &report.lanes {
        page.line("lane_turns_total", &[("lane", &lane.lane)], count(lane.turns));
    }
    page.begin("lane_wakes_total", "counter", "Times that a lane was woken from sleep.");
    for lane in &report.lanes {
        page.line("lane_wakes_total", &[("lane", &lane.lane)], count(lane.wakes));
    }

    page.begin("stage_frames_total", "counter", "Frames that a node put out, or took if it is a sink.");
    for stage in &report.stages {
        let labels = [("node", &*stage.node), ("kind", &stage.kind), ("lane", &stage.lane)];
        page.line("stage_frames_total", &labels, count(stage.frames));
    }
    page.begin("stage_dropped_frames_total", "counter", "Frames that a node let go, by reason.");
    for stage in &report.stages {
        for (reason, dropped) in &stage.dropped_by_reason {
            let labels =
                [("node", &*stage.node), ("kind", &stage.kind), ("lane", &stage.lane), ("reason", reason)];
            page.line("stage_dropped_frames_total", &labels, count(*dropped));
        }
    }
    page.begin("stage_pool_dry_total", "counter", "Frames for which a node's pools had no buffer.");
    for stage in &report.stages {
        let labels = [("node", &*stage.node), ("kind", &stage.kind), ("lane", &stage.lane)];
        page.line("stage_pool_dry_total", &labels, count(stage.pool_dry));
    }
    page.begin("stage_late_calls_total", "counter", "Calls of plugins that came back after their deadline.");
    for stage in report.stages.iter().filter(|stage| stage.late_calls > 0) {
        let labels = [("node", &*stage.node), ("kind", &stage.kind), ("lane", &stage.lane)];
        page.line("stage_late_calls_total", &labels, count(stage.late_calls));
    }
    page.begin("stage_busy_seconds_total", "counter", "Time inside a node's calls.");
    for stage in &report.stages {
        let labels = [("node", &*stage.node), ("kind", &stage.kind), ("lane", &stage.lane)];
        page.line("stage_busy_seconds_total", &labels, stage.busy_ms / 1e3);
    }
    for (name, help) in [
        ("stage_wait_seconds", "Waiting before a node, per frame."),
        ("stage_work_seconds", "Being worked on in a node, per frame."),
        ("stage_buffer_seconds", "Held in a node, per frame."),
    ] {
        page.begin(name, "summary", help);
        for stage in &report.stages {
            let lately = recent.stages.iter().find(|other| other.node == stage.node);
            let (all, recent) = match name {
                "stage_wait_seconds" => (&stage.wait_ms, lately.map(|lately| &lately.wait_ms)),
                "stage_work_seconds" => (&stage.work_ms, lately.map(|lately| &lately.work_ms)),
                _ => (&stage.buffer_ms, lately.map(|lately| &lately.buffer_ms)),
            };
            page.summary(
                name,
                &[("node", &stage.node), ("kind", &stage.kind), ("lane", &stage.lane)],
                all,
                recent,
            );
        }
    }

    for (name, kind, help) in [
        ("link_frames_total", "counter", "Frames put into a link."),
        ("link_dropped_frames_total", "counter", "Frames that a link's overflow policy let go."),
        ("link_high_water_frames", "gauge", "The most frames that ever waited in a link."),
        ("link_capacity_frames", "gauge", "How many frames may wait in a link."),
    ] {
        page.begin(name, kind, help);
        for link in &report.links {
            let value = match name {
                "link_frames_total" => link.frames,
                "link_dropped_frames_total" => link.dropped,
                "link_high_water_frames" => link.high_water,
                _ => link.capacity as u64,
            };
            let labels = [("from", &*link.from), ("to", &link.to), ("overflow", &link.overflow)];
            page.line(name, &labels, count(value));
        }
    }

    page.begin("end_to_end_seconds", "summary", "Capture to render, over all sinks of a medium.");
    let media = [
        ("audio", &report.end_to_end_ms.audio, &recent.end_to_end_ms.audio),
        ("video", &report.end_to_end_ms.video, &recent.end_to_end_ms.video),
    ];
    for (medium, all, recent) in media {
        if let Some(all) = all {
            page.summary("end_to_end_seconds", &[("medium", medium)], all, recent.as_ref());
        }
    }
    page.text
}

#[allow(clippy::cast_precision_loss)] // Prometheus' values are floats
const fn count(count: u64) -> f64 {
    count as f64
}

#[derive(Default)]
struct Page {
    text: String,
    /// Series that stand there: one twice would void the whole page.
    series: HashSet<String>,
}

impl Page {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP sidetone_{name} {help}\n# TYPE sidetone_{name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut series = format!("sidetone_{name}");
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(series, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escape(text));
        }
        if !labels.is_empty() {
            series.push('}');
        }
        if !self.series.contains(&series) {
            let value = if value.is_nan() { "NaN".to_owned() } else { value.to_string() };
            let _ = writeln!(self.text, "{series} {value}");
            self.series.insert(series);
        }
    }

    fn summary(&mut self, name: &str, labels: &[(&str, &str)], all: &Summary, recent: Option<&Summary>) {
        if let Some(recent) = recent {
            for (quantile, ms) in [("0.5", recent.p50), ("0.95", recent.p95), ("0.99", recent.p99)] {
                let labels = [labels, &[("quantile", quantile)]].concat();
                self.line(name, &labels, if recent.count == 0 { f64::NAN } else { ms / 1e3 });
            }
        }
        self.line(&format!("{name}_sum"), labels, all.mean * count(all.count) / 1e3);
        self.line(&format!("{name}_count"), labels, count(all.count));
    }
}

/// A label's value as the format wants it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sight::example;

    #[test]
    fn every_line_is_a_comment_or_a_series_of_its_own_under_its_type() {
        let page = metrics(&example().snapshot);
        let mut types: HashSet<String> = HashSet::new();
        let mut series = HashSet::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["gauge", "counter", "summary"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(types.insert(name.to_owned()), "{line}");
            } else if !line.starts_with("# HELP ") {
                let (what, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = what.split('{').next().unwrap();
                let bare = name.trim_end_matches("_sum").trim_end_matches("_count");
                assert!(types.contains(name) || types.contains(bare), "{line}");
                assert!(series.insert(what.to_owned()), "{line}");
            }
        }
        assert!(page.ends_with('\n') && series.len() > 40, "{page}");
    }

    #[test]
    fn values_are_in_seconds_and_labels_are_escaped() {
        let page = metrics(&example().snapshot);
        for line in [
            "sidetone_info{graph=\"a \\\"call\\\"\\n\"} 1",
            "sidetone_lane_utilisation{lane=\"mic\"} 0.25",
            "sidetone_stage_dropped_frames_total{node=\"met[\\\\bob]/jitter\",kind=\"rtp.jitter_buffer\",lane=\"mic\",reason=\"late\"} 7",
            "sidetone_stage_wait_seconds{node=\"met[\\\\bob]/jitter\",kind=\"rtp.jitter_buffer\",lane=\"mic\",quantile=\"0.5\"} 0.0015",
            "sidetone_stage_wait_seconds_count{node=\"met[\\\\bob]/jitter\",kind=\"rtp.jitter_buffer\",lane=\"mic\"} 200",
            // What did not happen lately has no quantiles.
            "sidetone_stage_buffer_seconds{node=\"mic\",kind=\"test.tone\",lane=\"mic\",quantile=\"0.99\"} NaN",
            "sidetone_end_to_end_seconds{medium=\"audio\",quantile=\"0.95\"} 0.081",
            "sidetone_link_high_water_frames{from=\"mic.out\",to=\"met[\\\\bob]/jitter.in\",overflow=\"drop_oldest\"} 2",
        ] {
            assert!(page.lines().any(|there| there == line), "{line}\n{page}");
        }
    }
}
