/* own_impl.h -- inside own.c, own_replay.c, own_path.c and push.c. */
#ifndef LS_VFS_OWN_IMPL_H
#define LS_VFS_OWN_IMPL_H

#include "vfs/own.h"

#include "base/log.h"

struct ls_rec { /* a transaction that the store has not */
	struct ls_rec *next;
	struct ls_jrec j;
	struct ls_ltx_index idx;
	struct ls_vfile *file; /* a reference */
	/* PREPARED: not seen by others, may be taken back. DOUBT: its COMMIT
	 * failed and the store may have it. */
	enum { REC_COMMITTED, REC_PREPARED, REC_DOUBT } state;
};

struct ls_own {
	struct ls_vdb *d;
	char *path;
	struct ls_own_hooks hooks;
	uint64_t max_bytes, max_age_ns;
	int64_t l0_retention_ns;
	struct ls_cancel cancel;
	_Atomic bool allowed; /* the hook was asked */
	pthread_mutex_t push; /* one push at a time; before the version lock */
	/* Under push: */
	struct ls_uploader *u;
	bool synced;
	char *put; /* the put file when the buffer's disk is full, else NULL */
	/* Under the version lock of d: */
	struct ls_journal *j;  /* NULL: not locked yet */
	struct ls_jbase jbase; /* that the buffer's file names */
	uint64_t interval_ns;
	const void *writer;
	struct ls_rec *first, *last;
	struct ls_ver *prepared; /* newest with the prepared one on top, ... */
	uint64_t prepared_seq;	 /* which is this one */
	uint64_t seq, stored_seq;
	uint64_t sealed;       /* the put file holds what is up to it */
	uint64_t waiting_ns;   /* since when the oldest waits; 0: nothing */
	uint64_t failing_ns;   /* since when pushes fail; 0: they do not */
	struct ls_err failed;  /* nothing is written until forgiven */
	struct ls_err problem; /* of the last push */
	char *aside;
	struct ls_own_stats n;
	/* The thread. */
	pthread_cond_t wake;
	pthread_t thread;
	bool started, running, stop;
	uint64_t pushed_ns; /* when the last push began */
	struct ls_log_limit said;
};

/* The place without the server's address, which may change. Gives a heap
 * string; NULL: no memory. */
char *ls_own_replica_id(struct ls_vdb *d);
/* Path of the buffer, absolute. Gives *out. */
enum ls_rc ls_own_buffer_path(struct ls_vdb *d, const struct ls_vfs_opts *o,
    char **out, struct ls_err *e) LS_MUST_CHECK;
/* Lock the buffer, if that was not done, and replay what it holds. */
enum ls_rc ls_own_attach(struct ls_own *w, struct ls_err *e) LS_MUST_CHECK;
/* The rest with the version lock. */
/* A record of the buffer that the store has not goes to the end of the list.
 * What is wanted of *j is moved out of it. */
enum ls_rc ls_own_add(
    struct ls_own *w, struct ls_jrec *j, struct ls_err *e) LS_MUST_CHECK;
/* Rename the buffer, which does not follow what is stored, and say so. w->aside
 * is its name then, or NULL. */
void ls_own_set_aside(struct ls_own *w, const struct ls_err *why);
void ls_own_drop(struct ls_own *w, struct ls_rec *from, uint64_t upto);
/* Make newest (and prepared) anew from a stored state, which is kept, and what
 * is pending after upto. fresh: others see other pages than before. */
enum ls_rc ls_own_restack(struct ls_own *w, struct ls_ver *stored,
    uint64_t upto, bool fresh, struct ls_err *e) LS_MUST_CHECK;
/* The last record, prepared or in doubt, never was. */
void ls_own_take_back(struct ls_own *w, struct ls_rec *r);
/* Another writer was there: set the buffer aside and show what is stored. */
void ls_own_lost(struct ls_own *w, const struct ls_err *why);
struct ls_jbase ls_own_base(const struct ls_ver *stored);
/* Without it: send up to seq (0: what is committed). With push. */
enum ls_rc ls_push_upto(struct ls_own *w, uint64_t seq, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Is the put file of the buffer there, and that of txid? With push. */
bool ls_push_has_file(struct ls_own *w, uint64_t txid);
/* Is what is stored as base.txid + 1 the put file of the buffer? */
enum ls_rc ls_push_is_ours(struct ls_own *w, uint64_t txid, bool *ours,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
void ls_push_start(struct ls_own *w); /* the thread, when needed */
void ls_push_stop(struct ls_own *w);  /* without the lock */

#endif
