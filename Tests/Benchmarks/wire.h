/* The framed wire protocol (docs/wire-protocol.md) as far as the benchmark tools speak it. */
#ifndef SLUICE_BENCH_WIRE_H
#define SLUICE_BENCH_WIRE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { WIRE_HEADER = 24, WIRE_PREFIX = 8, WIRE_PART = 32, WIRE_SERVER_PART = 24 };
enum { WIRE_TO_SERVER = 1, WIRE_TO_CLIENT = 2 };
enum { WIRE_HELLO = 1, WIRE_WELCOME = 4, WIRE_DATA = 8, WIRE_ACK, WIRE_NACK, WIRE_CREDIT, WIRE_BYE = 15, WIRE_ERROR };

/* CRC-32C by the CPU's instruction; pass 0 to begin. */
uint32_t wire_crc(uint32_t crc, const void *bytes, size_t length);

/* Fills in a frame's header; `body_crc` as the page says. `counter` counts the frames of `direction`. */
void wire_header(uint8_t *frame, uint32_t length, uint8_t type, uint32_t count, uint32_t body_crc, uint64_t direction,
                 uint64_t counter);

/* Whether a header has its checksum. */
int wire_header_is_right(const uint8_t *frame, uint64_t direction, uint64_t counter);

/* A frame whose body stands behind its header already; returns its length. */
size_t wire_finish(uint8_t *frame, size_t body, uint8_t type, uint64_t direction, uint64_t counter);

static inline uint16_t wire_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t wire_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t wire_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void wire_put16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void wire_put32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void wire_put64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }

uint64_t wire_now(void);
/* CPU time of the calling thread, ns. */
uint64_t wire_cpu(void);

#endif
