/* Settles wrongly in every way, and writes down what the host says to it. */
#include "fixture.h"

static void try_it(fixture *self, const char *what, slu_rc rc) {
  char line[80];
  snprintf(line, sizeof line, "%s %d", what, rc);
  fixture_say(self, line);
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  uint64_t token = batch->messages->token;
  if (self->deliveries++ == 0) {
    try_it(self, "first", fixture_settle(self, token, 1, SLU_ACK));
    try_it(self, "double", fixture_settle(self, token, 1, SLU_REJECT));
    try_it(self, "foreign", fixture_settle(self, token + 1000000, 2, SLU_ACK));
    try_it(self, "zero", fixture_settle(self, 0, 1, SLU_ACK));
    try_it(self, "none", fixture_settle(self, token, 0, SLU_ACK));
    try_it(self, "past", fixture_settle(self, token + batch->count - 1, 5, SLU_ACK));
    try_it(self, "null", self->host->settle(self->host->context, NULL, 1));
    self->queue[0].first_token = token;
  } else {
    try_it(self, "late", fixture_settle(self, self->queue[0].first_token, 1, SLU_ACK));
  }
  return SLU_OK;
}

FIXTURE_MODULE("missettling", .deliver = deliver)
