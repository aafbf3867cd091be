/* object.h -- one stored object as a source of bytes, fetched in blocks.
 * Inside lib/replica only. */
#ifndef LS_REPLICA_OBJECT_H
#define LS_REPLICA_OBJECT_H

#include "replica/replica.h"

enum { LS_OBJECT_KEY_MAX = 128 };

struct ls_object_reader {
	struct ls_store *st;
	const struct ls_call *c;
	char key[LS_OBJECT_KEY_MAX];
	char etag[128];
	uint64_t size, next; /* as listed; offset behind buf */
	size_t block, used;  /* of buf */
	struct ls_buf buf;
	uint8_t head[LS_LTX_HEADER]; /* the first bytes that were given out */
	size_t head_n;
};
/* Of an object that was listed with this size. Keeps st and c. */
void ls_object_init(struct ls_object_reader *o, struct ls_store *st,
    const char *key, uint64_t size, size_t block, const struct ls_call *c);
void ls_object_fini(struct ls_object_reader *o);
/* Fetch the first block; ls_object_source does so by itself. */
enum ls_rc ls_object_fetch(
    struct ls_object_reader *o, struct ls_err *e) LS_MUST_CHECK;
/* A source (format/ltx.h) of all its bytes. LS_ECHANGED: it is not the object
 * any more that was listed, or begun. */
enum ls_rc ls_object_source(void *arg, uint8_t *buf, size_t n, size_t *got,
    struct ls_err *e) LS_MUST_CHECK;

#endif
