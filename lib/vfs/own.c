/* own.c -- what this process writes to a replica. See own.h.
 *
 * (1) ONE WRITER AT A TIME, ON THE NEWEST STATE. A connection that asks for
 *     the slot with another state than the newest is turned away, and what it
 *     prepared is checked once more: no update is lost in the process. Between
 *     processes of one buffer the OFD lock decides, elsewhere the store does,
 *     by TXID (push.c); who gets the lock looks first when the one before
 *     stored something since. (test: old_state_may_not_write, test_write.py
 *     test_processes_take_turns)
 * (2) PREPARED IS NOT PUBLISHED. After phase one a transaction is in the
 *     buffer and in no version that a reader can get; phase two swaps one
 *     pointer and cannot fail. (test: prepared_is_seen_by_nobody)
 * (3) NEWEST = STORED + WHAT WAITS, always: every change of either builds the
 *     other anew under the version lock, from the files of the transactions in
 *     their order. While something waits the poller moves nothing (db.c).
 *     (test: prepared_is_seen_by_nobody)
 * (4) A COMMIT THAT FAILED MAY STILL BE IN THE STORE, when an answer was lost
 *     and could not be had again. Nothing else is written before that is known:
 *     what is there then was committed, what is not was not.
 *     (test: any_fault_leaves_a_durable_commit_whole_or_undone)
 * (5) WHAT FAILS FOR LONG IS SAID: a buffer over its size, or one that waits
 *     too long while pushes fail, turns new transactions away.
 * Not here: what an earlier life left in the buffer (own_replay.c).
 */
#include "vfs/own_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"
#include "vfs/guest.h"

#include <assert.h>
#include <stdio.h>

enum { FINISH_SECONDS = 30, HOOK_SECONDS = 30 };

#define MAX_BYTES  (1ull << 30)
#define MAX_AGE_NS (15 * 60 * LS_SEC)

/* ---- the list -------------------------------------------------------------*/

static void
rec_free(struct ls_own *w, struct ls_rec *r)
{
	if (r == NULL)
		return;
	if (r->file != NULL)
		ls_vfile_unref(ls_vdb_files(w->d), r->file, 1);
	ls_jrec_fini(&r->j);
	ls_ltx_index_fini(&r->idx);
	ls_free(r);
}

static void
append(struct ls_own *w, struct ls_rec *r)
{
	r->next = NULL;
	*(w->last ? &w->last->next : &w->first) = r;
	w->last = r;
	w->n.pending_txns++;
	w->n.pending_bytes += (uint64_t)r->j.n * r->j.page_size;
	if (w->waiting_ns == 0)
		w->waiting_ns = ls_sys->mono_ns();
}

/* Take out the records from `from` on whose number is at most upto. */
void
ls_own_drop(struct ls_own *w, struct ls_rec *from, uint64_t upto)
{
	struct ls_rec **p = &w->first, *r;

	while (*p != from)
		p = &(*p)->next;
	while ((r = *p) != NULL && r->j.seq <= upto) {
		*p = r->next;
		w->n.pending_txns--;
		w->n.pending_bytes -= (uint64_t)r->j.n * r->j.page_size;
		rec_free(w, r);
	}
	w->last = w->first;
	while (w->last != NULL && w->last->next != NULL)
		w->last = w->last->next;
	w->waiting_ns = w->first ? ls_sys->mono_ns() : 0;
}

static struct ls_rec *
rec_of(struct ls_own *w, uint64_t seq)
{
	struct ls_rec *r = w->first;

	while (r != NULL && r->j.seq != seq)
		r = r->next;
	return r;
}

bool
ls_own_pending(const struct ls_own *w)
{
	return w->first != NULL;
}

/* Index and file of a record whose places in the journal are known. */
static enum ls_rc
rec_open(struct ls_own *w, struct ls_rec *r, struct ls_err *e)
{
	struct ls_vfile like = {
		.f = { .level = -1,
		    .min_txid = r->j.seq,
		    .max_txid = r->j.seq },
		.h = { .page_size = r->j.page_size,
		    .commit = r->j.commit,
		    .min_txid = UINT64_MAX,
		    .max_txid = UINT64_MAX, /* newer than all that is stored */
		    .timestamp_ms = r->j.timestamp_ms },
		.key = "the write buffer",
		.size = r->j.end - r->j.at,
		.local = ls_journal_file(w->j),
	};

	ls_free(r->idx.v);
	r->idx.n = r->j.n;
	r->idx.v = ls_alloc((r->j.n + 1) * sizeof *r->idx.v);
	if (r->idx.v == NULL)
		return ls_err_nomem(e);
	for (uint32_t i = 0; i < r->j.n; i++)
		r->idx.v[i] = (struct ls_ltx_entry){
			.off = r->j.pages_at + (uint64_t)i * r->j.page_size,
			.size = r->j.page_size,
			.pgno = r->j.pgno[i]
		};
	if (r->file != NULL)
		ls_vfile_unref(ls_vdb_files(w->d), r->file, 1);
	/* After a rotation the same number lies in another file. */
	like.f.created_ns = (int64_t)++w->n.files;
	r->file = ls_vfiles_add(ls_vdb_files(w->d), &like);
	return r->file ? LS_OK : ls_err_nomem(e);
}

enum ls_rc
ls_own_add(struct ls_own *w, struct ls_jrec *j, struct ls_err *e)
{
	struct ls_rec *r = ls_zalloc(sizeof *r);
	enum ls_rc rc;

	if (r == NULL)
		return ls_err_nomem(e);
	r->j = *j;
	j->pgno = NULL;
	if ((rc = rec_open(w, r, e)) != LS_OK) {
		rec_free(w, r);
		return rc;
	}
	append(w, r);
	return LS_OK;
}

/* ---- versions -------------------------------------------------------------*/

struct ls_jbase
ls_own_base(const struct ls_ver *v)
{
	if (v->txid == 0)
		return (struct ls_jbase){ 0 };
	return (struct ls_jbase){ .txid = v->txid,
		.lineage = v->lineage,
		.timestamp_ms = v->timestamp_ms,
		.page_size = v->page_size,
		.commit = v->commit };
}

/* v with r on top. A database that is empty takes the page size of r. */
static enum ls_rc
put_over(struct ls_own *w, const struct ls_ver *v, const struct ls_rec *r,
    struct ls_ver **out, struct ls_err *e)
{
	struct ls_ver *n = NULL;
	enum ls_rc rc;

	if (v->commit == 0 && v->page_size != r->j.page_size)
		rc = ls_vdb_empty(w->d, r->j.page_size, &n, e);
	else
		rc = ls_ver_copy(v, &n, e);
	if (rc != LS_OK)
		return rc;
	n->epoch = v->epoch;
	if ((rc = ls_ver_apply(n, r->file, &r->idx, e)) != LS_OK) {
		ls_ver_unref(n);
		return rc;
	}
	*out = n;
	return LS_OK;
}

/* Takes the place of *v. */
static enum ls_rc
put_on(struct ls_own *w, struct ls_ver **v, const struct ls_rec *r,
    struct ls_err *e)
{
	struct ls_ver *n;
	enum ls_rc rc = put_over(w, *v, r, &n, e);

	if (rc != LS_OK)
		return rc;
	ls_ver_unref(*v);
	*v = n;
	return LS_OK;
}

static void
forget_prepared(struct ls_own *w)
{
	ls_ver_unref(w->prepared);
	w->prepared = NULL;
	w->prepared_seq = 0;
}

/* What is prepared, on top of n. */
static enum ls_rc
stack_prepared(struct ls_own *w, struct ls_ver *n, uint64_t upto,
    struct ls_ver **out, struct ls_err *e)
{
	enum ls_rc rc;

	*out = w->prepared ? ls_ver_ref(n) : NULL;
	if (w->prepared == NULL || w->prepared_seq <= upto)
		return LS_OK;
	if ((rc = put_on(w, out, w->last, e)) != LS_OK) {
		ls_ver_unref(*out);
		return rc;
	}
	(*out)->content = w->prepared->content;
	return LS_OK;
}

enum ls_rc
ls_own_restack(struct ls_own *w, struct ls_ver *stored, uint64_t upto,
    bool fresh, struct ls_err *e)
{
	struct ls_ver *n = ls_ver_ref(stored), *p = NULL, *old;
	uint64_t content;
	enum ls_rc rc = LS_OK;

	for (struct ls_rec *r = w->first; rc == LS_OK && r != NULL;
	     r = r->next) {
		bool seen = r->state == REC_COMMITTED;

		fresh = fresh || (r->j.seq <= upto && !seen);
		if (r->j.seq > upto && seen)
			rc = put_on(w, &n, r, e);
	}
	if (rc == LS_OK)
		rc = stack_prepared(w, n, upto, &p, e);
	if (rc != LS_OK) {
		ls_ver_unref(n);
		return rc;
	}
	old = ls_vdb_newest(w->d);
	content = fresh || old == NULL ? ls_vdb_content(w->d) : old->content;
	ls_ver_unref(old);
	if (n != stored || stored->content == 0)
		n->content = content;
	/* Nobody sees it as it is while something lies over it. */
	if (stored->content == 0)
		stored->content = ls_vdb_content(w->d);
	ls_ver_unref(w->prepared);
	w->prepared = p;
	ls_vdb_swap(w->d, stored, n);
	ls_ver_unref(n);
	return LS_OK;
}

enum ls_rc
ls_own_moved(struct ls_own *w, struct ls_ver *v, struct ls_err *e)
{
	return ls_own_restack(w, v, 0, false, e);
}

/* ---- another writer was there ---------------------------------------------*/

void
ls_own_set_aside(struct ls_own *w, const struct ls_err *why)
{
	struct ls_err e = { 0 };
	char *as = NULL;

	if (ls_journal_set_aside(w->j, &as, &e) != LS_OK) {
		ls_error("cannot set the write buffer aside",
		    LS_ATTRS(LS_S("buffer", w->path), LS_E(&e)));
		return;
	}
	ls_error("the write buffer does not follow what is stored: set aside",
	    LS_ATTRS(LS_S("kept_as", as),
		LS_U("transactions", w->n.pending_txns), LS_E(why)));
	ls_free(w->aside);
	w->aside = as;
}

void
ls_own_lost(struct ls_own *w, const struct ls_err *why)
{
	struct ls_ver *stored = ls_vdb_stored(w->d), *other;

	w->failed = *why;
	ls_own_set_aside(w, why);
	if (w->aside != NULL)
		(void)ls_err_hint(&w->failed, why->rc,
		    "%s; the unsent transactions are kept in %s", why->hint,
		    w->aside);
	if (w->first != NULL)
		ls_own_drop(w, w->first, UINT64_MAX);
	w->sealed = 0;
	forget_prepared(w);
	/* Not what was shown here before: another history. */
	if (ls_ver_copy(stored, &other, NULL) == LS_OK) {
		other->epoch++;
		other->content = ls_vdb_content(w->d);
		ls_ver_unref(stored);
		stored = other;
	}
	ls_vdb_swap(w->d, stored, stored);
	ls_ver_unref(stored);
}

/* ---- life -----------------------------------------------------------------*/

enum ls_rc
ls_own_new(struct ls_vdb *d, const struct ls_vfs_opts *o, struct ls_own **out,
    struct ls_err *e)
{
	struct ls_own *w = ls_zalloc(sizeof *w);
	enum ls_rc rc;

	if (w == NULL)
		return ls_err_nomem(e);
	w->d = d;
	w->interval_ns = o->sync_ns;
	w->max_bytes = o->buffer_bytes ? o->buffer_bytes : MAX_BYTES;
	w->l0_retention_ns = o->keep.l0_retention_ns;
	w->max_age_ns = o->buffer_age_ns ? o->buffer_age_ns : MAX_AGE_NS;
	w->cancel.fd = -1;
	(void)pthread_mutex_init(&w->push, NULL);
	ls_guest_cond(&w->wake);
	if ((rc = ls_cancel_init(&w->cancel, e)) == LS_OK)
		rc = ls_own_buffer_path(d, o, &w->path, e);
	if (rc == LS_OK)
		*out = w;
	else
		ls_own_free(w);
	return rc;
}

enum ls_rc
ls_own_join(struct ls_own *w, const struct ls_vfs_opts *o, struct ls_err *e)
{
	char *path = NULL;
	enum ls_rc rc = LS_OK;

	if (o->buffer != NULL && (path = ls_abspath(o->buffer)) == NULL)
		return ls_err_nomem(e);
	if (path != NULL && strcmp(path, w->path) != 0)
		rc = ls_err_set(e, LS_EINVALID,
		    "this replica is written through the buffer %s already",
		    w->path);
	ls_free(path);
	if (rc != LS_OK)
		return rc;
	ls_vdb_lock(w->d);
	w->interval_ns = LS_MIN(w->interval_ns, o->sync_ns);
	ls_vdb_unlock(w->d);
	if (!ls_exists(w->path))
		return LS_OK; /* locked with the first transaction */
	rc = ls_own_attach(w, e);
	return rc == LS_ELOCKED ? LS_OK : rc; /* it is somebody's who lives */
}

void
ls_own_finish(struct ls_own *w)
{
	struct ls_call c = { NULL,
		ls_sys->mono_ns() + FINISH_SECONDS * LS_SEC };
	struct ls_err e = { 0 };

	ls_push_stop(w);
	if (ls_own_push(w, NULL, &c, &e) != LS_OK && w->first != NULL)
		ls_warn("closed before everything was stored",
		    LS_ATTRS(LS_S("buffer", w->path),
			LS_U("transactions", w->n.pending_txns), LS_E(&e)));
	if (w->hooks.finished != NULL)
		w->hooks.finished(w->hooks.arg);
}

static void
leave(struct ls_own *w)
{
	struct ls_ver *stored = ls_vdb_stored(w->d);

	ls_journal_leave(w->j, stored->txid);
	ls_ver_unref(stored);
}

void
ls_own_free(struct ls_own *w)
{
	bool empty;

	if (w == NULL)
		return;
	empty = w->first == NULL;
	if (w->j != NULL)
		leave(w);
	if (!empty)
		ls_own_drop(w, w->first, UINT64_MAX);
	forget_prepared(w);
	ls_journal_close(w->j, empty);
	ls_uploader_free(w->u);
	ls_cancel_fini(&w->cancel);
	(void)pthread_mutex_destroy(&w->push);
	(void)pthread_cond_destroy(&w->wake);
	if (w->put != NULL)
		(void)ls_sys->unlink(w->put);
	ls_free(w->put);
	ls_free(w->path);
	ls_free(w->aside);
	ls_free(w);
}

void
ls_own_set_hooks(struct ls_own *w, const struct ls_own_hooks *h)
{
	w->hooks = *h;
}

/* ---- the slot -------------------------------------------------------------*/

/* (4), (5) */
static enum ls_rc
may_write(struct ls_own *w, struct ls_err *e)
{
	uint64_t now = ls_sys->mono_ns();

	if (w->failed.rc != LS_OK) {
		if (e != NULL)
			*e = w->failed;
		return w->failed.rc;
	}
	if (w->last != NULL && w->last->state == REC_DOUBT) {
		(void)ls_err_set(e, LS_EAGAIN,
		    "the last commit is not settled yet: %s", w->problem.msg);
		return LS_EAGAIN;
	}
	if (w->first == NULL)
		return LS_OK;
	if (w->n.pending_bytes > w->max_bytes)
		return ls_err_set(e, LS_ENOSPC,
		    "%llu bytes in the write buffer %s wait for the store: %s",
		    (unsigned long long)w->n.pending_bytes, w->path,
		    w->problem.msg);
	if (w->failing_ns != 0 && now - w->failing_ns > w->max_age_ns &&
	    now - w->waiting_ns > w->max_age_ns)
		return ls_err_set(e, LS_ETIMEOUT,
		    "transactions wait for the store for too long: %s",
		    w->problem.msg);
	return LS_OK;
}

static enum ls_rc
ask_hook(struct ls_own *w, struct ls_err *e)
{
	struct ls_call c = { NULL, ls_sys->mono_ns() + HOOK_SECONDS * LS_SEC };
	enum ls_rc rc;

	if (w->hooks.may_write == NULL || atomic_load(&w->allowed))
		return LS_OK; /* without waiting for a push under way */
	(void)pthread_mutex_lock(&w->push);
	rc = w->hooks.may_write(w->hooks.arg, &c, e);
	atomic_store(&w->allowed, rc == LS_OK);
	(void)pthread_mutex_unlock(&w->push);
	return rc;
}

static bool
is_newest(struct ls_own *w, const struct ls_ver *base)
{
	struct ls_ver *v = ls_vdb_newest(w->d);
	bool yes = v->content == base->content;

	ls_ver_unref(v);
	return yes;
}

static enum ls_rc
changed(struct ls_err *e)
{
	return ls_err_set(e, LS_ECHANGED,
	    "the database was changed after this transaction began");
}

enum ls_rc
ls_own_reserve(struct ls_own *w, const void *who, const struct ls_ver *base,
    struct ls_err *e)
{
	enum ls_rc rc = ls_own_attach(w, e);

	if (rc != LS_OK || (rc = ask_hook(w, e)) != LS_OK)
		return rc;
	ls_vdb_lock(w->d);
	if (w->writer != NULL && w->writer != who)
		rc = ls_err_set(e, LS_EBUSY, "another connection is writing");
	else if ((rc = may_write(w, e)) == LS_OK && !is_newest(w, base))
		rc = changed(e);
	if (rc == LS_OK)
		w->writer = who;
	ls_vdb_unlock(w->d);
	return rc;
}

void
ls_own_release(struct ls_own *w, const void *who)
{
	ls_vdb_lock(w->d);
	if (w->writer == who)
		w->writer = NULL;
	ls_vdb_unlock(w->d);
}

/* ---- phases ---------------------------------------------------------------*/

/* The file must say what the next transaction is made on: others may have
 * written since its last note. */
static enum ls_rc
name_base(struct ls_own *w, const struct ls_jbase *base, struct ls_err *e)
{
	const struct ls_jbase *was = &w->jbase;
	enum ls_rc rc;

	if (ls_journal_file(w->j) == NULL)
		rc = ls_journal_begin(w->j, base, NULL, 0, e);
	else if (w->first != NULL ||
		 (was->txid == base->txid && was->lineage == base->lineage &&
		     was->timestamp_ms == base->timestamp_ms &&
		     was->commit == base->commit))
		return LS_OK;
	else
		rc = ls_journal_done(w->j, w->seq, base, e);
	if (rc == LS_OK)
		w->jbase = *base;
	return rc;
}

static enum ls_rc
prepare_locked(struct ls_own *w, const struct ls_own_txn *t, struct ls_rec *r,
    struct ls_err *e)
{
	struct ls_ver *stored = ls_vdb_stored(w->d), *newest;
	struct ls_jbase base = ls_own_base(stored);
	struct ls_ver *v = NULL;
	enum ls_rc rc = may_write(w, e);

	ls_ver_unref(stored);
	if (rc != LS_OK)
		return rc;
	if (!is_newest(w, t->base))
		return changed(e);
	if ((rc = name_base(w, &base, e)) != LS_OK)
		return rc;
	rc = ls_journal_append(w->j, &r->j, t->super, t->page, t->arg, e);
	if (rc != LS_OK)
		return rc;
	newest = ls_vdb_newest(w->d);
	if ((rc = rec_open(w, r, e)) == LS_OK)
		rc = put_over(w, newest, r, &v, e);
	ls_ver_unref(newest);
	if (rc != LS_OK) {
		if (ls_journal_undo(w->j, &r->j, &w->failed) != LS_OK)
			(void)ls_err_wrap(&w->failed, w->failed.rc,
			    "a transaction cannot be taken back");
		return rc;
	}
	v->content = ls_vdb_content(w->d);
	w->prepared = v;
	w->prepared_seq = r->j.seq;
	r->state = REC_PREPARED;
	append(w, r);
	return LS_OK;
}

void
ls_own_take_back(struct ls_own *w, struct ls_rec *r)
{
	struct ls_err e = { 0 };

	if (ls_journal_undo(w->j, &r->j, &e) != LS_OK) {
		(void)ls_err_wrap(
		    &e, e.rc, "a transaction cannot be taken back");
		w->failed = e;
	}
	if (w->sealed >= r->j.seq)
		w->sealed = 0;
	forget_prepared(w);
	ls_own_drop(w, r, UINT64_MAX); /* it is the last one */
}

/* Interval 0: the store has it before COMMIT returns. */
static enum ls_rc
push_now(struct ls_own *w, uint64_t seq, struct ls_err *e)
{
	struct ls_call c = { &w->cancel,
		ls_sys->mono_ns() + FINISH_SECONDS * LS_SEC };
	struct ls_rec *r;
	bool maybe;
	enum ls_rc rc;

	(void)pthread_mutex_lock(&w->push);
	rc = ls_push_upto(w, seq, &c, e);
	maybe = rc != LS_OK && rc != LS_EFENCED && w->u != NULL &&
		ls_uploader_maybe(w->u);
	ls_vdb_lock(w->d);
	if (rc != LS_OK && (r = rec_of(w, seq)) != NULL) {
		if (maybe) {
			r->state = REC_DOUBT;
			forget_prepared(w);
			rc = LS_EAGAIN;
			ls_push_start(w);
		} else {
			ls_own_take_back(w, r);
		}
	}
	ls_vdb_unlock(w->d);
	(void)pthread_mutex_unlock(&w->push);
	return rc;
}

enum ls_rc
ls_own_prepare(
    struct ls_own *w, const void *who, struct ls_own_txn *t, struct ls_err *e)
{
	struct ls_rec *r = ls_zalloc(sizeof *r);
	bool now;
	enum ls_rc rc;

	if (r == NULL) {
		ls_free(t->pgno);
		return ls_err_nomem(e);
	}
	ls_vdb_lock(w->d);
	assert(w->writer == who);
	(void)who;
	now = w->interval_ns == 0;
	r->j = (struct ls_jrec){ .seq = w->seq + 1,
		.page_size = t->page_size,
		.commit = t->commit,
		.timestamp_ms = ls_now_ms(),
		.store_decides = now,
		.n = t->n,
		.pgno = t->pgno };
	rc = prepare_locked(w, t, r, e);
	if (rc == LS_OK)
		t->seq = ++w->seq;
	else
		rec_free(w, r);
	ls_vdb_unlock(w->d);
	t->unsure = t->unsure && now;
	return rc == LS_OK && now && !t->unsure ? push_now(w, t->seq, e) : rc;
}

enum ls_rc
ls_own_store(struct ls_own *w, uint64_t seq, struct ls_err *e)
{
	return push_now(w, seq, e);
}

enum ls_rc
ls_own_flush(struct ls_own *w, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	ls_vdb_lock(w->d);
	if (w->j != NULL)
		rc = ls_journal_sync(w->j, e);
	ls_vdb_unlock(w->d);
	return rc;
}

enum ls_rc
ls_own_commit(
    struct ls_own *w, uint64_t seq, struct ls_ver **out, struct ls_err *e)
{
	struct ls_ver *stored;
	struct ls_rec *r;
	enum ls_rc rc = LS_OK;

	ls_vdb_lock(w->d);
	if (w->prepared == NULL || w->prepared_seq != seq) {
		if (e != NULL)
			*e = w->failed;
		rc = LS_EFENCED;
	} else if ((r = rec_of(w, seq)) != NULL) {
		r->state = REC_COMMITTED;
		stored = ls_vdb_stored(w->d);
		ls_vdb_swap(w->d, stored, w->prepared);
		ls_ver_unref(stored);
		ls_push_start(w);
	} /* else the store has it, and it is published */
	if (rc == LS_OK)
		*out = ls_ver_ref(w->prepared);
	forget_prepared(w);
	ls_vdb_unlock(w->d);
	return rc;
}

void
ls_own_undo(struct ls_own *w, uint64_t seq)
{
	struct ls_rec *r;

	ls_vdb_lock(w->d);
	r = rec_of(w, seq);
	if (r != NULL && r->state == REC_PREPARED)
		ls_own_take_back(w, r);
	else if (w->prepared_seq == seq)
		forget_prepared(w); /* the store has it */
	ls_vdb_unlock(w->d);
}

/* ---- from outside ---------------------------------------------------------*/

enum ls_rc
ls_own_push(
    struct ls_own *w, uint64_t *txid, const struct ls_call *c, struct ls_err *e)
{
	struct ls_ver *v;
	enum ls_rc rc;

	(void)pthread_mutex_lock(&w->push);
	rc = ls_push_upto(w, 0, c, e);
	(void)pthread_mutex_unlock(&w->push);
	if (rc == LS_OK && txid != NULL) {
		v = ls_vdb_stored(w->d);
		*txid = v->txid;
		ls_ver_unref(v);
	}
	return rc;
}

enum ls_rc
ls_own_forgive(struct ls_own *w, struct ls_err *e)
{
	bool failed;

	(void)e;
	(void)pthread_mutex_lock(&w->push);
	ls_vdb_lock(w->d);
	failed = w->failed.rc != LS_OK;
	w->failed = (struct ls_err){ 0 };
	w->problem = (struct ls_err){ 0 };
	w->failing_ns = 0;
	atomic_store(&w->allowed, false);
	if (failed)
		w->synced = false;
	ls_vdb_unlock(w->d);
	(void)pthread_mutex_unlock(&w->push);
	if (failed)
		ls_vdb_look_now(w->d);
	return LS_OK;
}

void
ls_own_stats(struct ls_own *w, struct ls_own_stats *out)
{
	const struct ls_err *e;

	ls_vdb_lock(w->d);
	*out = w->n;
	e = w->failed.rc != LS_OK ? &w->failed : &w->problem;
	(void)snprintf(out->last_error, sizeof out->last_error, "%s", e->msg);
	(void)snprintf(
	    out->aside, sizeof out->aside, "%s", w->aside ? w->aside : "");
	ls_vdb_unlock(w->d);
}

enum ls_rc
ls_own_with_uploader(struct ls_own *w,
    enum ls_rc (*fn)(void *arg, struct ls_uploader *u, const struct ls_call *c,
	struct ls_err *e),
    void *arg, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	(void)pthread_mutex_lock(&w->push);
	if (w->u != NULL && w->synced)
		rc = fn(arg, w->u, c, e);
	(void)pthread_mutex_unlock(&w->push);
	return rc;
}
