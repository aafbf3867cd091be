/* stats.h -- what was asked of stores, counted for metrics.
 *
 * Two views: OPERATIONS of the whole process by kind of store (calls of
 * store.h, with the tries inside them), and REQUESTS of one store by how each
 * try was answered. Counters only grow; reading them takes no part of a call's
 * time. */
#ifndef LS_STATS_H
#define LS_STATS_H

#include "store/store.h"

#include <stdatomic.h>

enum ls_op {
	LS_OP_PUT,
	LS_OP_GET,
	LS_OP_HEAD,
	LS_OP_LIST,
	LS_OP_DELETE,
	LS_OP_COPY,
	LS_OPS
};
const char *ls_op_name(enum ls_op op); /* "PUT"; of LS_OPS "OTHER" */

/* ---- operations --------------------------------------------------------- */

/* Upper bounds in ns of the histogram's buckets; one more holds the rest. */
enum { LS_OP_BOUNDS = 9, LS_OP_ERRORS = LS_ENOBUCKET + 1 };
extern const uint64_t ls_op_bound_ns[LS_OP_BOUNDS];

struct ls_op_stats {
	_Atomic uint64_t n, bytes; /* that succeeded; of DELETE: objects */
	_Atomic uint64_t ns, bucket[LS_OP_BOUNDS + 1]; /* of all */
	_Atomic uint64_t errors[LS_OP_ERRORS];	       /* by enum ls_rc */
};
enum { LS_STORE_TYPES = 2 };
extern const char *const ls_store_types[LS_STORE_TYPES]; /* "file", "s3" */
struct ls_net_stats {
	struct ls_op_stats op[LS_STORE_TYPES][LS_OPS];
};
struct ls_net_stats *ls_net_stats(struct ls_net *n); /* borrowed */

/* One operation ended: n things, bytes of them, with this result. What is an
 * answer and no failure (not found, exists, changed, cancelled) is timed only.
 */
void ls_op_ended(struct ls_op_stats *s, enum ls_rc rc, uint64_t n,
    uint64_t bytes, uint64_t ns);

/* ---- requests ------------------------------------------------------------ */

/* code: an HTTP status, or below 100 an enum ls_rc (no answer came; or a store
 * that has no statuses: LS_OK is "ok"). */
struct ls_req_stat {
	uint16_t op; /* enum ls_op, or LS_OPS: several */
	int16_t code;
	uint64_t n;
};
/* So many are told apart, in memory that is there from the start: a count must
 * not fail. Whatever else comes is one, of LS_OPS and LS_REQ_OTHER. A word each
 * holds operation, code and count, since every database has them. Zeroed: none.
 */
enum { LS_REQ_MAX = 16, LS_REQ_OTHER = -1 };
struct ls_req_stats {
	_Atomic uint64_t v[LS_REQ_MAX];
};
void ls_req_count(struct ls_req_stats *s, enum ls_op op, int code);
/* Into out; how many. */
size_t ls_req_read(
    const struct ls_req_stats *s, struct ls_req_stat out[static LS_REQ_MAX]);
/* Count the requests of a store there (keeps s), from its first one on. */
void ls_store_count(struct ls_store *st, struct ls_req_stats *s);
enum { LS_REQ_CODE_MAX = 24 };
/* "200", "timeout". */
const char *ls_req_code(int code, char out[static LS_REQ_CODE_MAX]);

#endif
