/* merge.h -- k-way merge of LTX files, oldest to newest, into one.
 *
 * Newest wins; pages above the commit of the same or any newer input are
 * dropped; compressed frames are copied verbatim where the output's are
 * made the same way, else made again (pack.h). Inputs must have one page size and contiguous TXID ranges
 * (min <= previous max + 1, max > previous max), else LS_ECORRUPT with
 * upstream's words (compatibility 4.5). Each input is read to its end and its
 * checksum verified. Memory: O(inputs), about 32 KiB and two pages each; for
 * a zstd output about four times LS_ZSAMPLE more.
 *
 * Completeness: every page by which the database grew over its smallest size on
 * the way must come, else LS_ECORRUPT: over 0 when the first min_txid is 1,
 * over the commits of all inputs but the last, and over prev_commit.
 */
#ifndef LS_MERGE_H
#define LS_MERGE_H

#include "format/pack.h"

struct ls_merge_input {
	ls_source *src;
	void *arg; /* borrowed for the merge */
};

struct ls_merge_opts {
	/* The database's size before the first input, if it is known. */
	bool prev_commit_known;
	uint32_t prev_commit;
	/* The first input holds every page of its state (a base whose own
	 * min_txid is not 1): the output's min_txid is 1. */
	bool from_one;
	/* The output's node_id; its database checksum is that of the last
	 * input. */
	uint64_t node_id;
	struct ls_codec codec; /* of the output */
};

/* out_header and out_size may be NULL. LS_EINVALID: no input, or the last one
 * leaves an empty database (such files are read, never written). */
enum ls_rc ls_merge(const struct ls_merge_input *in, size_t n,
    const struct ls_merge_opts *o, ls_sink *sink, void *sink_arg,
    struct ls_ltx_header *out_header, uint64_t *out_size,
    struct ls_err *e) LS_MUST_CHECK;

/* As the merge, but gives the newest version of each page, ascending, and
 * writes nothing: what restore and resync use. data: borrowed. */
typedef enum ls_rc ls_page_fn(
    void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e);
enum ls_rc ls_merge_pages(const struct ls_merge_input *in, size_t n,
    ls_page_fn *fn, void *arg, struct ls_ltx_header *out_header,
    struct ls_err *e) LS_MUST_CHECK;

#endif
