//! `/metrics`: the server's figures for Prometheus, in its text format. No label has
//! the name of a user or a room: there may be any number of those.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::protocol::{Code, word};
use crate::server::hall::{Counts, Hall, Resumes};
use crate::server::media;
use crate::server::room::Way;

use super::doors::Doors;

/// The text format's name.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The page.
pub(super) fn page(hall: &Hall, doors: &Doors) -> String {
    let (rooms, links, peers) = hall.sizes();
    let Counts {
        joins,
        joins_refused,
        leaves,
        resumes,
        refused,
        stuck,
        packets_in,
        packets_out,
        unsendable,
        oversized,
        unknown,
        fruitless,
        knocks,
        knocks_refused,
        key_frames_asked,
        peers_failed,
        panics,
    } = hall.counts();
    let media::Counts { muted, unknown: unplaced, too_long, flood, late, broken, .. } = hall.forwarded();
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
    one("packets_in_total", "counter", "RTP packets that came.", *packets_in);
    one("packets_out_total", "counter", "RTP packets that went out.", *packets_out);
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
    one("key_frames_asked_total", "counter", "Key frames that publishers were asked for.", *key_frames_asked);
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
    let ways = hall.ways().into_iter().map(|(way, count)| {
        let way = match way {
            Way::Link => "link",
            Way::Whip => "whip",
            Way::Whep => "whep",
        };
        (format!("{{way=\"{way}\"}}"), count as u64)
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
    page
}
