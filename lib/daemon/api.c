/* api.c -- what other threads ask of the running daemon. See daemon.h.
 *
 * A request sets goals and due times under d->mu, wakes the scheduler, and
 * waits on d->changed; it never runs a step itself. */
#include "daemon/db.h"

#include "base/bytes.h"
#include "daemon/stop.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

bool
ls_daemon_walk(struct ls_daemon *d, uint64_t *after, size_t max,
    void (*fn)(void *arg, struct ls_db *db), void *arg)
{
	size_t lo = 0, hi;
	bool more;

	(void)pthread_mutex_lock(&d->mu);
	for (hi = d->n; lo < hi;) { /* the first that is behind *after */
		size_t mid = lo + (hi - lo) / 2;

		if (d->db[mid]->number <= *after)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < d->n && max > 0; lo++, max--) {
		*after = d->db[lo]->number;
		fn(arg, d->db[lo]);
	}
	more = lo < d->n;
	(void)pthread_mutex_unlock(&d->mu);
	return more;
}

size_t
ls_daemon_count(struct ls_daemon *d)
{
	size_t n;

	(void)pthread_mutex_lock(&d->mu);
	n = d->n;
	(void)pthread_mutex_unlock(&d->mu);
	return n;
}

int64_t
ls_daemon_started_ns(struct ls_daemon *d)
{
	return d->started_ns;
}

void
ls_db_infos_free(struct ls_db_info *v, size_t n)
{
	for (size_t i = 0; v != NULL && i < n; i++)
		ls_free(v[i].path);
	ls_free(v);
}

static bool
fill_info(const struct ls_db *db, struct ls_db_info *o)
{
	o->state = ls_db_state(db);
	o->replica_type = db->conf.place.type;
	o->local_txid = db->newest;
	o->replica_txid = db->acked;
	o->last_sync_ns = db->last_sync_ns;
	o->wal_bytes = db->wal_bytes;
	o->wal_done = ls_tally_get(&db->tally.wal_done);
	o->active = db->local_lent && db->local_began_ns != 0 &&
		    db->local_ended_ns == 0;
	o->step_ns = db->local_began_ns;
	o->step_end_ns = db->local_ended_ns;
	o->snapshotting = db->snap_lent;
	(void)snprintf(o->error, sizeof o->error, "%.255s", ls_db_why(db));
	return (o->path = ls_strdup(db->conf.path)) != NULL;
}

enum ls_rc
ls_daemon_list(
    struct ls_daemon *d, struct ls_db_info **out, size_t *n, struct ls_err *e)
{
	struct ls_db_info *v;
	enum ls_rc rc = LS_OK;
	size_t count;

	(void)pthread_mutex_lock(&d->mu);
	count = d->n;
	if ((v = ls_zalloc((count + 1) * sizeof *v)) == NULL)
		rc = ls_err_nomem(e);
	for (size_t i = 0; rc == LS_OK && i < count; i++)
		if (!fill_info(d->db[i], &v[i]))
			rc = ls_err_nomem(e);
	(void)pthread_mutex_unlock(&d->mu);
	if (rc != LS_OK) {
		ls_db_infos_free(v, count);
		return rc;
	}
	*out = v;
	*n = count;
	return LS_OK;
}

/* While a request looks at a record it is not removed. mu held. */
static void
leave(struct ls_db *db)
{
	if (--db->waiters == 0) /* unregister waits for that */
		(void)pthread_cond_broadcast(&db->d->changed);
}

/* Wait for a change of any record until the deadline. mu held. */
static enum ls_rc
wait_changed(struct ls_daemon *d, uint64_t deadline_ns, struct ls_err *e)
{
	struct timespec t = { (time_t)(deadline_ns / LS_SEC),
		(long)(deadline_ns % LS_SEC) };

	if (d->over)
		return ls_err_set(e, LS_ECANCELED, "the daemon has ended");
	if (pthread_cond_timedwait(&d->changed, &d->mu, &t) == ETIMEDOUT)
		return ls_err_set(
		    e, LS_ETIMEOUT, "timeout waiting for the database");
	return LS_OK;
}

static enum ls_rc
find_open(
    struct ls_daemon *d, const char *path, struct ls_db **db, struct ls_err *e)
{
	if ((*db = ls_daemon_find(d, path)) == NULL)
		return ls_err_set(
		    e, LS_ENOTFOUND, "database not found: %s", path);
	if ((*db)->goal == LS_GOAL_STOP)
		return ls_err_set(
		    e, LS_EINVALID, "database not open: %s", path);
	return LS_OK;
}

/* The error that keeps a waiting request from being served, if any. */
static enum ls_rc
hopeless(const struct ls_db *db, struct ls_err *e)
{
	if (db->fenced || db->stuck) {
		if (db->err == NULL)
			return LS_EFENCED;
		*e = *db->err;
		return e->rc;
	}
	if (db->goal == LS_GOAL_STOP)
		return ls_err_set(
		    e, LS_EINVALID, "database not open: %s", db->conf.path);
	return LS_OK;
}

/* A local step that began after now has come to its end. mu held. */
static enum ls_rc
captured(struct ls_db *db, uint64_t deadline_ns, struct ls_err *e)
{
	uint64_t gen = db->local_gen + 1;
	enum ls_rc rc = LS_OK;

	ls_db_due_local(db, 0);
	ls_daemon_wake(db->d);
	while (rc == LS_OK && db->local_ended < gen) {
		if ((rc = hopeless(db, e)) != LS_OK)
			break;
		if (db->local_gen >= gen && !db->local_lent && !db->exists)
			rc = ls_err_set(e, LS_ENOTFOUND, "no database at %s",
			    db->conf.path);
		else
			rc = wait_changed(db->d, deadline_ns, e);
	}
	if (rc == LS_ETIMEOUT && db->err != NULL)
		rc = ls_err_set(
		    e, rc, "timeout; last error: %.400s", db->err->msg);
	return rc;
}

static enum ls_rc
uploaded(struct ls_db *db, uint64_t deadline_ns, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	while (rc == LS_OK && !ls_db_is_stored(db)) {
		/* A rebase is the local step's; it makes the upload due. */
		if (!db->remote_lent && !db->rebase)
			ls_db_due_remote(
			    db, db->remote_failures
				    ? ls_sys->mono_ns() + 200 * LS_MS
				    : 0);
		ls_daemon_wake(db->d);
		if ((rc = hopeless(db, e)) == LS_OK)
			rc = wait_changed(db->d, deadline_ns, e);
	}
	if (rc == LS_ETIMEOUT && db->err != NULL)
		rc = ls_err_set(
		    e, rc, "timeout; last error: %.400s", db->err->msg);
	return rc;
}

enum ls_rc
ls_daemon_sync(struct ls_daemon *d, const char *path, bool wait,
    uint64_t deadline_ns, struct ls_sync_result *out, struct ls_err *e)
{
	struct ls_db *db = NULL;
	uint64_t before = 0;
	enum ls_rc rc;

	(void)pthread_mutex_lock(&d->mu);
	if ((rc = find_open(d, path, &db, e)) == LS_OK) {
		before = db->newest;
		db->waiters++;
		rc = captured(db, deadline_ns, e);
		if (rc == LS_OK && wait)
			rc = uploaded(db, deadline_ns, e);
		leave(db);
	}
	if (rc == LS_OK) {
		out->txid = db->newest;
		out->replica_txid = db->acked;
		out->changed = db->newest != before;
	}
	(void)pthread_mutex_unlock(&d->mu);
	return rc;
}

enum ls_rc
ls_daemon_stop_db(struct ls_daemon *d, const char *path, uint64_t deadline_ns,
    uint64_t *txid, bool *already, struct ls_err *e)
{
	struct ls_db *db;
	enum ls_rc rc = LS_OK;

	(void)pthread_mutex_lock(&d->mu);
	if ((db = ls_daemon_find(d, path)) == NULL) {
		rc =
		    ls_err_set(e, LS_ENOTFOUND, "database not found: %s", path);
	} else {
		*already = db->goal == LS_GOAL_STOP;
		db->waiters++;
		ls_stop_db(db);
		ls_daemon_wake(d);
		while (rc == LS_OK && !(db->closed && !db->remote_lent))
			rc = wait_changed(d, deadline_ns, e);
		leave(db);
		*txid = db->newest;
		if (rc == LS_OK && db->gave_up && db->err != NULL) {
			*e = *db->err;
			rc = e->rc;
		}
	}
	(void)pthread_mutex_unlock(&d->mu);
	return rc;
}

enum ls_rc
ls_daemon_start_db(struct ls_daemon *d, const char *path, uint64_t *txid,
    bool *already, struct ls_err *e)
{
	struct ls_db *db;
	enum ls_rc rc = LS_OK;

	(void)pthread_mutex_lock(&d->mu);
	if ((db = ls_daemon_find(d, path)) == NULL) {
		rc =
		    ls_err_set(e, LS_ENOTFOUND, "database not found: %s", path);
	} else if (db->goal == LS_GOAL_RUN) {
		*already = true;
		*txid = db->newest;
	} else if (!db->closed || db->leaving) {
		rc = ls_err_set(e, LS_EBUSY, "database is stopping: %s", path);
	} else if (d->stopping) {
		rc = ls_err_set(e, LS_EINVALID, "the daemon is stopping");
	} else {
		*already = false;
		*txid = db->newest;
		db->goal = LS_GOAL_RUN;
		db->closed = db->local_done = db->remote_done = false;
		db->gave_up = false;
		atomic_store(&db->upkeep.set, 0);
		ls_db_forget_error(db);
		ls_db_due_local(db, 0);
		ls_db_due_remote(db, 0);
		ls_db_due_maint(db, ls_sys->mono_ns() + LS_SEC);
		ls_daemon_wake(d);
	}
	(void)pthread_mutex_unlock(&d->mu);
	return rc;
}

/* What is wrong with the URL alone, in upstream's words. */
static enum ls_rc
check_url(const char *url, struct ls_err *e)
{
	struct ls_place p;
	enum ls_rc rc;

	ls_place_init(&p);
	if ((rc = ls_place_from_url(url, &p, e)) == LS_OK &&
	    (rc = ls_place_from_env(&p, e)) == LS_OK)
		rc = ls_place_settle(&p, e);
	ls_place_fini(&p);
	return ls_err_wrap(e, rc, "invalid replica url");
}

enum ls_rc
ls_daemon_register(struct ls_daemon *d, const char *path, const char *url,
    bool *already, struct ls_err *e)
{
	struct ls_db_config conf;
	enum ls_rc rc;

	if ((rc = check_url(url, e)) != LS_OK ||
	    (rc = ls_db_config_from_url(path, url, &conf, e)) != LS_OK)
		return rc;
	(void)pthread_mutex_lock(&d->mu);
	*already = ls_daemon_find(d, conf.path) != NULL;
	if (d->stopping && !*already)
		rc = ls_err_set(e, LS_EINVALID, "the daemon is stopping");
	else if (!*already)
		rc = ls_daemon_add(d, &conf, NULL, LS_FROM_API, e);
	ls_daemon_wake(d);
	(void)pthread_mutex_unlock(&d->mu);
	ls_db_config_fini(&conf); /* empty when it was taken */
	return rc;
}

bool
ls_db_is_lent(const struct ls_db *db)
{
	return db->local_lent || db->remote_lent || db->snap_lent ||
	       db->maint_lent;
}

void
ls_daemon_remove(struct ls_db *db)
{
	struct ls_daemon *d = db->d;
	size_t i = 0;

	ls_timer_clear(&d->timers, &db->local_timer);
	ls_timer_clear(&d->timers, &db->remote_timer);
	ls_timer_clear(&d->timers, &db->maint_timer);
	ls_slot_forget(db);
	ls_unclaim(db);
	ls_index_remove(d, db);
	d->unlooked -= !db->looked;
	d->polled_n -= db->polled;
	ls_watch_forget(d->watch, db);
	for (struct ls_db **p = &d->returned; *p != NULL;
	     p = &(*p)->next_returned)
		if (*p == db) {
			*p = db->next_returned;
			break;
		}
	while (d->db[i] != db)
		i++;
	memmove(&d->db[i], &d->db[i + 1], (d->n - i - 1) * sizeof(*d->db));
	d->n--;
	ls_db_free(db);
}

enum ls_rc
ls_daemon_unregister(struct ls_daemon *d, const char *path,
    uint64_t deadline_ns, uint64_t *txid, bool *already, struct ls_err *e)
{
	struct ls_db *db;
	enum ls_rc rc;

	*already = false;
	rc = ls_daemon_stop_db(d, path, deadline_ns, txid, already, e);
	*already = rc == LS_ENOTFOUND;
	if (rc == LS_ENOTFOUND)
		return LS_OK;
	if (rc != LS_OK)
		return rc;
	(void)pthread_mutex_lock(&d->mu);
	while ((db = ls_daemon_find(d, path)) != NULL) {
		if (!db->closed) { /* by another request, meanwhile */
			rc = ls_err_set(e, LS_EBUSY,
			    "database was started again: %s", path);
			break;
		}
		/* One that leaves anyway is removed by the scheduler. */
		if (!db->leaving && db->waiters == 0 && !ls_db_is_lent(db)) {
			ls_daemon_remove(db);
			break;
		}
		if ((rc = wait_changed(d, deadline_ns, e)) != LS_OK)
			break;
	}
	(void)pthread_mutex_unlock(&d->mu);
	return rc;
}
