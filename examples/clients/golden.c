/* Sends what a golden session of Tests/Golden/wire has, for check_golden.py: golden HOST PORT plain|auth. */
#define _GNU_SOURCE
#include "c/sluice_client.h"
#include <string.h>
#include <sys/random.h>

/* The session's nonce in place of random bytes: the SHA-256 of "client nonce". */
ssize_t getrandom(void *to, size_t n, unsigned flags) {
  static const uint8_t nonce[32] = {0x49, 0x1e, 0xe0, 0x23, 0x73, 0x57, 0x5a, 0x91, 0xd5, 0x7b, 0xc2,
                                    0x36, 0x01, 0x42, 0x67, 0xb1, 0x22, 0xc0, 0x00, 0x37, 0x14, 0x80,
                                    0x73, 0xac, 0x2c, 0x21, 0x1f, 0x6c, 0xce, 0x09, 0x67, 0x18};
  (void)flags;
  if (n > sizeof nonce) return -1;
  memcpy(to, nonce, n);
  return (ssize_t)n;
}

int main(int argc, char **argv) {
  static const char *const payloads[] = {"open", "closed"};
  uint8_t secret[32];
  for (int i = 0; i < 32; i++) secret[i] = (uint8_t)i;
  if (argc != 4) return 64;
  int is_auth = strcmp(argv[3], "auth") == 0;
  struct sluice_options options = {.host = argv[1], .port = argv[2], .stream = "events", .producer = "press-7"};
  options.software = "example/1";
  if (is_auth) {
    options.identity = "press-7";
    options.secret = secret;
  }
  sluice_client *client = sluice_open(&options);
  for (int i = 0; client && i < (is_auth ? 1 : 2); i++) {
    struct sluice_record record = {.topic = "press", .payload = payloads[i], .payload_bytes = strlen(payloads[i])};
    int rc;
    do {
      /* Its number is known once the server has welcomed the client. */
      record.event_time = 1700000000000000000 + (int64_t)sluice_last(client) + 1;
      rc = sluice_send(client, &record);
    } while (rc == SLUICE_AGAIN && sluice_pump(client, 1000) == SLUICE_OK);
  }
  int rc = client ? sluice_flush(client, 10000) : SLUICE_FAILED;
  sluice_close(client);
  return rc == SLUICE_OK ? 0 : 1;
}
