/* How long the client in C waits for a server's sake, in ms: waits HOST PORT, for check_waits.py. */
#include "c/sluice_client.c"

int main(int argc, char **argv) {
  if (argc < 3) return 64;
  sluice_client *c = sluice_open(&(struct sluice_options){.host = argv[1], .port = argv[2], .producer = "press-7"});
  if (!c) return 1;
  /* Until the connection is over, or is to be quiet. */
  do sluice_pump(c, 1000);
  while (c->state != FAILED && !(c->state == WAITING && c->attempts) && !c->hold_until);
  printf("%lld\n", (long long)((c->hold_until ? c->hold_until : c->due) - now_ms()));
  sluice_close(c);
  return 0;
}
