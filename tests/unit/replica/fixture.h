/* fixture.h -- a folder replica and a model of the database behind it: every
 * state that it ever had, so that any restore can be compared. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "replica/replica.h"
#include "test.h"

enum { FX_TXIDS = 64, FX_PAGES = 96 };
#define FX_T0 1700000000000ll /* ms; TXID n is at FX_T0 + n seconds */

struct fx_state {
	uint32_t commit;
	uint8_t *pages;
	bool changed[FX_PAGES + 1]; /* by this TXID */
};

struct fx {
	struct ls_store *st;
	struct ls_replica *r;
	uint32_t page_size;
	uint64_t lineage;
	int64_t later_ms; /* than FX_T0 */
	bool db_checksum;
	/* Files of more than one TXID are zstd, with a dictionary, without one,
	 * or LZ4, in turns. */
	bool mixed;
	struct ls_zdict *z;
	uint64_t txid; /* newest of the model */
	struct fx_state s[FX_TXIDS];
};

/* A replica in T("rep"). */
void fx_open(struct fx *x, uint32_t page_size);
/* From now on (fx.mixed). */
void fx_mix(struct fx *x);
void fx_close(struct fx *x);
/* The next TXID: change some pages, perhaps grow or shrink. */
void fx_commit(struct fx *x);
void fx_commit_to(struct fx *x, uint32_t commit);
/* The file of TXIDs min..max, made from the model (not by lib/replica). */
void fx_file(struct fx *x, uint64_t min, uint64_t max, struct ls_buf *out);
/* Put it at a level; its time is that of max. */
void fx_put(struct fx *x, int level, uint64_t min, uint64_t max);
/* Path of a stored file. */
const char *fx_path(int level, uint64_t min, uint64_t max);
/* List all and plan. */
enum ls_rc fx_plan(struct fx *x, const struct ls_target *t, struct ls_plan *p,
    struct ls_err *e);
/* Plan and restore to T(name), 0: newest. */
enum ls_rc fx_restore(struct fx *x, uint64_t txid, const char *name,
    struct ls_restored *out, struct ls_err *e);
/* Is T(name) the model's state? */
bool fx_equal(const struct fx *x, uint64_t txid, const char *name);
/* XOR of the page checksums of a state. */
uint64_t fx_sum(const struct fx *x, uint64_t txid);

/* Neither T(name) nor its .tmp is there. */
bool fx_nothing_left(const char *name);
/* Remove T(name), a file or a folder. */
void fx_drop(const char *name);

/* Flip the bits of xor in the byte at `at` of a file. */
void fx_poke(const char *path, size_t at, uint8_t xor);

#endif
