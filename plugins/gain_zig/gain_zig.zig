//! Makes sound louder or softer: a plugin in Zig.

const c = @import("c");

const Gain = struct { gain: f32 };
// A host makes any number of instances; a page of them is enough for a sample.
var instances: [64]Gain = undefined;
var used = @as([64]bool, @splat(false));

fn create(host: [*c]const c.sidetone_host, setup: [*c]const c.sidetone_setup) callconv(.c) ?*anyopaque {
    for (&instances, &used) |*instance, *taken| {
        if (@cmpxchgStrong(bool, taken, false, true, .acquire, .monotonic) != null) continue;
        instance.gain = if (setup.*.param_count > 0) @floatCast(setup.*.params[0].number) else 1;
        return instance;
    }
    host.*.log.?(host, c.SIDETONE_LOG_ERROR, "there are 64 of them already");
    return null;
}

fn destroy(instance: ?*anyopaque) callconv(.c) void {
    for (&instances, &used) |*known, *taken| {
        if (@as(*anyopaque, known) == instance.?) @atomicStore(bool, taken, false, .release);
    }
}

fn process(instance: ?*anyopaque, call: [*c]c.sidetone_call) callconv(.c) i32 {
    const it: *Gain = @ptrCast(@alignCast(instance.?));
    const events: [*c]const u8 = @ptrCast(call.*.events);
    for (0..call.*.event_count) |at| {
        const event: *const c.sidetone_event = @ptrCast(@alignCast(events + at * call.*.event_stride));
        if (event.event == c.SIDETONE_EVENT_PARAM and event.id == 1) it.gain = @floatCast(event.number);
    }
    if (call.*.flags & c.SIDETONE_CALL_LAST != 0) {
        call.*.outputs[0] = null;
        return c.SIDETONE_END;
    }
    const frame = call.*.outputs[0];
    const planes: [*c]const u8 = @ptrCast(frame.*.planes);
    for (0..frame.*.plane_count) |at| {
        const plane: *const c.sidetone_plane = @ptrCast(@alignCast(planes + at * frame.*.plane_stride));
        const samples: [*]f32 = @ptrCast(@alignCast(plane.data));
        for (samples[0..plane.width]) |*sample| sample.* *= it.gain;
    }
    return c.SIDETONE_OK;
}

const in = c.sidetone_port{ .size = @sizeOf(c.sidetone_port), .media = c.SIDETONE_MEDIA_AUDIO, .format = c.SIDETONE_FORMAT_F32, .name = "in", .doc = "The sound." };
const out = c.sidetone_port{ .size = @sizeOf(c.sidetone_port), .media = c.SIDETONE_MEDIA_AUDIO, .format = c.SIDETONE_FORMAT_F32, .name = "out", .doc = "The same, louder or softer." };
const gain = c.sidetone_param{ .size = @sizeOf(c.sidetone_param), .id = 1, .param_type = c.SIDETONE_PARAM_FLOAT, .flags = c.SIDETONE_PARAM_LIVE, .name = "gain", .doc = "By how much it is multiplied.", .max = 4, .step = 0.01, .default_number = 1 };
const kind = c.sidetone_kind{
    .size = @sizeOf(c.sidetone_kind),
    .flags = c.SIDETONE_KIND_IN_PLACE | c.SIDETONE_KIND_REAL_TIME | c.SIDETONE_KIND_DETERMINISTIC,
    .kind = "sample.zig_gain",
    .summary = "Makes sound louder or softer.",
    .input_count = 1,
    .input_stride = @sizeOf(c.sidetone_port),
    .inputs = &in,
    .output_count = 1,
    .output_stride = @sizeOf(c.sidetone_port),
    .outputs = &out,
    .param_count = 1,
    .param_stride = @sizeOf(c.sidetone_param),
    .params = &gain,
    .create = create,
    .destroy = destroy,
    .process = process,
};
const bundle = c.sidetone_bundle{
    .size = @sizeOf(c.sidetone_bundle),
    .abi = c.SIDETONE_ABI,
    .id = "sample",
    .version = "0.1.0",
    .vendor = "The Sidetone authors",
    .license = "MIT OR Apache-2.0",
    .kind_count = 1,
    .kind_stride = @sizeOf(c.sidetone_kind),
    .kinds = &kind,
};

export fn sidetone_plugin_entry(host_abi: u32, _: [*c]const c.sidetone_host) ?*const c.sidetone_bundle {
    return if (host_abi >> 16 == c.SIDETONE_ABI_MAJOR) &bundle else null;
}
