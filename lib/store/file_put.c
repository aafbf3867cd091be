/* file_put.c -- how a file gets its name in a folder store.
 *
 * (1) ALL OR NOTHING. Bytes go to "<name>.<pid>-<n>.tmp" (one name a put, so
 *     that two processes cannot write into each other's), are synced, get
 *     their time, and only then the final name; the folder is synced last.
 *     (test: file_put_is_all_or_nothing_under_any_fault)
 * (2) IF ABSENT IS link(2): it fails when the name is taken, atomically and
 *     over NFS too, where a check before rename would race.
 *     (test: file_if_absent_has_one_winner)
 * (3) A NEW FOLDER IS DURABLE: the folder that holds it is synced after
 *     mkdir, for each level that was missing.
 * (4) IF MATCH compares and renames under an flock on the folder itself, which
 *     all processes of ours take for it; a put without a condition does not.
 *     (test: file_if_match_has_one_winner)
 * Not here: removing what a killed process left (ls_store_sweep, file.c).
 */
#include "store/file_put.h"

#include "base/bytes.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 18, DEPTH = 64 };

struct tmp {
	char *path; /* NULL: none */
	int fd;
};

static void
tmp_drop(struct tmp *t)
{
	if (t->fd >= 0)
		(void)ls_sys->close(t->fd);
	if (t->path != NULL)
		(void)ls_sys->unlink(t->path); /* else ls_store_sweep */
	ls_free(t->path);
	*t = (struct tmp){ NULL, -1 };
}

/* ---- folders ---------------------------------------------------------------*/

/* Create dir and what is missing above it, with the mode of the folder where
 * it begins; sync each folder that got a new entry. */
static enum ls_rc
make_dirs(const char *dir, unsigned depth, mode_t *mode, struct ls_err *e)
{
	struct stat sb;
	char *up;
	enum ls_rc rc;

	if (ls_sys->stat(dir, &sb) == 0) {
		*mode = (sb.st_mode & 0777) | 0700;
		return LS_OK;
	}
	if (errno != ENOENT || depth == 0)
		return ls_err_sys(e, errno, "create folder %s", dir);
	if ((up = ls_dirname(dir)) == NULL)
		return ls_err_nomem(e);
	if ((rc = make_dirs(up, depth - 1, mode, e)) == LS_OK) {
		if (ls_sys->mkdir(dir, *mode) != 0 && errno != EEXIST)
			rc = ls_err_sys(e, errno, "create folder %s", dir);
		else
			rc = ls_fsync_dir(up, e);
	}
	ls_free(up);
	return rc;
}

/* ---- temporary files -------------------------------------------------------*/

static enum ls_rc
tmp_open(struct tmp *t, const char *path, struct ls_err *e)
{
	static atomic_ulong serial;
	int flags = O_WRONLY | O_CREAT | O_EXCL;
	char *name, *dir;
	mode_t mode = 0700;
	enum ls_rc rc;

	name = ls_asprintf("%s.%ld-%lu.tmp", path, (long)getpid(),
	    atomic_fetch_add(&serial, 1) + 1);
	if (name == NULL)
		return ls_err_nomem(e);
	rc = ls_open(name, flags, 0600, &t->fd, e);
	if (rc == LS_ENOTFOUND) { /* the level's folder, the first time */
		if ((dir = ls_dirname(path)) == NULL)
			rc = ls_err_nomem(e);
		else if ((rc = make_dirs(dir, DEPTH, &mode, e)) == LS_OK)
			rc = ls_open(name, flags, 0600, &t->fd, e);
		ls_free(dir);
	}
	if (rc == LS_OK)
		t->path = name;
	else
		ls_free(name);
	return rc;
}

static enum ls_rc
set_time(const struct tmp *t, int64_t timestamp_ms, struct ls_err *e)
{
	struct timespec ts[2];

	if (timestamp_ms <= 0)
		return LS_OK;
	ts[1].tv_sec = (time_t)(timestamp_ms / 1000);
	ts[1].tv_nsec = (long)(timestamp_ms % 1000) * 1000000;
	ts[0] = ts[1];
	if (ls_sys->futimens(t->fd, ts) != 0)
		return ls_err_sys(e, errno, "set the time of %s", t->path);
	return LS_OK;
}

/* The commit point. The temporary name is gone when it returns LS_OK. */
static enum ls_rc
give_name(struct tmp *t, const char *path, bool if_absent, struct ls_err *e)
{
	enum ls_rc rc;

	if (!if_absent) {
		if ((rc = ls_rename(t->path, path, e)) != LS_OK)
			return rc;
		/* Two names of one file: rename leaves both. */
		(void)ls_sys->unlink(t->path);
	} else if (ls_sys->link(t->path, path) == 0) {
		(void)ls_sys->unlink(t->path);
	} else if (errno == EEXIST) {
		return ls_err_set(e, LS_EEXISTS, "%s exists", path);
	} else if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS) {
		return ls_err_hint(e,
		    ls_err_set(e, LS_EUNSUPPORTED,
			"%s: the file system has no hard links", path),
		    "use fencing: off there");
	} else {
		return ls_err_sys(e, errno, "link %s", path);
	}
	ls_free(t->path);
	t->path = NULL;
	return LS_OK;
}

static enum ls_rc
tmp_publish(
    struct tmp *t, const char *path, const struct ls_put *o, struct ls_err *e)
{
	enum ls_rc rc;
	int fd;

	if ((rc = set_time(t, o->timestamp_ms, e)) != LS_OK ||
	    (rc = ls_fsync(t->fd, t->path, e)) != LS_OK)
		return rc;
	fd = t->fd, t->fd = -1;
	if (ls_sys->close(fd) != 0)
		return ls_err_sys(e, errno, "close %s", t->path);
	if ((rc = give_name(t, path, o->if_absent, e)) != LS_OK)
		return rc;
	return ls_fsync_dir_of(path, e);
}

/* ---- if match --------------------------------------------------------------*/

void
ls_file_got(const struct stat *sb, struct ls_got *g)
{
	g->total_size = (uint64_t)sb->st_size;
	g->mtime_ns =
	    (int64_t)sb->st_mtim.tv_sec * 1000000000 + sb->st_mtim.tv_nsec;
	g->timestamp_ms = g->mtime_ns / 1000000;
	(void)snprintf(g->etag, sizeof g->etag, "%llx-%llx-%llx",
	    (unsigned long long)sb->st_ino, (unsigned long long)sb->st_size,
	    (unsigned long long)g->mtime_ns);
}

static enum ls_rc
still(const char *path, const char *etag, struct ls_err *e)
{
	struct ls_got g;
	struct stat sb;

	if (ls_sys->stat(path, &sb) != 0)
		return ls_err_sys(e, errno, "stat %s", path);
	ls_file_got(&sb, &g);
	if (strcmp(g.etag, etag) != 0)
		return ls_err_set(e, LS_ECHANGED, "%s was replaced", path);
	return LS_OK;
}

/* (4): gives a descriptor of the folder, locked until it is closed. */
static enum ls_rc
lock_folder(const char *path, int *fd, struct ls_err *e)
{
	char *dir = ls_dirname(path);
	enum ls_rc rc;

	if (dir == NULL)
		return ls_err_nomem(e);
	rc = ls_open(dir, O_RDONLY | O_DIRECTORY, 0, fd, e);
	if (rc == LS_OK && flock(*fd, LOCK_EX) != 0)
		rc = ls_err_sys(e, errno, "lock folder %s", dir);
	ls_free(dir);
	return rc;
}

enum ls_rc
ls_file_del_if(struct ls_store *st, const char *path, const char *etag,
    const struct ls_call *c, struct ls_err *e)
{
	int fd = -1;
	enum ls_rc rc;

	(void)st, (void)c;
	if ((rc = lock_folder(path, &fd, e)) == LS_OK &&
	    (rc = still(path, etag, e)) == LS_OK && ls_sys->unlink(path) != 0)
		rc = ls_err_sys(e, errno, "remove %s", path);
	if (fd >= 0)
		(void)ls_sys->close(fd);
	return rc;
}

static enum ls_rc
publish_if(
    struct tmp *t, const char *path, const struct ls_put *o, struct ls_err *e)
{
	int fd = -1;
	enum ls_rc rc;

	if (o->if_match == NULL)
		return tmp_publish(t, path, o, e);
	if ((rc = lock_folder(path, &fd, e)) == LS_OK &&
	    (rc = still(path, o->if_match, e)) == LS_OK)
		rc = tmp_publish(t, path, o, e);
	if (fd >= 0)
		(void)ls_sys->close(fd);
	if (rc == LS_ENOTFOUND)
		rc = ls_err_set(e, LS_ECHANGED, "%s is gone", path);
	return rc;
}

/* ---- put and copy ----------------------------------------------------------*/

static enum ls_rc
copy_bytes(int to, int from, uint64_t off, uint64_t n, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	size_t piece = (size_t)LS_MIN(n, (uint64_t)PIECE);
	uint8_t *buf = ls_alloc(piece);

	if (buf == NULL)
		return ls_err_nomem(e);
	while (rc == LS_OK && n > 0) {
		size_t k = (size_t)LS_MIN(n, (uint64_t)piece);

		if ((rc = ls_call_check(c, e)) != LS_OK ||
		    (rc = ls_pread_all(from, buf, k, off, e)) != LS_OK)
			break;
		rc = ls_write_all(to, buf, k, e);
		off += k, n -= k;
	}
	ls_free(buf);
	return rc;
}

/* The whole of a file that lies on the same file system gets a second name
 * instead of a second copy: half the writing, and nothing to sync twice. The
 * source must never change afterwards (spool files do not). False: not here. */
static bool
tmp_link(struct tmp *t, const char *path, const struct ls_body *b)
{
	static atomic_ulong serial;
	struct stat from, to;
	char src[64], *dir, *name;
	bool ok;

	if (b->fd < 0 || b->off != 0 || ls_sys->fstat(b->fd, &from) != 0 ||
	    (uint64_t)from.st_size != b->size ||
	    (dir = ls_dirname(path)) == NULL)
		return false;
	ok = ls_sys->stat(dir, &to) == 0 && to.st_dev == from.st_dev;
	ls_free(dir);
	name = ok ? ls_asprintf("%s.%ld-l%lu.tmp", path, (long)getpid(),
			atomic_fetch_add(&serial, 1) + 1)
		  : NULL;
	(void)snprintf(src, sizeof src, "/proc/self/fd/%d", b->fd);
	if (name == NULL || ls_sys->linkfd(src, name) != 0) {
		ls_free(name);
		return false;
	}
	t->path = name;
	t->fd = dup(b->fd); /* the same open file: times and sync go there */
	if (t->fd < 0)
		tmp_drop(t);
	return t->fd >= 0;
}

enum ls_rc
ls_file_put(struct ls_store *st, const char *path, const struct ls_body *b,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	struct tmp t = { NULL, -1 };
	enum ls_rc rc;

	(void)st;
	if (tmp_link(&t, path, b)) {
		rc = tmp_publish(&t, path, o, e);
		tmp_drop(&t);
		return rc;
	}
	if ((rc = tmp_open(&t, path, e)) != LS_OK)
		return rc;
	if (b->fd < 0)
		rc = ls_write_all(t.fd, b->mem.p, b->mem.n, e);
	else
		rc = copy_bytes(t.fd, b->fd, b->off, b->size, c, e);
	if (rc == LS_OK)
		rc = publish_if(&t, path, o, e);
	tmp_drop(&t);
	return rc;
}

enum ls_rc
ls_file_copy(struct ls_store *st, const char *from, const char *to,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	struct ls_put keep = *o;
	struct ls_body b = { { NULL, 0 }, -1, 0, 0 };
	struct stat sb;
	enum ls_rc rc;

	if ((rc = ls_open(from, O_RDONLY, 0, &b.fd, e)) != LS_OK)
		return rc;
	if (ls_sys->fstat(b.fd, &sb) != 0) {
		rc = ls_err_sys(e, errno, "stat %s", from);
	} else {
		b.size = (uint64_t)sb.st_size;
		if (keep.timestamp_ms == 0)
			keep.timestamp_ms = (int64_t)sb.st_mtim.tv_sec * 1000 +
					    sb.st_mtim.tv_nsec / 1000000;
		rc = ls_file_put(st, to, &b, &keep, c, e);
	}
	(void)ls_sys->close(b.fd);
	return rc;
}

/* ---- streamed puts ---------------------------------------------------------*/

enum ls_rc
ls_file_begin(struct ls_upload *u, struct ls_err *e)
{
	struct tmp *t = ls_zalloc(sizeof *t);
	enum ls_rc rc;

	if (t == NULL)
		return ls_err_nomem(e);
	t->fd = -1;
	if ((rc = tmp_open(t, u->path, e)) != LS_OK) {
		ls_free(t);
		return rc;
	}
	u->self = t;
	return LS_OK;
}

enum ls_rc
ls_file_write(struct ls_upload *u, struct ls_span bytes, struct ls_err *e)
{
	struct tmp *t = u->self;

	return ls_write_all(t->fd, bytes.p, bytes.n, e);
}

enum ls_rc
ls_file_commit(struct ls_upload *u, struct ls_err *e)
{
	enum ls_rc rc = tmp_publish(u->self, u->path, &u->o, e);

	ls_file_abort(u);
	return rc;
}

void
ls_file_abort(struct ls_upload *u)
{
	tmp_drop(u->self);
	ls_free(u->self);
	u->self = NULL;
}
