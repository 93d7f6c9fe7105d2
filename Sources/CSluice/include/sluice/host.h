/* What a subscriber may ask of the daemon. */
#ifndef SLUICE_HOST_H
#define SLUICE_HOST_H

#include "sluice/base.h"
#include "sluice/verdict.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Levels of slu_host.log. Above the highest means the highest. */
#define SLU_LOG_TRACE 0u
#define SLU_LOG_DEBUG 1u
#define SLU_LOG_INFO 2u
#define SLU_LOG_NOTICE 3u
#define SLU_LOG_WARNING 4u
#define SLU_LOG_ERROR 5u

/* Clocks of slu_host.clock_ns. */
#define SLU_CLOCK_REALTIME 0u  /* ns since 1970 */
#define SLU_CLOCK_MONOTONIC 1u /* the system's CLOCK_MONOTONIC: what deadlines are on */

/* States of slu_host.set_health. */
#define SLU_HEALTH_OK 1u
#define SLU_HEALTH_DEGRADED 2u /* works, but not as it should */
#define SLU_HEALTH_DOWN 3u     /* delivers nothing now; the daemon is not ready while this stands */

/* Kinds of slu_metric. */
#define SLU_METRIC_COUNTER 1u   /* rises only */
#define SLU_METRIC_GAUGE 2u     /* goes both ways */
#define SLU_METRIC_HISTOGRAM 3u /* counts observations by size */

/* A metric to be registered. It is shown as `sluice_plugin_NAME_UNIT`, counters with `_total` after it, with the
 * label `subscriber` and those given here. */
typedef struct slu_metric {
  uint32_t struct_size;
  uint32_t kind;          /* SLU_METRIC_* */
  slu_bytes name;         /* [a-z][a-z0-9_]*, without prefix, unit and `_total` */
  slu_bytes unit;         /* Prometheus base unit: "bytes", "seconds"; may be empty */
  slu_bytes help;         /* one line for people */
  const slu_pair *labels; /* names as above; may be NULL with label_count 0 */
  const double *bounds;   /* SLU_METRIC_HISTOGRAM: upper bounds, rising, without infinity; NULL = the host's own */
  uint32_t label_count;
  uint32_t bound_count;
} slu_metric;

/* A record that a subscriber makes out of one that it was given. */
typedef struct slu_publication {
  uint32_t struct_size;
  uint32_t output;        /* index in slu_subscriber.outputs; the topology says which stream that is */
  uint64_t parent_token;  /* an open token of the message it was made from: the parent's cursor waits until this
                             record is durable */
  uint64_t ordinal;       /* tells the children of one parent apart. (parent, instance, ordinal) is stored once, so
                             number them the same way in every attempt */
  int64_t event_time_ns;  /* ns since 1970; 0 = the parent's */
  slu_bytes topic;
  slu_bytes key;
  slu_bytes headers;      /* in the raw form of slu_message.headers; slu_headers_append writes it */
  slu_bytes payload;
} slu_publication;

/* The daemon, as one instance sees it. Valid, with all it points to, from `create` until `destroy` is called. No
 * function pointer within struct_size is ever NULL; what a host does not serve answers SLU_E_UNSUPPORTED. Functions
 * that say "running" may be called from when `start` is called until `stop` returns; the others from `create` on.
 * After `stop` has returned no function may be called. */
typedef struct slu_host {
  uint32_t struct_size;
  uint32_t abi_minor;     /* the host's */
  void *context;          /* first argument of every function below */
  slu_bytes host_version; /* of the daemon, for logs */
  slu_bytes instance;     /* the subscriber's name in the topology; the same after a reload */
  slu_bytes state_dir;    /* absolute path of a directory that is this instance's alone; it exists, and survives
                             restarts and reloads */

  /* Writes a line to the daemon's log, under the instance's name. Nothing is kept after the return.
   * [any] from `create` on. `level`: SLU_LOG_*. `pairs` may be NULL with count 0. The message is cut at 8 KiB. */
  void (*log)(void *context, uint32_t level, slu_bytes message, const slu_pair *pairs, uint32_t count);

  /* Gives verdicts on tokens of batches that were delivered to this instance. Each token counts once: the first
   * verdict stands. Any order, any thread, inside `deliver` or after it.
   * [any] running. `items` and the reasons in it are copied. Items are taken one by one: a bad one stops none.
   * SLU_OK: all taken. SLU_STALE: some tokens were settled before, overdue, or never given out; they were counted and
   * ignored, all others taken. SLU_E_INVALID: an item had count 0 or ran past its batch; the others were taken. */
  slu_rc (*settle)(void *context, const slu_settlement *items, uint32_t count);

  /* Keeps the bytes of the batch with this lease in memory after `deliver` returns. Counts: each SLU_OK needs one
   * `release`. Charged with slu_batch.lease_bytes, once per lease however often it is retained.
   * [inst] inside `deliver` of that batch. SLU_OK: yours. SLU_BUSY: over this instance's budget (16 MiB), or
   * more leases than the host keeps: copy what you need. SLU_E_INVALID: no such lease now. SLU_E_UNSUPPORTED: copy. */
  slu_rc (*retain)(void *context, uint64_t lease);

  /* Undoes one `retain`: the bytes may vanish at once. All leases are released before `stop` returns.
   * [any] running. One too many, or an unknown lease, is counted and ignored. */
  void (*release)(void *context, uint64_t lease);

  /* Says how many messages more the instance takes, replacing what was left of an earlier credit; 0 pauses. Ends a
   * wait that SLU_BUSY began. An instance that never calls this is limited by max_inflight alone.
   * [any] running. SLU_OK; SLU_E_UNSUPPORTED: after SLU_BUSY the host waits its own backoff instead. */
  slu_rc (*set_credit)(void *context, uint32_t messages);

  /* Publishes `count` records, all or none; they are copied. `stride`: bytes from one to the next, at least
   * items->struct_size, a multiple of 8.
   * [any] running; may block while the target stream is full, so rather call it on [inst].
   * SLU_OK: taken; the parents may be settled at once. SLU_BUSY: the target stream takes nothing now; none was taken.
   * SLU_E_CONFIG: the topology maps no stream to an output. SLU_E_INVALID: an unknown output, a token that is not
   * open, a record too large, or malformed headers. SLU_E_UNSUPPORTED. */
  slu_rc (*publish)(void *context, const slu_publication *items, uint32_t count, uint32_t stride);

  /* Registers a metric; the same name, kind and labels give the same id. All of `metric` is copied.
   * [any] from `create` on; takes a lock, so do it once. 0: refused (bad name, too many, unknown kind); using 0 is
   * harmless. */
  uint64_t (*metric_register)(void *context, const slu_metric *metric);

  /* Adds to a counter (not below 0) or a gauge; makes an observation in a histogram. No lock.
   * [any] from `create` on. */
  void (*metric_add)(void *context, uint64_t metric, double value);

  /* Sets a gauge. No lock. On other kinds it does nothing.
   * [any] from `create` on. */
  void (*metric_set)(void *context, uint64_t metric, double value);

  /* The time in ns on SLU_CLOCK_*; an unknown clock answers 0.
   * [any] from `create` on. */
  int64_t (*clock_ns)(void *context, uint32_t clock);

  /* Says how the instance fares; shown in `sluice status` and /ready until the next call. `why` is copied, cut at
   * 1 KiB. An instance begins as SLU_HEALTH_OK; failed and successful deliveries need not be told.
   * [any] from `create` on. An unknown state means SLU_HEALTH_DEGRADED. */
  void (*set_health)(void *context, uint32_t state, slu_bytes why);

  /* A table of an optional extension by its name and revision ("sluice.tracing/1"), or NULL. What it points to is
   * valid as long as the host is.
   * [any] from `create` on. */
  const void *(*get_extension)(void *context, slu_bytes id);
} slu_host;

#ifdef __cplusplus
}
#endif

#endif
