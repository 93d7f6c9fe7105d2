/* A producer for Sluice's framed TCP: C11 and POSIX, one connection, no threads. README.md says how it is used. */
#pragma once
#include <stddef.h>
#include <stdint.h>
typedef struct sluice_client sluice_client;
enum { SLUICE_OK = 0, SLUICE_AGAIN = -1, SLUICE_INVALID = -2, SLUICE_FAILED = -3 };
enum sluice_event { SLUICE_CONNECTED = 1, SLUICE_DISCONNECTED, SLUICE_REFUSED, SLUICE_LOST };
struct sluice_options {
  const char *host, *port, *stream, *producer, *software, *identity;
  const uint8_t *secret;
  uint16_t epoch;
  size_t window_bytes;
  void (*on_event)(void *context, enum sluice_event event, uint64_t sequence, unsigned code, const char *text);
  void *context;
};
struct sluice_record {
  const char *topic, *key;
  const void *payload;
  size_t payload_bytes;
  int64_t event_time;
};
sluice_client *sluice_open(const struct sluice_options *options);
int sluice_send(sluice_client *, const struct sluice_record *);
int sluice_pump(sluice_client *, int timeout_ms);
int sluice_flush(sluice_client *, int timeout_ms);
uint64_t sluice_answered(const sluice_client *);
uint64_t sluice_last(const sluice_client *);
const char *sluice_error(const sluice_client *);
void sluice_close(sluice_client *);
