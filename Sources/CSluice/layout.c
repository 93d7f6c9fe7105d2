/*
 * The layout of the ABI, asserted where it is compiled. The numbers are the contract: a line here changes only when a
 * struct that is not frozen gets a field at its end. Tests/Golden/abi/layout.txt has the same numbers for tests.
 */
#include "sluice/sluice.h"

#include <stddef.h>

#define STRUCT(type, bytes)                                  \
  _Static_assert(sizeof(type) == (bytes), #type ": size");   \
  _Static_assert(_Alignof(type) == 8, #type ": alignment")
#define FIELD(type, field, at) _Static_assert(offsetof(type, field) == (at), #type "." #field ": offset")

_Static_assert(sizeof(void *) == 8 && sizeof(void (*)(void)) == 8, "64-bit pointers");
_Static_assert(_Alignof(uint64_t) == 8, "64-bit integers are aligned");

/* base.h */
STRUCT(slu_bytes, 16);
FIELD(slu_bytes, ptr, 0);
FIELD(slu_bytes, len, 8);

STRUCT(slu_pair, 32);
FIELD(slu_pair, name, 0);
FIELD(slu_pair, value, 16);

STRUCT(slu_error, 512);
FIELD(slu_error, code, 0);
FIELD(slu_error, flags, 4);
FIELD(slu_error, length, 8);
FIELD(slu_error, reserved, 16);
FIELD(slu_error, message, 24);

/* verdict.h */
STRUCT(slu_settlement, 40);
FIELD(slu_settlement, first_token, 0);
FIELD(slu_settlement, count, 8);
FIELD(slu_settlement, verdict, 12);
FIELD(slu_settlement, delay_ms, 16);
FIELD(slu_settlement, code, 20);
FIELD(slu_settlement, reason, 24);

/* batch.h */
STRUCT(slu_message, 168);
FIELD(slu_message, token, 0);
FIELD(slu_message, lsn, 8);
FIELD(slu_message, ingest_time_ns, 16);
FIELD(slu_message, event_time_ns, 24);
FIELD(slu_message, producer_sequence, 32);
FIELD(slu_message, producer_epoch, 40);
FIELD(slu_message, attempt, 44);
FIELD(slu_message, crc32c, 48);
FIELD(slu_message, flags, 52);
FIELD(slu_message, source, 56);
FIELD(slu_message, producer, 72);
FIELD(slu_message, topic, 88);
FIELD(slu_message, key, 104);
FIELD(slu_message, headers, 120);
FIELD(slu_message, payload, 136);
FIELD(slu_message, covered, 152);

STRUCT(slu_batch, 96);
FIELD(slu_batch, struct_size, 0);
FIELD(slu_batch, flags, 4);
FIELD(slu_batch, count, 8);
FIELD(slu_batch, message_stride, 12);
FIELD(slu_batch, messages, 16);
FIELD(slu_batch, lease, 24);
FIELD(slu_batch, lease_bytes, 32);
FIELD(slu_batch, first_lsn, 40);
FIELD(slu_batch, last_lsn, 48);
FIELD(slu_batch, stream, 56);
FIELD(slu_batch, log_uuid, 72);
FIELD(slu_batch, ack_deadline_ns, 88);

STRUCT(slu_gap, 56);
FIELD(slu_gap, struct_size, 0);
FIELD(slu_gap, reason, 4);
FIELD(slu_gap, first_lsn, 8);
FIELD(slu_gap, last_lsn, 16);
FIELD(slu_gap, stream, 24);
FIELD(slu_gap, log_uuid, 40);

STRUCT(slu_header_iterator, 16);
FIELD(slu_header_iterator, at, 0);
FIELD(slu_header_iterator, end, 8);

/* host.h */
STRUCT(slu_metric, 80);
FIELD(slu_metric, struct_size, 0);
FIELD(slu_metric, kind, 4);
FIELD(slu_metric, name, 8);
FIELD(slu_metric, unit, 24);
FIELD(slu_metric, help, 40);
FIELD(slu_metric, labels, 56);
FIELD(slu_metric, bounds, 64);
FIELD(slu_metric, label_count, 72);
FIELD(slu_metric, bound_count, 76);

STRUCT(slu_publication, 96);
FIELD(slu_publication, struct_size, 0);
FIELD(slu_publication, output, 4);
FIELD(slu_publication, parent_token, 8);
FIELD(slu_publication, ordinal, 16);
FIELD(slu_publication, event_time_ns, 24);
FIELD(slu_publication, topic, 32);
FIELD(slu_publication, key, 48);
FIELD(slu_publication, headers, 64);
FIELD(slu_publication, payload, 80);

STRUCT(slu_host, 160);
FIELD(slu_host, struct_size, 0);
FIELD(slu_host, abi_minor, 4);
FIELD(slu_host, context, 8);
FIELD(slu_host, host_version, 16);
FIELD(slu_host, instance, 32);
FIELD(slu_host, state_dir, 48);
FIELD(slu_host, log, 64);
FIELD(slu_host, settle, 72);
FIELD(slu_host, retain, 80);
FIELD(slu_host, release, 88);
FIELD(slu_host, set_credit, 96);
FIELD(slu_host, publish, 104);
FIELD(slu_host, metric_register, 112);
FIELD(slu_host, metric_add, 120);
FIELD(slu_host, metric_set, 128);
FIELD(slu_host, clock_ns, 136);
FIELD(slu_host, set_health, 144);
FIELD(slu_host, get_extension, 152);

/* subscriber.h */
STRUCT(slu_subscriber, 192);
FIELD(slu_subscriber, struct_size, 0);
FIELD(slu_subscriber, flags, 4);
FIELD(slu_subscriber, context, 8);
FIELD(slu_subscriber, kind, 16);
FIELD(slu_subscriber, summary, 32);
FIELD(slu_subscriber, config_schema, 48);
FIELD(slu_subscriber, want_records, 64);
FIELD(slu_subscriber, want_bytes, 68);
FIELD(slu_subscriber, want_linger_ms, 72);
FIELD(slu_subscriber, max_inflight, 76);
FIELD(slu_subscriber, ack_deadline_ms, 80);
FIELD(slu_subscriber, output_count, 84);
FIELD(slu_subscriber, outputs, 88);
FIELD(slu_subscriber, validate, 96);
FIELD(slu_subscriber, create, 104);
FIELD(slu_subscriber, start, 112);
FIELD(slu_subscriber, deliver, 120);
FIELD(slu_subscriber, gap, 128);
FIELD(slu_subscriber, flush, 136);
FIELD(slu_subscriber, drain, 144);
FIELD(slu_subscriber, stop, 152);
FIELD(slu_subscriber, destroy, 160);
FIELD(slu_subscriber, interrupt, 168);
FIELD(slu_subscriber, reconfigure, 176);
FIELD(slu_subscriber, get_extension, 184);

/* module.h */
STRUCT(slu_module, 88);
FIELD(slu_module, struct_size, 0);
FIELD(slu_module, abi_minor, 4);
FIELD(slu_module, abi_minor_needed, 8);
FIELD(slu_module, subscriber_count, 12);
FIELD(slu_module, name, 16);
FIELD(slu_module, version, 32);
FIELD(slu_module, vendor, 48);
FIELD(slu_module, runtime, 64);
FIELD(slu_module, subscribers, 80);
