/* In place of `sluice plugin-runner`: a plugin's process that says what a test wants it to. The files beside it are named
 * after calls: what lies in "deliver" is sent in place of the reply; after what lies in "deliver-last" the process ends. To a
 * call without a file it replies as it should. With a file "shorten" it takes the shared memory away when it is created,
 * with "fork" it leaves a process behind that has all that it has open. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REPLY = 76, BASE = 64 };

static const char *const calls[] = {"",      "describe", "validate", "create",      "start", "flush",
                                    "drain", "deliver",  "gap",      "reconfigure", "stop",  "destroy"};
static char directory[4096];

static void take(void *bytes, size_t count) {
  for (size_t at = 0; at < count;) {
    ssize_t got = read(3, (char *)bytes + at, count - at);
    if (got <= 0) { _exit(0); }
    at += (size_t)got;
  }
}

static void say(const void *bytes, size_t count) {
  for (size_t at = 0; at < count;) {
    ssize_t put = write(3, (const char *)bytes + at, count - at);
    if (put <= 0) { _exit(0); }
    at += (size_t)put;
  }
}

static int has(const char *call, const char *ending, char *path, size_t size) {
  snprintf(path, size, "%s/%s%s", directory, call, ending);
  return access(path, R_OK) == 0;
}

static void say_file(const char *path) {
  FILE *file = fopen(path, "re");
  char chunk[4096];
  size_t count;
  while (file && (count = fread(chunk, 1, sizeof chunk, file)) > 0) { say(chunk, count); }
  if (file) { fclose(file); }
}

static void packet(uint16_t kind, const void *payload, uint32_t length) {
  uint8_t header[8] = {0};
  memcpy(header, &length, 4);
  memcpy(header + 4, &kind, 2);
  say(header, 8);
  say(payload, length);
}

static void reply(const char *call) {
  uint8_t payload[16] = {0};
  if (strcmp(call, "create") == 0) {
    uint64_t base = (uint64_t)1 << 32;
    packet(BASE, &base, 8);
  }
  uint32_t more = strcmp(call, "deliver") == 0 ? 1 : strcmp(call, "stop") == 0 ? 4 : 0;
  packet(REPLY, payload, 12 + more);
}

/* Until the test's directory is gone. */
static void linger(void) {
  struct stat about;
  if (fork() != 0) { return; }
  for (int i = 0; i < 3000 && stat(directory, &about) == 0; i++) { usleep(100000); }
  _exit(0);
}

int main(void) {
  char path[sizeof directory + 64];
  ssize_t length = readlink("/proc/self/exe", directory, sizeof directory - 1);
  if (length <= 0) { return 1; }
  directory[length] = 0;
  *strrchr(directory, '/') = 0;
  for (;;) {
    uint8_t header[8];
    take(header, 8);
    uint32_t size;
    uint16_t kind;
    memcpy(&size, header, 4);
    memcpy(&kind, header + 4, 2);
    char *payload = malloc(size + 1);
    take(payload, size);
    free(payload);
    if (kind >= sizeof calls / sizeof *calls) { return 1; }
    const char *call = calls[kind];
    if (strcmp(call, "create") == 0) {
      if (has("shorten", "", path, sizeof path)) { (void)!ftruncate(4, 0); }
      if (has("fork", "", path, sizeof path)) { linger(); }
    }
    if (has(call, "", path, sizeof path)) {
      say_file(path);
    } else if (has(call, "-last", path, sizeof path)) {
      say_file(path);
      return 0;
    } else {
      reply(call);
    }
  }
}
