/* Functions of it return when somebody opens a pipe in its state directory for writing, if that is there: `create` the pipe
 * `gate`, `reconfigure` the pipe `change`, `destroy` the pipe `end`. A record "bad" ends the instance. Writes down the config's n
 * with each record in place of the attempt. */
#include "fixture.h"

#include <fcntl.h>
#include <unistd.h>

static void wait_for(const slu_host *host, const char *pipe) {
  char path[4096];
  snprintf(path, sizeof path, "%.*s/%s", (int)host->state_dir.len, (const char *)host->state_dir.ptr, pipe);
  int gate = open(path, O_RDONLY);
  if (gate >= 0) close(gate);
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  fixture *self = instance;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *m = slu_batch_message(batch, i);
    if (m->attempt == 1 && m->payload.len == 3 && memcmp(m->payload.ptr, "bad", 3) == 0) {
      return slu_fail(error, SLU_E_FATAL, "it is bad");
    }
    fprintf(fixture_seen(self), "%llu %ld %.*s\n", (unsigned long long)m->lsn, self->number, (int)m->payload.len,
            (const char *)m->payload.ptr);
  }
  fflush(fixture_seen(self));
  return SLU_OK;
}

static slu_rc create(
    const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  wait_for(host, "gate");
  return fixture_create(kind, host, config, instance, error);
}

static slu_rc reconfigure(void *instance, slu_bytes config, slu_error *error) {
  (void)error;
  fixture *self = instance;
  fixture_say(self, "asked");
  wait_for(self->host, "change");
  char text[256] = "";
  memcpy(text, config.ptr, config.len < sizeof text ? config.len : sizeof text - 1);
  const char *at = strstr(text, "\"n\":");
  self->number = at ? atol(at + 4) : 0;
  return SLU_OK;
}

static void destroy(void *instance) {
  wait_for(((fixture *)instance)->host, "end");
  fixture_destroy(instance);
}

FIXTURE_MODULE("late", .deliver = deliver, .create = create, .reconfigure = reconfigure, .destroy = destroy)
