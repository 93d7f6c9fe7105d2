// Lets a C++ exception out of deliver when a record is "bad": nothing may unwind through the ABI.
#include "sluice/sluice.h"

#include <cstdio>
#include <stdexcept>
#include <string>

namespace {

struct Instance {
  FILE *seen;
};

slu_rc create(const slu_subscriber *, const slu_host *host, slu_bytes, void **instance, slu_error *error) {
  std::string path(static_cast<const char *>(host->state_dir.ptr), host->state_dir.len);
  FILE *seen = fopen((path + "/seen").c_str(), "a");
  if (!seen) return slu_fail(error, SLU_E_CONFIG, "no file in the state directory");
  *instance = new Instance{seen};
  return SLU_OK;
}

slu_rc deliver(void *instance, const slu_batch *batch, slu_error *) {
  auto *self = static_cast<Instance *>(instance);
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *m = slu_batch_message(batch, i);
    std::string payload(static_cast<const char *>(m->payload.ptr), m->payload.len);
    if (payload.find("bad") != std::string::npos) throw std::runtime_error("a bad record");
    fprintf(self->seen, "%llu %u %s\n", static_cast<unsigned long long>(m->lsn), m->attempt, payload.c_str());
  }
  fflush(self->seen);
  return SLU_OK;
}

void destroy(void *instance) {
  auto *self = static_cast<Instance *>(instance);
  fclose(self->seen);
  delete self;
}

slu_subscriber make_subscriber() {
  slu_subscriber it{};
  it.struct_size = sizeof it;
  it.kind = slu_text("throwing");
  it.config_schema = slu_text("{\"type\":\"object\"}");
  it.create = create;
  it.deliver = deliver;
  it.destroy = destroy;
  return it;
}

const slu_subscriber subscriber = make_subscriber();
const slu_subscriber *const subscribers[] = {&subscriber};

slu_module make_module() {
  slu_module it{};
  it.struct_size = sizeof it;
  it.subscriber_count = 1;
  it.name = slu_text("throwing");
  it.version = slu_text("1.0");
  it.subscribers = subscribers;
  return it;
}

const slu_module module = make_module();

}  // namespace

extern "C" SLU_EXPORT const slu_module *sluice_module_v1(uint32_t) { return &module; }
