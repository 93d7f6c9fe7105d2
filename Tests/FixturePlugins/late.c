/* Its `create` returns when somebody opens the pipe `gate` in its state directory for writing. */
#include "fixture.h"

#include <fcntl.h>
#include <unistd.h>

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture_record_all(instance, batch);
  return SLU_OK;
}

static slu_rc create(
    const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  char path[4096];
  snprintf(path, sizeof path, "%.*s/gate", (int)host->state_dir.len, (const char *)host->state_dir.ptr);
  int gate = open(path, O_RDONLY);
  if (gate >= 0) close(gate);
  return fixture_create(kind, host, config, instance, error);
}

FIXTURE_MODULE("late", .deliver = deliver, .create = create)
