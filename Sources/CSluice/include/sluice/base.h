/* Bytes, errors, return codes. Everything in this header is frozen: these structs have no size field. */
#ifndef SLUICE_BASE_H
#define SLUICE_BASE_H

#include <stdint.h>

#if UINTPTR_MAX != UINT64_MAX
#error "the Sluice plugin ABI is defined for 64-bit platforms only"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The major version is part of the entry's name: sluice_module_v1. The minor version counts additions to it. */
#define SLU_ABI_MAJOR 1u
#define SLU_ABI_MINOR 0u

/* Puts a function among those that the shared object exports. */
#if defined(__GNUC__)
#define SLU_EXPORT __attribute__((visibility("default")))
#else
#define SLU_EXPORT
#endif

/* Whether the size-prefixed struct at `p` is large enough to have `field`: ask before reading anything that came
 * with a later minor version than the one you need. */
#define SLU_HAS(p, field) \
  ((uint64_t)(p)->struct_size >= (uint64_t)((const char *)(&(p)->field + 1) - (const char *)(p)))

/* Bytes that someone else owns. `ptr` may be NULL when `len` is 0. Text is UTF-8 and not NUL-terminated.
 * The only struct that is passed by value. */
typedef struct slu_bytes {
  const void *ptr;
  uint64_t len;
} slu_bytes;

/* A name and a value: a log line's key and value, a metric's label, a record's header. */
typedef struct slu_pair {
  slu_bytes name;
  slu_bytes value;
} slu_pair;

/* What a call answers. An open set: a negative value that is not listed means SLU_E_INTERNAL, a positive one that is
 * not listed does too. Each function says which ones it may answer and what they do there. */
typedef int32_t slu_rc;

#define SLU_OK 0               /* done */
#define SLU_ACCEPTED 1         /* deliver: the batch is mine, I settle every token of it later */
#define SLU_BUSY 2             /* nothing was taken; try again later */
#define SLU_STALE 3            /* settle: some tokens were not open any more; they were ignored */
#define SLU_E_CONFIG (-1)      /* the configuration is wrong: trying again does not help */
#define SLU_E_RETRYABLE (-2)   /* the world is at fault, and may recover: try again */
#define SLU_E_FATAL (-3)       /* this instance is of no more use: make a new one */
#define SLU_E_TIMEOUT (-4)     /* the deadline passed, or `interrupt` came */
#define SLU_E_INTERNAL (-5)    /* a bug on the side that answers it */
#define SLU_E_UNSUPPORTED (-6) /* this version does not do that */
#define SLU_E_INVALID (-7)     /* an argument is wrong, or the call does not belong in this state */

/* An error, in full. The caller owns it and passes it zeroed; it is never NULL. The callee fills it when it returns
 * a negative code: `message` says what happened, to what, and what can be done about it. */
typedef struct slu_error {
  uint32_t code;     /* the callee's own number, 0 = none: shown in logs, never interpreted */
  uint32_t flags;    /* 0 */
  uint64_t length;   /* bytes of `message` that count, at most sizeof message */
  uint64_t reserved; /* 0 */
  char message[488]; /* UTF-8, not NUL-terminated */
} slu_error;

/* Initialiser for a slu_bytes from a string literal: `static const slu_bytes name = SLU_LITERAL("tally");` */
#define SLU_LITERAL(literal) { (literal), sizeof(literal) - 1 }

/* The bytes of a NUL-terminated string, which must outlive them. NULL gives none. */
static inline slu_bytes slu_text(const char *text) {
  slu_bytes bytes;
  bytes.ptr = text;
  bytes.len = 0;
  if (text) {
    while (text[bytes.len] != 0) { bytes.len++; }
  }
  return bytes;
}

/* Puts a NUL-terminated text into `error`, cut at a character's start where it is too long, and returns `rc`. */
static inline slu_rc slu_fail(slu_error *error, slu_rc rc, const char *text) {
  uint64_t length = 0;
  while (text[length] != 0 && length < sizeof error->message) {
    error->message[length] = text[length];
    length++;
  }
  if (text[length] != 0) {
    while (length > 0 && ((unsigned char)text[length] & 0xC0u) == 0x80u) { length--; }
  }
  error->length = length;
  return rc;
}

#ifdef __cplusplus
}
#endif

#endif
