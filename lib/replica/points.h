/* points.h -- the TXIDs that can be restored, out of a listing. */
#ifndef LS_POINTS_H
#define LS_POINTS_H

#include "replica/replica.h"

struct ls_point {
	uint64_t txid;
	/* Of its file at min_level: the header's, once read, else as listed. */
	int64_t time_ns;
	uint64_t size, min_txid; /* of that file */
	int min_level; /* lowest level that has a file that ends there */
};
struct ls_points { /* heap inside; ls_points_fini */
	struct ls_point *v;
	size_t n, cap;
};
void ls_points_fini(struct ls_points *p);
/* Every TXID for which ls_plan_make finds a plan, ascending. Pure: no request
 * is made; times are as listed where no header was read. One pass: O(n log n).
 * Appends to *out, which is empty. */
enum ls_rc ls_points_of(const struct ls_files *all, struct ls_points *out,
    struct ls_err *e) LS_MUST_CHECK;
/* Is txid among them? */
bool ls_points_have(const struct ls_points *p, uint64_t txid);

struct ls_points_opts {
	int64_t since_ns, until_ns; /* 0: no limit; both ends belong to it */
	const struct ls_par *par;
	unsigned parallelism;
};
/* List all levels and give the points between two times. Times are the
 * headers': read with a request each where the listing does not tell them. */
enum ls_rc ls_replica_points(struct ls_replica *r,
    const struct ls_points_opts *o, struct ls_points *out,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

#endif
