/* unlz4.h -- LZ4 frames as a stream, for v0.3 snapshots and WAL segments.
 * Source: lz4_Frame_format.md of the LZ4 project. */
#ifndef LS_UNLZ4_H
#define LS_UNLZ4_H

#include "format/ltx.h"

struct ls_unlz4;
/* Reads compressed bytes from src (keeps arg until freed). Gives *out. */
enum ls_rc ls_unlz4_new(ls_source *src, void *arg, struct ls_unlz4 **out,
    struct ls_err *e) LS_MUST_CHECK;
/* A source (format/ltx.h) of the decompressed bytes; arg is the struct
 * ls_unlz4. Several frames one behind the other are one stream. LS_ECORRUPT;
 * LS_ESHORT when the input ends inside a frame, or holds none. */
enum ls_rc ls_unlz4_source(void *arg, uint8_t *buf, size_t n, size_t *got,
    struct ls_err *e) LS_MUST_CHECK;
void ls_unlz4_free(struct ls_unlz4 *z);

#endif
