/* Does not return from `deliver` and `reconfigure` until there is a file `open` in its state directory, and knows no
 * `interrupt`. */
#include "fixture.h"

#include <unistd.h>

static void await_opening(fixture *self) {
  char path[4096];
  snprintf(path, sizeof path, "%.*s/open", (int)self->host->state_dir.len, (const char *)self->host->state_dir.ptr);
  if (access(path, F_OK) != 0) fixture_say(self, "stubborn");
  while (access(path, F_OK) != 0) usleep(10000);
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  await_opening(self);
  if (self->starts > 0) fixture_say(self, "under another config");
  fixture_record_all(self, batch);
  return SLU_OK;
}

static slu_rc reconfigure(void *instance, slu_bytes config, slu_error *error) {
  (void)config;
  (void)error;
  fixture *self = instance;
  await_opening(self);
  self->starts++;
  return SLU_OK;
}

FIXTURE_MODULE("stubborn", .deliver = deliver, .reconfigure = reconfigure)
