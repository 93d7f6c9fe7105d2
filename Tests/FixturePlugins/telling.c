/* Tells in `validate` which config it was given, as a warning, and writes it down in `create`. */
#include "fixture.h"

static const char schema[] =
    "{\"type\":\"object\",\"properties\":{\"key\":{\"type\":\"string\",\"x-sluice-secret\":true},\"name\":{\"type\":\"string\"}}}";

static slu_rc validate(const slu_subscriber *kind, slu_bytes config, slu_diagnose diagnose, void *context) {
  (void)kind;
  diagnose(context, SLU_DIAGNOSE_WARNING, slu_text(""), config);
  return SLU_OK;
}

static slu_rc create(const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  slu_rc rc = fixture_create(kind, host, config, instance, error);
  char line[256];
  snprintf(line, sizeof line, "%.*s", (int)config.len, (const char *)config.ptr);
  if (rc == SLU_OK) { fixture_say(*instance, line); }
  return rc;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)instance;
  (void)batch;
  (void)error;
  return SLU_OK;
}

static const slu_subscriber subscriber = {.struct_size = sizeof(slu_subscriber), .kind = SLU_LITERAL("telling"),
                                          .config_schema = SLU_LITERAL(schema), .validate = validate, .create = create,
                                          .deliver = deliver, .gap = fixture_gap, .destroy = fixture_destroy};
static const slu_subscriber *const subscribers[] = {&subscriber};
static const slu_module module = {.struct_size = sizeof(slu_module), .subscriber_count = 1, .name = SLU_LITERAL("telling"),
                                  .version = SLU_LITERAL("1.0"), .subscribers = subscribers};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  return &module;
}
