/* Sends each line of standard input as a record: send_lines HOST PORT PRODUCER [TOPIC]. With SLUICE_IDENTITY and
 * SLUICE_SECRET (64 hexadecimal digits) it proves who it is; SLUICE_WINDOW is how many bytes of records may be unanswered.
 * Exit status 0 when every record is answered. */
#define _GNU_SOURCE
#include "sluice_client.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell(void *context, enum sluice_event event, uint64_t sequence, unsigned code, const char *text) {
  static const char *const names[] = {"", "connected", "disconnected", "refused", "lost"};
  (void)context;
  fprintf(stderr, "%s %llu %u %s\n", names[event], (unsigned long long)sequence, code, text);
}

static int read_secret(uint8_t secret[32]) {
  const char *text = getenv("SLUICE_SECRET");
  if (!text || strlen(text) != 64) return 0;
  for (int i = 0; i < 32; i++) {
    unsigned value;
    if (sscanf(text + 2 * i, "%2x", &value) != 1) return 0;
    secret[i] = (uint8_t)value;
  }
  return 1;
}

int main(int argc, char **argv) {
  uint8_t secret[32];
  if (argc < 4) return fprintf(stderr, "usage: %s HOST PORT PRODUCER [TOPIC]\n", argv[0]), 64;
  const char *identity = getenv("SLUICE_IDENTITY"), *window = getenv("SLUICE_WINDOW");
  if (identity && !read_secret(secret)) return fprintf(stderr, "SLUICE_SECRET needs 64 hexadecimal digits\n"), 64;
  sluice_client *client = sluice_open(&(struct sluice_options){.host = argv[1],
                                                               .port = argv[2],
                                                               .producer = argv[3],
                                                               .identity = identity,
                                                               .secret = identity ? secret : NULL,
                                                               .window_bytes = window ? strtoul(window, NULL, 10) : 0,
                                                               .on_event = tell});
  if (!client) return fprintf(stderr, "no memory, or a name is too long\n"), 1;
  char *line = NULL;
  size_t room = 0;
  ssize_t n;
  int rc = SLUICE_OK;
  while (rc == SLUICE_OK && (n = getline(&line, &room, stdin)) > 0) {
    struct sluice_record record = {.topic = argc > 4 ? argv[4] : NULL, .payload = line, .payload_bytes = (size_t)n};
    if (line[n - 1] == '\n') record.payload_bytes--;
    while ((rc = sluice_send(client, &record)) == SLUICE_AGAIN && sluice_pump(client, 1000) == SLUICE_OK) continue;
    /* What is gathered leaves in frames of many records. */
    if (rc == SLUICE_OK && sluice_last(client) % 64 == 0) sluice_pump(client, 0);
  }
  if (rc == SLUICE_OK) rc = sluice_flush(client, 120000);
  if (rc != SLUICE_OK) fprintf(stderr, "%s\n", rc == SLUICE_INVALID ? "a line is too long" : sluice_error(client));
  printf("%llu\n", (unsigned long long)sluice_answered(client));
  sluice_close(client);
  free(line);
  return rc == SLUICE_OK ? 0 : 1;
}
