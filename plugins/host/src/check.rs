//! `sidetone plugin check`: whether a plugin keeps what the interface asks and its
//! table promises. Each case runs in a process of its own, with limits, so that a
//! crash, a hang or an exit is what the case found.

mod bench;
mod cases;
mod child;
mod feed;
mod guard;
mod parent;
mod rig;
mod test_frame;
mod trial;
mod watch;

pub use bench::{Measured, bench};
pub use child::{Task, confined, run};
pub use parent::{CaseReport, Heard, Options, Report, Verdict, check, in_child};

use trial::{Done, Trial};

/// One thing that is looked at.
pub struct Case {
    /// What `--only` names it by.
    pub name: &'static str,
    /// What a plugin that passes has shown.
    pub shows: &'static str,
    /// What the author of one that fails should do.
    pub advice: &'static str,
    run: fn(&mut Trial) -> Done,
}

/// Everything that is looked at, in the order of the report.
pub const CASES: &[Case] = &[
    Case {
        name: "loads",
        shows: "the library loads, and exports `sidetone_plugin_entry`",
        advice: "Link all that it uses, and export the entry as a C function (`extern \"C\"`, default visibility).",
        run: cases::loading::loads,
    },
    Case {
        name: "versions",
        shows: "the entry gives null for other major versions, its table for later minor ones, and the same each time",
        advice: "Compare host_abi >> 16 with SIDETONE_ABI_MAJOR, and nothing else; return the address of one static table.",
        run: cases::loading::versions,
    },
    Case {
        name: "table",
        shows: "all sizes, strides, texts, flags and ranges of the table are well-formed",
        advice: "Fill each struct in with its own sizeof, leave reserved fields 0, and give every text.",
        run: cases::loading::table,
    },
    Case {
        name: "manifest",
        shows: "the manifest beside the library says the same as the table",
        advice: "`sidetone plugin manifest FILE --write` writes it anew from the table.",
        run: cases::loading::manifest,
    },
    Case {
        name: "create_destroy",
        shows: "100 instances come and go, and leave no memory, file or thread behind",
        advice: "Free in destroy all that create makes; close files and join threads there.",
        run: cases::life::create_destroy,
    },
    Case {
        name: "many_at_once",
        shows: "instances do not share what they work with: one does the same whether another runs or not",
        advice: "Keep what process changes in the instance, not in static variables.",
        run: cases::life::many_at_once,
    },
    Case {
        name: "memory",
        shows: "process holds on to no more memory the longer it runs",
        advice: "Allocate in create, and free what process replaces.",
        run: cases::life::memory,
    },
    Case {
        name: "kept_frames",
        shows: "inputs are not used after process but where frame_retain keeps them, and destroy lets go what is kept",
        advice: "Keep inputs by frame_retain alone, and pair each with one frame_release, in destroy at the latest.",
        run: cases::life::kept_frames,
    },
    Case {
        name: "bounds_after",
        shows: "frames of all sizes come out right, with a page after every plane that faults",
        advice: "Go by each plane's own width, height and stride; the planes of odd pictures are rounded up.",
        run: cases::frames::bounds_after,
    },
    Case {
        name: "bounds_before",
        shows: "the same, with a page before every plane that faults",
        advice: "Look at no row above the first and no sample before it.",
        run: cases::frames::bounds_before,
    },
    Case {
        name: "padding",
        shows: "what lies between the rows, and how far apart they are, changes nothing",
        advice: "Read and write `width` samples of each row, and go on by `stride`.",
        run: cases::frames::padding,
    },
    Case {
        name: "later_host",
        shows: "arrays whose elements have grown, as a later host's may, are read by their strides",
        advice: "Go from element to element by plane_stride, event_stride and param_stride, not by sizeof.",
        run: cases::frames::later_host,
    },
    Case {
        name: "input_untouched",
        shows: "inputs are not written (they lie in memory that cannot be)",
        advice: "Write to outputs alone; where the work is done in place, set SIDETONE_KIND_IN_PLACE and change the output.",
        run: cases::frames::input_untouched,
    },
    Case {
        name: "in_place",
        shows: "in_place kinds do the same whether the output is the input's memory or a copy",
        advice: "Read from the output, not the input, or read each sample before you write it.",
        run: cases::frames::in_place,
    },
    Case {
        name: "all_written",
        shows: "outputs are written whole: nothing of their last user shows",
        advice: "Write every sample of each output, or set its place to null.",
        run: cases::frames::all_written,
    },
    Case {
        name: "params",
        shows: "defaults, ends of ranges, choices and many values between make instances that work",
        advice: "Take every value that the table allows: both ends of a range, and every choice.",
        run: cases::params::values,
    },
    Case {
        name: "params_live",
        shows: "parameters may change at any call, several at once, and unknown events are left alone",
        advice: "Go by event_stride, look at `event` and `id` first, and leave alone what you do not know.",
        run: cases::params::live,
    },
    Case {
        name: "identity_at_zero",
        shows: "identity_at_zero kinds give the input out unchanged with all numbers at 0",
        advice: "Pass the input on byte for byte then, or take the flag away.",
        run: cases::promises::identity_at_zero,
    },
    Case {
        name: "deterministic",
        shows: "deterministic kinds give the same bytes from two instances, and in two processes",
        advice: "Draw on the seed alone; read no clock, address, or memory that was not written; or take the flag away.",
        run: cases::promises::deterministic,
    },
    Case {
        name: "real_time",
        shows: "real_time kinds neither allocate, lock, read a clock nor call the system in process",
        advice: "Do it in create, and keep buffers; the first 3 calls may do it. Or take the flag away.",
        run: cases::promises::real_time,
    },
    Case {
        name: "latency",
        shows: "the declared latency is what a step in the input shows, where that can be told",
        advice: "Set latency_ns to how much later frames go out than they come in.",
        run: cases::promises::latency,
    },
    Case {
        name: "state",
        shows: "a saved state given to a new instance has it go on as the first one does",
        advice: "Save all that calls to come depend on, and say the length when `buffer` is null or too small.",
        run: cases::state::round_trip,
    },
    Case {
        name: "state_garbage",
        shows: "damaged states are refused with SIDETONE_ERROR_MEDIA or taken, and the instance works on",
        advice: "Check length, version and every number of a state before you take anything of it over.",
        run: cases::state::garbage,
    },
    Case {
        name: "optional_inputs",
        shows: "inputs that are not there are null, and that is well",
        advice: "Look whether an input after the first is null at every call.",
        run: cases::stream::optional_inputs,
    },
    Case {
        name: "garbage_media",
        shows: "damaged packets and data of any length are refused, dropped or passed over, and it works on",
        advice: "Check every length and offset in data and packets against the plane's width.",
        run: cases::stream::garbage_media,
    },
    Case {
        name: "not_finite",
        shows: "after NaN and infinite samples the sound is back within 2 seconds",
        advice: "Clear filters and delay lines that hold a sample that is not finite.",
        run: cases::stream::not_finite,
    },
    Case {
        name: "ends",
        shows: "SIDETONE_CALL_LAST ends with SIDETONE_END within 1,024 calls, with and without frames before",
        advice: "When flags has SIDETONE_CALL_LAST there are no inputs: give what is held back, then SIDETONE_END.",
        run: cases::stream::ends,
    },
];

/// The case called `name`. \[any\]
#[must_use]
pub fn case(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}
