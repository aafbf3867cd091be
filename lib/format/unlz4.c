/* unlz4.c -- LZ4 frames as a stream. See unlz4.h.
 *
 *  (1) BOUNDED. One input block here and at most two blocks of the frame (4 MiB
 *      each) inside liblz4, whatever the stream's length.
 *  (2) AN END IS THE END OF A FRAME. Input that stops anywhere else is
 *      LS_ESHORT, so a cut object never passes for a short one. (test:
 *      unlz4_every_cut)
 * Not here: frames of single pages (frame.c). */
#include "format/unlz4.h"

#include "base/sys.h"

#include <lz4frame.h>

enum { IN_BLOCK = 64 << 10 };

struct ls_unlz4 {
	ls_source *src;
	void *arg;
	LZ4F_dctx *ctx;
	size_t at, have; /* of in */
	bool eof, inside, any;
	uint8_t in[IN_BLOCK];
};

enum ls_rc
ls_unlz4_new(ls_source *src, void *arg, struct ls_unlz4 **out, struct ls_err *e)
{
	struct ls_unlz4 *z = ls_zalloc(sizeof *z);

	if (z == NULL)
		return ls_err_nomem(e);
	z->src = src;
	z->arg = arg;
	if (LZ4F_isError(
		LZ4F_createDecompressionContext(&z->ctx, LZ4F_VERSION))) {
		ls_free(z);
		return ls_err_nomem(e);
	}
	*out = z;
	return LS_OK;
}

void
ls_unlz4_free(struct ls_unlz4 *z)
{
	if (z == NULL)
		return;
	LZ4F_freeDecompressionContext(z->ctx);
	ls_free(z);
}

static enum ls_rc
refill(struct ls_unlz4 *z, struct ls_err *e)
{
	size_t got = 0;
	enum ls_rc rc;

	if ((rc = z->src(z->arg, z->in, IN_BLOCK, &got, e)) != LS_OK)
		return rc;
	z->at = 0;
	z->have = got;
	z->eof = got == 0;
	return LS_OK;
}

enum ls_rc
ls_unlz4_source(
    void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct ls_unlz4 *z = arg;
	enum ls_rc rc;

	*got = 0;
	while (*got == 0) {
		size_t out = n, in, left;

		if (z->at == z->have && !z->eof && (rc = refill(z, e)) != LS_OK)
			return rc;
		in = z->have - z->at;
		if (in == 0 && !z->inside && z->any)
			return LS_OK;
		left = LZ4F_decompress(
		    z->ctx, buf, &out, z->in + z->at, &in, NULL);
		if (LZ4F_isError(left))
			return ls_err_set(e, LS_ECORRUPT,
			    "LZ4 frame is damaged: %s",
			    LZ4F_getErrorName(left));
		if (in == 0 && out == 0 && z->eof)
			return ls_err_set(e, LS_ESHORT, "LZ4 data is cut off");
		z->any = true;
		z->inside = left != 0;
		z->at += in;
		*got = out;
	}
	return LS_OK;
}
