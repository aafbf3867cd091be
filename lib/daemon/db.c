/* db.c -- one database's record: made, named, and what it says of itself. */
#include "daemon/db.h"

#include "base/bytes.h"
#include "base/file.h"

enum { LOG_EVERY_SEC = 30 };

enum ls_rc
ls_db_new(struct ls_daemon *d, struct ls_db_config *conf, struct ls_db **out,
    struct ls_err *e)
{
	struct ls_db *db = ls_zalloc(sizeof *db);
	enum ls_rc rc;

	if (db == NULL) {
		ls_db_config_fini(conf);
		return ls_err_nomem(e);
	}
	db->d = d;
	db->conf = *conf;
	memset(conf, 0, sizeof *conf);
	db->name = ls_basename(db->conf.path);
	db->doubt_ns = ls_sys->mono_ns();
	db->local_timer.kind = LS_T_LOCAL;
	db->remote_timer.kind = LS_T_REMOTE;
	db->maint_timer.kind = LS_T_MAINT;
	db->upkeep.fd = db->snap_cancel.fd = -1;
	db->retain_ns = 1; /* what a former life left is looked at once */
	db->maint_work.run = ls_db_maint_step;
	db->local_work.run = ls_db_local_step;
	db->remote_work.run = ls_db_remote_step;
	db->snap_work.run = ls_db_snapshot_step;
	if (db->conf.zstd && (rc = ls_zkeep_new(&db->zkeep, e)) != LS_OK) {
		ls_db_free(db);
		return rc;
	}
	*out = db;
	return LS_OK;
}

struct ls_codec
ls_db_codec(const struct ls_db *db)
{
	return (struct ls_codec){ .zstd = db->conf.zstd, .keep = db->zkeep };
}

const char *
ls_db_file(const struct ls_db *db)
{
	return db->file != NULL ? db->file : db->conf.path;
}

/* ---- the remote part ---------------------------------------------------------*/

struct remote {
	struct ls_store *store;
	struct ls_replica *replica;
	struct ls_uploader *up;
};

static void
free_remote(struct remote *r)
{
	ls_uploader_free(r->up);
	ls_replica_free(r->replica);
	ls_store_free(r->store);
}

static enum ls_rc
make_remote(struct ls_db *db, struct remote *r, struct ls_err *e)
{
	const struct ls_daemon *d = db->d;
	enum ls_rc rc;

	if ((rc = ls_store_open(&db->conf.place, d->net, &r->store, e)) !=
		LS_OK ||
	    (rc = ls_replica_new(r->store, &r->replica, e)) != LS_OK ||
	    (rc = ls_uploader_new(
		 r->replica, d->cfg.l0_retention_ns, &r->up, e)) != LS_OK)
		return rc;
	ls_store_count(r->store, &db->requests);
	if (strcmp(db->conf.place.type, "file") != 0)
		ls_uploader_set_par(r->up, &ls_par_threads);
	return LS_OK;
}

/* Upload and upkeep may both come here; the second one's are not needed. */
enum ls_rc
ls_db_open_remote(struct ls_db *db, struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	struct remote r = { NULL, NULL, NULL };
	enum ls_rc rc;
	bool there;

	(void)pthread_mutex_lock(&d->mu);
	there = db->up != NULL;
	(void)pthread_mutex_unlock(&d->mu);
	if (there)
		return LS_OK;
	rc = make_remote(db, &r, e);
	(void)pthread_mutex_lock(&d->mu);
	if (rc == LS_OK && db->up == NULL) {
		if (db->remote_known)
			ls_uploader_resume(r.up, &db->memo);
		db->store = r.store;
		db->replica = r.replica;
		db->up = r.up;
		r = (struct remote){ NULL, NULL, NULL };
	}
	(void)pthread_mutex_unlock(&d->mu);
	free_remote(&r);
	return rc;
}

/* What is not settled, or could not be made again: a key's file may be gone. */
static bool
may_forget(const struct ls_db *db)
{
	return db->up != NULL && db->parked && db->goal == LS_GOAL_RUN &&
	       !ls_db_is_lent(db) && !db->fenced && !db->stuck &&
	       !db->snapshot && !db->maint_comes && !db->maint_forget &&
	       db->wrote.txid == 0 && db->conf.place.sse_key_path == NULL &&
	       ls_db_is_stored(db);
}

/* (test: fleet.a_rest_is_no_restart) */
bool
ls_db_forget_remote(struct ls_db *db)
{
	struct remote r = { db->store, db->replica, db->up };

	if (!may_forget(db) || !ls_uploader_leave(db->up, &db->memo))
		return false;
	ls_lag_durable(&db->lag, db->acked);
	if (db->maint != NULL)
		db->retain_ns = ls_maint_retain_next(db->maint);
	ls_maint_free(db->maint);
	db->maint = NULL;
	free_remote(&r);
	db->store = NULL;
	db->replica = NULL;
	db->up = NULL;
	return true;
}

void
ls_db_free(struct ls_db *db)
{
	struct remote r;

	if (db == NULL)
		return;
	r = (struct remote){ db->store, db->replica, db->up };
	ls_maint_free(db->maint);
	ls_zkeep_free(db->zkeep);
	free_remote(&r);
	ls_free(db->remote_head);
	ls_lag_fini(&db->lag);
	ls_db_config_fini(&db->conf);
	if (db->successor != NULL)
		ls_db_config_fini(db->successor);
	ls_free(db->successor);
	ls_free(db->file);
	ls_db_forget_error(db);
	ls_free(db);
}

/* ---- errors ------------------------------------------------------------------*/

/* Most never have one: it is no part of the record. */
static void
remember(struct ls_db *db, const struct ls_err *e)
{
	static struct ls_err no_memory = { .rc = LS_ENOMEM,
		.msg = "out of memory" };

	if (db->err == NULL && (db->err = ls_alloc(sizeof *e)) == NULL)
		db->err = &no_memory;
	if (db->err != &no_memory)
		*db->err = *e;
	db->err_heap = db->err != &no_memory;
}

void
ls_db_forget_error(struct ls_db *db)
{
	if (db->err_heap)
		ls_free(db->err);
	db->err = NULL;
	db->err_heap = false;
}

void
ls_db_failed(struct ls_db *db, struct ls_log_limit *l, const char *what,
    const struct ls_err *e)
{
	(void)pthread_mutex_lock(&db->d->mu);
	/* Why it was given up is worth more than that it was. */
	if (e->rc != LS_ECANCELED || db->err == NULL)
		remember(db, e);
	(void)pthread_cond_broadcast(&db->d->changed);
	(void)pthread_mutex_unlock(&db->d->mu);
	if (e->rc != LS_ECANCELED && ls_log_due(l, LOG_EVERY_SEC * LS_SEC))
		ls_error(
		    what, LS_ATTRS(LS_S("db", db->name),
			      LS_S("replica", db->conf.place.type), LS_E(e)));
}

void
ls_db_well(struct ls_db *db)
{
	if (db->goal == LS_GOAL_RUN || !(db->snap_failed || db->retain_failed))
		ls_db_forget_error(db);
}

const char *
ls_db_state(const struct ls_db *db)
{
	if (db->fenced)
		return "fenced";
	if (db->goal == LS_GOAL_STOP)
		return "stopped";
	if (db->stuck || db->err != NULL ||
	    (ls_endpoint_away(db, NULL) && !ls_db_is_stored(db)))
		return "error";
	return db->parked ? "parked" : "replicating";
}

const char *
ls_db_why(const struct ls_db *db)
{
	const char *why = "";

	if (db->err != NULL)
		return db->err->msg;
	return ls_endpoint_away(db, &why) && !ls_db_is_stored(db) ? why : "";
}

uint64_t
ls_db_lag_ns(struct ls_db *db, uint64_t now)
{
	bool doubt = !db->remote_known || db->rebase || db->acked == 0 ||
		     !db->local_known;
	uint64_t since[] = { 0, db->seen_ns, db->taking_ns,
		(db->exists || !db->looked) && doubt ? db->doubt_ns : 0 };
	uint64_t oldest = now;

	if (db->remote_known)
		ls_lag_durable(&db->lag, db->acked);
	since[0] = ls_lag_since(&db->lag);
	for (size_t i = 0; i < LS_COUNT(since); i++)
		if (since[i] != 0)
			oldest = LS_MIN(oldest, since[i]);
	return now - oldest;
}

uint64_t
ls_db_backoff(uint64_t base_ns, uint64_t failures)
{
	uint64_t ns = LS_MAX(base_ns, 100 * LS_MS);

	for (; failures > 1 && ns < 15 * LS_SEC; failures--)
		ns *= 2;
	return LS_MIN(ns, 15 * LS_SEC);
}
