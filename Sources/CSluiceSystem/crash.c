#define _GNU_SOURCE
#include "CSluiceSystem.h"
#include <signal.h>
#include <string.h>
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
