/* ltx.h -- LTX v3 files: header, page frames, page index, trailer.
 *
 * Layout (big-endian; LTX README and ltx.go):
 *   header 100 bytes
 *   page frames, pgno strictly ascending: pgno u32, flags u16 (1), size u32,
 *     LZ4 block of the page. (flags 0: legacy, an LZ4 frame, no size field)
 *   6 zero bytes
 *   index: uvarint pgno, offset, size per page; uvarint 0; then u64 byte count
 *     of entries and end marker
 *   trailer: u64 post-apply checksum, u64 file checksum
 * The file checksum covers header, frame headers, UNCOMPRESSED pages, the zero
 * page header, the index and the first 8 trailer bytes.
 *
 * A header with LS_LTX_ZSTD, which only we know: zdict.h says what differs.
 *
 * Everything read here is untrusted: sizes have ceilings, arithmetic is
 * checked, and a bad index is LS_ECORRUPT so that the caller can rebuild it by
 * scanning (ls_ltx_scan).
 */
#ifndef LS_LTX_H
#define LS_LTX_H

#include "format/zdict.h"

enum {
	LS_LTX_HEADER = 100,
	LS_LTX_PAGE_HEADER = 6,
	LS_LTX_TRAILER = 16,
	LS_LTX_NO_CHECKSUM = 0x2, /* header flag: always set by us */
	LS_LTX_ZSTD = 0x4,	  /* header flag: pages are zstd frames */
	LS_LTX_PAGE_SIZED = 0x1,  /* page flags: LZ4 block with a size */
	LS_LTX_PAGE_ZSTD = 0x2,	  /* page flags: zstd frame with a size */
	LS_PAGE_MIN = 512,
	LS_PAGE_MAX = 65536,
	LS_SNAPSHOT_LEVEL = 9,
	LS_LEVELS = 10,
	/* Largest compressed page with its 10 bytes of framing: LZ4's bound for
	 * 65536 bytes is 65809. */
	LS_LTX_FRAME_MAX = 65536 + 512,
};

struct ls_ltx_header {
	uint32_t flags;
	uint32_t page_size;
	uint32_t commit; /* database size in pages after the file */
	uint64_t min_txid, max_txid;
	int64_t timestamp_ms; /* since the epoch */
	uint64_t pre_apply;
	int64_t wal_offset, wal_size;
	uint32_t salt1, salt2;
	uint64_t
	    node_id; /* ours: lineage id of the replica's history, 0 = unknown */
	/* Ours, in the reserved bytes behind the tag "LSD1": XOR of the page
	 * checksums of the whole database after this file, only meaningful when
	 * has_db_checksum. Bit 63 says nothing (LS_CHECKSUM_FLAG is in every
	 * page checksum): compare with it set in both. */
	bool has_db_checksum;
	uint64_t db_checksum;
	/* Ours, behind the checksum: the WAL's running checksum at the end of
	 * the window that wal_offset and wal_size name; 0, 0 = unknown. It is
	 * written only beside a database checksum. */
	uint32_t wal_sum[2];
};

bool ls_page_size_valid(uint64_t n);
/* Page number of the lock page (byte 0x40000000); never stored. */
uint32_t ls_lock_pgno(uint32_t page_size);

/* Encode; out holds LS_LTX_HEADER bytes. Checks nothing. */
void ls_ltx_header_encode(
    const struct ls_ltx_header *h, uint8_t out[static LS_LTX_HEADER]);
/* Decode and validate all rules of compatibility 4.2. LS_ECORRUPT, or
 * LS_EUNSUPPORTED for unknown flags. */
enum ls_rc ls_ltx_header_decode(
    struct ls_span in, struct ls_ltx_header *h, struct ls_err *e) LS_MUST_CHECK;

/* ---- names ---------------------------------------------------------------*/

enum { LS_LTX_NAME_MAX = 40, LS_TXID_TEXT = 17 };
/* "%016x-%016x.ltx"; returns out. */
char *ls_ltx_name(uint64_t min, uint64_t max, char out[static LS_LTX_NAME_MAX]);
/* false when name is not of that form (lower case hex only, min <= max, >=1). */
bool ls_ltx_name_parse(const char *name, uint64_t *min, uint64_t *max);
char *ls_txid_text(uint64_t txid, char out[static LS_TXID_TEXT]);
/* Exactly 16 hex digits: LS_EINVALID "invalid txid format". */
enum ls_rc ls_txid_parse(
    const char *s, uint64_t *txid, struct ls_err *e) LS_MUST_CHECK;

/* ---- writing ---------------------------------------------------------------
 * Streams to a sink, in order, never seeks. Memory: one frame and about 3
 * bytes a page for the index. */

/* Borrows bytes for the call. */
typedef enum ls_rc ls_sink(void *arg, struct ls_span bytes, struct ls_err *e);

struct ls_ltx_writer;
/* Gives *out (ls_ltx_writer_free). keeps arg until freed. */
enum ls_rc ls_ltx_writer_new(ls_sink *sink, void *arg,
    struct ls_ltx_writer **out, struct ls_err *e) LS_MUST_CHECK;
/* Start a file (again: one writer may write many, one after the other). z: the
 * dictionary of a zstd file, which sets the flag for it; NULL: LZ4.
 * Buffers: the sink sees pieces of up to LS_LTX_FRAME_MAX bytes, mostly a
 * little under 64 KiB. LS_EINVALID: flags other than LS_LTX_NO_CHECKSUM, or
 * commit 0. After any error of a file its later calls fail until the next
 * begin. */
enum ls_rc ls_ltx_writer_begin(struct ls_ltx_writer *w,
    const struct ls_ltx_header *h, struct ls_zdict *z,
    struct ls_err *e) LS_MUST_CHECK;
/* Compress and write a page of h->page_size bytes. pgno strictly ascending,
 * 1..commit, not the lock page, and for min_txid 1 without a gap: else
 * LS_ECORRUPT. */
enum ls_rc ls_ltx_writer_page(struct ls_ltx_writer *w, uint32_t pgno,
    const uint8_t *data, struct ls_err *e) LS_MUST_CHECK;
/* Write a page whose compressed frame body (what follows the 10 bytes of
 * framing) is at hand, verbatim, made as those of this file are (the same
 * dictionary); data is the same page uncompressed, for the checksum. */
enum ls_rc ls_ltx_writer_frame(struct ls_ltx_writer *w, uint32_t pgno,
    struct ls_span frame, const uint8_t *data, struct ls_err *e) LS_MUST_CHECK;
/* Terminator, index, trailer. For min_txid 1 refuses (LS_ECORRUPT) when a page
 * of 1..commit is missing. *size: bytes of the file, may be NULL. */
enum ls_rc ls_ltx_writer_end(
    struct ls_ltx_writer *w, uint64_t *size, struct ls_err *e) LS_MUST_CHECK;
void ls_ltx_writer_free(struct ls_ltx_writer *w);

/* ---- reading: a stream ----------------------------------------------------*/

/* Fill buf with up to n bytes; *got 0 at the end. */
typedef enum ls_rc ls_source(
    void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e);

struct ls_ltx_page {
	uint32_t pgno;
	uint16_t flags;
	uint64_t offset;      /* of the frame in the file */
	struct ls_span frame; /* compressed body, without framing; borrowed */
	const uint8_t *data; /* page_size bytes; borrowed until the next call */
};

struct ls_ltx_reader;
/* Reads and checks the header. Gives *out. */
enum ls_rc ls_ltx_reader_open(ls_source *src, void *arg,
    struct ls_ltx_reader **out, struct ls_err *e) LS_MUST_CHECK;
const struct ls_ltx_header *ls_ltx_reader_header(const struct ls_ltx_reader *r);
/* Of a zstd file, borrowed; NULL for others. */
struct ls_zdict *ls_ltx_reader_dict(const struct ls_ltx_reader *r);
/* LS_OK with *pg set, LS_ENOTFOUND after the last page (no message), else
 * an error: LS_ECORRUPT, LS_ESHORT (the file ends too early), or the
 * source's. Decompresses and checks that a page has exactly page_size bytes. */
enum ls_rc ls_ltx_reader_next(struct ls_ltx_reader *r, struct ls_ltx_page *pg,
    struct ls_err *e) LS_MUST_CHECK;
/* True once the last page has passed: tells LS_ENOTFOUND of ls_ltx_reader_next
 * from the same code out of a source. */
bool ls_ltx_reader_at_end(const struct ls_ltx_reader *r);
/* After the last page: read index and trailer, compare index with what was
 * seen, check the file checksum, and that nothing follows. Of a file with
 * min_txid 1 the post-apply and our database checksum are checked too, where
 * the file has them. */
enum ls_rc ls_ltx_reader_finish(
    struct ls_ltx_reader *r, struct ls_err *e) LS_MUST_CHECK;
void ls_ltx_reader_free(struct ls_ltx_reader *r);

/* Read all of a file from a source and check everything; *h may be NULL. */
enum ls_rc ls_ltx_verify(ls_source *src, void *arg, struct ls_ltx_header *h,
    struct ls_err *e) LS_MUST_CHECK;

/* ---- reading: ranges ------------------------------------------------------*/

struct ls_ltx_entry {
	uint64_t off;  /* of the frame (its 6-byte page header) in the file */
	uint32_t size; /* of the whole frame, framing included */
	uint32_t pgno;
};

struct ls_ltx_index { /* inside: heap; ls_ltx_index_fini */
	struct ls_ltx_entry *v;
	size_t n;
};

/* How many bytes of the end of a file hold index and trailer, from the last
 * LS_LTX_TRAILER + 8 bytes (tail). LS_ECORRUPT if impossible for file_size. */
enum ls_rc ls_ltx_index_extent(struct ls_span tail, uint64_t file_size,
    uint64_t *bytes, struct ls_err *e) LS_MUST_CHECK;
/* Decode the index from the last bytes of a file (at least the extent). z: of a
 * zstd file; NULL: LZ4. Validates: pgno ascending and within 1..commit (commit
 * 0: unknown), offsets ascending from the first frame's, frames back to back,
 * the last one ending 6 bytes before the index, sizes under the ceiling, count
 * of bytes. Gives idx->v. LS_ECORRUPT otherwise. */
enum ls_rc ls_ltx_index_decode(struct ls_span tail, uint64_t file_size,
    uint32_t commit, const struct ls_zdict *z, struct ls_ltx_index *idx,
    struct ls_err *e) LS_MUST_CHECK;
/* Rebuild an index by walking the frames from a source that starts at byte 0.
 * For damaged indexes. Verifies nothing but structure, and reads no further
 * than the terminator (and what it read ahead). h may be NULL. */
enum ls_rc ls_ltx_scan(ls_source *src, void *arg, struct ls_ltx_header *h,
    struct ls_ltx_index *idx, struct ls_err *e) LS_MUST_CHECK;
/* Binary search; NULL when pgno is not in the file. */
const struct ls_ltx_entry *ls_ltx_index_find(
    const struct ls_ltx_index *idx, uint32_t pgno);
void ls_ltx_index_fini(struct ls_ltx_index *idx);

/* Decode one whole frame (framing included) that should be page pgno, into
 * page_size bytes at out. z: of a zstd file; NULL: LZ4. LS_ECORRUPT if page
 * number, length or decoded length differ. */
enum ls_rc ls_ltx_frame_decode(struct ls_span frame, const struct ls_zdict *z,
    uint32_t pgno, uint32_t page_size, uint8_t *out,
    struct ls_err *e) LS_MUST_CHECK;

/* Trailer fields from the last LS_LTX_TRAILER bytes. */
void ls_ltx_trailer_decode(
    const uint8_t *p, uint64_t *post_apply, uint64_t *file_checksum);

/* A source over memory. */
struct ls_ltx_mem {
	struct ls_span span;
	size_t at;
};
enum ls_rc ls_ltx_mem_source(
    void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e);

/* ---- the completeness rule -------------------------------------------------
 * When commit grows from prev to commit, every page of (prev, commit] but the
 * lock page must be present (design 3.2). pgnos ascending. LS_ECORRUPT names
 * the first missing page. */
enum ls_rc ls_ltx_complete(const uint32_t *pgnos, size_t n, uint32_t prev,
    uint32_t commit, uint32_t page_size, struct ls_err *e) LS_MUST_CHECK;

#endif
