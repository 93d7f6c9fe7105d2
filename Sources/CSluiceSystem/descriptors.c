#define _GNU_SOURCE
#include "CSluiceSystem.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

int csluice_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int csluice_accept(int listener) { return accept4(listener, NULL, NULL, SOCK_CLOEXEC); }
