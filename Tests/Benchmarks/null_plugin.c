/* The plugin of host-bench: looks at every message and acknowledges the batch; or, with "range" or "each" in its config, takes
 * it and settles it with one verdict, or each message with a call of its own. */
#include "sluice/sluice.h"

#include <stdlib.h>
#include <string.h>

typedef struct null {
  uint64_t sum;
  const slu_host *host;
  int by_range, by_each;
} null;

static slu_rc create(const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  (void)kind;
  null *self = calloc(1, sizeof *self);
  if (!self) { return slu_fail(error, SLU_E_RETRYABLE, "no memory"); }
  self->host = host;
  self->by_range = config.len && memmem(config.ptr, config.len, "\"range\"", 7);
  self->by_each = config.len && memmem(config.ptr, config.len, "\"each\"", 6);
  *instance = self;
  return SLU_OK;
}

static void settle(null *self, uint64_t token, uint32_t count) {
  slu_settlement item = {.first_token = token, .count = count, .verdict = SLU_ACK};
  self->host->settle(self->host->context, &item, 1);
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  null *self = instance;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *message = slu_batch_message(batch, i);
    self->sum += message->payload.len + *(const unsigned char *)message->payload.ptr;
    if (self->by_each) { settle(self, message->token, 1); }
  }
  if (self->by_range) { settle(self, batch->messages->token, batch->count); }
  return self->by_range || self->by_each ? SLU_ACCEPTED : SLU_OK;
}

static const slu_subscriber kind = {.struct_size = sizeof(slu_subscriber), .kind = SLU_LITERAL("null"),
                                    .config_schema = SLU_LITERAL("{\"type\":\"object\"}"),
                                    .create = create, .deliver = deliver, .destroy = free};
static const slu_subscriber *const kinds[] = {&kind};
static const slu_module module = {.struct_size = sizeof(slu_module), .abi_minor = SLU_ABI_MINOR, .subscriber_count = 1,
                                  .name = SLU_LITERAL("null"), .version = SLU_LITERAL("1"), .subscribers = kinds};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  return &module;
}
