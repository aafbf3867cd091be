/* frame.c -- one page's compressed bytes, and varints.
 *
 *  (1) A PAGE IS WHOLE. Every decoder here fails unless exactly page_size bytes
 *      come out; upstream does not check that. (test: frame_wrong_length)
 *  (2) BOUNDED. LZ4 never writes behind the page, and a legacy frame is walked
 *      by its own length fields under a ceiling before it is given to liblz4.
 *      (test: legacy_damage; fuzz: fuzz_ltx)
 * Source of the LZ4 frame layout: lz4_Frame_format.md of the LZ4 project. */
#include "format/frame.h"

#include "base/bytes.h"

#include <assert.h>
#include <lz4.h>
#include <lz4frame.h>

size_t
ls_uvarint_put(uint8_t *out, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		out[n++] = (uint8_t)(v | 0x80);
	out[n++] = (uint8_t)v;
	return n;
}

size_t
ls_uvarint_get(const uint8_t *p, const uint8_t *end, uint64_t *v)
{
	uint64_t x = 0;

	for (size_t i = 0; i < LS_UVARINT_MAX && p + i < end; i++) {
		if (i == 9 && p[i] > 1)
			return 0;
		x |= (uint64_t)(p[i] & 0x7f) << (7 * i);
		if (p[i] & 0x80)
			continue;
		if (p[i] == 0 && i > 0)
			return 0;
		*v = x;
		return i + 1;
	}
	return 0;
}

size_t
ls_frame_bound(uint32_t page_size, const struct ls_zdict *z)
{
	return z != NULL ? ls_zframe_bound(page_size)
			 : (size_t)LZ4_COMPRESSBOUND(page_size);
}

uint64_t
ls_frame_first(const struct ls_zdict *z)
{
	return z == NULL ? (uint64_t)LS_LTX_HEADER
			 : LS_LTX_HEADER + LS_ZBLOCK_HEAD + ls_zdict_bytes(z).n;
}

static enum ls_rc
bad_page(uint32_t pgno, const char *why, struct ls_err *e)
{
	return ls_err_set(e, LS_ECORRUPT, "page %u: %s", pgno, why);
}

enum ls_rc
ls_frame_block(struct ls_span body, uint32_t pgno, uint32_t page_size,
    uint8_t *out, struct ls_err *e)
{
	int n;

	if (body.n == 0 || body.n > ls_frame_bound(page_size, NULL))
		return bad_page(pgno, "impossible compressed size", e);
	n = LZ4_decompress_safe(
	    (const char *)body.p, (char *)out, (int)body.n, (int)page_size);
	if (n < 0)
		return bad_page(pgno, "LZ4 data is damaged", e);
	if ((uint32_t)n != page_size)
		return bad_page(pgno, "decoded size is not the page size", e);
	return LS_OK;
}

/* The fields of a frame descriptor that decide lengths. */
struct descriptor {
	size_t size; /* of magic and descriptor */
	size_t block_sum, content_sum;
};

enum {
	LZ4F_MAGIC = 0x184d2204,
	FLG_VERSION = 0xc0,
	FLG_BLOCK_SUM = 0x10,
	FLG_CONTENT_SIZE = 0x08,
	FLG_CONTENT_SUM = 0x04,
	FLG_DICT = 0x01,
};

/* False: not a frame that LTX may hold. */
static bool
parse_descriptor(const uint8_t *p, struct descriptor *d)
{
	uint8_t flg = p[4];

	if (ls_le32(p) != LZ4F_MAGIC || (flg & FLG_VERSION) != 0x40 ||
	    flg & FLG_DICT)
		return false;
	d->size = 7 + (flg & FLG_CONTENT_SIZE ? 8 : 0);
	d->block_sum = flg & FLG_BLOCK_SUM ? 4 : 0;
	d->content_sum = flg & FLG_CONTENT_SUM ? 4 : 0;
	return true;
}

enum ls_rc
ls_frame_legacy_extent(
    struct ls_span have, uint32_t page_size, size_t *want, struct ls_err *e)
{
	const size_t most = page_size + LS_LEGACY_EXTRA;
	struct descriptor d;
	size_t at;

	assert(have.n >= 5);
	if (!parse_descriptor(have.p, &d))
		return ls_err_set(
		    e, LS_ECORRUPT, "a page is not in an LZ4 frame");
	for (at = d.size; at + 4 <= have.n;) {
		uint32_t size = ls_le32(have.p + at) & 0x7fffffff;

		at += 4;
		if (ls_le32(have.p + at - 4) == 0) {
			*want = at + d.content_sum;
			return LS_OK;
		}
		if (size > most || at + size + d.block_sum + 8 > most)
			return ls_err_set(e, LS_ECORRUPT,
			    "LZ4 frame is larger than any page needs");
		at += size + d.block_sum;
	}
	*want = at + 4;
	return LS_OK;
}

enum ls_rc
ls_frame_legacy(struct ls_span body, uint32_t pgno, uint32_t page_size,
    uint8_t *out, struct ls_err *e)
{
	LZ4F_dctx *ctx = NULL;
	size_t used = 0, got = 0, left = 1;
	uint8_t more;

	if (LZ4F_isError(LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION)))
		return ls_err_nomem(e);
	/* A second round, with one byte of room, sees a page that is too long;
	 * every round but the last moves forward or fails. */
	while (left != 0 && !LZ4F_isError(left)) {
		size_t in = body.n - used, n = page_size - got;
		uint8_t *to = n == 0 ? &more : out + got;

		n = n == 0 ? 1 : n;
		left = LZ4F_decompress(ctx, to, &n, body.p + used, &in, NULL);
		if (to == &more && n > 0)
			left = (size_t)-1;
		if (in == 0 && n == 0)
			break;
		used += in;
		got += n;
	}
	LZ4F_freeDecompressionContext(ctx);
	if (left != 0 || used != body.n)
		return bad_page(pgno, "LZ4 frame is damaged", e);
	if (got != page_size)
		return bad_page(pgno, "decoded size is not the page size", e);
	return LS_OK;
}

enum ls_rc
ls_ltx_frame_decode(struct ls_span frame, const struct ls_zdict *z,
    uint32_t pgno, uint32_t page_size, uint8_t *out, struct ls_err *e)
{
	struct ls_span body;
	uint16_t flags;

	if (frame.n < LS_FRAME_SIZED)
		return bad_page(pgno, "frame is cut off", e);
	if (ls_be32(frame.p) != pgno)
		return ls_err_set(e, LS_ECORRUPT,
		    "frame of page %u where page %u should be",
		    ls_be32(frame.p), pgno);
	flags = ls_be16(frame.p + 4);
	if (flags == 0 && z == NULL) {
		body = LS_SPAN(
		    frame.p + LS_LTX_PAGE_HEADER, frame.n - LS_LTX_PAGE_HEADER);
		return ls_frame_legacy(body, pgno, page_size, out, e);
	}
	if (flags != (z == NULL ? LS_LTX_PAGE_SIZED : LS_LTX_PAGE_ZSTD))
		return bad_page(pgno, "unknown page flags", e);
	body = LS_SPAN(frame.p + LS_FRAME_SIZED, frame.n - LS_FRAME_SIZED);
	if (ls_be32(frame.p + LS_LTX_PAGE_HEADER) != body.n)
		return bad_page(pgno, "frame has another size", e);
	if (z != NULL)
		return ls_zdict_decode(z, body, pgno, page_size, out, e);
	return ls_frame_block(body, pgno, page_size, out, e);
}
