/* zdict.h -- pages as zstd frames, and the dictionary that a file carries.
 *
 * A file with LS_LTX_ZSTD in its header flags is as any other (ltx.h), but:
 *   behind the 100 bytes of header a dictionary block:
 *     "LSZ1", u32 n (0..LS_ZDICT_MAX), u64 CRC-64 of these 8 bytes and the
 *     dictionary, n bytes of dictionary in zstd's format (0: none)
 *   page frames: pgno u32, flags u16 (2), size u32, one zstd frame (RFC 8878,
 *     with content size, without dictionary id) of the page, made with the
 *     dictionary
 * The file checksum covers the block as it is, between header and frames; all
 * else, terminator, index and trailer too, is the same. The block lies in front
 * so that a stream can be read from its beginning, and a reader of ranges gets
 * it with the header. Another tag is another layout: LS_EUNSUPPORTED.
 *
 * Upstream refuses the header flag; where it reads a page without its header,
 * page flags without bit 0 have it look for an LZ4 frame's magic number in the
 * size, which it cannot be.
 *
 * Dictionaries are shared: one with the same bytes exists once a process.
 * Everything here is thread-safe.
 */
#ifndef LS_ZDICT_H
#define LS_ZDICT_H

#include "base/buf.h"

enum {
	LS_ZBLOCK_HEAD = 16,	 /* of the block, without the dictionary */
	LS_ZDICT_MAX = 32 << 10, /* larger ones save little more */
	LS_ZBLOCK_MAX = LS_ZBLOCK_HEAD + LS_ZDICT_MAX,
};

/* What the frames of one zstd file need; NULL stands for an LZ4 file. */
struct ls_zdict;
/* From a dictionary (n 0: none). Gives *out (ls_zdict_unref). LS_ECORRUPT: it
 * is not one. LS_EUNSUPPORTED: libzstd is not installed. */
enum ls_rc ls_zdict_new(
    struct ls_span dict, struct ls_zdict **out, struct ls_err *e) LS_MUST_CHECK;
struct ls_zdict *ls_zdict_ref(struct ls_zdict *z);
void ls_zdict_unref(struct ls_zdict *z);		 /* NULL is fine */
struct ls_span ls_zdict_bytes(const struct ls_zdict *z); /* borrowed */

/* The block's length from its first LS_ZBLOCK_HEAD bytes. LS_ECORRUPT;
 * LS_EUNSUPPORTED: another layout. */
enum ls_rc ls_zblock_extent(
    const uint8_t *head, size_t *bytes, struct ls_err *e) LS_MUST_CHECK;
/* The dictionary of a block of exactly its length. As ls_zdict_new;
 * LS_ECORRUPT: damaged. */
enum ls_rc ls_zblock_decode(struct ls_span block, struct ls_zdict **out,
    struct ls_err *e) LS_MUST_CHECK;
/* The first LS_ZBLOCK_HEAD bytes of the block of z. */
void ls_zblock_head(
    const struct ls_zdict *z, uint8_t out[static LS_ZBLOCK_HEAD]);

/* One zstd frame that must give exactly page_size bytes. LS_ECORRUPT. */
enum ls_rc ls_zdict_decode(const struct ls_zdict *z, struct ls_span body,
    uint32_t pgno, uint32_t page_size, uint8_t *out,
    struct ls_err *e) LS_MUST_CHECK;

/* ---- writing --------------------------------------------------------------*/

struct ls_zenc;
/* Keeps a reference of z. Gives *out. */
enum ls_rc ls_zenc_new(
    struct ls_zdict *z, struct ls_zenc **out, struct ls_err *e) LS_MUST_CHECK;
void ls_zenc_free(struct ls_zenc *c); /* NULL is fine */
/* Compress a page into out (ls_zframe_bound(n) bytes); *size: of the frame. */
enum ls_rc ls_zenc_page(struct ls_zenc *c, const uint8_t *page, uint32_t n,
    uint8_t *out, size_t *size, struct ls_err *e) LS_MUST_CHECK;
size_t ls_zframe_bound(uint32_t page_size);

/* ---- choosing -------------------------------------------------------------*/

enum {
	LS_ZSAMPLE = 4 << 20,	    /* pages that say enough of a database */
	LS_ZSAMPLE_MIN = 256 << 10, /* fewer: no dictionary is worth it */
};
/* The dictionary that pages should be written with: `known` (borrowed, may be
 * NULL) or else one trained on `sample` (whole pages, at most LS_ZSAMPLE bytes);
 * none where it would save less than its own size in `total` bytes of such
 * pages. Gives *out, which is never NULL. Takes about 0.05 s a MiB and twice
 * LS_ZSAMPLE of memory; the same input gives the same answer. */
enum ls_rc ls_zdict_choose(struct ls_span sample, uint32_t page_size,
    uint64_t total, struct ls_zdict *known, struct ls_zdict **out,
    struct ls_err *e) LS_MUST_CHECK;

#endif
