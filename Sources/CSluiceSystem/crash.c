#define _GNU_SOURCE
#include "CSluiceSystem.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Everything in the handler is async-signal-safe; the texts are written before they are pointed to and never freed. */
static __thread const char *note;
static const char *summary;
static const int watched[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
static struct sigaction before[sizeof watched / sizeof *watched];

static void say(const char *text) {
  if (text && write(STDERR_FILENO, text, strlen(text)) < 0) { /* There is nobody to tell. */ }
}

static void report(int number, siginfo_t *info, void *context) {
  (void)context;
  const char *here = __atomic_load_n(&summary, __ATOMIC_ACQUIRE);
  if (note) {
    say(note);
  } else {
    say(here);
  }
  for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
    if (watched[i] == number) { sigaction(number, &before[i], NULL); }
  }
  /* A fault comes again by itself when the handler returns, and finds whoever was there before; what was sent does not. */
  if (info->si_code <= 0) { raise(number); }
}

int csluice_report_crashes(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = report;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
    struct sigaction now;
    if (sigaction(watched[i], NULL, &now) != 0) { return -1; }
    /* Asked again, it comes before who has put himself in its place since, and is never its own successor. */
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == report) { continue; }
    before[i] = now;
    if (sigaction(watched[i], &action, NULL) != 0) { return -1; }
  }
  return 0;
}

void csluice_note_for_crash(const char *text) { note = text; }

void csluice_summary_for_crash(const char *text) { __atomic_store_n(&summary, text, __ATOMIC_RELEASE); }

/* A thread's second stack: one page that is nobody's, and the stack above it. */
struct alternate {
  char *base;
  size_t guard, bytes;
  int is_last_round;
};
static __thread struct alternate alternate;
static pthread_key_t ending;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int has_key;

static void release(void *value) {
  struct alternate *mine = value;
  /* Whoever else tidies up when a thread ends may fault as well, and a runtime that has found the stack may still use it. */
  if (!mine->is_last_round) {
    mine->is_last_round = 1;
    if (pthread_setspecific(ending, mine) == 0) { return; }
  }
  stack_t now;
  if (sigaltstack(NULL, &now) == 0 && now.ss_sp == mine->base + mine->guard) {
    stack_t none = {.ss_flags = SS_DISABLE};
    if (sigaltstack(&none, NULL) != 0) { return; }
  }
  munmap(mine->base, mine->guard + mine->bytes);
}

static void make_key(void) { has_key = pthread_key_create(&ending, release) == 0; }

int csluice_give_signal_stack(size_t bytes) {
  stack_t now;
  if (sigaltstack(NULL, &now) != 0) { return -1; }
  if (!(now.ss_flags & SS_DISABLE)) { return 0; }
  pthread_once(&once, make_key);
  if (!has_key) {
    errno = EAGAIN;
    return -1;
  }
  size_t guard = (size_t)sysconf(_SC_PAGESIZE);
  char *base = mmap(NULL, guard + bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (base == MAP_FAILED) { return -1; }
  stack_t mine = {.ss_sp = base + guard, .ss_size = bytes};
  alternate = (struct alternate){.base = base, .guard = guard, .bytes = bytes};
  if (mprotect(mine.ss_sp, bytes, PROT_READ | PROT_WRITE) == 0 && pthread_setspecific(ending, &alternate) == 0) {
    if (sigaltstack(&mine, NULL) == 0) { return 0; }
    pthread_setspecific(ending, NULL);
  }
  munmap(base, guard + bytes);
  return -1;
}
