// Start-up: from starting gst-launch-1.0 with five elements to the first sound at
// its sink, and the most memory that it held up to then. Medians of ten starts.
//
//   start 5 [--starts N]
//
// audiotestsrc ! audioconvert ! volume ! level ! fdsink: 60 ms of stereo float a
// buffer, as fast as the pipe takes it. The time ends when the first 1,024 bytes
// have come through the pipe.

#include "measure.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { FIRST = 1024 };

static char *const COMMAND[] = {
    "gst-launch-1.0", "-q", "audiotestsrc", "samplesperbuffer=2880",
    "!", "audio/x-raw,format=F32LE,rate=48000,channels=2",
    "!", "audioconvert", "!", "volume", "volume=0.5", "!", "level",
    "!", "fdsink", "fd=1", "sync=false", NULL,
};

static double peak_kb(pid_t process) {
  char path[64], text[256];
  snprintf(path, sizeof path, "/proc/%d/status", (int)process);
  FILE *file = fopen(path, "r");
  double value = -1;
  while (file && fgets(text, sizeof text, file)) {
    if (!strncmp(text, "VmHWM:", 6)) value = atof(text + 6);
  }
  if (file) fclose(file);
  return value;
}

// One start: nanoseconds to the first sound, kilobytes held.
static void once(int64_t *took, int64_t *held) {
  int ends[2];
  if (pipe(ends)) fail("no pipe", strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  posix_spawn_file_actions_addclose(&actions, ends[1]);
  int64_t start = wall_ns();
  pid_t child;
  int why = posix_spawnp(&child, COMMAND[0], &actions, NULL, COMMAND, environ);
  if (why) fail("gst-launch-1.0 does not start; is gstreamer1.0-tools installed?", strerror(why));
  close(ends[1]);
  char bytes[FIRST];
  for (size_t have = 0; have < FIRST;) {
    ssize_t came = read(ends[0], bytes + have, FIRST - have);
    if (came <= 0) fail("it ended before its first sound", COMMAND[0]);
    have += (size_t)came;
  }
  *took = wall_ns() - start;
  *held = (int64_t)peak_kb(child);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  close(ends[0]);
  posix_spawn_file_actions_destroy(&actions);
}

int main(int argc, char **argv) {
  if (argc < 2 || strcmp(argv[1], "5")) fail("usage", "start 5 [--starts N]");
  int starts = (int)option_number(argc, argv, "--starts", 10);
  Times times = {0}, memory = {0};
  for (int i = 0; i < starts; i++) {
    int64_t took, held;
    once(&took, &held);
    times_add(&times, took);
    times_add(&memory, held);
  }
  emit("start", "5", "first_frame_ms", times_quantile(&times, 0.5) / 1e6);
  emit("start", "5", "peak_rss_mb", times_quantile(&memory, 0.5) / 1024);
  return 0;
}
