/* crashsim.c -- see crashsim.h. */
#include "crashsim.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { FILES = 256, WRITES = 4096 };

static struct {
	int fd, dup; /* dup outlives the close; -1: free */
} file[FILES];
static struct {
	int file; /* -1: synced since */
	off_t at;
	size_t n;
} written[WRITES];
static int writes;
static struct ls_sys table;
static int left;
static bool power_off;

static bool
dead(void)
{
	if (left > 0)
		left--;
	if (left == 0)
		errno = EIO;
	return left == 0;
}

static void
wrote(int fd, off_t at, size_t n)
{
	for (int i = 0; i < FILES; i++) {
		if (file[i].dup < 0 || file[i].fd != fd)
			continue;
		if (writes == WRITES)
			test_fail(__FILE__, __LINE__, "too many writes");
		written[writes].file = i;
		written[writes].at = at;
		written[writes++].n = n;
	}
}

static int
c_open(const char *path, int flags, mode_t mode)
{
	bool changes = (flags & O_ACCMODE) != O_RDONLY;
	int fd;

	if (changes && dead())
		return -1;
	if ((fd = ls_sys_real.open(path, flags, mode)) < 0)
		return fd;
	for (int i = 0; changes && i < FILES; i++) {
		if (file[i].dup >= 0)
			continue;
		file[i].fd = fd;
		file[i].dup = dup(fd);
		return fd;
	}
	if (changes)
		test_fail(__FILE__, __LINE__, "too many files");
	return fd;
}

static int
c_close(int fd)
{
	for (int i = 0; i < FILES; i++)
		if (file[i].fd == fd)
			file[i].fd = -1;
	return close(fd);
}

static ssize_t
c_write(int fd, const void *b, size_t n)
{
	off_t at = lseek(fd, 0, SEEK_CUR);
	bool last = left == 1;

	if (dead() && !last)
		return -1;
	n = last ? n / 2 : n;
	wrote(fd, at, n);
	n = (size_t)write(fd, b, n);
	return last ? -1 : (ssize_t)n;
}

static ssize_t
c_pwrite(int fd, const void *b, size_t n, off_t at)
{
	bool last = left == 1;

	if (dead() && !last)
		return -1;
	n = last ? n / 2 : n;
	wrote(fd, at, n);
	n = (size_t)pwrite(fd, b, n, at);
	return last ? -1 : (ssize_t)n;
}

static int
c_fsync(int fd)
{
	struct stat a, b;

	if (dead())
		return -1;
	/* By inode: a file may be synced through another descriptor. */
	if (fstat(fd, &a) != 0)
		return -1;
	for (int i = 0; i < writes; i++)
		if (written[i].file >= 0 &&
		    fstat(file[written[i].file].dup, &b) == 0 &&
		    a.st_ino == b.st_ino && a.st_dev == b.st_dev)
			written[i].file = -1;
	return 0;
}

static int
c_rename(const char *a, const char *b)
{
	return dead() ? -1 : rename(a, b);
}

static int
c_unlink(const char *path)
{
	return dead() ? -1 : unlink(path);
}

static int
c_mkdir(const char *path, mode_t mode)
{
	return dead() ? -1 : mkdir(path, mode);
}

static int
c_ftruncate(int fd, off_t n)
{
	return dead() ? -1 : ftruncate(fd, n);
}

void
crash_arm(int n, bool power)
{
	for (int i = 0; i < FILES; i++)
		file[i].fd = file[i].dup = -1;
	left = n;
	writes = 0;
	power_off = power;
	table = ls_sys_real;
	table.open = c_open, table.close = c_close, table.write = c_write;
	table.pwrite = c_pwrite, table.fsync = c_fsync;
	table.rename = c_rename, table.unlink = c_unlink;
	table.mkdir = c_mkdir, table.ftruncate = c_ftruncate;
	ls_sys = &table;
}

bool
crash_disarm(void)
{
	bool hit = left == 0;

	ls_sys = &ls_sys_real;
	for (int i = 0; power_off && i < writes; i++) {
		static uint8_t junk[1 << 17];
		int f = written[i].file;

		memset(junk, 0xee, sizeof junk);
		if (f >= 0 && written[i].n <= sizeof junk &&
		    pwrite(file[f].dup, junk, written[i].n, written[i].at) < 0)
			test_fail(__FILE__, __LINE__, "pwrite");
	}
	for (int i = 0; i < FILES; i++)
		if (file[i].dup >= 0)
			(void)close(file[i].dup);
	return hit;
}
