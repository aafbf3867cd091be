/* own_replay.c -- what an earlier life left in the write buffer. See own.h.
 *
 * (1) A BUFFER IS REPLAYED ONLY ONTO THE STATE IT WAS MADE ON: the store is at
 *     its base, or one further with the very bytes that the buffer had made
 *     for that. Anything else is another writer's work: the buffer is set aside
 *     under a name of its own, reported, and never read again.
 *     (test: replay_only_onto_its_base)
 * (2) ONCE A LIFE: the buffer is locked with the first write intent, or at open
 *     where there is one, and stays so until the last connection is closed.
 */
#include "vfs/own_impl.h"

#include "base/bytes.h"
#include "base/sys.h"

enum { MATCH_SECONDS = 30 };

/* (1) Takes out what the store has. LS_EFENCED: it does not follow. */
static enum ls_rc
match(struct ls_own *w, struct ls_jfound *f, const struct ls_ver *stored,
    struct ls_err *e)
{
	struct ls_call c = { NULL, ls_sys->mono_ns() + MATCH_SECONDS * LS_SEC };
	const struct ls_jbase *b = &f->base;
	bool ours = false;
	enum ls_rc rc;

	if (b->txid == stored->txid &&
	    (b->txid == 0 || (b->commit == stored->commit &&
				 b->page_size == stored->page_size &&
				 (b->lineage == stored->lineage ||
				     b->lineage == 0 || stored->lineage == 0) &&
				 (b->timestamp_ms == stored->timestamp_ms ||
				     stored->tip.level == LS_SNAPSHOT_LEVEL))))
		return LS_OK;
	if (stored->txid == b->txid + 1 && f->sealed != 0 &&
	    (rc = ls_push_is_ours(w, stored->txid, &ours, &c, e)) != LS_OK)
		return rc;
	if (!ours)
		return ls_err_set(e, LS_EFENCED,
		    "the store is at TXID %016llx, written by another; the "
		    "buffer's transactions were made on top of %016llx",
		    (unsigned long long)stored->txid,
		    (unsigned long long)b->txid);
	for (size_t i = 0; i < f->n; i++)
		if (f->rec[i].seq <= f->sealed)
			f->rec[i].stored = true;
	f->sealed = 0;
	return LS_OK;
}

static enum ls_rc
replay_locked(struct ls_own *w, struct ls_jfound *f, struct ls_ver *stored,
    struct ls_err *e)
{
	struct ls_jbase base = ls_own_base(stored);
	uint64_t done = 0;
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < f->n; i++) {
		struct ls_jrec *j = &f->rec[i];

		w->seq = j->seq;
		if (j->stored) {
			done = j->seq;
		} else if (!j->store_decides) {
			rc = ls_own_add(w, j, e);
		} else { /* and the store has it not */
			rc = ls_journal_undo(w->j, j, e);
			if (f->sealed >= j->seq)
				f->sealed = 0;
		}
	}
	if (rc == LS_OK && done != 0 &&
	    (rc = ls_journal_done(w->j, done, &base, e)) == LS_OK)
		w->jbase = base;
	if (ls_push_has_file(w, stored->txid + 1))
		w->sealed = f->sealed;
	if (rc == LS_OK && w->first != NULL)
		rc = ls_own_restack(w, stored, 0, true, e);
	if (rc == LS_OK && w->first != NULL) {
		ls_info("transactions of the write buffer replayed",
		    LS_ATTRS(LS_S("buffer", w->path),
			LS_U("transactions", w->n.pending_txns)));
		ls_push_start(w);
	}
	return rc;
}

static enum ls_rc
replay(struct ls_own *w, struct ls_jfound *f, struct ls_err *e)
{
	struct ls_ver *stored = ls_vdb_stored(w->d);
	struct ls_err why = { 0 };
	enum ls_rc rc;

	if (stored->txid != f->base.txid) { /* is it really so? */
		ls_ver_unref(stored);
		ls_vdb_look_now(w->d);
		stored = ls_vdb_stored(w->d);
	}
	rc = match(w, f, stored, &why);
	ls_vdb_lock(w->d);
	if (rc == LS_OK) {
		rc = replay_locked(w, f, stored, e);
	} else if (rc == LS_EFENCED) {
		w->n.pending_txns = f->n; /* for the message */
		ls_own_set_aside(w, &why);
		w->n.pending_txns = 0;
		rc = w->aside ? LS_OK : ls_err_set(e, rc, "%s", why.msg);
	} else if (e != NULL) {
		*e = why;
	}
	ls_vdb_unlock(w->d);
	ls_ver_unref(stored);
	return rc;
}

/* Whoever had the buffer before us has stored more than we have seen: look, so
 * that nothing is written on top of what was. LS_EBUSY: it cannot be seen. */
static enum ls_rc
catch_up(struct ls_own *w, const struct ls_jfound *f, struct ls_err *e)
{
	struct ls_ver *stored = ls_vdb_stored(w->d);
	uint64_t left = LS_MAX(f->left_txid, f->base.txid);
	uint64_t began = ls_sys->mono_ns();
	int64_t lag;
	bool behind = stored->txid < left;

	ls_ver_unref(stored);
	if (!behind)
		return LS_OK;
	ls_vdb_look_now(w->d);
	lag = ls_vdb_lag_ns(w->d);
	if (lag >= 0 && (uint64_t)lag <= ls_sys->mono_ns() - began)
		return LS_OK;
	return ls_err_set(e, LS_EBUSY,
	    "another process stored up to TXID %016llx, which cannot be read "
	    "now",
	    (unsigned long long)left);
}

/* Lock the buffer, and replay what it holds. With `push`. */
static enum ls_rc
attach(struct ls_own *w, struct ls_err *e)
{
	char *id = ls_own_replica_id(w->d);
	struct ls_jfound f = { 0 };
	struct ls_journal *j = NULL;
	enum ls_rc rc;

	if (id == NULL)
		return ls_err_nomem(e);
	rc = ls_journal_open(w->path, id, &j, &f, e);
	ls_free(id);
	if (rc != LS_OK)
		return rc;
	ls_vdb_lock(w->d);
	w->j = j;
	w->jbase = f.base;
	ls_vdb_unlock(w->d);
	rc = f.n > 0 ? replay(w, &f, e) : catch_up(w, &f, e);
	if (rc != LS_OK) {
		ls_vdb_lock(w->d);
		if (w->first != NULL)
			ls_own_drop(w, w->first, UINT64_MAX);
		w->j = NULL;
		ls_vdb_unlock(w->d);
		ls_journal_close(j, false);
	}
	ls_jfound_fini(&f);
	return rc;
}

enum ls_rc
ls_own_attach(struct ls_own *w, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	bool have;

	ls_vdb_lock(w->d);
	have = w->j != NULL;
	ls_vdb_unlock(w->d);
	if (have)
		return LS_OK;
	(void)pthread_mutex_lock(&w->push);
	if (w->j == NULL)
		rc = attach(w, e);
	(void)pthread_mutex_unlock(&w->push);
	return rc;
}
