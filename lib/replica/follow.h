/* follow.h -- `restore -f`: a copy that follows its replica (compatibility
 * 7.5).
 *
 * The copy is a database in rollback-journal mode, so that readers need no
 * -wal and -shm files. Beside it lies "<output>-txid": the TXID that it is at,
 * 16 hex digits and a newline. Readers should open it read-only; they see one
 * whole TXID after the other, also when the follower is killed at any moment.
 */
#ifndef LS_FOLLOW_H
#define LS_FOLLOW_H

#include "replica/replica.h"

struct ls_follow_opts {
	/* output, parallelism, par, integrity and progress of the first restore
	 * and of each new one; borrowed with what it points to. */
	const struct ls_restore_opts *restore;
	uint64_t interval_ns; /* of ls_follow_run; 0: 1 s */
};

struct ls_follower;
/* Restore the newest state to the output, or, when that file is there, go on
 * where its -txid file says. LS_EEXISTS: a database without that file.
 * LS_ENOTFOUND: nothing stored. Keeps r and o. Gives *out (ls_follow_free). */
enum ls_rc ls_follow_open(struct ls_replica *r, const struct ls_follow_opts *o,
    struct ls_follower **out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Look once, and apply what is new. After an error the copy is at a whole TXID
 * (at the latest when the next step has begun); call again. LS_EBUSY: readers
 * did not let go of the copy for ten seconds. */
enum ls_rc ls_follow_step(struct ls_follower *f, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
uint64_t ls_follow_txid(const struct ls_follower *f);
void ls_follow_free(struct ls_follower *f);
/* Steps until cancelled, which is LS_OK: the errors of steps are logged, and
 * tried again with a growing pause. */
enum ls_rc ls_follow_run(struct ls_follower *f, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

#endif
