/* verify.h -- is what is stored whole? Reads only. */
#ifndef LS_VERIFY_H
#define LS_VERIFY_H

#include "replica/replica.h"

struct ls_gap { /* TXIDs that a level lacks */
	int level;
	uint64_t min, max;
};
struct ls_verified { /* heap inside; ls_verified_fini */
	bool ok;
	struct ls_gap *gaps;
	size_t n_gaps, cap_gaps;
	size_t listed;	       /* files, all levels */
	size_t checked_files;  /* of the newest plan: header and index read */
	size_t tagged_files;   /* of these, with our database checksum */
	uint64_t checked_txid; /* that the newest plan reaches */
	uint64_t lineage;      /* of its history, 0 = unknown */
	uint32_t page_size, commit;
	/* Why the newest plan is not whole; LS_OK: it is. */
	struct ls_err problem;
};
void ls_verified_fini(struct ls_verified *v);

/* From listings and page indexes alone (ranges, no page is read):
 * - no level above 0 lacks TXIDs between two of its files, unless a full copy
 *   ends right before the later one;
 * - every file behind the first full copy can be reached by some plan;
 * - the newest plan: one history, sizes of pages, every file holds what it
 *   grows the database by, every page has a file.
 * An empty replica is not ok. An error is one of asking; what is wrong with the
 * replica is in *out. */
enum ls_rc ls_verify(struct ls_replica *r, const struct ls_par *par,
    unsigned parallelism, struct ls_verified *out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

/* check_live.c: compare a restored file with the live database, read under a
 * read transaction into "<restored>.live" (removed again). *equal false: *pgno
 * is the first page that differs. Ignored are what SQLite's backup sets anew
 * (change counters, schema cookie, file format) and the lock page. LS_EBUSY
 * when the database is locked; LS_ENOTFOUND. */
enum ls_rc ls_compare_live(const char *restored, const char *live, bool *equal,
    uint32_t *pgno, struct ls_err *e) LS_MUST_CHECK;

#endif
