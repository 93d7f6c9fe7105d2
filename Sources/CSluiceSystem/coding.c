#include "CSluiceCoding.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

/* z_stream of zlib.h, whose layout is libz's ABI. */
typedef struct {
  const uint8_t *next_in;
  unsigned avail_in;
  unsigned long total_in;
  uint8_t *next_out;
  unsigned avail_out;
  unsigned long total_out;
  const char *msg;
  void *state;
  void *(*zalloc)(void *, unsigned, unsigned);
  void (*zfree)(void *, void *);
  void *opaque;
  int data_type;
  unsigned long adler, reserved;
} z_stream;

enum { Z_OK = 0, Z_STREAM_END = 1, Z_BUF_ERROR = -5, Z_NO_FLUSH = 0, GZIP_ONLY = 16 + 15 };

typedef struct {
  const void *bytes;
  size_t size, pos;
} zstd_in;
typedef struct {
  void *bytes;
  size_t size, pos;
} zstd_out;

enum { ZSTD_RESET_SESSION = 1, ZSTD_WINDOW_LOG_MAX = 100 };

static struct {
  int (*init)(z_stream *, int, const char *, int);
  int (*reset)(z_stream *);
  int (*inflate)(z_stream *, int);
  int (*end)(z_stream *);
} z;

static struct {
  void *(*create)(void);
  size_t (*free)(void *);
  size_t (*reset)(void *, int);
  size_t (*set)(void *, int, int);
  size_t (*run)(void *, zstd_out *, zstd_in *);
  unsigned (*is_error)(size_t);
} zstd;

static bool is_here[2];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool find(void *library, const char *name, void *function) {
  void *found = dlsym(library, name);
  /* ISO C has no conversion from an object's pointer to a function's; POSIX says that the bytes are the same. */
  *(void **)function = found;
  return found != NULL;
}

static void open_libraries(void) {
  /* Never closed: what is in the tables stays callable. */
  void *library = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
  is_here[CSLUICE_GZIP] = library && find(library, "inflateInit2_", &z.init) && find(library, "inflateReset", &z.reset) &&
                          find(library, "inflate", &z.inflate) && find(library, "inflateEnd", &z.end);
  library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
  is_here[CSLUICE_ZSTD] = library && find(library, "ZSTD_createDCtx", &zstd.create) &&
                          find(library, "ZSTD_freeDCtx", &zstd.free) && find(library, "ZSTD_DCtx_reset", &zstd.reset) &&
                          find(library, "ZSTD_DCtx_setParameter", &zstd.set) &&
                          find(library, "ZSTD_decompressStream", &zstd.run) && find(library, "ZSTD_isError", &zstd.is_error);
}

bool csluice_coding_is_here(enum csluice_coding coding) {
  pthread_once(&once, open_libraries);
  return is_here[coding];
}

struct csluice_decoder {
  enum csluice_coding coding;
  z_stream gzip;
  void *zstd;
};

csluice_decoder *csluice_decoder_make(enum csluice_coding coding, int window_log) {
  if (!csluice_coding_is_here(coding)) return NULL;
  csluice_decoder *decoder = calloc(1, sizeof *decoder);
  if (!decoder) return NULL;
  decoder->coding = coding;
  if (coding == CSLUICE_GZIP) {
    if (z.init(&decoder->gzip, GZIP_ONLY, "1", (int)sizeof decoder->gzip) == Z_OK) return decoder;
  } else {
    decoder->zstd = zstd.create();
    if (decoder->zstd && !zstd.is_error(zstd.set(decoder->zstd, ZSTD_WINDOW_LOG_MAX, window_log))) return decoder;
    if (decoder->zstd) zstd.free(decoder->zstd);
  }
  free(decoder);
  return NULL;
}

void csluice_decoder_free(csluice_decoder *decoder) {
  if (!decoder) return;
  if (decoder->coding == CSLUICE_GZIP) z.end(&decoder->gzip);
  if (decoder->coding == CSLUICE_ZSTD) zstd.free(decoder->zstd);
  free(decoder);
}

bool csluice_decoder_begin(csluice_decoder *decoder) {
  if (decoder->coding == CSLUICE_GZIP) return z.reset(&decoder->gzip) == Z_OK;
  return !zstd.is_error(zstd.reset(decoder->zstd, ZSTD_RESET_SESSION));
}

static csluice_decoded run_gzip(z_stream *stream, const void *input, size_t count, void *room, size_t room_count) {
  stream->next_in = input;
  stream->avail_in = (unsigned)count;
  stream->next_out = room;
  stream->avail_out = (unsigned)room_count;
  int code = z.inflate(stream, Z_NO_FLUSH);
  csluice_decoded result = {count - stream->avail_in, room_count - stream->avail_out, CSLUICE_NOT_DECODABLE};
  /* Without input or room there is no progress, which is no error here. */
  if (code == Z_OK || code == Z_BUF_ERROR) result.outcome = CSLUICE_DECODING;
  if (code == Z_STREAM_END) result.outcome = CSLUICE_DECODED;
  return result;
}

static csluice_decoded run_zstd(void *context, const void *input, size_t count, void *room, size_t room_count) {
  zstd_in in = {input, count, 0};
  zstd_out out = {room, room_count, 0};
  size_t rest;
  do {
    size_t used = in.pos, made = out.pos;
    rest = zstd.run(context, &out, &in);
    if (zstd.is_error(rest)) return (csluice_decoded){in.pos, out.pos, CSLUICE_NOT_DECODABLE};
    if (used == in.pos && made == out.pos) break;
  } while (rest != 0 && in.pos < in.size && out.pos < out.size);
  return (csluice_decoded){in.pos, out.pos, rest == 0 ? CSLUICE_DECODED : CSLUICE_DECODING};
}

csluice_decoded csluice_decoder_run(
    csluice_decoder *decoder, const void *input, size_t count, void *room, size_t room_count) {
  if (decoder->coding == CSLUICE_GZIP) return run_gzip(&decoder->gzip, input, count, room, room_count);
  return run_zstd(decoder->zstd, input, count, room, room_count);
}
