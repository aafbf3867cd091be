/* sys.c -- the real system calls behind the seam. See sys.h. */
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int
real_open(const char *path, int flags, mode_t mode)
{
	return open(path, flags | O_CLOEXEC, mode);
}

static int
real_linkfd(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
}

static uint64_t
clock_ns(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * LS_SEC + (uint64_t)t.tv_nsec;
}

static uint64_t
real_mono(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t
real_boot(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

static int64_t
real_wall(void)
{
	return (int64_t)clock_ns(CLOCK_REALTIME);
}

static void
real_sleep(uint64_t ns)
{
	struct timespec t = { (time_t)(ns / LS_SEC), (long)(ns % LS_SEC) };

	while (nanosleep(&t, &t) == -1 && errno == EINTR)
		;
}

static int
real_lock_range(int fd, const struct flock *range)
{
	return fcntl(fd, F_OFD_SETLK, range);
}

static int
real_access(const char *path, int mode)
{
	return faccessat(AT_FDCWD, path, mode, AT_EACCESS);
}

const struct ls_sys ls_sys_real = {
	.open = real_open,
	.read = read,
	.pread = pread,
	.write = write,
	.pwrite = pwrite,
	.fsync = fsync,
	.ftruncate = ftruncate,
	.fallocate = posix_fallocate,
	.close = close,
	.rename = rename,
	.link = link,
	.linkfd = real_linkfd,
	.unlink = unlink,
	.mkdir = mkdir,
	.stat = stat,
	.fstat = fstat,
	.statvfs = statvfs,
	.statfs = statfs,
	.access = real_access,
	.lock_range = real_lock_range,
	.futimens = futimens,
	.realloc = realloc,
	.mono_ns = real_mono,
	.boot_ns = real_boot,
	.wall_ns = real_wall,
	.sleep_ns = real_sleep,
};
const struct ls_sys *ls_sys = &ls_sys_real;

void *
ls_alloc(size_t n)
{
	return ls_sys->realloc(NULL, n ? n : 1);
}

void *
ls_zalloc(size_t n)
{
	void *p = ls_alloc(n);

	if (p != NULL)
		memset(p, 0, n);
	return p;
}

void *
ls_realloc(void *p, size_t n)
{
	return ls_sys->realloc(p, n ? n : 1);
}

void
ls_free(void *p)
{
	free(p);
}

char *
ls_strndup(const char *s, size_t n)
{
	char *p;

	n = strnlen(s, n);
	if ((p = ls_alloc(n + 1)) == NULL)
		return NULL;
	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *
ls_strdup(const char *s)
{
	return ls_strndup(s, strlen(s));
}

char *
ls_asprintf(const char *fmt, ...)
{
	va_list ap;
	char *p;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || (p = ls_alloc((size_t)n + 1)) == NULL)
		return NULL;
	va_start(ap, fmt);
	(void)vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}
