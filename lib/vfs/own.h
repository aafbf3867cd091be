/* own.h -- what this process writes to a replica: the one write slot of its
 * connections, the transactions that wait for the store, the write buffer.
 * Thread-safe. */
#ifndef LS_VFS_OWN_H
#define LS_VFS_OWN_H

#include "vfs/db.h"
#include "vfs/journal.h"

struct ls_own;
struct ls_uploader;

/* Begin to write to d, or join those who do: replays what the buffer holds.
 * Without anything to replay no file is touched before the first transaction.
 * LS_EINVALID: it is written through another buffer already. Called with d's
 * build lock (ls_vdb_write does it all). */
enum ls_rc ls_own_new(struct ls_vdb *d, const struct ls_vfs_opts *o,
    struct ls_own **out, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_own_join(struct ls_own *w, const struct ls_vfs_opts *o,
    struct ls_err *e) LS_MUST_CHECK;
/* The last push, at most so long. Once, before d is canceled; w stays. */
void ls_own_finish(struct ls_own *w);
void ls_own_free(struct ls_own *w); /* NULL is fine */

/* ---- one transaction: reserve, prepare, commit or undo, release -----------*/

/* Take the write slot for `who`, whose state is base. LS_EBUSY: another
 * connection has it; LS_ELOCKED: another process has the buffer; LS_ECHANGED:
 * base is not the newest state any more. Else why nothing is written: what went
 * wrong before (LS_EFENCED, ...), the buffer is full, or waits too long. */
enum ls_rc ls_own_reserve(struct ls_own *w, const void *who,
    const struct ls_ver *base, struct ls_err *e) LS_MUST_CHECK;
void ls_own_release(struct ls_own *w, const void *who);

struct ls_own_txn {
	const struct ls_ver *base; /* the state that it was made of */
	uint32_t page_size, commit;
	uint32_t n, *pgno; /* ascending; taken (heap), also on an error */
	const char *super; /* name of the super-journal, or NULL */
	ls_jpage *page;
	void *arg;
	/* It may be a rollback: nothing goes to the store. Out: the store is
	 * to be asked before the commit (ls_own_store). */
	bool unsure;
	uint64_t seq; /* out: its number */
};
/* Phase one. Into the buffer; with interval 0 into the store. On an error
 * nothing of it is there, or (LS_EAGAIN) that is not known yet, and nothing is
 * written until it is. */
enum ls_rc ls_own_prepare(struct ls_own *w, const void *who,
    struct ls_own_txn *t, struct ls_err *e) LS_MUST_CHECK;
/* It was no rollback: into the store, or (as of prepare) taken back. */
enum ls_rc ls_own_store(
    struct ls_own *w, uint64_t seq, struct ls_err *e) LS_MUST_CHECK;
/* fsync of the buffer. */
enum ls_rc ls_own_flush(struct ls_own *w, struct ls_err *e) LS_MUST_CHECK;
/* Phase two: everybody sees it. *out: the state with just this on top, a
 * reference. LS_EFENCED: it was lost meanwhile. */
enum ls_rc ls_own_commit(struct ls_own *w, uint64_t seq, struct ls_ver **out,
    struct ls_err *e) LS_MUST_CHECK;
/* Prepared, not committed: take it back. */
void ls_own_undo(struct ls_own *w, uint64_t seq);

/* ---- the store ------------------------------------------------------------*/

/* Send what is committed now. *txid: what the store holds then. */
enum ls_rc ls_own_push(struct ls_own *w, uint64_t *txid,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* With the version lock of d: is anything waiting for the store? */
bool ls_own_pending(const struct ls_own *w);
/* With it: what is stored is in these files now, v (kept). */
enum ls_rc ls_own_moved(
    struct ls_own *w, struct ls_ver *v, struct ls_err *e) LS_MUST_CHECK;
/* The user knows what went wrong, and wants to write on top of what is stored:
 * ends the fenced state. */
enum ls_rc ls_own_forgive(struct ls_own *w, struct ls_err *e) LS_MUST_CHECK;

struct ls_own_stats {
	uint64_t pending_txns, pending_bytes, pushes, pushed_bytes;
	uint64_t files;	      /* of transactions, ever made */
	char last_error[512]; /* of writing; "" when all is well */
	char aside[512];      /* where a buffer was set aside, or "" */
};
void ls_own_stats(struct ls_own *w, struct ls_own_stats *out);

/* What others do around the writing (a lease, maintenance). Called from the
 * thread that pushes, one at a time; any may be NULL. Set before the first
 * transaction. */
struct ls_own_hooks {
	void *arg;
	/* Before the slot is given for the first time, and before each put; an
	 * error stops that. */
	enum ls_rc (*may_write)(
	    void *arg, const struct ls_call *c, struct ls_err *e);
	/* A put of this TXID may have happened from now on. */
	void (*pushing)(void *arg, uint64_t txid);
	/* After a put was acknowledged. u may be used until it returns. */
	void (*pushed)(void *arg, struct ls_uploader *u, uint64_t txid,
	    const struct ls_call *c);
	/* The last push is done. */
	void (*finished)(void *arg);
};
void ls_own_set_hooks(struct ls_own *w, const struct ls_own_hooks *h);
/* Run fn in turn with the pushes, when something was pushed or synced: u is the
 * uploader, in the state of the last acknowledgement. */
enum ls_rc ls_own_with_uploader(struct ls_own *w,
    enum ls_rc (*fn)(void *arg, struct ls_uploader *u, const struct ls_call *c,
	struct ls_err *e),
    void *arg, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

#endif
