/* Publishes, of each message, two children: "child of PAYLOAD" with a header to `results`, and "seen PAYLOAD" to `audit`.
 * Writes down "LSN attempt rc" of it. What begins with r is to be retried behind that until attempt 3; h is held for ever
 * (SLU_RETRY with a long delay). `n`:
 *   1  the second child of a message is published in a call of its own, after every delivery that fails once
 *   2  a thread of the plugin's own publishes, and settles, later
 *   3  publishes what is wrong in every way and writes down each rc
 *   4  kills its process behind the first publication; there is a file `died` in the state directory then */
#include "fixture.h"

#include <unistd.h>

static const slu_bytes names[] = {SLU_LITERAL("results"), SLU_LITERAL("audit"), SLU_LITERAL("nowhere")};

static slu_publication child(uint32_t output, uint64_t token, uint64_t ordinal, const char *payload) {
  slu_publication item = {.struct_size = sizeof item, .output = output, .parent_token = token, .ordinal = ordinal};
  item.topic = slu_text("children");
  item.key = slu_text("k");
  item.payload = slu_text(payload);
  return item;
}

static slu_rc publish(fixture *self, uint64_t token, slu_bytes payload) {
  char first[256], second[256], headers[16];
  uint64_t length = 0;
  slu_publication items[2];
  snprintf(first, sizeof first, "child of %.*s", (int)payload.len, (const char *)payload.ptr);
  snprintf(second, sizeof second, "seen %.*s", (int)payload.len, (const char *)payload.ptr);
  slu_headers_append(headers, sizeof headers, &length, slu_text("a"), slu_text("b"));
  items[0] = child(0, token, 0, first);
  items[0].headers.ptr = headers;
  items[0].headers.len = length;
  items[1] = child(1, token, 1, second);
  items[1].event_time_ns = 77;
  return self->host->publish(self->host->context, items, 2, sizeof items[0]);
}

static void say(fixture *self, const char *what, slu_rc rc) {
  fprintf(fixture_seen(self), "%s %d\n", what, rc);
  fflush(self->seen);
}

static void wrong(fixture *self, const slu_message *m) {
  const slu_host *host = self->host;
  static char large[3 << 20];
  slu_publication item = child(9, m->token, 0, "x");
  say(self, "unknown output", host->publish(host->context, &item, 1, sizeof item));
  item = child(2, m->token, 0, "x");
  say(self, "unmapped", host->publish(host->context, &item, 1, sizeof item));
  item = child(0, m->token + 100000, 0, "x");
  say(self, "foreign token", host->publish(host->context, &item, 1, sizeof item));
  item = child(0, m->token, 0, "x");
  item.payload.ptr = large;
  item.payload.len = sizeof large;
  say(self, "too large", host->publish(host->context, &item, 1, sizeof item));
  item = child(0, m->token, 0, "x");
  item.headers = slu_text("zz");
  say(self, "headers", host->publish(host->context, &item, 1, sizeof item));
  item = child(0, m->token, 0, "x");
  item.struct_size = 8;
  say(self, "size", host->publish(host->context, &item, 1, sizeof item));
  item = child(0, m->token, 0, "x");
  say(self, "stride", host->publish(host->context, &item, 1, sizeof item - 4));
  say(self, "nothing", host->publish(host->context, NULL, 0, 0));
  say(self, "null", host->publish(host->context, NULL, 1, sizeof item));
  slu_publication both[2] = {child(0, m->token, 5, "x"), child(9, m->token, 6, "y")};
  say(self, "one of two", host->publish(host->context, both, 2, sizeof item));
  slu_publication twice[2] = {child(0, m->token, 7, "once"), child(0, m->token, 7, "twice")};
  say(self, "twice", host->publish(host->context, twice, 2, sizeof item));
  fixture_settle(self, m->token, 1, SLU_ACK);
  item = child(0, m->token, 8, "x");
  say(self, "settled", host->publish(host->context, &item, 1, sizeof item));
}

static void *work(void *argument) {
  fixture *self = argument;
  pthread_mutex_lock(&self->lock);
  while (!self->flag || self->queued > 0) {
    if (self->queued == 0) {
      pthread_cond_wait(&self->changed, &self->lock);
      continue;
    }
    slu_settlement item = self->queue[0];
    memmove(self->queue, self->queue + 1, (size_t)(--self->queued) * sizeof item);
    pthread_mutex_unlock(&self->lock);
    char text[32];
    snprintf(text, sizeof text, "t%llu", (unsigned long long)item.first_token);
    slu_rc rc = publish(self, item.first_token, slu_text(text));
    fixture_settle(self, item.first_token, 1, rc == SLU_OK ? SLU_ACK : SLU_RETRY);
    pthread_mutex_lock(&self->lock);
  }
  pthread_mutex_unlock(&self->lock);
  return NULL;
}

static slu_rc start(void *instance, int64_t deadline, slu_error *error) {
  fixture *self = instance;
  (void)deadline;
  (void)error;
  if (self->number == 2) pthread_create(&self->thread, NULL, work, self);
  return SLU_OK;
}

static slu_rc stop(void *instance, slu_error *error) {
  fixture *self = instance;
  (void)error;
  if (self->number == 2) {
    pthread_mutex_lock(&self->lock);
    self->flag = 1;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
  }
  return SLU_OK;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  fixture *self = instance;
  slu_rc answer = SLU_OK;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *m = slu_batch_message(batch, i);
    char first = m->payload.len ? *(const char *)m->payload.ptr : 0;
    if (self->number == 3) {
      wrong(self, m);
      continue;
    }
    if (self->number == 2) {
      pthread_mutex_lock(&self->lock);
      self->queue[self->queued++] = (slu_settlement){.first_token = m->token, .count = 1};
      pthread_cond_signal(&self->changed);
      pthread_mutex_unlock(&self->lock);
      answer = SLU_ACCEPTED;
      continue;
    }
    slu_rc rc = publish(self, m->token, m->payload);
    fprintf(fixture_seen(self), "%llu %u %d\n", (unsigned long long)m->lsn, m->attempt, rc);
    fflush(self->seen);
    if (rc == SLU_BUSY) return SLU_BUSY;
    if (self->number == 4) {
      char path[4096];
      snprintf(path, sizeof path, "%.*s/died", (int)self->host->state_dir.len, (const char *)self->host->state_dir.ptr);
      if (access(path, F_OK) != 0) {
        fclose(fopen(path, "w"));
        abort();
      }
    }
    if (first == 'r' && m->attempt < 3) fixture_settle(self, m->token, 1, SLU_RETRY);
    if (first == 'h') {
      slu_settlement item = {.first_token = m->token, .count = 1, .verdict = SLU_RETRY, .delay_ms = 3600000};
      self->host->settle(self->host->context, &item, 1);
    }
    if (self->number == 1 && m->attempt == 1) answer = slu_fail(error, SLU_E_RETRYABLE, "once more");
  }
  return answer;
}

FIXTURE_MODULE("publishing", .deliver = deliver, .start = start, .stop = stop, .output_count = 3, .outputs = names)
