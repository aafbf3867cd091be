/* spool_open.c -- the spool at start: folders, leftovers, the run. The
 * invariants that it establishes are those of spool.c.
 *
 *  (1) EVERY STEP MAY BE THE LAST ONE. A start that is cut short leaves a state
 *      that the next start reads alike: leftovers go oldest first, unsynced
 *      files are named oldest first. (test: spool_crash_at_every_call) */
#include "capture/spool_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { META_DEPTH = 4 }; /* meta, ltx, 0, and one to spare */

static bool
has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* Remove *.tmp in dir and below. What cannot be looked at or removed is left:
 * begin truncates its own. */
static void
sweep(const char *dir, int depth)
{
	DIR *d = opendir(dir);
	struct dirent *de;

	if (d == NULL)
		return;
	while ((de = readdir(d)) != NULL) {
		char sub[PATH_MAX];
		int n;

		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		n = snprintf(sub, sizeof sub, "%s/%s", dir, de->d_name);
		if (n < 0 || (size_t)n >= sizeof sub)
			continue;
		if (has_suffix(de->d_name, ".tmp"))
			(void)ls_sys->unlink(sub);
		else if (de->d_type == DT_DIR && depth > 1)
			sweep(sub, depth - 1);
	}
	(void)closedir(d);
}

/* Create dir, and what is missing above it, as its parent is: mode, and owner
 * as far as we may. */
static enum ls_rc
make_folder(const char *dir, struct ls_err *e)
{
	char *parent = ls_dirname(dir);
	enum ls_rc rc = LS_OK;
	struct stat st;

	if (parent == NULL)
		return ls_err_nomem(e);
	if (ls_exists(dir))
		goto out;
	if (!ls_exists(parent) && strcmp(parent, dir) != 0 &&
	    (rc = make_folder(parent, e)) != LS_OK)
		goto out;
	if (ls_sys->stat(parent, &st) != 0) {
		rc = ls_err_sys(e, errno, "stat %s", parent);
		goto out;
	}
	if (ls_sys->mkdir(dir, st.st_mode & 07777) != 0) {
		if (errno != EEXIST)
			rc = ls_err_sys(e, errno, "create folder %s", dir);
		goto out;
	}
	if (chown(dir, st.st_uid, st.st_gid) != 0)
		errno = 0; /* not root: it stays ours */
	rc = ls_fsync_dir(parent, e);
out:
	ls_free(parent);
	return rc;
}

static enum ls_rc
make_folders(struct ls_spool *s, struct ls_err *e)
{
	char *ltx = ls_asprintf("%s/ltx", s->meta);
	struct stat st;
	enum ls_rc rc;

	if (ltx == NULL)
		return ls_err_nomem(e);
	if ((rc = make_folder(s->meta, e)) == LS_OK &&
	    (rc = make_folder(ltx, e)) == LS_OK)
		rc = make_folder(s->dir, e);
	if (rc == LS_OK && ls_sys->stat(s->dir, &st) == 0)
		s->mode = 0600 & st.st_mode;
	ls_free(ltx);
	return rc;
}

struct found {
	uint64_t txid;
	uint64_t size;
};

struct listing {
	struct found *v;
	size_t n, cap;
};

static enum ls_rc
list_add(struct listing *l, uint64_t txid, uint64_t size, struct ls_err *e)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct found *v;

		if (cap > SIZE_MAX / sizeof *v)
			return ls_err_set(e, LS_ERANGE, "too many files");
		if ((v = ls_realloc(l->v, cap * sizeof *v)) == NULL)
			return ls_err_nomem(e);
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = (struct found){ txid, size };
	return LS_OK;
}

/* One entry of the folder; names that are not ours are left alone. */
static enum ls_rc
list_entry(struct ls_spool *s, const char *name, const char *suffix,
    struct listing *l, struct ls_err *e)
{
	char stem[LS_LTX_NAME_MAX];
	uint64_t min, max;
	enum ls_rc rc;
	int64_t size;
	char *path;

	if (!has_suffix(name, suffix) ||
	    strlen(name) - strlen(suffix) >= sizeof stem)
		return LS_OK;
	(void)snprintf(stem, sizeof stem, "%.*s",
	    (int)(strlen(name) - strlen(suffix)), name);
	if (!ls_ltx_name_parse(stem, &min, &max))
		return LS_OK;
	if (min != max) {
		rc = ls_err_set(e, LS_ECORRUPT,
		    "%s/%s spans several transactions: not a level-0 file",
		    s->dir, name);
		return ls_err_hint(e, rc,
		    "remove it, or reset the local state of this database");
	}
	if ((path = ls_asprintf("%s/%s", s->dir, name)) == NULL)
		return ls_err_nomem(e);
	size = ls_file_size(path);
	rc = size < 0 ? ls_err_sys(e, errno, "stat %s", path)
		      : list_add(l, min, (uint64_t)size, e);
	ls_free(path);
	return rc;
}

static int
newest_first(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->txid < y->txid ? 1 : x->txid > y->txid ? -1 : 0;
}

static enum ls_rc
list_files(
    struct ls_spool *s, const char *suffix, struct listing *l, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	struct dirent *de;
	DIR *d;

	if ((d = opendir(s->dir)) == NULL)
		return ls_err_sys(e, errno, "open folder %s", s->dir);
	while (rc == LS_OK && (de = readdir(d)) != NULL)
		rc = list_entry(s, de->d_name, suffix, l, e);
	(void)closedir(d);
	if (l->n > 1)
		qsort(l->v, l->n, sizeof *l->v, newest_first);
	return rc;
}

/* Find the newest run; remove what is older than it. */
static enum ls_rc
scan(struct ls_spool *s, struct ls_err *e)
{
	struct listing l = { NULL, 0, 0 };
	enum ls_rc rc = list_files(s, "", &l, e);
	size_t i;

	for (i = 0; rc == LS_OK && i < l.n; i++) {
		if (i > 0 && l.v[i].txid + 1 != l.v[i - 1].txid)
			break;
		s->newest = i == 0 ? l.v[i].txid : s->newest;
		s->oldest = l.v[i].txid;
		s->bytes += l.v[i].size;
	}
	for (size_t j = l.n; rc == LS_OK && j > i;)
		rc = spool_remove(s, l.v[--j].txid, e);
	ls_free(l.v);
	return rc;
}

/* ---- files that were not synced when the process ended ------------------------*/

/* Read the file to its end: is it whole, and of txid? */
static enum ls_rc
check_unsynced(
    const char *path, int fd, uint64_t txid, bool *whole, struct ls_err *e)
{
	struct ls_err why = { 0 };
	struct spool_src src = { .fd = fd };
	struct ls_ltx_header h;
	enum ls_rc rc = ls_ltx_verify(spool_source, &src, &h, &why);

	*whole = rc == LS_OK && h.min_txid == txid && h.max_txid == txid;
	if (rc == LS_ECORRUPT || rc == LS_ESHORT || rc == LS_EUNSUPPORTED) {
		ls_warn("removing a file that a power failure damaged",
		    LS_ATTRS(LS_S("path", path), LS_E(&why)));
		return LS_OK;
	}
	return rc == LS_OK ? rc : ls_err_set(e, rc, "%s", why.msg);
}

/* Name it if it continues the run and is whole; else remove it. */
static enum ls_rc
settle_one(struct ls_spool *s, const struct found *f, struct ls_err *e)
{
	bool next = s->newest == 0 || f->txid == s->newest + 1;
	char *path = spool_name(s, f->txid, SPOOL_UNSYNCED);
	char *to = spool_name(s, f->txid, "");
	enum ls_rc rc = LS_OK;
	bool whole = false;
	int fd = -1;

	if (path == NULL || to == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	if ((rc = ls_open(path, O_RDONLY, 0, &fd, e)) != LS_OK)
		goto out;
	if (next)
		rc = check_unsynced(path, fd, f->txid, &whole, e);
	if (rc == LS_OK && whole && (rc = ls_fsync(fd, path, e)) == LS_OK)
		rc = ls_rename(path, to, e);
	else if (rc == LS_OK && ls_sys->unlink(path) != 0)
		rc = ls_err_sys(e, errno, "remove %s", path);
	if (rc != LS_OK || !whole)
		goto out;
	s->newest = f->txid;
	s->oldest = s->oldest ? s->oldest : f->txid;
	s->bytes += f->size;
out:
	if (fd >= 0)
		(void)ls_sys->close(fd);
	rc = ls_err_wrap(
	    e, rc, "settle unsynced TXID %llu", (unsigned long long)f->txid);
	ls_free(path);
	ls_free(to);
	return rc;
}

/* Oldest first: behind one that is damaged or missing none is believed. */
static enum ls_rc
settle(struct ls_spool *s, struct ls_err *e)
{
	struct listing l = { NULL, 0, 0 };
	enum ls_rc rc = list_files(s, SPOOL_UNSYNCED, &l, e);

	for (size_t i = l.n; rc == LS_OK && i-- > 0;)
		rc = settle_one(s, &l.v[i], e);
	if (rc == LS_OK && l.n > 0)
		rc = ls_fsync_dir(s->dir, e);
	ls_free(l.v);
	return rc;
}

enum ls_rc
ls_spool_open(const char *meta, struct ls_spool **out, struct ls_err *e)
{
	struct ls_spool *s = ls_zalloc(sizeof *s);
	enum ls_rc rc;

	if (s == NULL)
		return ls_err_nomem(e);
	s->fd = -1;
	s->meta = ls_strdup(meta);
	s->dir = ls_asprintf("%s/ltx/0", meta);
	s->merged = ls_asprintf("%s/litestreamd-merge", meta);
	s->uid = (uid_t)-1;
	s->gid = (gid_t)-1;
	if (s->meta == NULL || s->dir == NULL || s->merged == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	if ((rc = make_folders(s, e)) != LS_OK)
		goto out;
	sweep(s->meta, META_DEPTH);
	if ((rc = scan(s, e)) == LS_OK && (rc = settle(s, e)) == LS_OK)
		rc = spool_merge_recover(s, e);
out:
	if (rc == LS_OK)
		*out = s;
	else
		ls_spool_free(s);
	return ls_err_wrap(e, rc, "open spool of %s", meta);
}
