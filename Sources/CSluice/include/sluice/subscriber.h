/*
 * What a subscriber is: the description of its kind, and its life.
 *
 *    state      entered by          what the host may call then                                     goes to
 *    described  sluice_module_v1    validate*, create                                               created
 *    created    create = SLU_OK     start, destroy                                                  running, gone
 *    running    start = SLU_OK      deliver*, gap*, flush*, reconfigure*, drain, stop               draining, stopped
 *    draining   drain called        flush*, stop                                                    stopped
 *    stopped    stop returned       destroy                                                         gone
 *
 * (* any number of times.) When `start` fails with SLU_E_RETRYABLE or SLU_E_TIMEOUT the host may call it again; when
 * it gives up, or `start` failed otherwise, it calls `stop`, then `destroy`. `stop` is called exactly once if `start`
 * ever was. `interrupt` and `get_extension` may come on any thread from created until `destroy` is called. Verdicts and
 * other "running" calls to the host may be made from when `start` is called until `stop` returns.
 */
#ifndef SLUICE_SUBSCRIBER_H
#define SLUICE_SUBSCRIBER_H

#include "sluice/base.h"
#include "sluice/batch.h"
#include "sluice/host.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How `validate` tells what it found. `pointer` is a JSON Pointer into the config ("/columns/3/type", "" = all of it),
 * which the host turns into the file, line and column of the topology. Both are copied.
 * [scan] only inside the `validate` that was given it. */
typedef void (*slu_diagnose)(void *context, uint32_t severity, slu_bytes pointer, slu_bytes text);

#define SLU_DIAGNOSE_ERROR 1u   /* an unknown severity means this */
#define SLU_DIAGNOSE_WARNING 2u /* told, but the config is taken */

/* slu_subscriber.flags; bits not listed are 0 */
#define SLU_F_EXCLUSIVE 1u    /* two instances of one config can't run at once: the old one is stopped first */
#define SLU_F_PROCESS_ONLY 2u /* must not share a process with the daemon (a Go runtime, say) */

typedef struct slu_subscriber slu_subscriber;

/* A kind. Static and immutable: valid as long as the process lives, as all it points to. Functions marked "required"
 * are never NULL; any other may be, and then what the comment says happens instead. */
struct slu_subscriber {
  uint32_t struct_size;
  uint32_t flags;           /* SLU_F_* */
  const void *context;      /* the plugin's own; the host never looks at it */
  slu_bytes kind;           /* [a-z][a-z0-9-]*, at most 64 bytes; what `plugin:` in a topology names */
  slu_bytes summary;        /* one line for people */
  slu_bytes config_schema;  /* JSON Schema (the subset in docs/abi.md), UTF-8, at most 256 KiB; the host checks
                               `config` with it and fills in defaults before any function sees it */

  /* Defaults for what the topology leaves out. 0 = the host's. */
  uint32_t want_records;    /* messages in a batch */
  uint32_t want_bytes;      /* bytes of records in a batch */
  uint32_t want_linger_ms;  /* how long a batch may wait to fill */
  uint32_t max_inflight;    /* messages delivered and not settled */
  uint32_t ack_deadline_ms; /* from `deliver` to the last verdict on its batch */

  uint32_t output_count;    /* named outputs for `publish` */
  const slu_bytes *outputs; /* their names, [a-z][a-z0-9_-]*; NULL with output_count 0 */

  /* Checks what the schema can't say (fields that contradict each other). Pure: no files, no network, no threads, no
   * state. Values marked `x-sluice-secret` may be placeholders.
   * [scan] described. `config`: canonical JSON. `diagnose(diagnose_context, …)` once per finding.
   * SLU_OK: no error found. SLU_E_CONFIG: at least one was told. Others: the check itself failed.
   * NULL: whatever passes the schema is good. */
  slu_rc (*validate)(const slu_subscriber *kind, slu_bytes config, slu_diagnose diagnose, void *diagnose_context);

  /* Required. Makes an instance and puts it in *instance. Reads its config, allocates; does not connect, open for
   * writing, or start threads: an instance may be created only to see whether it could be.
   * [inst] described. `host` stays valid until `destroy` is called; `config` only until the return. May call the
   * host's functions that are not marked "running".
   * SLU_OK. SLU_E_CONFIG, SLU_E_FATAL, others: nothing was made, *instance is ignored, `destroy` does not come. */
  slu_rc (*create)(
      const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error);

  /* Connects, opens, starts threads.
   * [inst] created. `deadline_ns`: SLU_CLOCK_MONOTONIC, 0 = none.
   * SLU_OK: running. SLU_E_RETRYABLE, SLU_E_TIMEOUT: may be called again, after a backoff. SLU_E_CONFIG, SLU_E_FATAL,
   * others: it never will; `stop` and `destroy` follow.
   * NULL: SLU_OK. */
  slu_rc (*start)(void *instance, int64_t deadline_ns, slu_error *error);

  /* Required. Takes a batch.
   * [inst] running. `batch` is valid until the return; retain its lease to keep the messages' bytes. May block: it
   * holds up this instance only.
   * SLU_OK: every token of the batch that has no verdict yet is acknowledged. What was promised by it must be true
   * before the return: if records are to survive a power failure, they are on disk now.
   * SLU_ACCEPTED: the instance settles every token itself, until the ack deadline.
   * SLU_BUSY: nothing was taken, no token settled; the batch comes again, and its attempts do not count.
   * Negative: verdicts given stand, the rest is retried by the topology's `retry`. With SLU_E_FATAL or SLU_E_CONFIG
   * the instance is stopped, destroyed and, after a backoff, made anew. */
  slu_rc (*deliver)(void *instance, const slu_batch *batch, slu_error *error);

  /* Tells that messages will never come. In order: after every batch below the range, before any above it.
   * [inst] running. `gap` is valid until the return. SLU_OK; negative is logged, and SLU_E_FATAL treated as in
   * `deliver`.
   * NULL: the host logs and counts it alone. */
  slu_rc (*gap)(void *instance, const slu_gap *gap, slu_error *error);

  /* Makes everything accepted so far durable, and settles it.
   * [inst] running, draining. SLU_OK: nothing is open. SLU_E_TIMEOUT: some is; it is settled later or comes again.
   * Other negatives: as in `deliver`.
   * NULL: SLU_OK. */
  slu_rc (*flush)(void *instance, int64_t deadline_ns, slu_error *error);

  /* As `flush`; no `deliver` follows.
   * [inst] running. What is open at the deadline comes again, to a successor.
   * NULL: `flush`. */
  slu_rc (*drain)(void *instance, int64_t deadline_ns, slu_error *error);

  /* Ends it: joins own threads, closes connections and files, releases leases. Every open token dies. Returns even
   * when the far side does not answer. After the return no function of the host may be called.
   * [inst] running, draining, or after a failed `start`. An error is logged; the instance is stopped all the same.
   * NULL: nothing to do. */
  slu_rc (*stop)(void *instance, slu_error *error);

  /* Required. Frees the instance.
   * [inst] created, stopped. No function of the host may be called. */
  void (*destroy)(void *instance);

  /* Makes an [inst] call that blocks return soon, with SLU_E_TIMEOUT or whatever it has. May come when none does.
   * [any] from created until `destroy` is called. Must be async-safe towards the instance's own locks: it is called
   * while another function of the instance runs.
   * NULL: the host can only wait. */
  void (*interrupt)(void *instance);

  /* Goes on with another config, all or nothing: on an error the instance works as before.
   * [inst] running. `config` as in `create`. SLU_OK. SLU_E_UNSUPPORTED: this change takes a new instance, please.
   * Other negatives: the new config does not work, and the reload fails.
   * NULL: SLU_E_UNSUPPORTED. */
  slu_rc (*reconfigure)(void *instance, slu_bytes config, slu_error *error);

  /* A table of an optional extension by its name and revision, or NULL. Valid until `destroy` is called.
   * [any] from created until `destroy` is called.
   * NULL: no extensions. */
  const void *(*get_extension)(void *instance, slu_bytes id);
};

#ifdef __cplusplus
}
#endif

#endif
