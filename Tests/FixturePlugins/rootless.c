/* Goes no further where its code is run as root: it refuses to be a module where it was loaded or entered so, and its config
 * where it was asked so. Otherwise it takes every record. */
#include "fixture.h"

#include <unistd.h>

static int was_root;

__attribute__((constructor)) static void look(void) { was_root |= geteuid() == 0 || getegid() == 0; }

static slu_rc validate(const slu_subscriber *kind, slu_bytes config, slu_diagnose diagnose, void *context) {
  (void)kind, (void)config;
  look();
  if (!was_root) { return SLU_OK; }
  diagnose(context, SLU_DIAGNOSE_ERROR, slu_text(""), slu_text("validate was run as root"));
  return SLU_E_CONFIG;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture_record_all(instance, batch);
  return SLU_OK;
}

static const slu_subscriber kind = {.struct_size = sizeof(slu_subscriber),
                                    .kind = SLU_LITERAL("rootless"),
                                    .config_schema = SLU_LITERAL("{\"type\":\"object\"}"),
                                    .create = fixture_create,
                                    .validate = validate,
                                    .deliver = deliver,
                                    .destroy = fixture_destroy};
static const slu_subscriber *const kinds[] = {&kind};
static const slu_module module = {.struct_size = sizeof(slu_module),
                                  .subscriber_count = 1,
                                  .name = SLU_LITERAL("rootless"),
                                  .version = SLU_LITERAL("1.0"),
                                  .subscribers = kinds};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  look();
  return was_root ? NULL : &module;
}
