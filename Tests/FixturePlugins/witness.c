/* Writes down every delivery for the delivery oracle, in one write per batch to the file that its config names, so that
 * what it saw is whole however the process ends: "d LSN PRODUCER SEQUENCE HASH ATTEMPT" and "g FIRST LAST". A payload is
 * {"message":"PRODUCER-SEQUENCE-…"}, its hash FNV-1a of all of its bytes. While a file of that name with ".gate" behind
 * it is there, it keeps the batch that it was given. */
#include "sluice/sluice.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct witness {
  int file;
  char gate[1040];
  char *text;
  size_t length, room;
} witness;

static slu_rc create(
    const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  (void)kind;
  (void)host;
  char path[1024] = "";
  char text[2048] = "";
  memcpy(text, config.ptr, config.len < sizeof text ? config.len : sizeof text - 1);
  const char *at = strstr(text, "\"path\":");
  /* JSON may escape the slashes. */
  size_t length = 0;
  at = at ? strchr(at + 7, '"') : NULL;
  for (at = at ? at + 1 : NULL; at && *at && *at != '"' && length + 1 < sizeof path; at++) {
    if (*at != '\\') path[length++] = *at;
  }
  int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) return slu_fail(error, SLU_E_CONFIG, "cannot open the file that path names");
  witness *self = calloc(1, sizeof *self);
  self->file = file;
  snprintf(self->gate, sizeof self->gate, "%s.gate", path);
  *instance = self;
  return SLU_OK;
}

static void destroy(void *instance) {
  witness *self = instance;
  close(self->file);
  free(self->text);
  free(self);
}

static unsigned long long hash(const unsigned char *bytes, size_t count) {
  unsigned long long value = 0xcbf29ce484222325ull;
  for (size_t i = 0; i < count; i++) value = (value ^ bytes[i]) * 0x100000001b3ull;
  return value;
}

static slu_rc put(witness *self, slu_error *error) {
  ssize_t written = write(self->file, self->text, self->length);
  return written == (ssize_t)self->length ? SLU_OK : slu_fail(error, SLU_E_CONFIG, "cannot write what was seen");
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  witness *self = instance;
  while (access(self->gate, F_OK) == 0) usleep(2000);
  size_t need = (size_t)batch->count * 128;
  if (need > self->room) {
    self->text = realloc(self->text, need);
    self->room = need;
  }
  self->length = 0;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *message = slu_batch_message(batch, i);
    const char *payload = (const char *)message->payload.ptr;
    char head[64] = "";
    memcpy(head, payload, message->payload.len < sizeof head ? message->payload.len : sizeof head - 1);
    unsigned long producer = 0, sequence = 0;
    sscanf(head, "{\"message\":\"%lu-%lu-", &producer, &sequence);
    self->length += (size_t)snprintf(
        self->text + self->length, self->room - self->length, "d %llu %lu %lu %llu %u\n",
        (unsigned long long)message->lsn, producer, sequence,
        hash((const unsigned char *)payload, message->payload.len), message->attempt);
  }
  return put(self, error);
}

static slu_rc gap(void *instance, const slu_gap *gap, slu_error *error) {
  witness *self = instance;
  char line[64];
  int length = snprintf(
      line, sizeof line, "g %llu %llu\n", (unsigned long long)gap->first_lsn, (unsigned long long)gap->last_lsn);
  if (write(self->file, line, (size_t)length) != length) {
    return slu_fail(error, SLU_E_CONFIG, "cannot write what was seen");
  }
  return SLU_OK;
}

static const slu_subscriber subscriber = {
    .struct_size = sizeof(slu_subscriber),
    .kind = SLU_LITERAL("witness"),
    .config_schema = SLU_LITERAL("{\"type\":\"object\"}"),
    .create = create,
    .deliver = deliver,
    .gap = gap,
    .destroy = destroy,
};
static const slu_subscriber *const subscribers[] = {&subscriber};
static const slu_module module = {
    .struct_size = sizeof(slu_module),
    .subscriber_count = 1,
    .name = SLU_LITERAL("witness"),
    .version = SLU_LITERAL("1.0"),
    .subscribers = subscribers,
};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  return &module;
}
