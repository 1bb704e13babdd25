//! Drafts: extensions that are being tried. They may change or go with any
//! version; what proves itself becomes stable under a name without `draft`.
//! `plugins/include/sidetone_plugin_draft.h` is generated from this file.

use crate::Host;

/// An extension of the host's: how long a call of `process` may take.
pub const SIDETONE_EXTENSION_DRAFT_DEADLINE: &str = "sidetone.draft.deadline/0";

/// `sidetone.draft.deadline/0`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DraftDeadline {
    /// Bytes of this struct.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Nanoseconds that a call may take before it counts as late; 0 where nothing
    /// is known of it. \[real-time\]
    pub call_ns: unsafe extern "C" fn(host: *const Host) -> u64,
}
