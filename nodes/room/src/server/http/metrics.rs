//! `/metrics`: the server's figures for Prometheus, in its text format. No label has
//! the name of a user or a room: there may be any number of those.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::protocol::{Code, Source, word};
use crate::server::hall::{Counts, Figures, Flow, Hall, Resumes, Timing};
use crate::server::media;
use crate::server::room::Way;
use crate::usage::Usage;

use super::doors::Doors;

/// The text format's name.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// What a look at the hall sees: no more than is quickly told, since everyone waits
/// meanwhile.
pub(super) struct Look {
    sizes: (usize, usize, usize),
    counts: Counts,
    forwarded: media::Counts,
    ways: Vec<(Way, usize)>,
    streams: Vec<((Source, String), u64)>,
}

impl Look {
    pub(super) fn at(hall: &Hall) -> Self {
        Self {
            sizes: hall.sizes(),
            counts: hall.counts().clone(),
            forwarded: hall.forwarded(),
            ways: hall.ways().into_iter().collect(),
            streams: hall.streams().into_iter().map(|((of, codec), n)| ((of, codec.into()), n)).collect(),
        }
    }
}

/// The page. Reads files of the system's.
pub(super) fn page(look: &Look, doors: &Doors, timing: &Timing) -> String {
    let (rooms, links, peers) = look.sizes;
    let Counts {
        joins,
        joins_refused,
        leaves,
        resumes,
        refused,
        stuck,
        audio,
        video,
        unsendable,
        oversized,
        unknown,
        fruitless,
        knocks,
        knocks_refused,
        key_frames_asked,
        key_frames_wanted,
        peers_failed,
        panics,
    } = &look.counts;
    let media::Counts { muted, unknown: unplaced, too_long, flood, late, broken, .. } = look.forwarded;
    let mut page = String::new();
    let mut family = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
        // Writing to a string does not fail.
        let _ = write!(page, "# HELP sidetone_room_{name} {help}\n# TYPE sidetone_room_{name} {kind}\n");
        for (labels, value) in values {
            let _ = writeln!(page, "sidetone_room_{name}{labels} {value}");
        }
    };
    let mut one = |name, kind, help, value| family(name, kind, help, &[(String::new(), value)]);
    let (sockets, waiting) = doors.sizes();
    one("sockets", "gauge", "TCP connections.", sockets as u64);
    one("waiting", "gauge", "Among them those that have not asked for anything yet.", waiting as u64);
    one("rooms", "gauge", "Rooms that are there.", rooms as u64);
    one("links", "gauge", "Connections of participants.", links as u64);
    one("peers", "gauge", "Participants with media.", peers as u64);
    one("unsendable_total", "counter", "Packets that a participant could not be sent.", *unsendable);
    one("oversized_total", "counter", "Datagrams too long to be looked at.", *oversized);
    one("unknown_total", "counter", "Datagrams that are nobody's, or not signed.", *unknown);
    one(
        "fruitless_total",
        "counter",
        "RTP of participants that gave no packet: not theirs, twice, padding.",
        *fruitless,
    );
    one("stuck_total", "counter", "Connections let go since they did not read.", *stuck);
    one("knocks_total", "counter", "Knocks that were answered.", *knocks);
    one("knocks_refused_total", "counter", "Knocks that were one too many.", *knocks_refused);
    one("peers_failed_total", "counter", "Participants whose media failed.", *peers_failed);
    one("panics_total", "counter", "Panics, each of which ended one participant's media.", *panics);
    let dropped = [
        ("muted", muted),
        ("unknown", unplaced),
        ("too_long", too_long),
        ("flood", flood),
        ("late", late),
        ("broken", broken),
    ];
    let dropped = dropped.map(|(why, count)| (format!("{{why=\"{why}\"}}"), count));
    family("dropped_total", "counter", "Packets that did not go on to a participant, by why.", &dropped);
    let turned: Vec<_> = doors.turned().map(|(why, count)| (format!("{{why=\"{why}\"}}"), count)).collect();
    family("turned_away_total", "counter", "Connections and requests turned away, by which limit.", &turned);
    let ways = look.ways.iter().map(|(way, count)| {
        let way = match way {
            Way::Link => "link",
            Way::Whip => "whip",
            Way::Whep => "whep",
        };
        (format!("{{way=\"{way}\"}}"), *count as u64)
    });
    let ways: Vec<_> = ways.collect();
    family("people", "gauge", "Participants, by the way in which they are there.", &ways);
    let by_code = |counts: &BTreeMap<Code, u64>| -> Vec<_> {
        counts.iter().map(|(code, count)| (format!("{{code=\"{}\"}}", word(code)), *count)).collect()
    };
    let let_in = (String::from("{code=\"ok\"}"), *joins);
    let joins: Vec<_> = [let_in].into_iter().chain(by_code(joins_refused)).collect();
    family("joins_total", "counter", "Requests to be let in, or back in, by what came of them.", &joins);
    let leaves = leaves.iter().map(|(reason, count)| (format!("{{reason=\"{}\"}}", word(reason)), *count));
    family("leaves_total", "counter", "Participants who are out, by why.", &leaves.collect::<Vec<_>>());
    let Resumes { kept, anew, refused: gone } = resumes;
    let resumes = [("kept", *kept), ("anew", *anew), ("refused", *gone)];
    let resumes = resumes.map(|(result, count)| (format!("{{result=\"{result}\"}}"), count));
    family(
        "resumes_total",
        "counter",
        "Participants who came back after a break, by how they fared.",
        &resumes,
    );
    let refused = by_code(refused);
    family("refused_total", "counter", "What was refused, by why.", &refused);
    let streams = look.streams.iter().map(|((source, codec), count)| {
        (format!("{{source=\"{}\",codec=\"{codec}\"}}", word(source)), *count)
    });
    family("streams", "gauge", "Published streams.", &streams.collect::<Vec<_>>());
    let flows = |of: fn(&Flow) -> [u64; 2]| -> Vec<_> {
        let media = [("audio", audio), ("video", video)];
        let values = media.into_iter().flat_map(|(medium, flow)| {
            let line = move |(dir, value)| (format!("{{dir=\"{dir}\",medium=\"{medium}\"}}"), value);
            ["in", "out"].into_iter().zip(of(flow)).map(line)
        });
        values.collect()
    };
    let packets = flows(|flow| [flow.packets_in, flow.packets_out]);
    family("packets_total", "counter", "RTP packets that came and went out.", &packets);
    let bytes = flows(|flow| [flow.bytes_in, flow.bytes_out]);
    family("bytes_total", "counter", "Bytes of their payloads.", &bytes);
    let key_frames = [("in", *key_frames_wanted), ("out", *key_frames_asked)];
    let key_frames = key_frames.map(|(dir, count)| (format!("{{dir=\"{dir}\"}}"), count));
    let help = "Requests for key frames: of participants, and to publishers.";
    family("key_frame_requests_total", "counter", help, &key_frames);
    let (full, unsent) = timing.lost();
    let queues = [("commands", full), ("sockets", unsent), ("links", *stuck)];
    let queues = queues.map(|(queue, count)| (format!("{{queue=\"{queue}\"}}"), count));
    family("queue_full_total", "counter", "What found no room in a queue, by which.", &queues);
    let help = "From reading a packet to handing it on to the sockets; quantiles since the scrape before.";
    summary(&mut page, "forward_seconds", help, &timing.forward.figures());
    let help = "Turns of the thread that does all the work; quantiles since the scrape before.";
    summary(&mut page, "hall_turn_seconds", help, &timing.turn.figures());
    process(&mut page);
    page
}

fn summary(page: &mut String, name: &str, help: &str, figures: &Figures) {
    let Figures { count, sum, p50, p99, max } = figures;
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "# HELP sidetone_room_{name} {help}\n# TYPE sidetone_room_{name} summary\n\
         sidetone_room_{name}{{quantile=\"0.5\"}} {p50}\n\
         sidetone_room_{name}{{quantile=\"0.99\"}} {p99}\n\
         sidetone_room_{name}_sum {sum}\nsidetone_room_{name}_count {count}\n\
         # HELP sidetone_room_{name}_max The greatest of all.\n# TYPE sidetone_room_{name}_max gauge\n\
         sidetone_room_{name}_max {max}\n"
    );
}

/// What the system says of this process, under the names that Prometheus' own clients use;
/// nothing where there is no /proc.
fn process(page: &mut String) {
    let files = std::fs::read_dir("/proc/self/fd").map(Iterator::count);
    let (cpu, rss) = Usage::of("self").map(|Usage { cpu, rss }| (cpu, rss)).ok().unzip();
    for (name, kind, help, value) in [
        ("resident_memory_bytes", "gauge", "Memory in use.", rss.map(|bytes| bytes.to_string())),
        ("open_fds", "gauge", "Open files and sockets.", files.ok().map(|files| files.to_string())),
        ("cpu_seconds_total", "counter", "Time on processors.", cpu.map(|cpu| cpu.as_secs_f64().to_string())),
    ] {
        if let Some(value) = value {
            // Writing to a string does not fail.
            let _ = write!(
                page,
                "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}\n"
            );
        }
    }
}
