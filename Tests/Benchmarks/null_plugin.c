/* The plugin of host-bench: looks at every message and acknowledges the batch. */
#include "sluice/sluice.h"

#include <stdlib.h>

static slu_rc create(const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  (void)kind, (void)host, (void)config;
  uint64_t *sum = calloc(1, sizeof *sum);
  if (!sum) { return slu_fail(error, SLU_E_RETRYABLE, "no memory"); }
  *instance = sum;
  return SLU_OK;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  uint64_t *sum = instance;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *message = slu_batch_message(batch, i);
    *sum += message->payload.len + *(const unsigned char *)message->payload.ptr;
  }
  return SLU_OK;
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
