/* Decoders of compressed bodies: gzip by libz, zstd by libzstd.
 *
 * The libraries are opened when the daemon runs, not linked: to build needs no headers of theirs, one build serves machines
 * that have them and machines that don't, and a plugin that brings another libz or libzstd shares no symbol with this. What is
 * called has been the same since libz 1.2.0 (whose inflateInit2_ checks the layout it is given) and libzstd 1.4.0. */
#ifndef C_SLUICE_CODING_H
#define C_SLUICE_CODING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum csluice_coding { CSLUICE_GZIP = 0, CSLUICE_ZSTD = 1 };

/* Whether the coding's library is here. The first call opens it, and may read files; later ones only look. Any thread. */
bool csluice_coding_is_here(enum csluice_coding coding);

/* One stream at a time, of one coding. Not to be shared between threads. */
typedef struct csluice_decoder csluice_decoder;

/* NULL if the library is not here or memory is out. A zstd frame's window may have 2^`window_log` bytes. */
csluice_decoder *csluice_decoder_make(enum csluice_coding coding, int window_log);
void csluice_decoder_free(csluice_decoder *decoder);

/* Forgets what it was doing and begins a gzip member or zstd frame. false: memory is out, or it is broken for good. */
bool csluice_decoder_begin(csluice_decoder *decoder);

enum csluice_decoding { CSLUICE_DECODING, CSLUICE_DECODED, CSLUICE_NOT_DECODABLE };

typedef struct {
  size_t consumed, produced;
  /* DECODED: the member or frame has ended, and all of it is out. DECODING: it wants more input, or more room. */
  enum csluice_decoding outcome;
} csluice_decoded;

/* Decodes until the input is used up, the room is full, or the member or frame has ended. Neither count may exceed 2^31. */
csluice_decoded csluice_decoder_run(
    csluice_decoder *decoder, const void *input, size_t count, void *room, size_t room_count);

#endif
