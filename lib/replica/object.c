/* object.c -- one stored object as a source of bytes. See object.h.
 *
 * (1) ONE OBJECT. Every block after the first asks for the ETag of the first
 *     (where the store has them) and for the size that was listed: bytes of
 *     two objects are never mixed.
 * (2) NO IDLE STREAM. Each block is a request of its own with its own retries,
 *     so a slow consumer holds no connection.
 * Not here: the parallel reading of whole plans (chain.c, decode.c).
 */
#include "replica/object.h"

#include "base/bytes.h"

#include <stdio.h>

void
ls_object_init(struct ls_object_reader *o, struct ls_store *st, const char *key,
    uint64_t size, size_t block, const struct ls_call *c)
{
	*o = (struct ls_object_reader){
		.st = st, .c = c, .size = size, .block = block
	};
	(void)snprintf(o->key, sizeof o->key, "%s", key);
	ls_buf_init(&o->buf, block);
}

void
ls_object_fini(struct ls_object_reader *o)
{
	ls_buf_free(&o->buf);
}

enum ls_rc
ls_object_fetch(struct ls_object_reader *o, struct ls_err *e)
{
	uint64_t len = LS_MIN(o->size - o->next, (uint64_t)o->block);
	struct ls_get g = { .off = o->next,
		.len = len,
		.if_match = o->etag[0] != '\0' ? o->etag : NULL };
	struct ls_got got = { 0 };
	enum ls_rc rc;

	ls_buf_clear(&o->buf);
	o->used = 0;
	if (len == 0)
		return LS_OK;
	rc = ls_store_get(o->st, o->key, &g, &o->buf, &got, o->c, e);
	if (rc != LS_OK)
		return rc;
	if (got.total_size != o->size || o->buf.n != len)
		return ls_err_set(e, LS_ECHANGED,
		    "%s has %llu bytes, %llu were listed", o->key,
		    (unsigned long long)got.total_size,
		    (unsigned long long)o->size);
	memcpy(o->etag, got.etag, sizeof o->etag);
	o->next += len;
	return LS_OK;
}

enum ls_rc
ls_object_source(
    void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct ls_object_reader *o = arg;
	enum ls_rc rc;
	size_t head;

	*got = 0;
	if (o->used == o->buf.n && (rc = ls_object_fetch(o, e)) != LS_OK)
		return rc;
	*got = LS_MIN(n, o->buf.n - o->used);
	if (*got == 0)
		return LS_OK;
	memcpy(buf, o->buf.p + o->used, *got);
	o->used += *got;
	head = LS_MIN(*got, sizeof o->head - o->head_n);
	memcpy(o->head + o->head_n, buf, head);
	o->head_n += head;
	return LS_OK;
}
