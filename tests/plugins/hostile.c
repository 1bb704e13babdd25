/* A plugin that does what no plugin should, at its tenth picture: `does` says
 * what. Defines make it wrong in ways that show before it runs:
 * OTHER_ABI, NO_TABLE, NO_ENTRY. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sidetone_plugin.h"

enum { NOTHING, SEGFAULT, SPIN, SLEEP, WRITE_BEYOND, WRITE_INPUT, LEAK, EXIT, ABORT, PANIC, NO_CODE, ALIEN, BREAK_OUT, PRINT };

typedef struct {
  const sidetone_host *host;
  int does;
  int pictures;
} hostile;

static void *create(const sidetone_host *host, const sidetone_setup *setup) {
  hostile *it = calloc(1, sizeof *it);
  it->host = host;
  it->does = (int)setup->params[0].number;
  return it;
}

static void destroy(void *instance) { free(instance); }

static void try_it(hostile *it, const char *what, long result) {
  char text[128];
  snprintf(text, sizeof text, "%s: %s", what, result < 0 ? "refused" : "ALLOWED");
  it->host->log(it->host, SIDETONE_LOG_WARNING, text);
}

/* Opens what this process has of the engine's memory anew, to write. */
static long open_memory(void) {
  for (int fd = 3; fd < 64; fd++) {
    char path[32], memory[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, memory, sizeof memory);
    if (length > 7 && memcmp(memory, "/memfd:", 7) == 0) return open(path, O_RDWR);
  }
  return 0;
}

static int32_t process(void *instance, sidetone_call *call) {
  hostile *it = instance;
  if (!call->inputs[0]) return SIDETONE_END;
  if (++it->pictures < 10) return SIDETONE_OK;
  static sidetone_frame alien;
  volatile char *nowhere = (char *)8;
  uint8_t *out = call->outputs[0]->planes[0].data;
  switch (it->does) {
    case SEGFAULT: *nowhere = 1; break;
    case SPIN: for (;;) *out += 1;
    case SLEEP: usleep(150000); break;
    case WRITE_BEYOND: memset(out, 1, (size_t)1 << 32); break;
    case WRITE_INPUT: memset(call->inputs[0]->planes[0].data, 1, 64); break;
    case LEAK:
      for (;;) {
        char *block = malloc(16 << 20);
        if (!block) return SIDETONE_ERROR_MEMORY;
        memset(block, 1, 4096);
      }
    case EXIT: exit(0);
    case ABORT: abort();
    case PANIC: return SIDETONE_ERROR_PANIC;
    case NO_CODE: return -77;
    case PRINT: fprintf(stderr, "A plugin says something.\n"); break;
    case ALIEN: call->outputs[0] = &alien; break;
    case BREAK_OUT:
      if (it->pictures > 11) break;
      if (it->pictures == 11) {
        try_it(it, "a new file", open("/tmp/sidetone-hostile", O_CREAT | O_WRONLY, 0600));
        try_it(it, "a signal to the engine", kill(getppid(), SIGURG));
        try_it(it, "memory to write", open_memory());
        break;
      }
      try_it(it, "a socket", socket(AF_INET, SOCK_STREAM, 0));
      try_it(it, "another process", fork());
      try_it(it, "a file of the user's", open("/etc/passwd", O_RDONLY));
      break;
  }
  return SIDETONE_OK;
}

static const sidetone_port ports[] = {
    {.size = sizeof ports[0], .media = SIDETONE_MEDIA_VIDEO, .format = SIDETONE_FORMAT_I420, .name = "in"},
    {.size = sizeof ports[0], .media = SIDETONE_MEDIA_VIDEO, .format = SIDETONE_FORMAT_I420, .name = "out"}};
static const sidetone_param params[] = {
    {.size = sizeof params[0], .id = 1, .param_type = SIDETONE_PARAM_INT, .name = "does", .max = 100}};
static const sidetone_kind kinds[] = {{.size = sizeof kinds[0],
                                       .kind = "hostile.one",
                                       .summary = "Does what it should not.",
                                       .input_count = 1,
                                       .input_stride = sizeof ports[0],
                                       .inputs = ports,
                                       .output_count = 1,
                                       .output_stride = sizeof ports[0],
                                       .outputs = ports + 1,
                                       .param_count = 1,
                                       .param_stride = sizeof params[0],
                                       .params = params,
                                       .create = create,
                                       .destroy = destroy,
                                       .process = process}};
static const sidetone_bundle bundle = {.size = sizeof bundle,
#ifdef OTHER_ABI
                                       .abi = 2u << 16,
#else
                                       .abi = SIDETONE_ABI,
#endif
                                       .id = "hostile",
                                       .version = "1.0.0",
                                       .kind_count = 1,
                                       .kind_stride = sizeof kinds[0],
                                       .kinds = kinds};

#ifndef NO_ENTRY
const sidetone_bundle *sidetone_plugin_entry(uint32_t host_abi, const sidetone_host *host) {
  (void)host;
#ifdef NO_TABLE
  return NULL;
#endif
  return host_abi >> 16 == SIDETONE_ABI_MAJOR ? &bundle : NULL;
}
#endif
