/* What a subscriber is given: messages of one stream, in the order of the log, in place. */
#ifndef SLUICE_BATCH_H
#define SLUICE_BATCH_H

#include "sluice/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One message. Appended to in later minor versions, so an array of these is stepped by `slu_batch.message_stride`,
 * never by sizeof. All bytes lie in memory that other subscribers see too: read only. They are valid until `deliver`
 * returns, or as long as the batch's lease is retained. */
typedef struct slu_message {
  uint64_t token;             /* names this delivery of the message; message i of a batch has token 0's plus i. Dies
                                 when it is settled, at the ack deadline, or when `stop` returns. */
  uint64_t lsn;               /* place in the stream, from 1. (log_uuid, lsn) is the record's identity: the same in
                                 every delivery, so the key to make writes idempotent with. */
  int64_t ingest_time_ns;     /* when the daemon took it in: ns since 1970, never decreasing in one stream */
  int64_t event_time_ns;      /* when it happened, says its producer: ns since 1970, any value */
  uint64_t producer_sequence; /* the producer's own number, 0 for anonymous producers */
  uint32_t producer_epoch;    /* the producer's incarnation, 0 for anonymous producers */
  uint32_t attempt;           /* 1 at first delivery; counts deliveries since the instance was started */
  uint32_t crc32c;            /* of `covered`, made by the producer (or on entry, over HTTP); checked on every read
                                 from disk */
  uint32_t flags;             /* 0 */
  slu_bytes source;           /* name of the topology's source; empty: made by the daemon itself */
  slu_bytes producer;         /* name of the producer; empty: anonymous */
  slu_bytes topic;            /* any bytes, may be empty */
  slu_bytes key;              /* any bytes, may be empty */
  slu_bytes headers;          /* raw; read them with slu_headers_next */
  slu_bytes payload;          /* any bytes; starts on a multiple of 8 */
  slu_bytes covered;          /* the record's producer part, byte for byte as it was sent; starts on a multiple of 8.
                                 topic, key, headers and payload lie in it. docs/log-format.md has its layout. */
} slu_message;

/* slu_batch.flags */
#define SLU_BATCH_REPLAY 1u     /* asked for by an operator: these were delivered before, perhaps all acknowledged */
#define SLU_BATCH_REDELIVERY 2u /* at least one message has attempt > 1 */

/* Messages of one stream, in rising order of `lsn`. Records that the topology's `match` leaves out are not in it, so
 * LSNs may skip; a batch has at least one message. Valid until `deliver` returns; only the bytes that its messages
 * point to live longer, and only under a lease. */
typedef struct slu_batch {
  uint32_t struct_size;
  uint32_t flags;            /* SLU_BATCH_* */
  uint32_t count;            /* messages */
  uint32_t message_stride;   /* bytes from one message to the next, a multiple of 8 */
  const slu_message *messages;
  uint64_t lease;            /* what `retain` and `release` take */
  uint64_t lease_bytes;      /* what retaining it is charged with: the whole buffer that the messages lie in */
  uint64_t first_lsn;        /* of the range of the log that was scanned for this batch, */
  uint64_t last_lsn;         /* both included, whatever of it matched */
  slu_bytes stream;          /* the stream's name; valid until `stop` returns */
  uint8_t log_uuid[16];      /* names the log for ever, in canonical byte order */
  int64_t ack_deadline_ns;   /* SLU_CLOCK_MONOTONIC; tokens not settled by then die, their messages come again.
                                0 = none */
} slu_batch;

/* Messages that will never come: dropped under `when_full: drop_oldest` or `max_lag … then: gap`, retained no longer,
 * or damaged on disk. */
typedef struct slu_gap {
  uint32_t struct_size;
  uint32_t reason;           /* SLU_GAP_*; open set */
  uint64_t first_lsn;        /* the range, both included */
  uint64_t last_lsn;
  slu_bytes stream;
  uint8_t log_uuid[16];
} slu_gap;

#define SLU_GAP_UNKNOWN 0u
#define SLU_GAP_DROPPED 1u    /* this subscriber was too far behind */
#define SLU_GAP_RETENTION 2u  /* older than the stream keeps */
#define SLU_GAP_CORRUPTION 3u /* unreadable on disk */

/* Whether the host's messages have `field` (`slu_message` has no size of its own: its batch knows). */
#define SLU_MESSAGE_HAS(batch, field) \
  ((uint64_t)(batch)->message_stride >= \
   (uint64_t)((const char *)(&(batch)->messages->field + 1) - (const char *)(batch)->messages))

/* Message `index` of `batch`, which is below `batch->count`. */
static inline const slu_message *slu_batch_message(const slu_batch *batch, uint32_t index) {
  const char *first = (const char *)(const void *)batch->messages;
  return (const slu_message *)(const void *)(first + (uint64_t)index * batch->message_stride);
}

/* Headers are raw, one after the other: u8 name length, name, u16 little-endian value length, value. */
typedef struct slu_header_iterator {
  const uint8_t *at;
  const uint8_t *end;
} slu_header_iterator;

/* Begins with the first of `headers`. */
static inline slu_header_iterator slu_headers_begin(slu_bytes headers) {
  slu_header_iterator it;
  it.at = (const uint8_t *)headers.ptr;
  it.end = headers.len ? it.at + headers.len : it.at;
  return it;
}

/* The next header: 1 = in `header`, 0 = there is none, -1 = what is left is malformed (and stays so). */
static inline int slu_headers_next(slu_header_iterator *it, slu_pair *header) {
  uint64_t left = (uint64_t)(it->end - it->at);
  uint64_t name, value;
  if (left == 0) { return 0; }
  name = it->at[0];
  if (left < 3 + name) { return -1; }
  value = (uint64_t)it->at[1 + name] | (uint64_t)it->at[2 + name] << 8;
  if (left < 3 + name + value) { return -1; }
  header->name.ptr = it->at + 1;
  header->name.len = name;
  header->value.ptr = it->at + 3 + name;
  header->value.len = value;
  it->at += 3 + name + value;
  return 1;
}

/* Writes one header at `buffer + *length` in the raw form and moves `*length` on: 1 = written, 0 = it does not fit
 * `capacity` or is too long (name: 255 bytes, value: 65,535). */
static inline int slu_headers_append(
    void *buffer, uint64_t capacity, uint64_t *length, slu_bytes name, slu_bytes value) {
  uint8_t *to = (uint8_t *)buffer + *length;
  uint64_t i;
  if (name.len > 255 || value.len > 65535 || capacity - *length < 3 + name.len + value.len) { return 0; }
  *to++ = (uint8_t)name.len;
  for (i = 0; i < name.len; i++) { *to++ = ((const uint8_t *)name.ptr)[i]; }
  *to++ = (uint8_t)(value.len & 0xFFu);
  *to++ = (uint8_t)(value.len >> 8);
  for (i = 0; i < value.len; i++) { *to++ = ((const uint8_t *)value.ptr)[i]; }
  *length += 3 + name.len + value.len;
  return 1;
}

#ifdef __cplusplus
}
#endif

#endif
