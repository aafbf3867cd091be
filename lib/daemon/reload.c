/* reload.c -- another configuration for a running daemon.
 *
 *  (1) WHAT IS THE SAME IS NOT TOUCHED: a database whose settings are as before
 *      does not notice. (test: fleet.reload)
 *  (2) ONE AFTER THE OTHER: what changed, or takes over a path, local state or
 *      place, begins when the old record has gone (leave.c).
 *  (3) WHAT WAS REGISTERED by a request stays, unless the file names it now.
 * Not here: reading the file; a file that is not valid never comes here.
 */
#include "daemon/db.h"

#include "base/bytes.h"

#include <stdlib.h>

/* Takes *conf. After old. */
static enum ls_rc
succeed(struct ls_db *old, struct ls_db_config *conf, struct ls_err *e)
{
	struct ls_db_config *next = old->successor;

	if (next == NULL && (next = ls_alloc(sizeof *next)) == NULL) {
		ls_db_config_fini(conf);
		return ls_err_nomem(e);
	}
	if (old->successor != NULL)
		ls_db_config_fini(next);
	*next = *conf;
	*conf = (struct ls_db_config){ 0 };
	old->successor = next;
	old->again = false;
	ls_db_leave(old);
	return LS_OK;
}

/* Takes *conf. */
static enum ls_rc
one_db(struct ls_daemon *d, struct ls_db_config *conf, struct ls_reloaded *r,
    struct ls_err *e)
{
	struct ls_db *db = ls_daemon_find(d, conf->path);

	if (db != NULL && !db->leaving && ls_db_config_same(&db->conf, conf)) {
		db->origin = LS_FROM_CONFIG;
		db->tree = NULL;
		r->kept++;
		ls_db_config_fini(conf);
		return LS_OK;
	}
	if (db != NULL) {
		r->changed++;
		return succeed(db, conf, e);
	}
	r->added++;
	db = ls_index_taken(d, conf);
	if (db != NULL && db->leaving && db->successor == NULL)
		return succeed(db, conf, e);
	return ls_daemon_add(d, conf, NULL, LS_FROM_CONFIG, e);
}

/* Strings of the file's databases, sorted, to tell which are gone. */
static int
by_path(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum ls_rc
drop_others(struct ls_daemon *d, const struct ls_config *cfg,
    struct ls_reloaded *r, struct ls_err *e)
{
	const char **v = ls_zalloc((cfg->n_dbs + 1) * sizeof *v);

	if (v == NULL)
		return ls_err_nomem(e);
	for (size_t i = 0; i < cfg->n_dbs; i++)
		v[i] = cfg->dbs[i].path;
	qsort(v, cfg->n_dbs, sizeof *v, by_path);
	for (size_t i = 0; i < d->n; i++) {
		struct ls_db *db = d->db[i];
		const char *path = db->conf.path;

		if (db->origin != LS_FROM_CONFIG || db->leaving ||
		    bsearch(&path, v, cfg->n_dbs, sizeof *v, by_path) != NULL)
			continue;
		ls_db_leave(db);
		r->removed++;
	}
	ls_free(v);
	return LS_OK;
}

static bool
has_tree(const struct ls_daemon *d, const struct ls_dir_config *conf)
{
	for (struct ls_tree *t = d->trees; t != NULL; t = ls_tree_next(t))
		if (!ls_tree_ended(t) &&
		    ls_dir_config_same(ls_tree_conf(t), conf))
			return true;
	return false;
}

static enum ls_rc
trees(struct ls_daemon *d, struct ls_config *cfg, struct ls_err *e)
{
	enum ls_rc rc = LS_OK, one;

	for (struct ls_tree *t = d->trees; t != NULL; t = ls_tree_next(t)) {
		bool stays = false;

		for (size_t i = 0; i < cfg->n_dirs; i++)
			stays |=
			    ls_dir_config_same(ls_tree_conf(t), &cfg->dirs[i]);
		if (!stays)
			ls_tree_end(t);
	}
	for (size_t i = 0; i < cfg->n_dirs; i++) {
		struct ls_tree *t;

		if (has_tree(d, &cfg->dirs[i]))
			ls_dir_config_fini(&cfg->dirs[i]);
		else if ((one = ls_tree_add(d, &cfg->dirs[i], &t, e)) != LS_OK)
			rc = one;
	}
	return rc;
}

enum ls_rc
ls_daemon_reload(struct ls_daemon *d, struct ls_config *cfg,
    struct ls_reloaded *r, struct ls_err *e)
{
	enum ls_rc rc;

	*r = (struct ls_reloaded){ 0 };
	(void)pthread_mutex_lock(&d->mu);
	rc = d->stopping ? ls_err_set(e, LS_ECANCELED, "the daemon is stopping")
			 : drop_others(d, cfg, r, e);
	if (rc == LS_OK) {
		rc = trees(d, cfg, e);
		cfg->n_dirs = 0;
		for (size_t i = 0; i < cfg->n_dbs; i++) {
			enum ls_rc one = one_db(d, &cfg->dbs[i], r, e);

			rc = one != LS_OK ? one : rc; /* the others go on */
		}
		cfg->n_dbs = 0;
	}
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
	return rc;
}

bool
ls_daemon_has(struct ls_daemon *d, const char *path)
{
	bool has;

	(void)pthread_mutex_lock(&d->mu);
	has = ls_daemon_find(d, path) != NULL;
	(void)pthread_mutex_unlock(&d->mu);
	return has;
}
