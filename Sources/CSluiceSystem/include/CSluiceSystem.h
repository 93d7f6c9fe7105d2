/* The few C calls that Swift can't make, or can't make well. Nothing here holds state. */
#ifndef C_SLUICE_SYSTEM_H
#define C_SLUICE_SYSTEM_H
#include <stddef.h>
#include <stdint.h>

#include "CSluiceCoding.h"
#include "CSluiceText.h"

/* CRC32C (Castagnoli, reflected, init and final xor 0xFFFFFFFF) of `len` bytes, continuing from `crc`:
 * pass 0 to begin, or a previous result to go on. Uses the CPU's instruction where it has one. */
uint32_t csluice_crc32c(uint32_t crc, const void *bytes, size_t len);

/* The portable table version of the same function; the tests hold the fast one against it. */
uint32_t csluice_crc32c_portable(uint32_t crc, const void *bytes, size_t len);

/* CRC32C of the first eight bytes of each of `count` pieces that follow each other in `bytes`, continuing from `*crc`. The
 * little-endian u32 a piece begins with is how many bytes follow its first eight, a multiple of 8. Returns how long all
 * pieces are, or 0 if they don't fit into `len`. */
size_t csluice_crc32c_prefixes(uint32_t *crc, const void *bytes, size_t len, uint32_t count);

/* Names the calling thread as /proc/<pid>/task/<tid>/comm shows it (cut to 15 bytes). */
void csluice_name_thread(const char *name);

/* The kernel's id of the calling thread. */
int32_t csluice_thread_id(void);

/* An anonymous file in memory, closed on exec, that can be sealed; -1 and errno. */
int csluice_memory_file(const char *name);

/* Nobody can change the size of such a file any more, nor write to it but through what is mapped already. 0, or -1 and
 * errno. */
int csluice_seal_memory_file(int fd);

/* A pipe, closed on exec from the beginning: a child that another thread starts never gets an end of it. 0, or -1 and errno. */
int csluice_pipe(int ends[2]);

/* The next connection of a listening socket, closed on exec from the beginning. -1 and errno. */
int csluice_accept(int listener);

/* A descriptor that is readable once a child has ended, closed on exec. -1 and errno when there is none. */
int csluice_process_end(int32_t pid);

/* A descriptor that only names an entry of a directory, closed on exec; a link is not followed. -1 and errno. */
int csluice_open_entry(int directory, const char *name);

/* Makes what such a descriptor names another user's. Errors are ignored. */
void csluice_give(int entry, uint32_t user, uint32_t group);

/* Bytes that the allocator has given out and not got back. */
size_t csluice_heap_bytes(void);

/* Asks the kernel to begin writing these bytes of a file to the device. A hint: errors are ignored, nothing is durable. */
void csluice_start_writeback(int fd, int64_t offset, int64_t count);

/* The kernel kills this process when the thread that started it ends, and gives it and its children no privileges that
 * it does not have. 0, or -1 and errno. */
int csluice_bind_to_parent(void);

/* From now on a signal that ends the process for a fault writes a text to standard error before it goes on to whoever
 * handled it before: that of the thread, or else that of the process. 0, or -1 and errno. */
int csluice_report_crashes(void);

/* The calling thread's text, and that of all threads without one; NULL: none. Never freed by who gave it. */
void csluice_note_for_crash(const char *text);
void csluice_summary_for_crash(const char *text);

/* Gives the calling thread a stack of so many bytes for handlers of signals, if it has none: a thread whose own is used up
 * has no room to tell of it. It goes when the thread ends. 0, or -1 and errno. */
int csluice_give_signal_stack(size_t bytes);

/* Makes a UDP socket tell what the kernel dropped for want of room, and asks for a receive buffer of that many bytes.
 * Returns how many it got, or -1 and errno. */
int csluice_prepare_datagrams(int fd, int receive_buffer);

/* The text of an IPv6 address with its terminator. */
#define CSLUICE_SENDER_BYTES 46

struct csluice_datagram {
  uint32_t length;      /* of what was received */
  uint8_t is_truncated; /* it was longer */
  char sender[CSLUICE_SENDER_BYTES];
};

/* Receives what is there, without waiting: at most `count` datagrams, each into `each` bytes of its own in `bytes`.
 * `overflow` becomes how many the kernel had dropped since the socket was made, once it dropped any. Returns how many were
 * received, or -1 and errno. */
int csluice_receive_datagrams(int fd, void *bytes, size_t each, struct csluice_datagram *out, unsigned count,
                              uint32_t *overflow);

/* A doorbell: a 32-bit futex word, 0 quiet, 1 rung, 2 somebody sleeps. One waiter, any number of ringers.
 * A ring before the wait is not lost. */
void csluice_doorbell_ring(uint32_t *word);

/* Waits until the bell rings or CLOCK_MONOTONIC passes `deadline_ns`; 1 = rung (and quiet again), 0 = time's up. */
int csluice_doorbell_wait(uint32_t *word, int64_t deadline_ns);

#endif
