/*
 * The kept plugin of ABI 1.0: uses every function and every field that there was, and writes down what it saw. Its binary,
 * libsluice-kept-1.0.so, was built once and is loaded by every test run since, so that a host which breaks plugins that
 * exist is found out. Includes nothing but the headers, and is not built anew: README.md says how it was.
 */
#define _POSIX_C_SOURCE 200809L

#include <sluice/sluice.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct kept {
  const slu_host *host;
  FILE *seen;
  uint64_t counter, gauge, histogram;
  int was_busy;
} kept;

static void say(kept *self, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(self->seen, format, arguments);
  va_end(arguments);
  fputc('\n', self->seen);
  fflush(self->seen);
}

#define TEXT(bytes) (int)(bytes).len, (const char *)(bytes).ptr
#define NUMBER(value) (unsigned long long)(value)

static slu_rc validate(const slu_subscriber *kind, slu_bytes config, slu_diagnose diagnose, void *context) {
  if (kind->context != NULL && memcmp(kind->context, "kept", 4) != 0) { return SLU_E_INTERNAL; }
  if (config.len == 2) { return SLU_OK; }
  diagnose(context, SLU_DIAGNOSE_WARNING, slu_text("/n"), slu_text("a warning"));
  if (memchr(config.ptr, '9', config.len) == NULL) { return SLU_OK; }
  diagnose(context, SLU_DIAGNOSE_ERROR, slu_text("/n"), slu_text("an error"));
  return SLU_E_CONFIG;
}

static uint64_t metric(const slu_host *host, uint32_t kind, const char *name, const char *unit) {
  static const slu_pair label = {SLU_LITERAL("of"), SLU_LITERAL("kept")};
  static const double bounds[] = {1, 10};
  slu_metric it = {.struct_size = sizeof it, .kind = kind, .name = slu_text(name), .unit = slu_text(unit),
                   .help = SLU_LITERAL("Of the kept plugin."), .labels = &label, .label_count = 1};
  if (kind == SLU_METRIC_HISTOGRAM) {
    it.bounds = bounds;
    it.bound_count = 2;
  }
  return host->metric_register(host->context, &it);
}

static slu_rc create(
    const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  char path[4096];
  kept *self = calloc(1, sizeof *self);
  (void)kind;
  if (!self) { return slu_fail(error, SLU_E_RETRYABLE, "no memory"); }
  snprintf(path, sizeof path, "%.*s/seen", TEXT(host->state_dir));
  self->host = host;
  self->seen = fopen(path, "a");
  if (!self->seen) {
    free(self);
    return slu_fail(error, SLU_E_FATAL, "no file in the state directory");
  }
  self->counter = metric(host, SLU_METRIC_COUNTER, "kept_messages", "");
  self->gauge = metric(host, SLU_METRIC_GAUGE, "kept_size", "bytes");
  self->histogram = metric(host, SLU_METRIC_HISTOGRAM, "kept_time", "seconds");
  say(self, "create %.*s config %.*s metrics %d host %d", TEXT(host->instance), TEXT(config),
      self->counter && self->gauge && self->histogram,
      SLU_HAS(host, get_extension) && host->host_version.len > 0);
  *instance = self;
  return SLU_OK;
}

static slu_rc start(void *instance, int64_t deadline_ns, slu_error *error) {
  kept *self = instance;
  const slu_host *host = self->host;
  (void)error;
  say(self, "start deadline %d clocks %d extension %d", deadline_ns > host->clock_ns(host->context, SLU_CLOCK_MONOTONIC),
      host->clock_ns(host->context, SLU_CLOCK_REALTIME) > 1600000000000000000LL,
      host->get_extension(host->context, slu_text("sluice.none/1")) != NULL);
  host->set_health(host->context, SLU_HEALTH_DEGRADED, slu_text("kept"));
  return SLU_OK;
}

/* Every field of a message. */
static void say_message(kept *self, const slu_message *m) {
  slu_header_iterator at = slu_headers_begin(m->headers);
  slu_pair header;
  say(self, "%llu %u %.*s", NUMBER(m->lsn), m->attempt, TEXT(m->payload));
  say(self, "about %llu topic %.*s key %.*s source %.*s producer %.*s epoch %u sequence %llu ingest %lld event %lld",
      NUMBER(m->lsn), TEXT(m->topic), TEXT(m->key), TEXT(m->source), TEXT(m->producer), m->producer_epoch, NUMBER(m->producer_sequence),
      (long long)m->ingest_time_ns, (long long)m->event_time_ns);
  say(self, "covered %llu bytes %llu payload inside %d crc %08x flags %u", NUMBER(m->lsn), NUMBER(m->covered.len),
      (const char *)m->payload.ptr >= (const char *)m->covered.ptr
          && (const char *)m->payload.ptr + m->payload.len <= (const char *)m->covered.ptr + m->covered.len,
      m->crc32c, m->flags);
  while (slu_headers_next(&at, &header) == 1) {
    say(self, "header %llu %.*s=%.*s", NUMBER(m->lsn), TEXT(header.name), TEXT(header.value));
  }
}

static void say_batch(kept *self, const slu_batch *batch) {
  const slu_host *host = self->host;
  const slu_rc retained = host->retain(host->context, batch->lease);
  int named = 0;
  for (int i = 0; i < 16; i++) { named |= batch->log_uuid[i]; }
  say(self, "batch %.*s log %d stride %d lease %d retain %d deadline %d replay %d redelivery %d", TEXT(batch->stream),
      named != 0, SLU_MESSAGE_HAS(batch, covered), batch->lease_bytes > 0, retained, batch->ack_deadline_ns > 0,
      (batch->flags & SLU_BATCH_REPLAY) != 0, (batch->flags & SLU_BATCH_REDELIVERY) != 0);
  say(self, "range %d", batch->first_lsn <= batch->messages->lsn
          && batch->last_lsn >= slu_batch_message(batch, batch->count - 1)->lsn);
  if (retained == SLU_OK) { host->release(host->context, batch->lease); }
}

/* Payloads say what is to be done: x… is rejected, r… retried at first, p… publishes a child; a batch that begins with
 * busy is not taken at first, one with fail fails at first, one with later is settled as a range, and accepted. */
static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  kept *self = instance;
  const slu_host *host = self->host;
  const slu_message *first = batch->messages;
  const char *text = first->payload.ptr;
  slu_pair pair = {SLU_LITERAL("count"), SLU_LITERAL("some")};
  if (first->payload.len >= 4 && !memcmp(text, "busy", 4) && !self->was_busy) {
    self->was_busy = 1;
    say(self, "busy credit %d", host->set_credit(host->context, 100));
    return SLU_BUSY;
  }
  self->was_busy = 0;
  say_batch(self, batch);
  for (uint32_t i = 0; i < batch->count; i++) { say_message(self, slu_batch_message(batch, i)); }
  if (first->payload.len >= 4 && !memcmp(text, "fail", 4) && first->attempt == 1) {
    error->code = 42;
    return slu_fail(error, SLU_E_RETRYABLE, "the kept plugin fails");
  }
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *m = slu_batch_message(batch, i);
    const char what = m->payload.len ? *(const char *)m->payload.ptr : 0;
    slu_settlement item = {.first_token = m->token, .count = 1, .code = 7, .reason = SLU_LITERAL("kept says no")};
    if (what == 'x' || (what == 'r' && m->attempt == 1)) {
      item.verdict = what == 'x' ? SLU_REJECT : SLU_RETRY;
      item.delay_ms = what == 'r' ? 1 : 0;
      const slu_rc rc = host->settle(host->context, &item, 1);
      say(self, "settle %d again %d", rc, host->settle(host->context, &item, 1));
    }
    if (what == 'p') {
      uint8_t headers[64];
      uint64_t length = 0;
      slu_headers_append(headers, sizeof headers, &length, slu_text("from"), slu_text("kept"));
      slu_publication child = {.struct_size = sizeof child, .parent_token = m->token, .ordinal = 1, .topic = m->topic,
                               .key = m->key, .headers = {headers, length}, .payload = m->payload};
      say(self, "publish answered %d", host->publish(host->context, &child, 1, sizeof child) <= SLU_STALE);
    }
  }
  host->metric_add(host->context, self->counter, batch->count);
  host->metric_set(host->context, self->gauge, 512);
  host->metric_add(host->context, self->histogram, 0.5);
  host->log(host->context, SLU_LOG_NOTICE, slu_text("the kept plugin has a batch"), &pair, 1);
  if (first->payload.len >= 5 && !memcmp(text, "later", 5)) {
    slu_settlement all = {.first_token = first->token, .count = batch->count, .verdict = SLU_ACK};
    say(self, "accepted, settle %d", host->settle(host->context, &all, 1));
    return SLU_ACCEPTED;
  }
  return SLU_OK;
}

static slu_rc gap(void *instance, const slu_gap *gap, slu_error *error) {
  (void)error;
  say(instance, "gap %llu %llu reason %u stream %.*s", NUMBER(gap->first_lsn), NUMBER(gap->last_lsn), gap->reason,
      TEXT(gap->stream));
  return SLU_OK;
}

static slu_rc flush(void *instance, int64_t deadline_ns, slu_error *error) {
  (void)error;
  say(instance, "flush %d", deadline_ns > 0);
  return SLU_OK;
}

static slu_rc drain(void *instance, int64_t deadline_ns, slu_error *error) {
  (void)error;
  say(instance, "drain %d", deadline_ns > 0);
  return SLU_OK;
}

static slu_rc stop(void *instance, slu_error *error) {
  (void)error;
  say(instance, "stop");
  return SLU_OK;
}

static void destroy(void *instance) {
  kept *self = instance;
  fclose(self->seen);
  free(self);
}

static void interrupt(void *instance) { (void)instance; }

static slu_rc reconfigure(void *instance, slu_bytes config, slu_error *error) {
  (void)error;
  say(instance, "reconfigure %.*s", TEXT(config));
  return SLU_OK;
}

static const void *get_extension(void *instance, slu_bytes id) {
  (void)instance, (void)id;
  return NULL;
}

static const slu_bytes outputs[] = {SLU_LITERAL("children")};

static const slu_subscriber kind = {
    .struct_size = sizeof(slu_subscriber), .context = "kept", .kind = SLU_LITERAL("kept"),
    .summary = SLU_LITERAL("The kept plugin of ABI 1.0."),
    .config_schema = SLU_LITERAL("{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}}}"),
    .want_records = 100, .want_bytes = 65536, .want_linger_ms = 1, .max_inflight = 1000, .ack_deadline_ms = 60000,
    .output_count = 1, .outputs = outputs, .validate = validate, .create = create, .start = start, .deliver = deliver,
    .gap = gap, .flush = flush, .drain = drain, .stop = stop, .destroy = destroy, .interrupt = interrupt,
    .reconfigure = reconfigure, .get_extension = get_extension};

static const slu_subscriber *const kinds[] = {&kind};

static const slu_module module = {
    .struct_size = sizeof(slu_module), .abi_minor = SLU_ABI_MINOR, .abi_minor_needed = 0, .subscriber_count = 1,
    .name = SLU_LITERAL("kept"), .version = SLU_LITERAL("1.0"), .vendor = SLU_LITERAL("Sluice"), .subscribers = kinds};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  return &module;
}
