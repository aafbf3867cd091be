/* file.c -- the file driver: a folder as a store. Objects are
 * "<path>/<key>", the LTX time is the file's mtime.
 *
 * (1) A LISTING HOLDS FINISHED FILES ONLY: "*.tmp" is somebody's put in flight
 *     (file_put.c) and is never shown. (test: file_list_is_sorted_and_clean)
 * (2) A READ SEES ONE FILE: size, mtime and bytes come from one descriptor, so
 *     a rename over the name meanwhile changes nothing; the ETag is made of
 *     inode, size and mtime, and If-Match works as in a bucket.
 * A level's folder is read whole and sorted: memory is O(entries).
 */
#include "base/bytes.h"
#include "base/file.h"
#include "store/file_put.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { DEPTH_MAX = 16 };

static enum ls_rc
file_open(struct ls_store *st, struct ls_err *e)
{
	const char *path = st->place.path;
	struct stat sb;
	int rc = ls_sys->stat(path, &sb);

	if ((rc != 0 && errno == ENOTDIR) || (rc == 0 && !S_ISDIR(sb.st_mode)))
		return ls_err_hint(e,
		    ls_err_set(e, LS_EINVALID, "%s: is not a folder", path),
		    "name a folder; it is made when it is missing");
	return LS_OK; /* a folder that is not there yet lists as empty */
}

static enum ls_rc
file_caps(struct ls_store *st, unsigned *caps, const struct ls_call *c,
    struct ls_err *e)
{
	(void)st, (void)c, (void)e;
	*caps = LS_CAP_IF_ABSENT | LS_CAP_IF_ABSENT_MULTI | LS_CAP_COPY |
		LS_CAP_LIST_TIME;
	return LS_OK;
}

static enum ls_rc
file_caps_multi(
    struct ls_store *st, bool *yes, const struct ls_call *c, struct ls_err *e)
{
	(void)st, (void)c, (void)e;
	*yes = true;
	return LS_OK;
}

/* ---- reading ---------------------------------------------------------------*/

/* The range [*off, *off + *len) that o asks of size bytes. */
static enum ls_rc
range_of(const struct ls_get *o, uint64_t size, uint64_t *off, uint64_t *len,
    struct ls_err *e)
{
	*off = o->off;
	if (o->suffix > 0)
		*off = size - LS_MIN(size, (uint64_t)o->suffix);
	else if (o->off > 0 && o->off >= size)
		return ls_err_set(e, LS_ERANGE,
		    "offset %llu is past the end (%llu bytes)",
		    (unsigned long long)o->off, (unsigned long long)size);
	*len = size - *off;
	if (o->suffix <= 0 && o->len > 0)
		*len = LS_MIN(*len, o->len);
	return LS_OK;
}

static enum ls_rc
read_range(int fd, const struct ls_get *o, struct ls_buf *out,
    struct ls_got *got, struct ls_err *e)
{
	struct stat sb;
	uint64_t off = 0, len = 0;
	enum ls_rc rc;

	if (ls_sys->fstat(fd, &sb) != 0)
		return ls_err_sys(e, errno, "stat");
	if (!S_ISREG(sb.st_mode))
		return ls_err_set(e, LS_ENOTFOUND, "not a regular file");
	ls_file_got(&sb, got);
	if (o->if_match != NULL && strcmp(o->if_match, got->etag) != 0)
		return ls_err_set(e, LS_ECHANGED, "the file was replaced");
	if ((rc = range_of(o, got->total_size, &off, &len, e)) != LS_OK)
		return rc;
	if (len > SIZE_MAX)
		return ls_err_set(e, LS_ERANGE, "file too large");
	if (len == 0)
		return LS_OK;
	if ((rc = ls_buf_reserve(out, (size_t)len, e)) != LS_OK ||
	    (rc = ls_pread_all(fd, out->p + out->n, (size_t)len, off, e)))
		return rc;
	out->n += (size_t)len;
	return LS_OK;
}

static enum ls_rc
file_get(struct ls_store *st, const char *path, const struct ls_get *o,
    struct ls_buf *out, struct ls_got *got, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc;
	int fd = -1;

	(void)st, (void)c;
	if ((rc = ls_open(path, O_RDONLY, 0, &fd, e)) != LS_OK)
		return rc;
	rc = read_range(fd, o, out, got, e);
	(void)ls_sys->close(fd);
	return rc;
}

static enum ls_rc
file_head(struct ls_store *st, const char *path, struct ls_got *got,
    const struct ls_call *c, struct ls_err *e)
{
	struct stat sb;

	(void)st, (void)c;
	if (ls_sys->stat(path, &sb) != 0)
		return ls_err_sys(e, errno, "stat %s", path);
	if (!S_ISREG(sb.st_mode))
		return ls_err_set(e, LS_ENOTFOUND, "not a regular file");
	ls_file_got(&sb, got);
	return LS_OK;
}

/* ---- listing ---------------------------------------------------------------*/

struct names {
	char **p;
	size_t n, cap;
};

static void
names_free(struct names *v)
{
	while (v->n > 0)
		ls_free(v->p[--v->n]);
	ls_free(v->p);
}

/* Takes s. */
static enum ls_rc
names_add(struct names *v, char *s, struct ls_err *e)
{
	if (s != NULL && v->n == v->cap) {
		size_t cap = v->cap ? v->cap * 2 : 64;
		char **p = ls_realloc(v->p, cap * sizeof *p);

		if (p == NULL) {
			ls_free(s);
			return ls_err_nomem(e);
		}
		v->p = p, v->cap = cap;
	}
	if (s == NULL)
		return ls_err_nomem(e);
	v->p[v->n++] = s;
	return LS_OK;
}

static int
by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool
is_tmp(const char *name)
{
	size_t n = strlen(name);

	return n >= 4 && strcmp(name + n - 4, ".tmp") == 0;
}

static bool
is_dir(const char *path, const struct dirent *d)
{
	struct stat sb;

	if (d->d_type != DT_UNKNOWN && d->d_type != DT_LNK)
		return d->d_type == DT_DIR;
	return ls_sys->stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

enum want { FILES, DIRS, TMPS };

static enum ls_rc walk(const char *dir, enum want want, unsigned depth,
    struct names *v, struct ls_err *e);

/* One entry: dir ends in '/'. A folder is entered, or wanted itself. */
static enum ls_rc
walk_entry(const char *dir, const struct dirent *d, enum want want,
    unsigned depth, struct names *v, struct ls_err *e)
{
	char *path = ls_asprintf("%s%s", dir, d->d_name);
	enum ls_rc rc = LS_OK;
	char *sub;

	if (path == NULL)
		return ls_err_nomem(e);
	if (is_dir(path, d)) {
		sub = ls_asprintf("%s/", path);
		ls_free(path);
		if (sub == NULL || want == DIRS)
			return names_add(v, sub, e);
		if (depth > 0) /* deeper: a loop of symbolic links */
			rc = walk(sub, want, depth - 1, v, e);
		ls_free(sub);
		return rc;
	}
	if (want != DIRS && is_tmp(d->d_name) == (want == TMPS))
		return names_add(v, path, e);
	ls_free(path);
	return LS_OK;
}

static enum ls_rc
walk(const char *dir, enum want want, unsigned depth, struct names *v,
    struct ls_err *e)
{
	DIR *d = opendir(dir);
	struct dirent *de = NULL;
	enum ls_rc rc = LS_OK;

	if (d == NULL)
		return errno == ENOENT || errno == ENOTDIR
			   ? LS_OK
			   : ls_err_sys(e, errno, "open folder %s", dir);
	for (;;) {
		errno = 0;
		if (rc != LS_OK || (de = readdir(d)) == NULL)
			break;
		if (strcmp(de->d_name, ".") != 0 &&
		    strcmp(de->d_name, "..") != 0)
			rc = walk_entry(dir, de, want, depth, v, e);
	}
	if (rc == LS_OK && errno != 0)
		rc = ls_err_sys(e, errno, "read folder %s", dir);
	(void)closedir(d);
	return rc;
}

/* false: the callback asked to stop. */
static bool
show(struct ls_store *st, const char *path, bool dir, ls_list_fn *fn, void *arg)
{
	struct ls_object o = { .key = ls_store_key(st, path) };
	struct ls_got g = { 0 };
	struct stat sb;

	if (dir)
		return fn(arg, &o);
	if (ls_sys->stat(path, &sb) != 0 || !S_ISREG(sb.st_mode))
		return true; /* deleted meanwhile, or a dangling link */
	ls_file_got(&sb, &g);
	o.size = g.total_size;
	o.mtime_ns = g.mtime_ns;
	o.etag = g.etag;
	return fn(arg, &o);
}

static enum ls_rc
file_list(struct ls_store *st, const char *prefix, const char *after, bool dirs,
    ls_list_fn *fn, void *arg, const struct ls_call *c, struct ls_err *e)
{
	struct names v = { NULL, 0, 0 };
	size_t n = strlen(prefix);
	char *dir;
	enum ls_rc rc;

	dir = ls_asprintf(
	    "%s%s", prefix, n > 0 && prefix[n - 1] == '/' ? "" : "/");
	if (dir == NULL)
		return ls_err_nomem(e);
	rc = walk(dir, dirs ? DIRS : FILES, DEPTH_MAX, &v, e);
	if (rc == LS_OK && v.n > 0)
		qsort(v.p, v.n, sizeof v.p[0], by_bytes);
	for (size_t i = 0; rc == LS_OK && i < v.n; i++) {
		if (after != NULL && strcmp(v.p[i], after) <= 0)
			continue;
		if ((rc = ls_call_check(c, e)) == LS_OK &&
		    !show(st, v.p[i], dirs, fn, arg))
			break;
	}
	names_free(&v);
	ls_free(dir);
	return rc;
}

/* ---- removing --------------------------------------------------------------*/

static enum ls_rc
file_del(struct ls_store *st, char *const *paths, size_t n,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;

	(void)st;
	for (size_t i = 0; i < n; i++) {
		if ((rc = ls_call_check(c, e)) != LS_OK)
			return rc;
		if (ls_sys->unlink(paths[i]) != 0 && errno != ENOENT &&
		    errno != ENOTDIR)
			return ls_err_sys(e, errno, "remove %s", paths[i]);
	}
	return LS_OK;
}

static enum ls_rc
file_sweep(struct ls_store *st, int64_t age_ms, const struct ls_call *c,
    struct ls_err *e)
{
	struct names v = { NULL, 0, 0 };
	char *dir = ls_asprintf("%s/", st->place.path);
	enum ls_rc rc;

	if (dir == NULL)
		return ls_err_nomem(e);
	rc = walk(dir, TMPS, DEPTH_MAX, &v, e);
	for (size_t i = 0; rc == LS_OK && i < v.n; i++) {
		struct stat sb;

		if ((rc = ls_call_check(c, e)) != LS_OK)
			break;
		/* ctime: the mtime of a finished one is the LTX time. */
		if (ls_sys->stat(v.p[i], &sb) == 0 &&
		    ls_now_ms() - (int64_t)sb.st_ctim.tv_sec * 1000 > age_ms)
			rc = file_del(st, &v.p[i], 1, c, e);
	}
	names_free(&v);
	ls_free(dir);
	return rc;
}

const struct ls_driver ls_driver_file = {
	.type = "file",
	.layout = LS_LAYOUT_LTX,
	.open = file_open,
	.caps = file_caps,
	.caps_multi = file_caps_multi,
	.put = ls_file_put,
	.get = file_get,
	.head = file_head,
	.list = file_list,
	.del = file_del,
	.del_if = ls_file_del_if,
	.copy = ls_file_copy,
	.sweep = file_sweep,
	.begin = ls_file_begin,
	.write = ls_file_write,
	.commit = ls_file_commit,
	.abort = ls_file_abort,
};
