/* retain.h -- delete what no restore point needs any more (compatibility 6.4).
 */
#ifndef LS_RETAIN_H
#define LS_RETAIN_H

#include "replica/compact.h"

/* The wall clock, as far as it can be believed: a jump ahead is believed only
 * once it has lasted an hour. Zeroed: not started. One a database or process.
 */
struct ls_steady {
	bool started;
	int64_t wall_ns;  /* believed, at boot_ns */
	uint64_t boot_ns; /* of ls_sys->boot_ns */
	uint64_t
	    ahead_ns; /* boot time since which the clock is ahead; 0 = no */
};
int64_t ls_steady_now(struct ls_steady *s);

struct ls_retain_opts {
	int64_t now_ns;		 /* ls_steady_now */
	int64_t retention_ns;	 /* the window: how far back points are kept */
	int64_t l0_retention_ns; /* 0: level-0 files are never deleted */
	uint64_t newest;	 /* these three as in ls_compact_opts */
	ls_newest_fn *newest_now;
	void *newest_arg;
	const struct ls_par *par;
};

struct ls_retained {
	size_t deleted[LS_LEVELS];
	/* Level-0 files that were chosen, that level 1 has not, too young. */
	size_t l0[3];
	uint64_t bytes;
	bool promoted; /* the base was copied from level 0 to level 9 */
	/* When something may be next to go, as far as the files that are there
	 * now tell (wall clock); 0: not before something is written. */
	int64_t next_ns;
};

/* List, choose, prove, delete.
 *
 * Chosen: full copies (level 9, and level 0's TXID 1) that are older than
 * another one at or before the window's begin; files of levels 1 to 8 that end
 * before the full copy before the first one kept, but never a level's last;
 * level-0 files that level 1 has, up to the end of a level-1 file all of whose
 * are older than l0_retention, but never the newest. The base at level 0 is copied to level 9 on the
 * server before it goes; where the store cannot copy it stays.
 *
 * LS_EGAP: some restore point of the window would be lost; nothing is deleted,
 * the message names the file that it needs. LS_EFENCED: another writer's file
 * is there. state may be NULL; level 9 of it is kept up to date. */
enum ls_rc ls_retain(struct ls_replica *r, const struct ls_retain_opts *o,
    struct ls_level_state *state, struct ls_retained *out,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

/* The proof alone: with the files of `gone` taken out of `all`, every restore
 * point of the window that had a plan has one. A point counts when it is the
 * newest; or ends a file of levels 1 to 9 and is not older than window_ns; or a
 * level-0 file that level 1 has not, or that is younger than l0_window_ns. */
enum ls_rc ls_retain_prove(struct ls_replica *r, const struct ls_files *all,
    const struct ls_files *gone, int64_t window_ns, int64_t l0_window_ns,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

#endif
