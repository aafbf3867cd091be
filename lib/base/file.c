/* file.c -- whole-or-nothing files. See file.h.
 *
 * (1) A file gets its final name after its bytes are synced, and the folder is
 *     synced after the rename: after a power failure the name holds the old
 *     bytes, the new bytes, or nothing. (test: publish_is_all_or_nothing)
 */
#include "base/file.h"

#include "base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum ls_rc
ls_open(const char *path, int flags, mode_t mode, int *fd, struct ls_err *e)
{
	int n = ls_sys->open(path, flags, mode);

	if (n < 0)
		return ls_err_sys(e, errno, "open %s", path);
	*fd = n;
	return LS_OK;
}

enum ls_rc
ls_pread_all(int fd, void *buf, size_t n, uint64_t off, struct ls_err *e)
{
	uint8_t *p = buf;

	while (n > 0) {
		ssize_t k = ls_sys->pread(fd, p, n, (off_t)off);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return ls_err_sys(
			    e, errno, "read at %llu", (unsigned long long)off);
		if (k == 0)
			return ls_err_set(e, LS_ESHORT,
			    "end of file at %llu, %zu more bytes expected",
			    (unsigned long long)off, n);
		p += k, n -= (size_t)k, off += (uint64_t)k;
	}
	return LS_OK;
}

enum ls_rc
ls_pwrite_all(int fd, const void *buf, size_t n, uint64_t off, struct ls_err *e)
{
	const uint8_t *p = buf;

	while (n > 0) {
		ssize_t k = ls_sys->pwrite(fd, p, n, (off_t)off);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return ls_err_sys(e, k ? errno : ENOSPC,
			    "write at %llu", (unsigned long long)off);
		p += k, n -= (size_t)k, off += (uint64_t)k;
	}
	return LS_OK;
}

enum ls_rc
ls_write_all(int fd, const void *buf, size_t n, struct ls_err *e)
{
	const uint8_t *p = buf;

	while (n > 0) {
		ssize_t k = ls_sys->write(fd, p, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return ls_err_sys(e, k ? errno : ENOSPC, "write");
		p += k, n -= (size_t)k;
	}
	return LS_OK;
}

enum ls_rc
ls_fsync(int fd, const char *path, struct ls_err *e)
{
	if (ls_sys->fsync(fd) != 0)
		return ls_err_sys(e, errno, "sync %s", path);
	return LS_OK;
}

enum ls_rc
ls_fsync_dir(const char *dir, struct ls_err *e)
{
	enum ls_rc rc;
	int fd = -1;

	if ((rc = ls_open(dir, O_RDONLY | O_DIRECTORY, 0, &fd, e)) != LS_OK)
		return rc;
	rc = ls_fsync(fd, dir, e);
	(void)ls_sys->close(fd);
	return rc;
}

enum ls_rc
ls_fsync_dir_of(const char *path, struct ls_err *e)
{
	enum ls_rc rc;
	char *dir = ls_dirname(path);

	if (dir == NULL)
		return ls_err_nomem(e);
	rc = ls_fsync_dir(dir, e);
	ls_free(dir);
	return rc;
}

enum ls_rc
ls_rename(const char *from, const char *to, struct ls_err *e)
{
	if (ls_sys->rename(from, to) != 0)
		return ls_err_sys(e, errno, "rename %s to %s", from, to);
	return LS_OK;
}

enum ls_rc
ls_mkdirs(const char *dir, mode_t mode, struct ls_err *e)
{
	char *p, *s;
	struct stat st;
	int err = 0;

	if ((p = ls_strdup(dir)) == NULL)
		return ls_err_nomem(e);
	for (s = p + 1; err == 0 && *s != '\0'; s++) {
		if (*s != '/')
			continue;
		*s = '\0';
		if (ls_sys->mkdir(p, mode) != 0 && errno != EEXIST &&
		    !ls_exists(p))
			err = errno;
		*s = '/';
	}
	if (err == 0 && ls_sys->mkdir(p, mode) != 0) {
		err = errno;
		if (err == EEXIST && ls_sys->stat(p, &st) == 0)
			err = S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
	}
	ls_free(p);
	/* No "not found": there is something, and it is in the way. */
	if (err == ENOTDIR)
		return ls_err_set(e, LS_EINVALID,
		    "create folder %s: a part of this path is not a folder",
		    dir);
	return err ? ls_err_sys(e, err, "create folder %s", dir) : LS_OK;
}

enum ls_rc
ls_read_file(const char *path, size_t max, struct ls_buf *out, struct ls_err *e)
{
	enum ls_rc rc;
	int fd = -1;
	uint8_t part[16384];
	ssize_t k;
	size_t total = 0;

	if ((rc = ls_open(path, O_RDONLY, 0, &fd, e)) != LS_OK)
		return rc;
	while (rc == LS_OK && (k = ls_sys->read(fd, part, sizeof part)) != 0) {
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0) {
			rc = ls_err_sys(e, errno, "read %s", path);
			break;
		}
		if ((total += (size_t)k) > max)
			rc = ls_err_set(e, LS_ERANGE,
			    "%s is larger than %zu bytes", path, max);
		else
			rc = ls_buf_add(out, part, (size_t)k, e);
	}
	(void)ls_sys->close(fd);
	return rc;
}

static enum ls_rc
write_tmp(const char *tmp, struct ls_span body, mode_t mode, struct ls_err *e)
{
	enum ls_rc rc;
	int fd = -1;

	rc = ls_open(tmp, O_WRONLY | O_CREAT | O_TRUNC, mode, &fd, e);
	if (rc != LS_OK)
		return rc;
	if ((rc = ls_write_all(fd, body.p, body.n, e)) == LS_OK)
		rc = ls_fsync(fd, tmp, e);
	if (ls_sys->close(fd) != 0 && rc == LS_OK)
		rc = ls_err_sys(e, errno, "close %s", tmp);
	return rc;
}

enum ls_rc
ls_publish(const char *path, struct ls_span body, mode_t mode, struct ls_err *e)
{
	enum ls_rc rc;
	char *tmp = ls_asprintf("%s.tmp", path);

	if (tmp == NULL)
		return ls_err_nomem(e);
	if ((rc = write_tmp(tmp, body, mode, e)) == LS_OK)
		rc = ls_rename(tmp, path, e); /* the commit point */
	if (rc != LS_OK)
		(void)ls_sys->unlink(tmp); /* else start-up sweeps it */
	else
		rc = ls_fsync_dir_of(path, e);
	ls_free(tmp);
	return ls_err_wrap(e, rc, "publish %s", path);
}

bool
ls_exists(const char *path)
{
	struct stat st;

	return ls_sys->stat(path, &st) == 0;
}

int64_t
ls_file_size(const char *path)
{
	struct stat st;

	return ls_sys->stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static enum ls_rc
remove_entries(const char *path, DIR *d, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	struct dirent *de;

	while (rc == LS_OK && (de = readdir(d)) != NULL) {
		char *sub;

		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		if ((sub = ls_asprintf("%s/%s", path, de->d_name)) == NULL)
			return ls_err_nomem(e);
		rc = ls_remove_tree(sub, e);
		ls_free(sub);
	}
	return rc;
}

enum ls_rc
ls_remove_tree(const char *path, struct ls_err *e)
{
	enum ls_rc rc;
	DIR *d;

	if (ls_sys->unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR)
		return LS_OK;
	if (errno != EISDIR && errno != EPERM)
		return ls_err_sys(e, errno, "remove %s", path);
	if ((d = opendir(path)) == NULL)
		return errno == ENOENT ? LS_OK
				       : ls_err_sys(e, errno, "open %s", path);
	rc = remove_entries(path, d, e);
	(void)closedir(d);
	if (rc == LS_OK && rmdir(path) != 0 && errno != ENOENT)
		rc = ls_err_sys(e, errno, "remove folder %s", path);
	return rc;
}

char *
ls_dirname(const char *path)
{
	const char *s = strrchr(path, '/');

	if (s == NULL)
		return ls_strdup(".");
	return s == path ? ls_strdup("/")
			 : ls_strndup(path, (size_t)(s - path));
}

const char *
ls_basename(const char *path)
{
	const char *s = strrchr(path, '/');

	return s ? s + 1 : path;
}

/* Resolve "//", "." and ".." of an absolute path in place. */
static void
clean(char *p)
{
	char *out = p;
	const char *in = p;

	while (*in != '\0') {
		size_t n;

		while (*in == '/')
			in++;
		n = strcspn(in, "/");
		if (n == 0)
			break;
		if (n == 2 && in[0] == '.' && in[1] == '.') {
			while (out > p && *--out != '/')
				;
		} else if (n != 1 || in[0] != '.') {
			*out++ = '/';
			memmove(out, in, n);
			out += n;
		}
		in += n;
	}
	if (out == p)
		*out++ = '/';
	*out = '\0';
}

char *
ls_abspath(const char *path)
{
	const char *home = getenv("HOME");
	char *p, *cwd;

	if (path[0] == '~' && (path[1] == '/' || path[1] == '\0') &&
	    home != NULL) {
		p = ls_asprintf("%s%s", home, path + 1);
	} else if (path[0] == '/') {
		p = ls_strdup(path);
	} else {
		if ((cwd = getcwd(NULL, 0)) == NULL)
			return NULL;
		p = ls_asprintf("%s/%s", cwd, path);
		free(cwd);
	}
	if (p != NULL)
		clean(p);
	return p;
}
