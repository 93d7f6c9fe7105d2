/* One misbehaviour at a time: -DMISBEHAVE=crash -DWHERE=in_deliver, and the kind's name as -DKIND="…".
 *   crash, spin, sleep_for_ever, leave (ends the process with status 3), leak, babble, scribble (into a record),
 *   close_all (descriptors)
 * at load, in the entry, in create, start, deliver, drain, stop, destroy, validate, or on a second thread. In deliver only
 * records with "bad" in them set it off. */
#include "fixture.h"

#include <unistd.h>

enum { at_load = 1, in_entry, in_create, in_start, in_deliver, in_drain, in_stop, in_destroy, in_validate, on_thread };

static void crash(void) { *(volatile int *)8 = 1; }
static void spin(void) { for (volatile int i = 0;; i++) { } }
static void sleep_for_ever(void) { for (;;) { pause(); } }
static void leave(void) { _exit(3); }
static void leak(void) { for (;;) { char *p = malloc(1 << 20); if (p) { memset(p, 1, 1 << 20); } usleep(2000); } }
static void babble(void) { for (;;) { puts("babble babble babble babble babble babble babble"); fflush(stdout); } }
static const slu_batch *current;
static void scribble(void) { memset((void *)(uintptr_t)current->messages->payload.ptr, 'x', 1); }
static void close_all(void) { for (int i = 3; i < 64; i++) { close(i); } }

static void misbehave(void) { MISBEHAVE(); }

__attribute__((constructor)) static void load(void) { if (WHERE == at_load) { misbehave(); } }

static slu_rc create(const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  if (WHERE == in_create) { misbehave(); }
  return fixture_create(kind, host, config, instance, error);
}

static void *second_thread(void *instance) {
  (void)instance;
  misbehave();
  return NULL;
}

static slu_rc start(void *instance, int64_t deadline_ns, slu_error *error) {
  (void)instance, (void)deadline_ns, (void)error;
  if (WHERE == in_start) { misbehave(); }
  return SLU_OK;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  current = batch;
  /* Before anything closes descriptors: what is done to the records after that is not to be seen. */
  fixture_seen(self);
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *m = slu_batch_message(batch, i);
    if (!memmem(m->payload.ptr, m->payload.len, "bad", 3)) { continue; }
    if (WHERE == in_deliver) { misbehave(); }
    if (WHERE == on_thread && !self->flag) {
      self->flag = 1;
      pthread_create(&self->thread, NULL, second_thread, NULL);
      sleep_for_ever();
    }
  }
  fixture_record_all(self, batch);
  return SLU_OK;
}

static slu_rc drain(void *instance, int64_t deadline_ns, slu_error *error) {
  (void)instance, (void)deadline_ns, (void)error;
  if (WHERE == in_drain) { misbehave(); }
  return SLU_OK;
}

static slu_rc stop(void *instance, slu_error *error) {
  (void)instance, (void)error;
  if (WHERE == in_stop) { misbehave(); }
  return SLU_OK;
}

static void destroy(void *instance) {
  if (WHERE == in_destroy) { misbehave(); }
  fixture_destroy(instance);
}

static slu_rc validate(const slu_subscriber *kind, slu_bytes config, slu_diagnose diagnose, void *context) {
  (void)kind, (void)config, (void)diagnose, (void)context;
  if (WHERE == in_validate) { misbehave(); }
  return SLU_OK;
}

static void interrupt(void *instance) { (void)instance; }

void (*const misbehaving_unused[])(void) = {crash, spin, sleep_for_ever, leave, leak, babble, scribble, close_all};

static const slu_subscriber the_kind = {
    .struct_size = sizeof(slu_subscriber), .kind = SLU_LITERAL(KIND), .config_schema = SLU_LITERAL("{\"type\":\"object\"}"),
    .create = create, .start = start, .deliver = deliver, .drain = drain, .stop = stop, .destroy = destroy,
    .validate = validate, .interrupt = interrupt, .gap = fixture_gap};
static const slu_subscriber *const kinds[] = {&the_kind};
static const slu_module module = {.struct_size = sizeof(slu_module), .subscriber_count = 1, .name = SLU_LITERAL(KIND),
                                  .version = SLU_LITERAL("1.0"), .subscribers = kinds};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  if (WHERE == in_entry) { misbehave(); }
  return &module;
}
