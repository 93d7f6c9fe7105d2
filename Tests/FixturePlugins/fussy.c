/* Rejects what has "bad" in its payload, with a code and a reason, until there is a file `open` in its state directory. */
#define _GNU_SOURCE
#include "fixture.h"

#include <unistd.h>

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  char path[4096];
  snprintf(path, sizeof path, "%.*s/open", (int)self->host->state_dir.len, (const char *)self->host->state_dir.ptr);
  int is_open = access(path, F_OK) == 0;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *message = slu_batch_message(batch, i);
    if (!is_open && memmem(message->payload.ptr, message->payload.len, "bad", 3)) {
      slu_settlement item = {.first_token = message->token, .count = 1, .verdict = SLU_REJECT, .code = 7};
      item.reason = slu_text("bad row");
      self->host->settle(self->host->context, &item, 1);
    } else {
      fixture_record(self, message);
    }
  }
  return SLU_OK;
}

FIXTURE_MODULE("fussy", .deliver = deliver)
