/* spool.c -- the local folder of level-0 files. See spool.h.
 *
 *  (1) A NAME MEANS A WHOLE, SYNCED FILE. Bytes go to <name>.ltx.tmp, which a
 *      start sweeps. A commit without sync renames that to <name>.ltx.unsynced:
 *      it outlives the process, but not necessarily the power; a start reads it
 *      to its end and gives it its name if it is whole and continues the run,
 *      else removes it.
 *      (tests: spool_fault_sweep, spool_unsynced_is_verified_at_open)
 *  (2) THE FILES ARE ONE RUN OF TXIDS, the newest last: only newest + 1 is ever
 *      begun, and drops go oldest first. What lies in front of a gap is older
 *      than the run, superseded, and removed at open. (test: spool_gap)
 *  (3) THE NEWEST FILE STAYS: it is the resume point, for upstream too.
 *      (test: spool_drop_keeps_newest)
 *  (4) NO DESCRIPTOR WHILE IDLE: there are 10,000 of these.
 * Not here: what a start does (spool_open.c), merging (spool_merge.c), when to
 * drop (the daemon). */
#include "capture/spool_impl.h"

#include "base/bytes.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* ---- names -------------------------------------------------------------------*/

char *
spool_name(const struct ls_spool *s, uint64_t txid, const char *suffix)
{
	char name[LS_LTX_NAME_MAX];

	return ls_asprintf(
	    "%s/%s%s", s->dir, ls_ltx_name(txid, txid, name), suffix);
}

static bool
is_unsynced(const struct ls_spool *s, uint64_t txid)
{
	return s->unsynced != 0 && txid >= s->unsynced;
}

char *
ls_spool_path(const struct ls_spool *s, uint64_t txid, char *out, size_t n)
{
	char name[LS_LTX_NAME_MAX];

	(void)snprintf(out, n, "%s/%s%s", s->dir, ls_ltx_name(txid, txid, name),
	    is_unsynced(s, txid) ? SPOOL_UNSYNCED : "");
	return out;
}

char *
spool_path(const struct ls_spool *s, uint64_t txid)
{
	return spool_name(s, txid, is_unsynced(s, txid) ? SPOOL_UNSYNCED : "");
}

void
ls_spool_free(struct ls_spool *s)
{
	if (s == NULL)
		return;
	ls_spool_abort(s);
	ls_free(s->meta);
	ls_free(s->dir);
	ls_free(s->merged);
	ls_free(s);
}

void
ls_spool_owner(struct ls_spool *s, mode_t mode, uid_t uid, gid_t gid)
{
	s->mode = mode & 0777;
	s->uid = uid;
	s->gid = gid;
}

/* ---- looking -----------------------------------------------------------------*/

void
ls_spool_range(const struct ls_spool *s, uint64_t *oldest, uint64_t *newest)
{
	*oldest = s->oldest;
	*newest = s->newest;
}

uint64_t
ls_spool_bytes(const struct ls_spool *s)
{
	return s->bytes;
}

enum ls_rc
ls_spool_header(const struct ls_spool *s, uint64_t txid,
    struct ls_ltx_header *h, uint64_t *size, struct ls_err *e)
{
	uint8_t p[LS_LTX_HEADER];
	struct ls_ltx_header got;
	enum ls_rc rc;
	struct stat st;
	int fd = -1;
	char *path = spool_path(s, txid);

	if (path == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_open(path, O_RDONLY, 0, &fd, e)) != LS_OK)
		goto out;
	if ((rc = ls_pread_all(fd, p, sizeof p, 0, e)) != LS_OK ||
	    (rc = ls_ltx_header_decode(LS_SPAN(p, sizeof p), &got, e)) != LS_OK)
		goto out;
	if (got.min_txid != txid || got.max_txid != txid)
		rc = ls_err_set(e, LS_ECORRUPT,
		    "header is of another transaction than the name");
	else if (ls_sys->fstat(fd, &st) != 0)
		rc = ls_err_sys(e, errno, "stat");
	if (rc != LS_OK)
		goto out;
	*h = got;
	if (size != NULL)
		*size = (uint64_t)st.st_size;
out:
	rc = ls_err_wrap(e, rc, "read header of %s", path);
	if (fd >= 0)
		(void)ls_sys->close(fd);
	ls_free(path);
	return rc;
}

enum ls_rc
spool_source(void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct spool_src *s = arg;
	ssize_t k;

	do {
		k = ls_sys->pread(s->fd, buf, n, (off_t)s->at);
	} while (k < 0 && errno == EINTR);
	if (k < 0)
		return ls_err_sys(
		    e, errno, "read at %llu", (unsigned long long)s->at);
	*got = (size_t)k;
	s->at += (uint64_t)k;
	return LS_OK;
}

/* ---- writing -----------------------------------------------------------------*/

enum ls_rc
spool_create(
    const struct ls_spool *s, const char *path, int *fd, struct ls_err *e)
{
	enum ls_rc rc;

	rc = ls_open(path, O_WRONLY | O_CREAT | O_TRUNC, s->mode, fd, e);
	if (rc == LS_OK &&
	    (fchmod(*fd, s->mode) != 0 || fchown(*fd, s->uid, s->gid) != 0))
		errno = 0; /* best effort, as said */
	return rc;
}

enum ls_rc
ls_spool_begin(struct ls_spool *s, uint64_t txid, struct ls_err *e)
{
	enum ls_rc rc;
	char *tmp;

	if (s->fd >= 0)
		return ls_err_set(
		    e, LS_EINVALID, "spool: a file is already being written");
	if ((rc = spool_merge_finish(s, e)) != LS_OK)
		return rc;
	if (txid == 0 || (s->newest != 0 && txid != s->newest + 1))
		return ls_err_set(e, LS_EINVALID,
		    "spool: TXID %llu does not follow %llu",
		    (unsigned long long)txid, (unsigned long long)s->newest);
	if ((tmp = spool_name(s, txid, ".tmp")) == NULL)
		return ls_err_nomem(e);
	if ((rc = spool_create(s, tmp, &s->fd, e)) == LS_OK) {
		s->writing = txid;
		s->written = 0;
	}
	ls_free(tmp);
	return rc;
}

enum ls_rc
ls_spool_sink(void *spool, struct ls_span bytes, struct ls_err *e)
{
	struct ls_spool *s = spool;
	enum ls_rc rc;

	if (s->fd < 0)
		return ls_err_set(e, LS_EINVALID, "spool: no file is begun");
	if ((rc = ls_write_all(s->fd, bytes.p, bytes.n, e)) == LS_OK)
		s->written += bytes.n;
	return ls_err_wrap(e, rc, "write to spool %s", s->dir);
}

void
ls_spool_abort(struct ls_spool *s)
{
	char name[LS_LTX_NAME_MAX];
	char path[PATH_MAX];

	if (s->fd < 0)
		return;
	(void)ls_sys->close(s->fd);
	s->fd = -1;
	/* No heap here: an abort must work when memory is out. */
	(void)snprintf(path, sizeof path, "%s/%s.tmp", s->dir,
	    ls_ltx_name(s->writing, s->writing, name));
	(void)ls_sys->unlink(path);
}

/* Close and rename what is being written; on error it is gone. */
static enum ls_rc
give_name(struct ls_spool *s, const char *tmp, const char *to, bool sync,
    struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	if (sync)
		rc = ls_fsync(s->fd, tmp, e);
	if (ls_sys->close(s->fd) != 0 && rc == LS_OK)
		rc = ls_err_sys(e, errno, "close %s", tmp);
	s->fd = -1;
	if (rc == LS_OK)
		rc = ls_rename(tmp, to, e);
	if (rc != LS_OK) {
		(void)ls_sys->unlink(tmp);
		return rc;
	}
	/* A name that is not durable is taken back: the caller was told no. */
	if (sync && (rc = ls_fsync_dir(s->dir, e)) != LS_OK)
		(void)ls_sys->unlink(to);
	return rc;
}

enum ls_rc
ls_spool_commit(struct ls_spool *s, bool sync, struct ls_err *e)
{
	char *tmp = NULL, *to = NULL;
	enum ls_rc rc = LS_OK;

	if (s->fd < 0)
		return ls_err_set(e, LS_EINVALID, "spool: no file is begun");
	/* Before an unsynced file is safe, none behind it is. */
	if (sync && (rc = ls_spool_sync(s, e)) != LS_OK)
		goto out;
	tmp = spool_name(s, s->writing, ".tmp");
	to = spool_name(s, s->writing, sync ? "" : SPOOL_UNSYNCED);
	if (tmp == NULL || to == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	if ((rc = give_name(s, tmp, to, sync, e)) != LS_OK)
		goto out;
	s->newest = s->writing;
	s->oldest = s->oldest ? s->oldest : s->newest;
	s->bytes += s->written;
	if (!sync && s->unsynced == 0)
		s->unsynced = s->newest;
out:
	if (rc != LS_OK)
		ls_spool_abort(s);
	ls_free(tmp);
	ls_free(to);
	return ls_err_wrap(e, rc, "commit to spool %s", s->dir);
}

/* Sync one unsynced file and give it its name. */
static enum ls_rc
sync_one(struct ls_spool *s, uint64_t txid, struct ls_err *e)
{
	char *from = spool_name(s, txid, SPOOL_UNSYNCED);
	char *to = spool_name(s, txid, "");
	enum ls_rc rc;
	int fd = -1;

	if (from == NULL || to == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	if ((rc = ls_open(from, O_RDONLY, 0, &fd, e)) != LS_OK)
		goto out;
	rc = ls_fsync(fd, from, e);
	(void)ls_sys->close(fd);
	if (rc == LS_OK)
		rc = ls_rename(from, to, e);
out:
	ls_free(from);
	ls_free(to);
	return rc;
}

enum ls_rc
ls_spool_sync(struct ls_spool *s, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	while (rc == LS_OK && s->unsynced != 0) {
		uint64_t txid = LS_MAX(s->unsynced, s->oldest);

		if ((rc = sync_one(s, txid, e)) != LS_OK)
			break;
		s->dir_dirty = true;
		s->unsynced = txid < s->newest ? txid + 1 : 0;
	}
	if (rc == LS_OK && s->dir_dirty &&
	    (rc = ls_fsync_dir(s->dir, e)) == LS_OK)
		s->dir_dirty = false;
	return ls_err_wrap(e, rc, "sync spool");
}

/* ---- removing ----------------------------------------------------------------*/

enum ls_rc
spool_remove(struct ls_spool *s, uint64_t txid, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	char *path = spool_path(s, txid);

	if (path == NULL)
		return ls_err_nomem(e);
	if (ls_sys->unlink(path) != 0 && errno != ENOENT)
		rc = ls_err_sys(e, errno, "remove %s", path);
	ls_free(path);
	return rc;
}

uint64_t
spool_size(const struct ls_spool *s, uint64_t txid)
{
	char path[PATH_MAX];
	int64_t size;

	size = ls_file_size(ls_spool_path(s, txid, path, sizeof path));
	/* Somebody else removed it, or wrote to it: never wrap. */
	return size < 0 ? 0 : LS_MIN((uint64_t)size, s->bytes);
}

enum ls_rc
ls_spool_drop(struct ls_spool *s, uint64_t txid, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = spool_merge_finish(s, e)) != LS_OK)
		return rc;
	while (s->oldest < s->newest && s->oldest <= txid) {
		uint64_t size = spool_size(s, s->oldest);

		if ((rc = spool_remove(s, s->oldest, e)) != LS_OK)
			return rc;
		s->bytes -= size;
		s->oldest++;
	}
	return LS_OK;
}

enum ls_rc
ls_spool_clear(struct ls_spool *s, struct ls_err *e)
{
	enum ls_rc rc;

	ls_spool_abort(s);
	if (s->merging) {
		if (ls_sys->unlink(s->merged) != 0 && errno != ENOENT)
			return ls_err_sys(e, errno, "remove %s", s->merged);
		/* Gone for good before a file that it replaces is. */
		if ((rc = ls_fsync_dir(s->meta, e)) != LS_OK)
			return rc;
		s->merging = false;
	}
	while (s->newest != 0) {
		uint64_t size = spool_size(s, s->oldest);

		if ((rc = spool_remove(s, s->oldest, e)) != LS_OK)
			return rc;
		s->bytes -= size;
		if (s->oldest == s->newest)
			s->newest = s->oldest = s->unsynced = 0;
		else
			s->oldest++;
	}
	s->bytes = 0;
	return ls_fsync_dir(s->dir, e);
}
