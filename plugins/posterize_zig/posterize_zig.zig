//! Shows pictures in a few shades: a plugin in Zig. `sidetone_plugin` is what
//! `zig translate-c` makes of the header.

const std = @import("std");
const c = @import("sidetone_plugin");

const Posterize = struct {
    /// What becomes of each shade.
    table: [256]u8 = undefined,

    /// With 0 shades, all stay.
    fn set(it: *Posterize, count: f64) void {
        for (&it.table, 0..) |*to, from| {
            const shade: f64 = @floatFromInt(from);
            // Black is 16 and white 235; what lies beyond is held there.
            const whole = std.math.clamp((shade - 16) / 219, 0, 1);
            const steps = @max(count - 1, 1);
            to.* = if (count < 1) @intCast(from) else @intFromFloat(@round(16 + 219 * @round(whole * steps) / steps));
        }
    }

    fn process(it: *const Posterize, luma: *const c.sidetone_plane) void {
        for (0..luma.height) |y| {
            for (luma.data[y * luma.stride ..][0..luma.width]) |*sample| sample.* = it.table[sample.*];
        }
    }
};

/// Item `index` of an array of the host's, whose structs may be longer than ours.
fn item(comptime T: type, first: [*c]const T, index: usize, stride: u32) *const T {
    const bytes: [*]const u8 = @ptrCast(first);
    return @ptrCast(@alignCast(bytes + index * stride));
}

fn create(host: [*c]const c.sidetone_host, setup: [*c]const c.sidetone_setup) callconv(.c) ?*anyopaque {
    const it = std.heap.page_allocator.create(Posterize) catch {
        host.*.log.?(host, c.SIDETONE_LOG_ERROR, "not enough memory");
        return null;
    };
    it.set(if (setup.*.param_count > 0) setup.*.params[0].number else 6);
    return it;
}

fn destroy(instance: ?*anyopaque) callconv(.c) void {
    const it: *Posterize = @ptrCast(@alignCast(instance));
    std.heap.page_allocator.destroy(it);
}

fn process(instance: ?*anyopaque, call: [*c]c.sidetone_call) callconv(.c) i32 {
    const it: *Posterize = @ptrCast(@alignCast(instance));
    for (0..call.*.event_count) |index| {
        const event = item(c.sidetone_event, call.*.events, index, call.*.event_stride);
        if (event.event == c.SIDETONE_EVENT_PARAM and event.id == 1) it.set(event.number);
    }
    if (call.*.flags & c.SIDETONE_CALL_LAST != 0) {
        call.*.outputs[0] = null;
        return c.SIDETONE_END;
    }
    // The kind is in place: the output is the picture to be changed.
    it.process(call.*.outputs[0].*.planes);
    return c.SIDETONE_OK;
}

fn port(name: [*c]const u8, doc: [*c]const u8) c.sidetone_port {
    const media, const format = .{ c.SIDETONE_MEDIA_VIDEO, c.SIDETONE_FORMAT_I420 };
    return .{ .size = @sizeOf(c.sidetone_port), .media = media, .format = format, .name = name, .doc = doc };
}

const in = port("in", "The pictures.");
const out = port("out", "The same, in fewer shades.");
const shades: c.sidetone_param = .{
    .size = @sizeOf(c.sidetone_param), .id = 1, .param_type = c.SIDETONE_PARAM_INT, .flags = c.SIDETONE_PARAM_LIVE,
    .name = "shades", .doc = "How many shades are left; 0 leaves all.", .max = 64, .step = 1, .default_number = 6,
};
const kind: c.sidetone_kind = .{
    .size = @sizeOf(c.sidetone_kind), .kind = "sample.posterize", .summary = "Shows pictures in a few shades.",
    .flags = c.SIDETONE_KIND_IN_PLACE | c.SIDETONE_KIND_REAL_TIME | c.SIDETONE_KIND_DETERMINISTIC |
        c.SIDETONE_KIND_IDENTITY_AT_ZERO,
    .input_count = 1, .input_stride = @sizeOf(c.sidetone_port), .inputs = &in,
    .output_count = 1, .output_stride = @sizeOf(c.sidetone_port), .outputs = &out,
    .param_count = 1, .param_stride = @sizeOf(c.sidetone_param), .params = &shades,
    .create = create, .destroy = destroy, .process = process,
};
const bundle: c.sidetone_bundle = .{
    .size = @sizeOf(c.sidetone_bundle), .abi = c.SIDETONE_ABI, .id = "sample", .version = "0.1.0",
    .vendor = "The Sidetone authors", .license = "MIT OR Apache-2.0",
    .kind_count = 1, .kind_stride = @sizeOf(c.sidetone_kind), .kinds = &kind,
};

export fn sidetone_plugin_entry(host_abi: u32, _: [*c]const c.sidetone_host) [*c]const c.sidetone_bundle {
    return if (host_abi >> 16 == c.SIDETONE_ABI_MAJOR) &bundle else null;
}
