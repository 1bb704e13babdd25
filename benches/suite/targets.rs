//! What Sidetone means to reach, as figures of the results.

/// A figure to be compared: whose, of which case, of what.
#[derive(Clone, Copy)]
pub(crate) struct Figure<'a> {
    /// Whose: `sidetone` or a peer.
    pub(crate) who: &'a str,
    /// Which case of the row.
    pub(crate) case: &'a str,
    /// What was measured.
    pub(crate) metric: &'a str,
}

/// At most so much.
#[derive(Clone, Copy)]
pub(crate) enum Most {
    /// So many times another figure.
    Times(f64, Figure<'static>),
    /// An amount, in the metric's own unit.
    Amount(f64),
    /// As many threads as there are cores, and so many more.
    CoresAnd(f64),
}

/// One thing to reach.
pub(crate) struct Target {
    /// Which row.
    pub(crate) row: &'static str,
    /// What is compared, for people.
    pub(crate) what: &'static str,
    /// Ours.
    pub(crate) ours: Figure<'static>,
    /// How much it may be.
    pub(crate) most: Most,
}

const fn of(who: &'static str, case: &'static str, metric: &'static str) -> Figure<'static> {
    Figure { who, case, metric }
}

const fn ours(case: &'static str, metric: &'static str) -> Figure<'static> {
    of("sidetone", case, metric)
}

const fn target(row: &'static str, what: &'static str, ours: Figure<'static>, most: Most) -> Target {
    Target { row, what, ours, most }
}

/// A figure of the same case and metric as `ours`, but of a peer.
const fn peer(
    row: &'static str,
    what: &'static str,
    ours: Figure<'static>,
    who: &'static str,
    times: f64,
) -> Target {
    target(row, what, ours, Most::Times(times, of(who, ours.case, ours.metric)))
}

const SLOPE: Figure<'static> = ours("slope", "cpu_ns_per_hop");

/// Everything to reach, in the order of the rows.
pub(crate) const TARGETS: &[Target] = &[
    target(
        "inline",
        "a hop in a chain of 100, against one in a chain of 10",
        ours("at 100", "cpu_ns_per_hop"),
        Most::Times(1.2, ours("at 10", "cpu_ns_per_hop")),
    ),
    peer("inline", "a hop, against GStreamer's", SLOPE, "gstreamer", 0.1),
    peer("inline", "a hop, against FutureSDR's (stream)", SLOPE, "futuresdr_stream", 0.2),
    peer("inline", "a hop, against FutureSDR's (message)", SLOPE, "futuresdr_message", 0.2),
    peer(
        "hop",
        "a busy hop, making the frame included, against the raw ring",
        ours("busy", "wall_ns_per_buffer"),
        "ring",
        1.3,
    ),
    target(
        "hop",
        "processor time that a busy hop adds, against the raw ring's",
        ours("added by the hop", "cpu_ns_per_buffer"),
        Most::Times(1.3, of("ring", "busy", "cpu_ns_per_buffer")),
    ),
    peer(
        "hop",
        "a wake at p50, lanes apart, against ring and park",
        ours("wake apart", "p50_us"),
        "ring",
        1.2,
    ),
    peer(
        "hop",
        "a wake at p99, lanes apart, against ring and park",
        ours("wake apart", "p99_us"),
        "ring",
        1.2,
    ),
    peer(
        "hop",
        "a wake at p50, together, against ring and park",
        ours("wake together", "p50_us"),
        "ring",
        1.2,
    ),
    peer(
        "hop",
        "a wake at p99, together, against ring and park",
        ours("wake together", "p99_us"),
        "ring",
        1.2,
    ),
    peer("hop", "a wake at p50, unpinned, against ring and park", ours("wake free", "p50_us"), "ring", 1.2),
    peer("hop", "a wake at p99, unpinned, against ring and park", ours("wake free", "p99_us"), "ring", 1.2),
    peer(
        "hop",
        "a wake at p50, unpinned, against GStreamer's",
        ours("wake free", "p50_us"),
        "gstreamer",
        1.0,
    ),
    peer(
        "hop",
        "a wake at p99, unpinned, against GStreamer's",
        ours("wake free", "p99_us"),
        "gstreamer",
        1.0,
    ),
    target(
        "fanout",
        "4 MiB to 16 sinks, against 1 KiB",
        ours("16x4MiB", "cpu_ns_per_buffer"),
        Most::Times(1.1, ours("16x1KiB", "cpu_ns_per_buffer")),
    ),
    peer("paced", "processor time of 1,000 streams", ours("1000", "cpu_percent"), "gstreamer", 0.25),
    peer("paced", "memory of 1,000 streams", ours("1000", "rss_mb"), "gstreamer", 0.25),
    target("paced", "ticks late at p99, 1,000 streams", ours("1000", "late_p99_ms"), Most::Amount(2.0)),
    target("paced", "threads of 1,000 streams", ours("1000", "threads"), Most::CoresAnd(2.0)),
    target(
        "paced",
        "threads of 1,000 streams, placed by itself",
        ours("1000 auto", "threads"),
        Most::CoresAnd(2.0),
    ),
    peer(
        "call",
        "sound, capture to render outside the codecs",
        ours("jitter 20 ms", "audio_outside_ms"),
        "gstreamer",
        0.5,
    ),
    peer(
        "call",
        "pictures, capture to render outside the codecs",
        ours("jitter 20 ms", "video_outside_ms"),
        "gstreamer",
        0.5,
    ),
    peer(
        "call",
        "processor time outside the codecs",
        ours("jitter 20 ms", "outside_cpu_percent"),
        "gstreamer",
        1.0,
    ),
    target("watched", "a call", ours("call", "on_to_off"), Most::Amount(1.02)),
    target("watched", "1,000 streams", ours("1000 streams", "on_to_off"), Most::Amount(1.02)),
    target("watched", "chains of 100 nodes", ours("100 nodes", "on_to_off"), Most::Amount(1.02)),
    target(
        "plugin",
        "what a call of a plugin adds to one of a built-in node, in ns",
        ours("call", "added_ns_per_call"),
        Most::Amount(20.0),
    ),
    target(
        "plugin",
        "what a process of its own adds, 720p, in µs",
        ours("round trip", "added_p50_us"),
        Most::Amount(100.0),
    ),
    peer(
        "room",
        "a server's processor time for a packet of pictures that it forwards",
        ours("10 cameras to 20 each", "us_per_packet"),
        "janus",
        0.5,
    ),
    peer(
        "room",
        "a server's processor time for a packet of sound that it forwards",
        ours("20 microphones to each other", "us_per_packet"),
        "janus",
        0.5,
    ),
    peer("start", "the first frame", ours("5", "first_frame_ms"), "gstreamer", 1.0),
    peer("start", "memory up to it", ours("5", "peak_rss_mb"), "gstreamer", 1.0),
];
