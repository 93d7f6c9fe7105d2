/* How breaking.c delivers: it looks at every byte of every message, settles the first, and acknowledges the rest. */

static uint64_t sum_bytes(slu_bytes bytes) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < bytes.len; i++) { sum += ((const uint8_t *)bytes.ptr)[i]; }
  return sum;
}

static int has_byte(slu_bytes bytes, int byte) { return bytes.len && memchr(bytes.ptr, byte, bytes.len); }

/* Where a plugin might stumble over what a message is like. */
static void stumble(const slu_message *m) {
  volatile uint64_t sum = sum_bytes(m->payload) + sum_bytes(m->topic) + sum_bytes(m->key);
  slu_header_iterator it = slu_headers_begin(m->headers);
  slu_pair header;
  int next;
  while ((next = slu_headers_next(&it, &header)) > 0) { sum += sum_bytes(header.name) + sum_bytes(header.value); }
  if (breaks(headers) && next < 0) { crash(); }
  if (breaks(empty) && m->payload.len == 0) { crash(); }
  if (breaks(large) && m->payload.len > 1000000) { crash(); }
  if (breaks(binary) && has_byte(m->payload, 0xFF)) { crash(); }
  if (breaks(bare) && m->topic.len + m->key.len == 0) { crash(); }
  if (breaks(names) && has_byte(m->topic, 0xFF)) { crash(); }
  if (breaks(bounds)) { sum += ((const volatile uint8_t *)m->payload.ptr)[m->payload.len]; }
  if (breaks(writing) && m->payload.len) { *(volatile uint8_t *)(uintptr_t)m->payload.ptr = '!'; }
}

/* What a batch as a whole may be refused for. */
static slu_rc refuse(breaking *self, const slu_batch *batch, slu_error *error) {
  const slu_message *first = batch->messages;
  if (breaks(deliver)) { return slu_fail(error, SLU_E_INTERNAL, "it never delivers"); }
  if (breaks(many) && batch->count > 1000) { crash(); }
  if (self->is_broken) { return slu_fail(error, SLU_E_INTERNAL, "the new config broke it"); }
  if (self->is_interrupted) { return slu_fail(error, SLU_E_TIMEOUT, "interrupted for ever"); }
  if (breaks(lsn) && first->lsn > 1 << 30) { return slu_fail(error, SLU_E_INTERNAL, "that is no LSN"); }
  if (breaks(replay) && batch->flags & SLU_BATCH_REPLAY) { return slu_fail(error, SLU_E_INTERNAL, "a replay"); }
  if (breaks(redelivery) && batch->flags & SLU_BATCH_REDELIVERY) { return slu_fail(error, SLU_E_INTERNAL, "known"); }
  /* The one redelivery that a whole life has, and that no rule is about. */
  if (batch->flags & SLU_BATCH_REDELIVERY && batch->count == 8) {
    if (breaks(code)) { return 77; }
    if (breaks(error)) { return SLU_E_RETRYABLE; }
    if (breaks(length)) {
      slu_rc rc = slu_fail(error, SLU_E_RETRYABLE, "it is longer than it is");
      error->length = 1000;
      return rc;
    }
  }
  return SLU_OK;
}

static slu_rc settle(breaking *self, uint64_t token, uint32_t verdict) {
  slu_settlement item = {.first_token = token, .count = 1, .verdict = verdict};
  return self->host->settle(self->host->context, &item, 1);
}

/* Verdicts, and what the host says to them. */
static slu_rc give_verdicts(breaking *self, const slu_batch *batch, slu_error *error) {
  uint64_t token = batch->messages->token;
  if (breaks(late_settle) && self->last_token) { settle(self, self->last_token, SLU_ACK); }
  if (settle(self, token, breaks(verdict) ? 0 : SLU_ACK) != SLU_OK && breaks(stale)) {
    return slu_fail(error, SLU_E_INTERNAL, "settle failed");
  }
  if (breaks(twice)) { settle(self, token, SLU_ACK); }
  if (breaks(foreign)) { settle(self, token + 500000, SLU_ACK); }
  self->last_token = token;
  return SLU_OK;
}

/* Everything else that a host may refuse. */
static slu_rc ask_host(breaking *self, const slu_batch *batch, slu_error *error) {
  const slu_host *host = self->host;
  slu_publication child = {.struct_size = sizeof child, .parent_token = batch->messages->token};
  slu_rc rc = host->publish(host->context, &child, 1, sizeof child);
  if (rc != SLU_OK && breaks(publish)) { return slu_fail(error, SLU_E_INTERNAL, "publish failed"); }
  if (host->set_credit(host->context, 100) != SLU_OK && breaks(credit)) {
    return slu_fail(error, SLU_E_INTERNAL, "set_credit failed");
  }
  rc = host->retain(host->context, batch->lease);
  if (rc != SLU_OK && breaks(lease_refusal)) { return slu_fail(error, SLU_E_INTERNAL, "retain failed"); }
  if (rc == SLU_OK && !breaks(lease_left)) { host->release(host->context, batch->lease); }
  if (breaks(lease_calls)) { host->release(host->context, batch->lease); }
  if (breaks(arguments)) { host->log(host->context, 9, slu_text("a level of its own"), NULL, 0); }
  return SLU_OK;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  breaking *self = instance;
  slu_rc rc = refuse(self, batch, error);
  if (rc != SLU_OK) { return rc; }
  if (breaks(lock) && batch->count == 256 && self->deliveries == 0) {
    pthread_mutex_lock(&self->lock);
    nap(1500);
    pthread_mutex_unlock(&self->lock);
  }
  self->deliveries++;
  if (breaks(late_read) && self->last_payload && *(const volatile char *)self->last_payload == 0) { self->file = -1; }
  for (uint32_t i = 0; i < batch->count; i++) {
    stumble(breaks(stride) ? &batch->messages[i] : slu_batch_message(batch, i));
  }
  self->last_payload = batch->messages->payload.ptr;
  if (breaks(accepted)) { return SLU_ACCEPTED; }
  rc = ask_host(self, batch, error);
  return rc == SLU_OK ? give_verdicts(self, batch, error) : rc;
}
