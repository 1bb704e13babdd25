//! `Statistics`: how a participant's media do, in the shape of W3C's webrtc-stats
//! (<https://www.w3.org/TR/webrtc-stats/>): its types, its names and its units.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use str0m::stats::{MediaEgressStats, PeerStats};

use crate::protocol::{Kind, StreamId};
use crate::reception::Totals;

/// One object of a report. Counts are since the stream began to be sent, or to come in
/// its present media section.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Statistics {
    /// A stream of somebody else's, as it comes (`RTCInboundRtpStreamStats`).
    InboundRtp {
        /// What other objects name it by.
        id: String,
        /// When, in milliseconds since 1970.
        timestamp: f64,
        /// Sound or pictures.
        kind: Kind,
        /// The stream's id.
        track_identifier: StreamId,
        /// Packets that came, resent ones too.
        packets_received: u64,
        /// Packets that did not; less than none where some came twice.
        packets_lost: i64,
        /// Bytes that they carried.
        bytes_received: u64,
        /// Variation of the transit time (RFC 3550 § 6.4.1), in seconds.
        jitter: f64,
        /// How often packets were asked for again (RFC 4585 § 6.2.1).
        nack_count: u64,
        /// How often a key frame was (RFC 4585 § 6.3.1).
        pli_count: u64,
    },
    /// A stream of its own, as it is sent (`RTCOutboundRtpStreamStats`).
    OutboundRtp {
        /// What other objects name it by.
        id: String,
        /// When, in milliseconds since 1970.
        timestamp: f64,
        /// Sound or pictures.
        kind: Kind,
        /// The stream's id.
        track_identifier: StreamId,
        /// Which size, of one that is sent in several.
        #[serde(skip_serializing_if = "Option::is_none")]
        rid: Option<String>,
        /// Packets that were sent, resent ones too.
        packets_sent: u64,
        /// Bytes that they carried.
        bytes_sent: u64,
        /// How often packets were asked for again.
        nack_count: u64,
        /// How often a key frame was.
        pli_count: u64,
    },
    /// The same as it comes at the server (`RTCRemoteInboundRtpStreamStats`), once the
    /// server told.
    RemoteInboundRtp {
        /// What other objects name it by.
        id: String,
        /// When, in milliseconds since 1970.
        timestamp: f64,
        /// Sound or pictures.
        kind: Kind,
        /// The `outbound-rtp` that it is of.
        local_id: String,
        /// Packets that did not come.
        packets_lost: u64,
        /// Of those since the report before the part that did not, 0 to 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        fraction_lost: Option<f64>,
        /// Variation of the transit time, in seconds.
        jitter: f64,
        /// There and back, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        round_trip_time: Option<f64>,
    },
    /// The way to the server (`RTCIceCandidatePairStats`).
    CandidatePair {
        /// What other objects name it by.
        id: String,
        /// When, in milliseconds since 1970.
        timestamp: f64,
        /// Where it begins, as `IP:PORT`.
        local_candidate_id: String,
        /// Where it ends.
        remote_candidate_id: String,
        /// Bytes that were sent, of all sorts.
        bytes_sent: u64,
        /// Bytes that came.
        bytes_received: u64,
        /// There and back, in seconds, once known.
        #[serde(skip_serializing_if = "Option::is_none")]
        current_round_trip_time: Option<f64>,
        /// Bits per second that get through on the way out, once known.
        #[serde(skip_serializing_if = "Option::is_none")]
        available_outgoing_bitrate: Option<u64>,
    },
}

/// Now, as the objects tell it. \[any\]
pub(crate) fn timestamp() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3)
}

/// The way to the server, if there is one.
pub(crate) fn candidate_pair(timestamp: f64, of: &PeerStats) -> Option<Statistics> {
    let pair = of.selected_candidate_pair.as_ref()?;
    Some(Statistics::CandidatePair {
        id: "candidate-pair".into(),
        timestamp,
        local_candidate_id: pair.local.addr.to_string(),
        remote_candidate_id: pair.remote.addr.to_string(),
        bytes_sent: of.peer_bytes_tx,
        bytes_received: of.peer_bytes_rx,
        current_round_trip_time: pair.current_round_trip_time.or(of.rtt).map(|span| span.as_secs_f64()),
        available_outgoing_bitrate: of.bwe_tx.map(|bitrate| bitrate.as_u64()),
    })
}

/// A stream that comes.
pub(crate) fn inbound(timestamp: f64, kind: Kind, stream: StreamId, of: &Totals) -> Statistics {
    Statistics::InboundRtp {
        id: format!("inbound-rtp/{stream}"),
        timestamp,
        kind,
        track_identifier: stream,
        packets_received: of.received,
        packets_lost: of.lost,
        bytes_received: of.bytes,
        jitter: of.jitter_ms / 1e3,
        nack_count: of.nacks,
        pli_count: of.plis,
    }
}

/// A stream that is sent, here and at the server; `clock_rate` in ticks per second.
pub(crate) fn outbound(
    timestamp: f64,
    kind: Kind,
    clock_rate: u32,
    stream: &StreamId,
    of: &MediaEgressStats,
) -> impl Iterator<Item = Statistics> {
    let rid = of.rid.map(|rid| rid.to_string());
    let size = rid.as_ref().map_or_else(String::new, |rid| format!("/{rid}"));
    let id = format!("outbound-rtp/{stream}{size}");
    let there = of.remote.as_ref().map(|remote| Statistics::RemoteInboundRtp {
        id: format!("remote-inbound-rtp/{stream}{size}"),
        timestamp,
        kind,
        local_id: id.clone(),
        packets_lost: remote.packets_lost,
        fraction_lost: of.loss.map(f64::from),
        jitter: f64::from(remote.jitter) / f64::from(clock_rate),
        round_trip_time: of.rtt.as_ref().map(Duration::as_secs_f64),
    });
    let here = Statistics::OutboundRtp {
        id,
        timestamp,
        kind,
        track_identifier: stream.clone(),
        rid,
        packets_sent: of.packets,
        bytes_sent: of.bytes,
        nack_count: of.nacks,
        pli_count: of.plis,
    };
    [Some(here), there].into_iter().flatten()
}
