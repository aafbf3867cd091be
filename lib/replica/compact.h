/* compact.h -- merge the files of one level into the next, and level-9 files
 * out of stored ones. Upstream's rules: compatibility 4.5 and 6.2. */
#ifndef LS_COMPACT_H
#define LS_COMPACT_H

#include "format/pack.h"
#include "replica/replica.h"

/* Where the level-0 file of a TXID lies locally, byte for byte as stored; false
 * when it does not. A path that is gone by the time it is read is no harm.
 * Called from any thread that ls_par runs. */
typedef bool ls_local_fn(void *arg, uint64_t txid, char *path, size_t size);

/* The largest TXID that may be stored by our own doing, at this moment. */
typedef uint64_t ls_newest_fn(void *arg);

/* What is known of a level's newest file, so that nothing is listed to find
 * out. Zeroed: not known. */
struct ls_level_state {
	bool known;
	uint64_t max_txid; /* 0: the level is empty */
	uint32_t page_size, commit;
	uint64_t lineage;
	int64_t timestamp_ms;
};

struct ls_compact_opts { /* zeroed: all defaults */
	/* No TXID above it can be ours: one that is there is LS_EFENCED. 0:
	 * not checked. Files above it are not merged. */
	uint64_t newest;
	/* Asked when a listing goes beyond newest: what can be ours by now, since
	 * uploads may go on beside the call. NULL: newest stands. Thread-safe. */
	ls_newest_fn *newest_now;
	void *newest_arg;
	bool verify; /* list the level afterwards and check contiguity */
	const struct ls_par *par; /* NULL: one transfer at a time */
	unsigned parallelism;	  /* 0 = 8 */
	ls_local_fn *local;	  /* NULL: none */
	void *local_arg;
	struct ls_codec codec; /* of what is written */
};

struct ls_compacted {
	size_t files_in, files_out;  /* files_out 0: nothing to do */
	uint64_t min_txid, max_txid; /* of what was written */
	uint64_t bytes_out;
	uint64_t fetched; /* from the store */
	size_t copied;	  /* of files_out, on the server */
	uint64_t base;	  /* a level-9 file 1..base was made on the way; or 0 */
	bool bad_shape;	  /* verify: a gap or overlap; it was logged */
};

/* Merge what level dst - 1 has behind the newest file of level dst (1..8).
 * More files than memory is meant for become several. A full copy (min_txid 1,
 * or the first file of a new page size) never goes up; one of a new page size
 * is first made a level-9 file, since the chain at dst continues behind it.
 *
 * state: LS_LEVELS of them, read and kept up to date; forgotten after an
 * error. LS_EGAP: files are missing before what is there, or it is of another
 * history: a snapshot mends the former. LS_EFENCED: another writer. */
enum ls_rc ls_compact(struct ls_replica *r, int dst,
    const struct ls_compact_opts *o, struct ls_level_state *state,
    struct ls_compacted *out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

/* base.c: make a level-9 file 1..txid (0: the newest) out of stored files,
 * streamed. A plan of more files than memory is meant for is cut: *made is what
 * was reached, perhaps below txid (never when txid is given). One that is there
 * already is fine. */
enum ls_rc ls_base_make(struct ls_replica *r, uint64_t txid,
    const struct ls_compact_opts *o, struct ls_level_state *state,
    uint64_t *made, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

/* Look at a level's newest file: a listing and a header, unless known. */
enum ls_rc ls_level_know(struct ls_replica *r, int level,
    struct ls_level_state *state, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
void ls_level_wrote(
    struct ls_level_state *state, const struct ls_ltx_header *h);

#endif
