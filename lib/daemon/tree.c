/* tree.c -- a `dir` entry at work. See tree.h.
 *
 *  (1) WATCHED BEFORE IT IS READ: a folder's watch is there before the folder is
 *      listed, so what comes in between is told of. (test: fleet.churn)
 *  (2) AN EVENT IS A HINT. It names a path; what is there now is seen by looking.
 *      So order, merging and loss of events do not matter: after a loss each
 *      folder is read again, and what is registered in it and not there leaves.
 *  (3) NO DESCRIPTOR OF OURS ON A DATABASE (ls_capture_is_db): closing it would
 *      end the locks of a capture of the same file under another name.
 *  (4) A FILE MAY BECOME A DATABASE: one that is young and none yet is looked at
 *      again soon, some times; later by the events of its -wal and -journal, and
 *      when a writer closes it.
 *  (5) WITHOUT WATCHES (quota, network) folders are read by the clock, the rarer
 *      the longer that takes.
 */
#include "daemon/tree.h"

#include "daemon/db.h"

#include "base/bytes.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>

enum {
	NODES = 256,
	MOST_LOOKS = 1 << 16,
	BATCH = 256,
	TRIES = 6,
	AGAIN_MS = 100,
	YOUNG_SEC = 10
};

struct ls_look {
	struct ls_look *next;
	struct ls_tree *tree;
	uint64_t due_ns; /* mono */
	unsigned tries;
	bool folder;
	char path[];
};

struct ls_node {
	struct ls_node *next;
	struct ls_tree *tree;
	char path[];
};

struct ls_tree {
	struct ls_tree *next;
	struct ls_daemon *d;
	struct ls_dir_config conf;
	struct ls_node *node[NODES];
	bool ended, polled, poll_said;
	uint64_t poll_ns;
};

/* ---- what is to be looked at ------------------------------------------------*/

static void
look_again(struct ls_tree *t, const char *path, bool folder, unsigned tries,
    uint64_t due_ns)
{
	struct ls_daemon *d = t->d;
	size_t n = strlen(path) + 1;
	struct ls_look *l;

	if (t->ended)
		return;
	if (d->looks_n >= MOST_LOOKS) { /* (2) */
		t->polled = true;
		t->poll_ns = 0;
		return;
	}
	if ((l = ls_zalloc(sizeof *l + n)) == NULL) {
		t->polled = true;
		return;
	}
	l->tree = t;
	l->folder = folder;
	l->tries = tries;
	l->due_ns = due_ns;
	memcpy(l->path, path, n);
	*d->looks_tail = l;
	d->looks_tail = &l->next;
	d->looks_n++;
	d->looks_due_ns = LS_MIN(d->looks_due_ns, due_ns);
}

void
ls_tree_look(struct ls_tree *t, const char *path)
{
	look_again(t, path, false, 0, 0);
	ls_daemon_wake(t->d);
}

/* "x" of "x-wal", "x-shm", "x-journal"; else 0. */
static size_t
base_of(const char *path)
{
	static const char *const tails[] = { "-wal", "-shm", "-journal" };
	size_t n = strlen(path);

	for (size_t i = 0; i < LS_COUNT(tails); i++) {
		size_t m = strlen(tails[i]);

		if (n > m && strcmp(path + n - m, tails[i]) == 0)
			return n - m;
	}
	return 0;
}

void
ls_tree_event(void *arg, void *node, const char *name, uint32_t mask)
{
	struct ls_daemon *d = arg;
	struct ls_node *n = node;
	struct ls_tree *t = n->tree;
	struct ls_db *db;
	char path[4096];
	size_t base;

	if (name == NULL) {
		look_again(t, n->path, true, 0, 0);
		return;
	}
	if (snprintf(path, sizeof path, "%s/%s", n->path[1] ? n->path : "",
		name) >= (int)sizeof path)
		return;
	if (mask & IN_ISDIR) {
		if (t->conf.recursive && !ls_dir_own(name))
			look_again(t, path, true, 0, 0);
		return;
	}
	if ((base = base_of(path)) != 0)
		path[base] = '\0';
	if (!ls_dir_fits(&t->conf, path))
		return;
	db = ls_daemon_find(d, path);
	/* One that we have: its own watch tells of all but its going. */
	if (db == NULL || db->leaving ||
	    (base == 0 && (mask & (IN_DELETE | IN_MOVED_FROM))))
		look_again(t, path, false, 0, 0);
}

/* ---- nodes ------------------------------------------------------------------*/

static struct ls_node **
node_at(struct ls_tree *t, const char *path)
{
	uint64_t h = 0;
	struct ls_node **p;

	for (const char *s = path; *s != '\0'; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3ull;
	p = &t->node[(h >> 20) % NODES];
	while (*p != NULL && strcmp((*p)->path, path) != 0)
		p = &(*p)->next;
	return p;
}

/* Is path the folder, or below it? */
static bool
is_in(const char *folder, const char *path)
{
	size_t n = strlen(folder);

	return strncmp(folder, path, n) == 0 &&
	       (path[n] == '\0' || path[n] == '/' || folder[n - 1] == '/');
}

/* The folder is not there (any more). */
static void
lose(struct ls_tree *t, const char *folder)
{
	struct ls_daemon *d = t->d;

	for (int i = 0; i < NODES; i++)
		for (struct ls_node **p = &t->node[i], *n; (n = *p) != NULL;) {
			if (!is_in(folder, n->path)) {
				p = &n->next;
				continue;
			}
			*p = n->next;
			ls_watch_forget(d->watch, n);
			ls_free(n);
		}
	for (size_t i = 0; i < d->n; i++)
		if (d->db[i]->tree == t && is_in(folder, d->db[i]->conf.path))
			ls_db_leave(d->db[i]);
}

/* (1), (5). Gives whether it was known before. */
static bool
watch(struct ls_tree *t, const char *folder)
{
	struct ls_node **p = node_at(t, folder), *n = *p;
	struct ls_err e = { 0 };
	bool known = n != NULL;

	if (n == NULL) {
		n = *p = ls_zalloc(sizeof *n + strlen(folder) + 1);
		if (n == NULL) {
			t->polled = true;
			return true;
		}
		n->tree = t;
		memcpy(n->path, folder, strlen(folder) + 1);
	}
	if (ls_watch_dir(t->d->watch, folder, n, &e) == LS_OK ||
	    e.rc == LS_ENOTFOUND)
		return known;
	t->polled = true;
	if (!t->poll_said)
		ls_warn(e.rc == LS_ENOSPC
			    ? "fs.inotify.max_user_watches is used up: reading "
			      "folders by the clock instead"
			    : "cannot watch folders, reading them by the clock "
			      "instead",
		    LS_ATTRS(LS_S("dir", t->conf.dir), LS_E(&e)));
	t->poll_said = true;
	return true;
}

/* What we have directly in the folder is to be looked at. */
static void
look_at_known(struct ls_tree *t, const char *folder)
{
	struct ls_daemon *d = t->d;
	size_t n = strlen(folder);

	for (size_t i = 0; i < d->n; i++) {
		const char *path = d->db[i]->conf.path;

		if (d->db[i]->tree == t && is_in(folder, path) &&
		    strchr(path + n + 1, '/') == NULL)
			look_again(t, path, false, 0, 0);
	}
}

/* ---- looking; mu not held ---------------------------------------------------*/

static void
take_in(struct ls_tree *t, const char *path)
{
	struct ls_daemon *d = t->d;
	struct ls_db_config conf;
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_dir_member(&t->conf, path, &conf, &e);

	if (rc == LS_OK) {
		(void)pthread_mutex_lock(&d->mu);
		if (t->ended || d->stopping)
			ls_db_config_fini(&conf);
		else
			rc = ls_daemon_add(d, &conf, t, LS_FROM_DIR, &e);
		(void)pthread_mutex_unlock(&d->mu);
		ls_daemon_wake(d);
	}
	if (rc == LS_OK)
		ls_info("added database to replication",
		    LS_ATTRS(LS_S("path", path)));
	else
		ls_error(
		    "cannot replicate", LS_ATTRS(LS_S("path", path), LS_E(&e)));
}

static void
look_at_file(struct ls_tree *t, const char *path, unsigned tries)
{
	struct ls_daemon *d = t->d;
	struct stat st;
	bool there = stat(path, &st) == 0 && S_ISREG(st.st_mode);
	struct ls_db *db;
	int64_t age;

	(void)pthread_mutex_lock(&d->mu);
	db = ls_daemon_find(d, path);
	if (db != NULL && db->leaving && there && db->successor == NULL) {
		db->tree = t; /* it may have been another's */
		db->again = true;
	} else if (db != NULL && db->tree == t && !there) {
		db->again = false;
		ls_db_leave(db);
	}
	(void)pthread_mutex_unlock(&d->mu);
	if (db != NULL || !there)
		return;
	if (ls_capture_is_db(path)) {
		take_in(t, path);
		return;
	}
	age = ls_sys->wall_ns() - st.st_mtim.tv_sec * (int64_t)LS_SEC;
	if (tries >= TRIES || age > YOUNG_SEC * (int64_t)LS_SEC)
		return;
	(void)pthread_mutex_lock(&d->mu); /* (4) */
	look_again(t, path, false, tries + 1,
	    ls_sys->mono_ns() + (AGAIN_MS * LS_MS << tries));
	(void)pthread_mutex_unlock(&d->mu);
}

static enum ls_rc
found(void *arg, const char *path, bool is_dir, struct ls_err *e)
{
	struct ls_tree *t = arg;

	(void)e;
	if (!is_dir && ls_dir_fits(&t->conf, path))
		look_at_file(t, path, 0);
	if (is_dir && t->conf.recursive) {
		(void)pthread_mutex_lock(&t->d->mu);
		look_again(t, path, true, 0, 0);
		(void)pthread_mutex_unlock(&t->d->mu);
	}
	return LS_OK;
}

static void
look_at_folder(struct ls_tree *t, const char *path)
{
	struct ls_daemon *d = t->d;
	struct ls_err e = { 0 };
	struct stat st;
	bool root = strcmp(path, t->conf.dir) == 0;
	/* Links are not followed, but for the one that was configured. */
	bool there = (root ? stat(path, &st) : lstat(path, &st)) == 0 &&
		     S_ISDIR(st.st_mode);

	(void)pthread_mutex_lock(&d->mu);
	if (!there)
		lose(t, path);
	else if (t->conf.watch && watch(t, path))
		look_at_known(t, path);
	if (!there && root && t->conf.watch) /* nobody tells of its coming */
		look_again(t, path, true, 0, ls_sys->mono_ns() + LS_SEC);
	(void)pthread_mutex_unlock(&d->mu);
	if (there && ls_dir_list(path, found, t, &e) != LS_OK &&
	    e.rc != LS_ENOTFOUND)
		ls_error("cannot read a folder",
		    LS_ATTRS(LS_S("dir", path), LS_E(&e)));
}

static void
look(const struct ls_look *l)
{
	if (l->folder)
		look_at_folder(l->tree, l->path);
	else
		look_at_file(l->tree, l->path, l->tries);
}

/* The next one that is due, or NULL. mu held. */
static struct ls_look *
next_look(struct ls_daemon *d, uint64_t now)
{
	uint64_t due = UINT64_MAX;
	struct ls_look **p = &d->looks, *l;

	for (; (l = *p) != NULL && l->due_ns > now; p = &l->next)
		due = LS_MIN(due, l->due_ns);
	if (l == NULL) {
		d->looks_due_ns = due;
		return NULL;
	}
	if ((*p = l->next) == NULL)
		d->looks_tail = p;
	d->looks_n--;
	return l;
}

/* (5) mu held. */
static void
poll_due(struct ls_daemon *d, uint64_t now)
{
	for (struct ls_tree *t = d->trees; t != NULL; t = t->next)
		if (t->polled && !t->ended && now >= t->poll_ns) {
			t->polled = false; /* until it is found out again */
			t->poll_ns = now + LS_SEC;
			for (int i = 0; i < NODES; i++)
				for (struct ls_node *n = t->node[i]; n;
				     n = n->next)
					look_again(t, n->path, true, 0, 0);
		}
}

void
ls_tree_step(struct ls_work *w)
{
	struct ls_daemon *d =
	    (struct ls_daemon *)((char *)w -
				 offsetof(struct ls_daemon, tree_work));
	uint64_t began = ls_sys->mono_ns(), took;
	struct ls_look *l;

	for (int i = 0; i < BATCH; i++) {
		(void)pthread_mutex_lock(&d->mu);
		l = next_look(d, ls_sys->mono_ns());
		(void)pthread_mutex_unlock(&d->mu);
		if (l == NULL)
			break;
		look(l);
		ls_free(l);
	}
	(void)pthread_mutex_lock(&d->mu);
	took = ls_sys->mono_ns() - began;
	for (struct ls_tree *t = d->trees; t != NULL; t = t->next)
		if (t->polled)
			t->poll_ns = LS_MAX(t->poll_ns, began + 50 * took);
	d->tree_lent = false;
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}

void
ls_trees_turn(struct ls_daemon *d, uint64_t now)
{
	if (d->tree_lent || d->stopping || d->trees == NULL)
		return;
	poll_due(d, now);
	if (d->looks == NULL || d->looks_due_ns > now)
		return;
	d->tree_lent = true;
	ls_pool_push(d->pool, LS_LANE_LOCAL, &d->tree_work);
}

uint64_t
ls_trees_due(const struct ls_daemon *d, uint64_t now)
{
	uint64_t due = d->looks ? d->looks_due_ns : UINT64_MAX;

	if (d->tree_lent || d->stopping)
		return UINT64_MAX;
	for (struct ls_tree *t = d->trees; t != NULL; t = t->next)
		if (t->polled && !t->ended)
			due = LS_MIN(due, t->poll_ns);
	return due == UINT64_MAX ? due : due > now ? due - now : 0;
}

/* ---- life -------------------------------------------------------------------*/

enum ls_rc
ls_tree_add(struct ls_daemon *d, struct ls_dir_config *conf,
    struct ls_tree **out, struct ls_err *e)
{
	struct ls_tree *t = ls_zalloc(sizeof *t), **p = &d->trees;

	if (t == NULL) {
		ls_dir_config_fini(conf);
		return ls_err_nomem(e);
	}
	t->d = d;
	t->conf = *conf;
	*conf = (struct ls_dir_config){ 0 };
	while (*p != NULL)
		p = &(*p)->next;
	*p = t;
	look_again(t, t->conf.dir, true, 0, 0);
	*out = t;
	return LS_OK;
}

enum ls_rc
ls_tree_first(struct ls_tree *t, struct ls_err *e)
{
	struct ls_daemon *d = t->d;
	struct ls_look *l;
	size_t before = d->n;
	struct stat st;

	if (!ls_exists(t->conf.dir) && !t->conf.watch)
		return ls_err_set(
		    e, LS_ENOTFOUND, "%s: no such directory", t->conf.dir);
	if (ls_sys->stat(t->conf.dir, &st) == 0 && !S_ISDIR(st.st_mode))
		return ls_err_set(
		    e, LS_EINVALID, "%s: is not a directory", t->conf.dir);
	while ((l = next_look(d, ls_sys->mono_ns())) != NULL) {
		look(l);
		ls_free(l);
	}
	if (d->n == before && !t->conf.watch)
		return ls_err_set(e, LS_ENOTFOUND,
		    "no SQLite databases found in directory %s with pattern %s",
		    t->conf.dir, t->conf.pattern);
	ls_info("found databases in directory",
	    LS_ATTRS(LS_S("dir", t->conf.dir), LS_U("count", d->n - before),
		LS_B("watch", t->conf.watch)));
	return LS_OK;
}

void
ls_tree_end(struct ls_tree *t)
{
	if (t->ended)
		return;
	lose(t, t->conf.dir);
	t->ended = true;
}

bool
ls_tree_ended(const struct ls_tree *t)
{
	return t->ended;
}

const struct ls_dir_config *
ls_tree_conf(const struct ls_tree *t)
{
	return &t->conf;
}

struct ls_tree *
ls_tree_next(const struct ls_tree *t)
{
	return t->next;
}

void
ls_trees_free(struct ls_daemon *d)
{
	for (struct ls_look *l; (l = d->looks) != NULL;) {
		d->looks = l->next;
		ls_free(l);
	}
	for (struct ls_tree *t; (t = d->trees) != NULL;) {
		d->trees = t->next;
		for (int i = 0; i < NODES; i++)
			for (struct ls_node *n; (n = t->node[i]) != NULL;) {
				t->node[i] = n->next;
				ls_free(n);
			}
		ls_dir_config_fini(&t->conf);
		ls_free(t);
	}
}
