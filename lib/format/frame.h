/* frame.h -- inside lib/format: pieces that the LTX readers and writers share.
 * Not for other folders. */
#ifndef LS_FRAME_H
#define LS_FRAME_H

#include "format/ltx.h"

enum {
	LS_FRAME_SIZED = LS_LTX_PAGE_HEADER + 4, /* framing of a sized frame */
	LS_UVARINT_MAX = 10,
	/* Largest index entry: pgno 5, offset 10, size 3. */
	LS_ENTRY_MAX = 18,
	/* What an LZ4 frame may add to a page: descriptor 15, a length and a
	 * checksum a block, end mark and content checksum 8. */
	LS_LEGACY_EXTRA = 256,
	LS_FRAME_EXTRA = 128, /* zstd's bound over LZ4's */
};

/* The rules of compatibility 4.2. LS_ECORRUPT, LS_EUNSUPPORTED. */
enum ls_rc ls_ltx_header_check(
    const struct ls_ltx_header *h, struct ls_err *e) LS_MUST_CHECK;

/* Write v; returns the bytes written (at most LS_UVARINT_MAX). */
size_t ls_uvarint_put(uint8_t *out, uint64_t v);
/* Read one from [p, end); returns the bytes read, 0 when it is cut off, does
 * not fit 64 bits or is longer than it needs to be. */
size_t ls_uvarint_get(const uint8_t *p, const uint8_t *end, uint64_t *v);

/* Largest compressed body of a sized frame, of LZ4 or (z not NULL) zstd: at
 * most LS_FRAME_EXTRA more. */
size_t ls_frame_bound(uint32_t page_size, const struct ls_zdict *z);
/* Where the first frame is. */
uint64_t ls_frame_first(const struct ls_zdict *z);
/* An LZ4 block that must give exactly page_size bytes. LS_ECORRUPT. */
enum ls_rc ls_frame_block(struct ls_span body, uint32_t pgno,
    uint32_t page_size, uint8_t *out, struct ls_err *e) LS_MUST_CHECK;
/* How long the LZ4 frame is that starts at have.p (5 bytes at least). If *want
 * <= have.n: exactly *want bytes. Otherwise: at least *want bytes (at most
 * page_size + LS_LEGACY_EXTRA) are needed to say more. LS_ECORRUPT: not an LZ4
 * frame, or longer than a page of this size needs. */
enum ls_rc ls_frame_legacy_extent(struct ls_span have, uint32_t page_size,
    size_t *want, struct ls_err *e) LS_MUST_CHECK;
/* A whole LZ4 frame that must give exactly page_size bytes. */
enum ls_rc ls_frame_legacy(struct ls_span body, uint32_t pgno,
    uint32_t page_size, uint8_t *out, struct ls_err *e) LS_MUST_CHECK;

/* The completeness rule, page by page, ascending. */
struct ls_complete {
	uint32_t want; /* next page that must come; 0: none */
	uint32_t commit, lock;
};
void ls_complete_init(
    struct ls_complete *c, uint32_t prev, uint32_t commit, uint32_t page_size);
enum ls_rc ls_complete_page(
    struct ls_complete *c, uint32_t pgno, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_complete_end(
    const struct ls_complete *c, struct ls_err *e) LS_MUST_CHECK;

#endif
