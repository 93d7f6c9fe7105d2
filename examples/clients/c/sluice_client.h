/* A producer for Sluice's framed TCP (docs/wire-protocol.md): C11 and POSIX, one connection, no threads, bounded
 * memory.
 *
 * Records get the numbers 1, 2, 3 … under the producer's name and are kept until they are answered; after a lost
 * connection what was not answered is sent again, and the server drops what it has. So each record is stored once, in
 * order, whatever breaks, as long as one client at a time uses the name. */
#ifndef SLUICE_CLIENT_H
#define SLUICE_CLIENT_H
#include <stddef.h>
#include <stdint.h>

typedef struct sluice_client sluice_client;

enum {
  SLUICE_OK = 0,
  SLUICE_AGAIN = -1,   /* the window is full, or the first connection is not there yet: sluice_pump, then try again */
  SLUICE_INVALID = -2, /* the record is larger than the server or half of the window takes */
  SLUICE_FAILED = -3   /* for good: sluice_error says why */
};

/* What a program may want to know; `sequence`, `code` and `text` as said behind each. */
enum sluice_event {
  SLUICE_CONNECTED = 1, /* the last sequence that the server has */
  SLUICE_DISCONNECTED,  /* the next to be answered; an ERROR's code or 0; why. With `secret` no ERROR before WELCOME is
                           for good, since anybody may have sent it: a wrong secret is told here, again and again */
  SLUICE_REFUSED,       /* a record that will never be taken; its NACK's code and text. 128 without a NACK: the server
                           takes less than it did, and the records behind this one have their numbers less one */
  SLUICE_LOST           /* the last that the server has: fewer than it had acknowledged (durability memory or written), of
                           another log, or more than this client sent (another one used the name, and the epoch was
                           raised). What is held is sent under new numbers, from there on: those of sluice_last change */
};

struct sluice_options {
  const char *host, *port;
  const char *stream;   /* "": whatever the source feeds */
  const char *producer; /* the name under which records are numbered; required */
  uint16_t epoch;       /* 0: 1; raise it when a producer is replaced or restored from a backup */
  const char *identity; /* with `secret`: challenge-response, and every frame under an HMAC; else NULL */
  const uint8_t *secret;
  size_t window_bytes; /* of records that are not answered; 0: 1 MiB. Memory is about 1.5 times as much */
  const char *software; /* for the server's log; NULL: this client */
  void (*on_event)(void *context, enum sluice_event event, uint64_t sequence, unsigned code, const char *text);
  void *context;
};

struct sluice_record {
  const char *topic, *key; /* NULL: none; at most 255 and 4096 bytes */
  const void *payload;
  size_t payload_bytes;
  int64_t event_time; /* ns since 1970; 0: now */
};

/* Copies the options, not what on_event's context points to. NULL: no memory, or an option is missing or too long. */
sluice_client *sluice_open(const struct sluice_options *options);

/* Numbers a record and keeps it; nothing waits. SLUICE_OK, _AGAIN, _INVALID or _FAILED. */
int sluice_send(sluice_client *, const struct sluice_record *);

/* Connects, sends, receives: one look, waiting at most `timeout_ms`. SLUICE_OK or _FAILED. To be called often: at least
 * every few seconds, or the server takes the connection for dead. */
int sluice_pump(sluice_client *, int timeout_ms);

/* Pumps until all is answered. SLUICE_OK, SLUICE_AGAIN when the time is over, or _FAILED. */
int sluice_flush(sluice_client *, int timeout_ms);

/* Every record up to the first is answered: stored, or refused. A SLUICE_REFUSED that the connection took with it is not
 * told again. The second is the number of the last that sluice_send took. */
uint64_t sluice_answered(const sluice_client *);
uint64_t sluice_last(const sluice_client *);
const char *sluice_error(const sluice_client *);

/* Says BYE if that takes no waiting, closes, frees. Call sluice_flush first. */
void sluice_close(sluice_client *);
#endif
