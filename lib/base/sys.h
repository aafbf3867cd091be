/* sys.h -- the seam: every call that can fail at run time goes through this
 * table. Production never changes it; tests swap it before any thread starts
 * (tests/support/fault.h) to fail the nth call or to turn the clock. */
#ifndef LS_SYS_H
#define LS_SYS_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/types.h>
#include <time.h>

struct ls_sys {
	int (*open)(const char *path, int flags, mode_t mode);
	ssize_t (*read)(int fd, void *buf, size_t n);
	ssize_t (*pread)(int fd, void *buf, size_t n, off_t off);
	ssize_t (*write)(int fd, const void *buf, size_t n);
	ssize_t (*pwrite)(int fd, const void *buf, size_t n, off_t off);
	int (*fsync)(int fd);
	int (*ftruncate)(int fd, off_t size);
	/* As posix_fallocate: returns an errno, 0 for success. */
	int (*fallocate)(int fd, off_t off, off_t len);
	int (*close)(int fd);
	int (*rename)(const char *from, const char *to);
	int (*link)(const char *from, const char *to);
	/* As link, but what `from` points to (/proc/self/fd/N). */
	int (*linkfd)(const char *from, const char *to);
	int (*unlink)(const char *path);
	int (*mkdir)(const char *path, mode_t mode);
	int (*stat)(const char *path, struct stat *st);
	int (*fstat)(int fd, struct stat *st);
	int (*statvfs)(const char *path, struct statvfs *st);
	int (*statfs)(const char *path, struct statfs *st);
	/* As access, for the effective user. */
	int (*access)(const char *path, int mode);
	int (*futimens)(int fd, const struct timespec ts[2]);
	/* fcntl F_OFD_SETLK: the lock belongs to the open file description. */
	int (*lock_range)(int fd, const struct flock *range);
	void *(*realloc)(void *p, size_t n);
	uint64_t (*mono_ns)(void); /* CLOCK_MONOTONIC */
	uint64_t (*boot_ns)(void); /* CLOCK_BOOTTIME: counts suspension too */
	int64_t (*wall_ns)(void);  /* CLOCK_REALTIME, since the epoch */
	void (*sleep_ns)(uint64_t ns);
};
extern const struct ls_sys *ls_sys;
/* The table of real calls, for a test's table to start from. */
extern const struct ls_sys ls_sys_real;

/* Heap. Give memory to the caller; ls_free accepts NULL. Zeroed: ls_zalloc. */
void *ls_alloc(size_t n);
void *ls_zalloc(size_t n);
void *ls_realloc(void *p, size_t n);
void ls_free(void *p);
char *ls_strdup(const char *s);
char *ls_strndup(const char *s, size_t n);
/* printf into a heap string; NULL when memory is out. */
char *ls_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline int64_t
ls_now_ms(void)
{
	return ls_sys->wall_ns() / 1000000;
}

#define LS_MS  1000000ull
#define LS_SEC 1000000000ull

#endif
