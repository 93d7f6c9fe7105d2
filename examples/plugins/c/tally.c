/*
 * A Sluice subscriber in plain C: the kind `tally`. Writes one line per record (LSN, topic, payload, separated by tabs)
 * to the file `config.path`, and rejects records whose payload begins with `config.reject_prefix`. It needs the headers
 * of Sluice and a C compiler, nothing else.
 */
/* For fileno and fdatasync, also with -std=c11. */
#define _POSIX_C_SOURCE 200809L

#include <sluice/sluice.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct tally {
  const slu_host *host;
  FILE *file;
  char path[4096], reject_prefix[256];
  uint64_t written, rejected, metric;
} tally;

static const char schema[] =
    "{\"type\":\"object\",\"required\":[\"path\"],\"additionalProperties\":false,\"properties\":{"
    "\"path\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":4095,\"description\":\"File to append to.\"},"
    "\"reject_prefix\":{\"type\":\"string\",\"maxLength\":255,\"default\":\"\","
    "\"description\":\"Records that begin with this go to the dead letter stream.\"}}}";

/* ---- Config: the strings of a flat JSON object. The host has checked it with the schema already. ---- */

/* Reads the string that begins after the quote at *at into out, NUL-terminated. 0 = malformed or too long. */
static int read_string(const char **at, const char *end, char *out, size_t size) {
  size_t length = 0;
  while (*at < end && **at != '"') {
    char c = *(*at)++;
    if (c == '\\' && *at < end) {
      static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
      const char *escape = memchr(from, *(*at)++, sizeof from - 1);
      if (!escape) { return 0; } /* \uXXXX: canonical JSON has it for control characters only */
      c = to[escape - from];
    }
    if (length + 1 >= size) { return 0; }
    out[length++] = c;
  }
  out[length] = 0;
  return *at < end && *(*at)++ == '"';
}

static const char *skip_blanks(const char *at, const char *end) {
  while (at < end && strchr(" \t\r\n", *at)) { at++; }
  return at;
}

/* Puts the member `name` into out, or "" when there is none. 0 = not a flat object of strings, or too long. */
static int read_member(slu_bytes config, const char *name, char *out, size_t size) {
  const char *at = config.ptr, *end = at + config.len;
  char member[64], value[4096];
  out[0] = 0;
  at = skip_blanks(at, end);
  if (at == end || *at++ != '{') { return 0; }
  for (;;) {
    at = skip_blanks(at, end);
    if (at < end && *at == '}') { return 1; }
    if (at == end || *at++ != '"' || !read_string(&at, end, member, sizeof member)) { return 0; }
    at = skip_blanks(at, end);
    if (at == end || *at++ != ':') { return 0; }
    at = skip_blanks(at, end);
    if (at == end || *at++ != '"' || !read_string(&at, end, value, sizeof value)) { return 0; }
    if (strcmp(member, name) == 0) {
      if (strlen(value) >= size) { return 0; }
      strcpy(out, value);
      return 1;
    }
    at = skip_blanks(at, end);
    if (at < end && *at == ',') { at++; }
  }
}

static slu_rc tally_validate(const slu_subscriber *kind, slu_bytes config, slu_diagnose diagnose, void *context) {
  char path[4096];
  (void)kind;
  if (!read_member(config, "path", path, sizeof path)) {
    diagnose(context, SLU_DIAGNOSE_ERROR, slu_text(""), slu_text("a flat object of strings was expected"));
    return SLU_E_CONFIG;
  }
  if (path[0] == 0 || path[strlen(path) - 1] == '/') {
    diagnose(context, SLU_DIAGNOSE_ERROR, slu_text("/path"), slu_text("a file's name was expected"));
    return SLU_E_CONFIG;
  }
  return SLU_OK;
}

/* ---- Life ---- */

static slu_rc fail_with(slu_error *error, slu_rc code, const char *action, const char *path) {
  char text[4400];
  snprintf(text, sizeof text, "cannot %s %s: %s", action, path, strerror(errno));
  return slu_fail(error, code, text);
}

static slu_rc tally_create(
    const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  tally *self = calloc(1, sizeof *self);
  slu_metric metric = {.struct_size = sizeof metric, .kind = SLU_METRIC_COUNTER};
  (void)kind;
  if (!self) { return slu_fail(error, SLU_E_RETRYABLE, "no memory"); }
  if (!read_member(config, "path", self->path, sizeof self->path) || self->path[0] == 0
      || !read_member(config, "reject_prefix", self->reject_prefix, sizeof self->reject_prefix)) {
    free(self);
    return slu_fail(error, SLU_E_CONFIG, "config: path and reject_prefix must be strings");
  }
  self->host = host;
  metric.name = slu_text("tally_written_records");
  metric.help = slu_text("Records that the tally subscriber wrote.");
  self->metric = host->metric_register(host->context, &metric);
  *instance = self;
  return SLU_OK;
}

static slu_rc tally_start(void *instance, int64_t deadline_ns, slu_error *error) {
  tally *self = instance;
  (void)deadline_ns;
  self->file = fopen(self->path, "ae");
  return self->file ? SLU_OK : fail_with(error, SLU_E_RETRYABLE, "open", self->path);
}

static slu_rc tally_deliver(void *instance, const slu_batch *batch, slu_error *error) {
  tally *self = instance;
  const size_t prefix = strlen(self->reject_prefix);
  uint64_t written = 0, rejected = 0;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *message = slu_batch_message(batch, i);
    if (prefix && message->payload.len >= prefix && !memcmp(message->payload.ptr, self->reject_prefix, prefix)) {
      slu_settlement reject = {.first_token = message->token, .count = 1, .verdict = SLU_REJECT, .code = 1};
      reject.reason = slu_text("begins with reject_prefix");
      self->host->settle(self->host->context, &reject, 1);
      rejected++;
      continue;
    }
    fprintf(self->file, "%llu\t", (unsigned long long)message->lsn);
    fwrite(message->topic.ptr, 1, message->topic.len, self->file);
    fputc('\t', self->file);
    fwrite(message->payload.ptr, 1, message->payload.len, self->file);
    fputc('\n', self->file);
    written++;
  }
  /* SLU_OK acknowledges the rest, so it must be on the disk by then. Lines of a batch that fails come again. */
  if (fflush(self->file) != 0 || ferror(self->file) || fdatasync(fileno(self->file)) != 0) {
    clearerr(self->file);
    return fail_with(error, SLU_E_RETRYABLE, "write to", self->path);
  }
  self->written += written;
  self->rejected += rejected;
  self->host->metric_add(self->host->context, self->metric, (double)written);
  return SLU_OK;
}

static slu_rc tally_stop(void *instance, slu_error *error) {
  tally *self = instance;
  char text[96];
  slu_bytes message = {text, 0};
  (void)error;
  if (self->file) { fclose(self->file); }
  self->file = NULL;
  message.len = (uint64_t)snprintf(
      text, sizeof text, "%llu written, %llu rejected", (unsigned long long)self->written,
      (unsigned long long)self->rejected);
  self->host->log(self->host->context, SLU_LOG_INFO, message, NULL, 0);
  return SLU_OK;
}

static void tally_destroy(void *instance) { free(instance); }

/* ---- What the host sees ---- */

static const slu_subscriber tally_kind = {
    .struct_size = sizeof(slu_subscriber), .kind = SLU_LITERAL("tally"),
    .summary = SLU_LITERAL("Writes one line per record to a file."), .config_schema = SLU_LITERAL(schema),
    .validate = tally_validate, .create = tally_create, .start = tally_start, .deliver = tally_deliver,
    .stop = tally_stop, .destroy = tally_destroy};

static const slu_subscriber *const kinds[] = {&tally_kind};

static const slu_module module = {
    .struct_size = sizeof(slu_module), .abi_minor = SLU_ABI_MINOR, .subscriber_count = 1,
    .name = SLU_LITERAL("tally"), .version = SLU_LITERAL("1.0.0"), .vendor = SLU_LITERAL("Sluice examples"),
    .subscribers = kinds};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  return &module;
}
