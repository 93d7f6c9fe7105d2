/* Two kinds in one module: the second never delivers. */
#include "fixture.h"

static slu_rc take(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture_record_all(instance, batch);
  return SLU_OK;
}

static slu_rc refuse(void *instance, const slu_batch *batch, slu_error *error) {
  (void)instance, (void)batch;
  return slu_fail(error, SLU_E_INTERNAL, "not this one");
}

static const slu_subscriber left = {
    .struct_size = sizeof(slu_subscriber), .kind = SLU_LITERAL("left"), .config_schema = SLU_LITERAL("{\"type\":\"object\"}"),
    .create = fixture_create, .deliver = take, .destroy = fixture_destroy};
static const slu_subscriber right = {
    .struct_size = sizeof(slu_subscriber), .kind = SLU_LITERAL("right"), .config_schema = SLU_LITERAL("{\"type\":\"object\"}"),
    .create = fixture_create, .deliver = refuse, .destroy = fixture_destroy};
static const slu_subscriber *const kinds[] = {&left, &right};
static const slu_module module = {.struct_size = sizeof(slu_module), .subscriber_count = 2, .name = SLU_LITERAL("pair"),
                                  .version = SLU_LITERAL("1.0"), .subscribers = kinds};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  return &module;
}
