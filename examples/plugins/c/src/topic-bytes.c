/*
 * The Sluice subscriber `topic-bytes`: counts records and bytes per topic, and keeps the totals in a file in its state
 * directory, one line per topic: topic, records, bytes of payload, separated by tabs.
 *
 * Delivery is at least once: what was counted just before a crash may be counted again. Who can't have that keeps
 * (batch->log_uuid, message->lsn) of what is done beside the result.
 */
#define _POSIX_C_SOURCE 200809L

#include <sluice/sluice.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More topics than this are a producer's mistake; their records are rejected. */
#define MAX_TOPICS 65536
#define MAX_TOPIC_BYTES 1024

/* Numbers that dead letters carry. */
#define REJECTED_BAD_TOPIC 1u
#define REJECTED_TOO_MANY_TOPICS 2u

typedef struct topic {
  char *name;
  uint64_t records, bytes;
} topic;

typedef struct counter {
  const slu_host *host;
  topic *topics; /* by name */
  size_t count, room;
  char path[4096], new_path[4096 + 4];
  uint64_t metric;
} counter;

static const char schema[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"file\":{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9_-][A-Za-z0-9._-]*$\",\"maxLength\":100,"
    "\"default\":\"topics.tsv\",\"description\":\"Name of the file with the totals, in the state directory.\"}}}";

/* Puts the string `name` of a flat config into `out`. Enough where the schema allows no escapes in it; for more than
 * that take a JSON library, linked statically. 0 = there is none, or it is too long. */
static int config_string(slu_bytes config, const char *name, char *out, size_t size) {
  const char *at = config.ptr, *end = at + config.len;
  char key[64];
  const size_t length = (size_t)snprintf(key, sizeof key, "\"%s\":\"", name);
  for (; (size_t)(end - at) > length; at++) {
    if (memcmp(at, key, length) == 0) {
      const char *value = at + length, *quote = memchr(value, '"', (size_t)(end - value));
      if (!quote || (size_t)(quote - value) >= size) { return 0; }
      memcpy(out, value, (size_t)(quote - value));
      out[quote - value] = 0;
      return 1;
    }
  }
  return 0;
}

static slu_rc fail_with_errno(slu_error *error, const char *action, const char *path) {
  char text[4400];
  snprintf(text, sizeof text, "cannot %s %s: %s; it is tried again", action, path, strerror(errno));
  return slu_fail(error, SLU_E_RETRYABLE, text);
}

/* ---- The totals ---- */

/* The topic of this name, made if there is none. NULL: no memory, or too many. */
static topic *find_topic(counter *self, const char *name) {
  size_t low = 0, high = self->count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const int order = strcmp(self->topics[middle].name, name);
    if (order == 0) { return &self->topics[middle]; }
    if (order < 0) { low = middle + 1; } else { high = middle; }
  }
  if (self->count == MAX_TOPICS) { return NULL; }
  if (self->count == self->room) {
    const size_t room = self->room ? 2 * self->room : 16;
    topic *larger = realloc(self->topics, room * sizeof *larger);
    if (!larger) { return NULL; }
    self->topics = larger;
    self->room = room;
  }
  char *copy = strdup(name);
  if (!copy) { return NULL; }
  memmove(&self->topics[low + 1], &self->topics[low], (self->count - low) * sizeof *self->topics);
  self->count++;
  self->topics[low] = (topic){.name = copy};
  return &self->topics[low];
}

static void forget_topics(counter *self) {
  for (size_t i = 0; i < self->count; i++) { free(self->topics[i].name); }
  self->count = 0;
}

/* Reads the totals of earlier; a file that is not there has none. */
static slu_rc read_totals(counter *self, slu_error *error) {
  char line[MAX_TOPIC_BYTES + 64];
  FILE *file = fopen(self->path, "re");
  if (!file) { return errno == ENOENT ? SLU_OK : fail_with_errno(error, "read", self->path); }
  while (fgets(line, sizeof line, file)) {
    char *tab = strchr(line, '\t');
    uint64_t records, bytes;
    topic *found = NULL;
    if (tab && sscanf(tab, "\t%" SCNu64 "\t%" SCNu64, &records, &bytes) == 2) {
      *tab = 0;
      found = find_topic(self, line);
    }
    if (!found) {
      fclose(file);
      return slu_fail(error, SLU_E_FATAL, "the file with the totals is damaged: move it away to begin anew");
    }
    found->records = records;
    found->bytes = bytes;
  }
  fclose(file);
  return SLU_OK;
}

/* Writes all totals to a new file, syncs it, and puts it in the old one's place: whole at any time. */
static slu_rc write_totals(counter *self, slu_error *error) {
  FILE *file = fopen(self->new_path, "we");
  if (!file) { return fail_with_errno(error, "write", self->new_path); }
  for (size_t i = 0; i < self->count; i++) {
    const topic *each = &self->topics[i];
    fprintf(file, "%s\t%" PRIu64 "\t%" PRIu64 "\n", each->name, each->records, each->bytes);
  }
  const int failed = fflush(file) != 0 || ferror(file) || fsync(fileno(file)) != 0;
  if (fclose(file) != 0 || failed || rename(self->new_path, self->path) != 0) {
    return fail_with_errno(error, "write", self->new_path);
  }
  return SLU_OK;
}

/* ---- Life ---- */

static slu_rc create(
    const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  char file[128];
  (void)kind;
  counter *self = calloc(1, sizeof *self);
  if (!self) { return slu_fail(error, SLU_E_RETRYABLE, "no memory"); }
  self->host = host;
  if (!config_string(config, "file", file, sizeof file)
      || snprintf(self->path, sizeof self->path, "%.*s/%s", (int)host->state_dir.len,
                  (const char *)host->state_dir.ptr, file) >= (int)sizeof self->path) {
    free(self);
    return slu_fail(error, SLU_E_CONFIG, "file: a string was expected, and not so long a path");
  }
  snprintf(self->new_path, sizeof self->new_path, "%s.new", self->path);
  slu_metric metric = {.struct_size = sizeof metric, .kind = SLU_METRIC_COUNTER, .name = SLU_LITERAL("counted"),
                       .unit = SLU_LITERAL("bytes"), .help = SLU_LITERAL("Bytes of payload that were counted.")};
  self->metric = host->metric_register(host->context, &metric);
  *instance = self;
  return SLU_OK;
}

static slu_rc start(void *instance, int64_t deadline_ns, slu_error *error) {
  counter *self = instance;
  (void)deadline_ns;
  forget_topics(self);
  return read_totals(self, error);
}

/* Copies a topic that can stand in a line of the file. 0 = it can't. */
static int printable(slu_bytes bytes, char *out) {
  const unsigned char *at = bytes.ptr;
  if (bytes.len > MAX_TOPIC_BYTES) { return 0; }
  for (uint64_t i = 0; i < bytes.len; i++) {
    if (at[i] < 0x20 || at[i] == 0x7F) { return 0; }
    out[i] = (char)at[i];
  }
  out[bytes.len] = 0;
  return 1;
}

static void reject(counter *self, const slu_message *message, uint32_t code, const char *reason) {
  slu_settlement item = {.first_token = message->token, .count = 1, .verdict = SLU_REJECT, .code = code};
  item.reason = slu_text(reason);
  self->host->settle(self->host->context, &item, 1);
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  counter *self = instance;
  char name[MAX_TOPIC_BYTES + 1];
  uint64_t counted = 0;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *message = slu_batch_message(batch, i);
    if (!printable(message->topic, name)) {
      reject(self, message, REJECTED_BAD_TOPIC, "the topic is too long, or has a control character");
      continue;
    }
    topic *found = find_topic(self, name);
    if (!found) {
      reject(self, message, REJECTED_TOO_MANY_TOPICS, "there are too many topics");
      continue;
    }
    found->records++;
    found->bytes += message->payload.len;
    counted += message->payload.len;
  }
  /* SLU_OK acknowledges what was not rejected, so it must be on the disk by now. If it can't be, the batch comes again,
   * and is counted again: go back to what the file says. */
  const slu_rc rc = write_totals(self, error);
  if (rc != SLU_OK) {
    slu_error ignored = {0};
    forget_topics(self);
    return read_totals(self, &ignored) == SLU_OK ? rc : SLU_E_FATAL;
  }
  self->host->metric_add(self->host->context, self->metric, (double)counted);
  return SLU_OK;
}

static slu_rc stop(void *instance, slu_error *error) {
  counter *self = instance;
  char text[64];
  slu_bytes line = {text, 0};
  (void)error;
  line.len = (uint64_t)snprintf(text, sizeof text, "%zu topics", self->count);
  self->host->log(self->host->context, SLU_LOG_INFO, line, NULL, 0);
  return SLU_OK;
}

static void destroy(void *instance) {
  counter *self = instance;
  forget_topics(self);
  free(self->topics);
  free(self);
}

/* ---- What the host sees ---- */

/* Exclusive, because `start` reads what `deliver` of the instance before it writes: after a reload it must not read too
 * early. */
static const slu_subscriber kind = {
    .struct_size = sizeof(slu_subscriber), .flags = SLU_F_EXCLUSIVE, .kind = SLU_LITERAL("topic-bytes"),
    .summary = SLU_LITERAL("Counts records and bytes per topic."), .config_schema = SLU_LITERAL(schema),
    .create = create, .start = start, .deliver = deliver, .stop = stop, .destroy = destroy};

static const slu_subscriber *const kinds[] = {&kind};

static const slu_module module = {
    .struct_size = sizeof(slu_module), .abi_minor = SLU_ABI_MINOR, .subscriber_count = 1,
    .name = SLU_LITERAL("topic-bytes"), .version = SLU_LITERAL("0.1.0"), .subscribers = kinds};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  return &module;
}
