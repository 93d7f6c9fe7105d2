/* Takes nothing until there is a file `open` in its state directory; then takes all. */
#include "fixture.h"

#include <unistd.h>

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  char path[4096];
  snprintf(path, sizeof path, "%.*s/open", (int)self->host->state_dir.len, (const char *)self->host->state_dir.ptr);
  if (access(path, F_OK) != 0) return SLU_BUSY;
  fixture_record_all(self, batch);
  return SLU_OK;
}

FIXTURE_MODULE("gate", .deliver = deliver)
