/* One misbehaviour at a time: -DMISBEHAVE=crash -DWHERE=in_deliver, and the kind's name as -DKIND="…".
 *   crash, recurse (until the stack is used up), spin, sleep_for_ever, leave (ends the process with status 3), leak, hoard (asks for memory until there is none,
 *   and uses that), babble and rant (print without end), prattle (to the host's log), scribble (into a record), overrun (writes
 *   behind a batch), close_all (descriptors), rant_from_afar (leaves with status 3, and something behind in a session of its
 *   own that prints without end), bear (a process that sleeps), cling (sleeps, and takes back that the kernel ends it with the
 *   daemon), share (takes shared memory without end), share_unseen (which has closed its output before); what bear and cling leave holds the lock on a file "held"
 * at load, in the entry, in create, start, deliver, drain, stop, destroy, validate, flush, gap, reconfigure, in the create of
 * every instance but the first, or of the second alone, in an interrupt of a deliver that sleeps for ever, or on a second thread. In deliver only records with
 * "bad" in them set it off; there also while there is a file "stuck"; those are never taken if it is to do so in gap. With
 * -DHANDLES it has a handler of its own for SIGSEGV, from create on, which ends the process with status 11. */
#include "fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { at_load = 1, in_entry, in_create, in_start, in_deliver, in_drain, in_stop, in_destroy, in_validate, on_thread,
       in_flush, in_gap, in_reconfigure, in_create_again, in_create_once, in_interrupt, in_deliver_while_stuck };

static void crash(void) { *(volatile int *)8 = 1; }
static int descend(volatile int *from) {
  volatile int here[64] = {*from};
  return *from < 0 ? 0 : descend(here) + here[0];
}
static void recurse(void) { volatile int from = 0; descend(&from); }
static void spin(void) { for (volatile int i = 0;; i++) { } }
static void sleep_for_ever(void) { for (;;) { pause(); } }
static void leave(void) { _exit(3); }
static void leak(void) { for (;;) { char *p = malloc(1 << 20); if (p) { memset(p, 1, 1 << 20); } usleep(2000); } }
static void hoard(void) { while (malloc(16 << 20)) { } *(volatile int *)8 = 1; }
static void babble(void) { for (;;) { puts("babble babble babble babble babble babble babble"); fflush(stdout); } }
static void rant(void) { for (;;) { fputs("rant rant rant rant rant rant rant rant rant\n", stderr); } }
static const slu_host *the_host;
static void prattle(void) { for (;;) { the_host->log(the_host->context, SLU_LOG_WARNING, slu_text("prattle"), NULL, 0); } }
static const slu_batch *current;
static void overrun(void) { memset((void *)(uintptr_t)(current->messages + current->count), 'x', 64 << 20); }
static void scribble(void) { memset((void *)(uintptr_t)current->messages->payload.ptr, 'x', 1); }
static void close_all(void) { for (int i = 3; i < 64; i++) { close(i); } }

/* All that have the descriptor hold the lock: until the last of them is gone. */
static void hold(void) {
  char path[4096];
  snprintf(path, sizeof path, "%.*s/held", (int)the_host->state_dir.len, (const char *)the_host->state_dir.ptr);
  flock(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), LOCK_EX);
}

/* Who is not ended for these ends by itself some time after the test. */
static void bear(void) { hold(); if (fork() == 0) { sleep(300); _exit(0); } }
static void cling(void) { hold(); prctl(PR_SET_PDEATHSIG, 0); sleep(300); _exit(0); }
/* Faster than anybody reads. */
static void rant_from_afar(void) {
  static char lines[64 << 10];
  for (size_t i = 0; i < sizeof lines; i++) { lines[i] = i % 8 == 7 ? '\n' : 'r'; }
  if (fork() == 0) {
    setsid();
    alarm(300);
    while (write(STDERR_FILENO, lines, sizeof lines) > 0) { }
    _exit(0);
  }
  usleep(200000);
  _exit(3);
}
static void share(void) {
  for (;;) {
    char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED) { memset(p, 1, 1 << 20); }
    usleep(2000);
  }
}
static void share_unseen(void) { close(STDOUT_FILENO); close(STDERR_FILENO); share(); }

static void misbehave(void) { MISBEHAVE(); }

__attribute__((constructor)) static void load(void) { if (WHERE == at_load) { misbehave(); } }

#ifdef HANDLES
static void handle(int number) { _exit(number); }
#endif

/* A file of the state directory. */
static int has(const slu_host *host, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%.*s/%s", (int)host->state_dir.len, (const char *)host->state_dir.ptr, name);
  return access(path, F_OK) == 0;
}

/* An instance before this one has written something down. */
static int has_seen(const slu_host *host) { return has(host, "seen"); }

/* It does so only if none has done it before. */
static void misbehave_once(const slu_host *host) {
  char path[4096];
  snprintf(path, sizeof path, "%.*s/once", (int)host->state_dir.len, (const char *)host->state_dir.ptr);
  if (mkdir(path, 0700) == 0) { misbehave(); }
}

static slu_rc create(const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  the_host = host;
  if (WHERE == in_create || (WHERE == in_create_again && has_seen(host))) { misbehave(); }
  if (WHERE == in_create_once && has_seen(host)) { misbehave_once(host); }
#ifdef HANDLES
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
  sigaction(SIGSEGV, &action, NULL);
#endif
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
    if (WHERE == in_deliver || (WHERE == in_deliver_while_stuck && has(the_host, "stuck"))) { misbehave(); }
    if (WHERE == in_interrupt) { sleep_for_ever(); }
    if (WHERE == in_gap) { return SLU_E_RETRYABLE; }
    if (WHERE == in_create_again || (WHERE == in_create_once && !has(the_host, "once"))) { return SLU_E_FATAL; }
    if (WHERE == on_thread && !self->flag) {
      self->flag = 1;
      pthread_create(&self->thread, NULL, second_thread, NULL);
      sleep_for_ever();
    }
  }
  fixture_record_all(self, batch);
  return WHERE == in_flush ? SLU_ACCEPTED : SLU_OK;
}

static slu_rc flush(void *instance, int64_t deadline_ns, slu_error *error) {
  (void)instance, (void)deadline_ns, (void)error;
  if (WHERE == in_flush) { misbehave(); }
  return SLU_OK;
}

static slu_rc gap(void *instance, const slu_gap *gap, slu_error *error) {
  if (WHERE == in_gap) { misbehave(); }
  return fixture_gap(instance, gap, error);
}

static slu_rc reconfigure(void *instance, slu_bytes config, slu_error *error) {
  (void)instance, (void)config, (void)error;
  if (WHERE == in_reconfigure) { misbehave(); }
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

static void interrupt(void *instance) {
  (void)instance;
  if (WHERE == in_interrupt) { misbehave(); }
}

void (*const misbehaving_unused[])(void) = {
    crash, abort, recurse, spin, sleep_for_ever, leave, leak, hoard, babble, rant, prattle, scribble, overrun, close_all,
    bear, cling, rant_from_afar, share, share_unseen};

static const slu_subscriber the_kind = {
    .struct_size = sizeof(slu_subscriber), .kind = SLU_LITERAL(KIND), .config_schema = SLU_LITERAL("{\"type\":\"object\"}"),
    .create = create, .start = start, .deliver = deliver, .drain = drain, .stop = stop, .destroy = destroy,
    .validate = validate, .interrupt = interrupt, .gap = gap, .flush = flush, .reconfigure = reconfigure};
static const slu_subscriber *const kinds[] = {&the_kind};
static const slu_module module = {.struct_size = sizeof(slu_module), .subscriber_count = 1, .name = SLU_LITERAL(KIND),
                                  .version = SLU_LITERAL("1.0"), .subscribers = kinds};

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  if (WHERE == in_entry) { misbehave(); }
  return &module;
}
