/* Prints the layout of every struct of the plugin ABI as this compiler sees it: what layout.txt must say. */
#include <sluice/sluice.h>
#include <stddef.h>
#include <stdio.h>

#define STRUCT(type) printf("%s size %zu align %zu\n", #type, sizeof(type), _Alignof(type));
#define FIELD(type, field) \
  printf("  %s offset %zu size %zu\n", #field, offsetof(type, field), sizeof(((type *)0)->field));

static void print_slu_bytes(void) {
  STRUCT(slu_bytes)
  FIELD(slu_bytes, ptr)
  FIELD(slu_bytes, len)
}

static void print_slu_pair(void) {
  STRUCT(slu_pair)
  FIELD(slu_pair, name)
  FIELD(slu_pair, value)
}

static void print_slu_error(void) {
  STRUCT(slu_error)
  FIELD(slu_error, code)
  FIELD(slu_error, flags)
  FIELD(slu_error, length)
  FIELD(slu_error, reserved)
  FIELD(slu_error, message)
}

static void print_slu_settlement(void) {
  STRUCT(slu_settlement)
  FIELD(slu_settlement, first_token)
  FIELD(slu_settlement, count)
  FIELD(slu_settlement, verdict)
  FIELD(slu_settlement, delay_ms)
  FIELD(slu_settlement, code)
  FIELD(slu_settlement, reason)
}

static void print_slu_message(void) {
  STRUCT(slu_message)
  FIELD(slu_message, token)
  FIELD(slu_message, lsn)
  FIELD(slu_message, ingest_time_ns)
  FIELD(slu_message, event_time_ns)
  FIELD(slu_message, producer_sequence)
  FIELD(slu_message, producer_epoch)
  FIELD(slu_message, attempt)
  FIELD(slu_message, crc32c)
  FIELD(slu_message, flags)
  FIELD(slu_message, source)
  FIELD(slu_message, producer)
  FIELD(slu_message, topic)
  FIELD(slu_message, key)
  FIELD(slu_message, headers)
  FIELD(slu_message, payload)
  FIELD(slu_message, covered)
}

static void print_slu_batch(void) {
  STRUCT(slu_batch)
  FIELD(slu_batch, struct_size)
  FIELD(slu_batch, flags)
  FIELD(slu_batch, count)
  FIELD(slu_batch, message_stride)
  FIELD(slu_batch, messages)
  FIELD(slu_batch, lease)
  FIELD(slu_batch, lease_bytes)
  FIELD(slu_batch, first_lsn)
  FIELD(slu_batch, last_lsn)
  FIELD(slu_batch, stream)
  FIELD(slu_batch, log_uuid)
  FIELD(slu_batch, ack_deadline_ns)
}

static void print_slu_gap(void) {
  STRUCT(slu_gap)
  FIELD(slu_gap, struct_size)
  FIELD(slu_gap, reason)
  FIELD(slu_gap, first_lsn)
  FIELD(slu_gap, last_lsn)
  FIELD(slu_gap, stream)
  FIELD(slu_gap, log_uuid)
}

static void print_slu_header_iterator(void) {
  STRUCT(slu_header_iterator)
  FIELD(slu_header_iterator, at)
  FIELD(slu_header_iterator, end)
}

static void print_slu_metric(void) {
  STRUCT(slu_metric)
  FIELD(slu_metric, struct_size)
  FIELD(slu_metric, kind)
  FIELD(slu_metric, name)
  FIELD(slu_metric, unit)
  FIELD(slu_metric, help)
  FIELD(slu_metric, labels)
  FIELD(slu_metric, bounds)
  FIELD(slu_metric, label_count)
  FIELD(slu_metric, bound_count)
}

static void print_slu_publication(void) {
  STRUCT(slu_publication)
  FIELD(slu_publication, struct_size)
  FIELD(slu_publication, output)
  FIELD(slu_publication, parent_token)
  FIELD(slu_publication, ordinal)
  FIELD(slu_publication, event_time_ns)
  FIELD(slu_publication, topic)
  FIELD(slu_publication, key)
  FIELD(slu_publication, headers)
  FIELD(slu_publication, payload)
}

static void print_slu_host(void) {
  STRUCT(slu_host)
  FIELD(slu_host, struct_size)
  FIELD(slu_host, abi_minor)
  FIELD(slu_host, context)
  FIELD(slu_host, host_version)
  FIELD(slu_host, instance)
  FIELD(slu_host, state_dir)
  FIELD(slu_host, log)
  FIELD(slu_host, settle)
  FIELD(slu_host, retain)
  FIELD(slu_host, release)
  FIELD(slu_host, set_credit)
  FIELD(slu_host, publish)
  FIELD(slu_host, metric_register)
  FIELD(slu_host, metric_add)
  FIELD(slu_host, metric_set)
  FIELD(slu_host, clock_ns)
  FIELD(slu_host, set_health)
  FIELD(slu_host, get_extension)
}

static void print_slu_subscriber(void) {
  STRUCT(slu_subscriber)
  FIELD(slu_subscriber, struct_size)
  FIELD(slu_subscriber, flags)
  FIELD(slu_subscriber, context)
  FIELD(slu_subscriber, kind)
  FIELD(slu_subscriber, summary)
  FIELD(slu_subscriber, config_schema)
  FIELD(slu_subscriber, want_records)
  FIELD(slu_subscriber, want_bytes)
  FIELD(slu_subscriber, want_linger_ms)
  FIELD(slu_subscriber, max_inflight)
  FIELD(slu_subscriber, ack_deadline_ms)
  FIELD(slu_subscriber, output_count)
  FIELD(slu_subscriber, outputs)
  FIELD(slu_subscriber, validate)
  FIELD(slu_subscriber, create)
  FIELD(slu_subscriber, start)
  FIELD(slu_subscriber, deliver)
  FIELD(slu_subscriber, gap)
  FIELD(slu_subscriber, flush)
  FIELD(slu_subscriber, drain)
  FIELD(slu_subscriber, stop)
  FIELD(slu_subscriber, destroy)
  FIELD(slu_subscriber, interrupt)
  FIELD(slu_subscriber, reconfigure)
  FIELD(slu_subscriber, get_extension)
}

static void print_slu_module(void) {
  STRUCT(slu_module)
  FIELD(slu_module, struct_size)
  FIELD(slu_module, abi_minor)
  FIELD(slu_module, abi_minor_needed)
  FIELD(slu_module, subscriber_count)
  FIELD(slu_module, name)
  FIELD(slu_module, version)
  FIELD(slu_module, vendor)
  FIELD(slu_module, runtime)
  FIELD(slu_module, subscribers)
}

int main(void) {
  print_slu_bytes();
  print_slu_pair();
  print_slu_error();
  print_slu_settlement();
  print_slu_message();
  print_slu_batch();
  print_slu_gap();
  print_slu_header_iterator();
  print_slu_metric();
  print_slu_publication();
  print_slu_host();
  print_slu_subscriber();
  print_slu_module();
  return 0;
}
