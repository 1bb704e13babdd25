// Shifts the colour of pictures: a plugin in C++.

#include <algorithm>
#include <memory>
#include <new>

#include "sidetone_plugin.h"

namespace {

struct Tint {
  double blue = 0;
  double red = 0;

  void set(uint32_t id, double value) { (id == 1 ? blue : red) = value; }

  void process(sidetone_frame &picture) const {
    auto *planes = reinterpret_cast<char *>(picture.planes);
    shift(*reinterpret_cast<sidetone_plane *>(planes + picture.plane_stride), blue);
    shift(*reinterpret_cast<sidetone_plane *>(planes + 2 * picture.plane_stride), red);
  }

  static void shift(const sidetone_plane &plane, double by) {
    for (uint32_t y = 0; y < plane.height; ++y) {
      uint8_t *row = plane.data + y * plane.stride;
      std::transform(row, row + plane.width, row, [by](uint8_t sample) {
        return static_cast<uint8_t>(std::clamp(sample + by, 16.0, 240.0) + 0.5);
      });
    }
  }
};

// No exception may leave a function that C calls: nothing in here throws.
void *create(const sidetone_host *host, const sidetone_setup *setup) {
  auto tint = std::unique_ptr<Tint>(new (std::nothrow) Tint);
  if (!tint) {
    host->log(host, SIDETONE_LOG_ERROR, "not enough memory");
    return nullptr;
  }
  auto *values = reinterpret_cast<const char *>(setup->params);
  for (uint32_t i = 0; i < setup->param_count; ++i, values += setup->param_stride) {
    auto *value = reinterpret_cast<const sidetone_value *>(values);
    tint->set(value->id, value->number);
  }
  return tint.release();
}

void destroy(void *instance) { delete static_cast<Tint *>(instance); }

int32_t process(void *instance, sidetone_call *call) {
  auto &tint = *static_cast<Tint *>(instance);
  auto *events = reinterpret_cast<const char *>(call->events);
  for (uint32_t i = 0; i < call->event_count; ++i, events += call->event_stride) {
    auto *event = reinterpret_cast<const sidetone_event *>(events);
    if (event->event == SIDETONE_EVENT_PARAM) tint.set(event->id, event->number);
  }
  if (call->flags & SIDETONE_CALL_LAST) {
    call->outputs[0] = nullptr;
    return SIDETONE_END;
  }
  tint.process(*call->outputs[0]);
  return SIDETONE_OK;
}

sidetone_port port(const char *name, const char *doc) {
  sidetone_port port{};
  port.size = sizeof port;
  port.media = SIDETONE_MEDIA_VIDEO;
  port.format = SIDETONE_FORMAT_I420;
  port.name = name;
  port.doc = doc;
  return port;
}

sidetone_param param(uint32_t id, const char *name, const char *doc) {
  sidetone_param param{};
  param.size = sizeof param;
  param.id = id;
  param.param_type = SIDETONE_PARAM_FLOAT;
  param.flags = SIDETONE_PARAM_LIVE;
  param.name = name;
  param.doc = doc;
  param.min = -64;
  param.max = 64;
  param.step = 1;
  return param;
}

const sidetone_port in = port("in", "The pictures.");
const sidetone_port out = port("out", "The same, in other colours.");
const sidetone_param params[] = {param(1, "blue", "How much bluer they get."),
                                 param(2, "red", "How much redder they get.")};

sidetone_kind make_kind() {
  sidetone_kind kind{};
  kind.size = sizeof kind;
  kind.flags = SIDETONE_KIND_IN_PLACE | SIDETONE_KIND_REAL_TIME | SIDETONE_KIND_DETERMINISTIC;
  kind.kind = "sample.tint";
  kind.summary = "Shifts the colour of pictures.";
  kind.input_count = kind.output_count = 1;
  kind.input_stride = kind.output_stride = sizeof(sidetone_port);
  kind.inputs = &in;
  kind.outputs = &out;
  kind.param_count = 2;
  kind.param_stride = sizeof(sidetone_param);
  kind.params = params;
  kind.create = create;
  kind.destroy = destroy;
  kind.process = process;
  return kind;
}

const sidetone_kind kind = make_kind();

}  // namespace

const sidetone_bundle *sidetone_plugin_entry(uint32_t host_abi, const sidetone_host *) {
  static const sidetone_bundle bundle = [] {
    sidetone_bundle bundle{};
    bundle.size = sizeof bundle;
    bundle.abi = SIDETONE_ABI;
    bundle.id = "sample";
    bundle.version = "0.1.0";
    bundle.vendor = "The Sidetone authors";
    bundle.license = "MIT OR Apache-2.0";
    bundle.kind_count = 1;
    bundle.kind_stride = sizeof kind;
    bundle.kinds = &kind;
    return bundle;
  }();
  return host_abi >> 16 == SIDETONE_ABI_MAJOR ? &bundle : nullptr;
}
