/* fault.c -- the countdown fault and the virtual clock. See fault.h. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>

static struct ls_sys table;
static atomic_int left, fired, all_after, count_reads, count_memory = 1;
static int the_errno;
static _Atomic int64_t shift;

static int
hit(void)
{
	int n = atomic_fetch_sub(&left, 1);

	if (n == 1 ||
	    (n < 1 && atomic_load(&all_after) && atomic_load(&fired))) {
		atomic_store(&fired, 1);
		errno = the_errno;
		return 1;
	}
	return 0;
}

#define FAULTY(ret, name, params, args)                         \
	static ret f_##name params                              \
	{                                                       \
		return hit() ? (ret)-1 : ls_sys_real.name args; \
	}
FAULTY(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
FAULTY(
    ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o))
FAULTY(int, fsync, (int fd), (fd))
FAULTY(int, ftruncate, (int fd, off_t n), (fd, n))
FAULTY(int, rename, (const char *a, const char *b), (a, b))
FAULTY(int, link, (const char *a, const char *b), (a, b))
FAULTY(int, linkfd, (const char *a, const char *b), (a, b))
FAULTY(int, mkdir, (const char *a, mode_t m), (a, m))
FAULTY(int, futimens, (int fd, const struct timespec ts[2]), (fd, ts))
FAULTY(int, lock_range, (int fd, const struct flock *r), (fd, r))

static int
f_fallocate(int fd, off_t o, off_t n)
{
	return hit() ? the_errno : ls_sys_real.fallocate(fd, o, n);
}

static int
f_open(const char *path, int flags, mode_t mode)
{
	int counted =
	    (flags & O_ACCMODE) != O_RDONLY || atomic_load(&count_reads);

	return counted && hit() ? -1 : ls_sys_real.open(path, flags, mode);
}

static ssize_t
f_read(int fd, void *b, size_t n)
{
	return atomic_load(&count_reads) && hit() ? -1
						  : ls_sys_real.read(fd, b, n);
}

static ssize_t
f_pread(int fd, void *b, size_t n, off_t o)
{
	return atomic_load(&count_reads) && hit()
		   ? -1
		   : ls_sys_real.pread(fd, b, n, o);
}

static void *
f_realloc(void *p, size_t n)
{
	return atomic_load(&count_memory) && hit() ? NULL
						   : ls_sys_real.realloc(p, n);
}

static uint64_t
f_mono(void)
{
	return ls_sys_real.mono_ns() + (uint64_t)atomic_load(&shift);
}

static uint64_t
f_boot(void)
{
	return ls_sys_real.boot_ns() + (uint64_t)atomic_load(&shift);
}

static int64_t
f_wall(void)
{
	return ls_sys_real.wall_ns() + atomic_load(&shift);
}

static void
f_sleep(uint64_t ns)
{
	atomic_fetch_add(&shift, (int64_t)ns);
}

static void
base_table(void)
{
	if (ls_sys == &table)
		return;
	table = ls_sys_real;
	ls_sys = &table;
}

void
fault_arm(int n, int err)
{
	base_table();
	atomic_store(&left, n);
	atomic_store(&fired, 0);
	atomic_store(&all_after, 0);
	the_errno = err;
	table.open = f_open, table.write = f_write, table.pwrite = f_pwrite;
	table.fsync = f_fsync, table.ftruncate = f_ftruncate;
	table.rename = f_rename, table.link = f_link, table.linkfd = f_linkfd,
	table.mkdir = f_mkdir;
	table.futimens = f_futimens;
	table.lock_range = f_lock_range;
	table.fallocate = f_fallocate, table.read = f_read;
	table.pread = f_pread, table.realloc = f_realloc;
}

void
fault_arm_from(int n, int err)
{
	fault_arm(n, err);
	atomic_store(&all_after, 1);
}

void
fault_reads(int on)
{
	atomic_store(&count_reads, on);
}

void
fault_memory(int on)
{
	atomic_store(&count_memory, on);
}

void
fault_calm(void)
{
	atomic_store(&all_after, 0);
	atomic_store(&left, 0);
}

void
fault_disarm(void)
{
	ls_sys = &ls_sys_real;
}

int
fault_fired(void)
{
	return atomic_load(&fired);
}

void
fault_clock(int64_t ns)
{
	base_table();
	atomic_store(&shift, ns);
	if (table.mono_ns == f_mono)
		return; /* threads may be looking at the table */
	table.mono_ns = f_mono, table.boot_ns = f_boot;
	table.wall_ns = f_wall, table.sleep_ns = f_sleep;
}
