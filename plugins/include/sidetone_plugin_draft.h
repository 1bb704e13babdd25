/*
 * Drafts: extensions that are being tried. They may change or go with any
 * version; what proves itself becomes stable under a name without `draft`.
 * `plugins/include/sidetone_plugin_draft.h` is generated from this file.
 *
 * Written by cbindgen from plugins/abi/src/draft.rs.
 */

#ifndef SIDETONE_PLUGIN_DRAFT_H
#define SIDETONE_PLUGIN_DRAFT_H

#include <stddef.h>
#include <stdint.h>
#include "sidetone_plugin.h"

// An extension of the host's: how long a call of `process` may take.
#define SIDETONE_EXTENSION_DRAFT_DEADLINE "sidetone.draft.deadline/0"


// `sidetone.draft.deadline/0`.
typedef struct sidetone_draft_deadline {
  // Bytes of this struct.
  uint32_t size;
  // 0.
  uint32_t reserved;
  // Nanoseconds that a call may take before it counts as late; 0 where nothing
  // is known of it. [real-time]
  uint64_t (*call_ns)(const sidetone_host *host);
} sidetone_draft_deadline;

#endif  /* SIDETONE_PLUGIN_DRAFT_H */
