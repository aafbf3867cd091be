/* lock.c -- one writer a folder: an flock on "<path>/.litestreamd-lock".
 *
 * The lock is advisory and is the kernel's: it ends with the process, however
 * that ends, so there is no stale lock to judge. The file stays (removing it
 * would let two processes lock two files of one name); it holds the pid of
 * the last owner, for the message only. Buckets have no such thing: there
 * conditional puts and signed times fence (replica/upload.c).
 */
#include "store/driver.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_NAME ".litestreamd-lock"

struct ls_store_lock {
	int fd;
};

enum ls_fencing
ls_store_fencing(const struct ls_store *st)
{
	return (enum ls_fencing)st->place.fencing;
}

static enum ls_rc
locked_by(int fd, const char *path, struct ls_err *e)
{
	char text[32] = { 0 };
	long pid = 0;

	if (ls_sys->pread(fd, text, sizeof text - 1, 0) > 0)
		pid = strtol(text, NULL, 10);
	(void)ls_err_set(
	    e, LS_ELOCKED, "%s: process %ld writes to this folder", path, pid);
	return ls_err_hint(e, LS_ELOCKED,
	    "only one daemon may replicate into a folder: stop the other one, "
	    "or choose another folder");
}

static enum ls_rc
take(const char *path, struct ls_store_lock *l, struct ls_err *e)
{
	char text[32];
	int n;
	enum ls_rc rc;

	rc = ls_open(path, O_RDWR | O_CREAT, 0600, &l->fd, e);
	if (rc != LS_OK)
		return rc;
	if (flock(l->fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK
			   ? locked_by(l->fd, path, e)
			   : ls_err_sys(e, errno, "lock %s", path);
	n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	if (ls_sys->ftruncate(l->fd, 0) != 0)
		return ls_err_sys(e, errno, "write %s", path);
	return ls_pwrite_all(l->fd, text, (size_t)n, 0, e);
}

enum ls_rc
ls_store_lock(struct ls_store *st, struct ls_store_lock **out, struct ls_err *e)
{
	struct ls_store_lock *l;
	char *path;
	enum ls_rc rc;

	*out = NULL;
	if (strcmp(st->drv->type, "file") != 0)
		return LS_OK;
	if ((l = ls_zalloc(sizeof *l)) == NULL)
		return ls_err_nomem(e);
	l->fd = -1;
	path = ls_asprintf("%s/%s", st->place.path, LOCK_NAME);
	if (path == NULL)
		rc = ls_err_nomem(e);
	else if ((rc = ls_mkdirs(st->place.path, 0700, e)) == LS_OK)
		rc = take(path, l, e);
	ls_free(path);
	if (rc == LS_OK)
		*out = l;
	else
		ls_store_unlock(l);
	return rc;
}

enum ls_rc
ls_store_lock_there(
    struct ls_store *st, const struct ls_store_lock *l, struct ls_err *e)
{
	struct stat ours, now;
	char *path;
	bool same;

	if (l == NULL)
		return LS_OK;
	if (ls_sys->fstat(l->fd, &ours) != 0)
		return ls_err_sys(e, errno, "lock of %s", st->place.path);
	if (ours.st_nlink == 0)
		return ls_err_set(
		    e, LS_ENOTFOUND, "%s was deleted", st->place.path);
	path = ls_asprintf("%s/%s", st->place.path, LOCK_NAME);
	if (path == NULL)
		return ls_err_nomem(e);
	same = ls_sys->stat(path, &now) == 0 && now.st_dev == ours.st_dev &&
	       now.st_ino == ours.st_ino;
	ls_free(path);
	if (same)
		return LS_OK;
	(void)ls_err_set(e, LS_EIO,
	    "%s is not the folder that was written to: moved, or not mounted",
	    st->place.path);
	return ls_err_hint(e, LS_EIO,
	    "bring it back; if it is meant to be empty, restart the daemon");
}

void
ls_store_unlock(struct ls_store_lock *l)
{
	if (l == NULL)
		return;
	if (l->fd >= 0) {
		(void)flock(l->fd, LOCK_UN); /* a fork has it open, too */
		(void)ls_sys->close(l->fd);
	}
	ls_free(l);
}
