/* procstat.c -- what the kernel says of this process. See procstat.h, proc(5),
 * /proc/PID/stat. */
#include "daemon/procstat.h"

#include "base/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static bool
read_text(const char *path, char *out, size_t n)
{
	int fd = ls_sys->open(path, O_RDONLY | O_CLOEXEC, 0);
	ssize_t got = fd >= 0 ? ls_sys->read(fd, out, n - 1) : -1;

	if (fd >= 0)
		(void)ls_sys->close(fd);
	out[got > 0 ? got : 0] = '\0';
	return got > 0;
}

/* Field no (from 3 on: behind the name, which may hold anything). */
static bool
stat_field(int no, double *v)
{
	char text[2048], *p;

	if (!read_text("/proc/self/stat", text, sizeof text) ||
	    (p = strrchr(text, ')')) == NULL)
		return false;
	for (; no > 2 && p != NULL; no--)
		p = strchr(p + 1, ' ');
	return p != NULL && sscanf(p, " %lf", v) == 1;
}

static bool
cpu(double *v)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u) != 0)
		return false;
	*v = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	     (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	return true;
}

/* Once: it must not change when the clock is set. */
static double started;

static void
find_start(void)
{
	double boot =
	    (double)(ls_sys->wall_ns() - (int64_t)ls_sys->boot_ns()) / 1e9;
	double ticks;

	if (stat_field(22, &ticks))
		started = boot + ticks / (double)sysconf(_SC_CLK_TCK);
}

static bool
start(double *v)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, find_start);
	*v = started;
	return started > 0;
}

static bool
fds(double *v)
{
	DIR *d = opendir("/proc/self/fd");

	if (d == NULL)
		return false;
	*v = -3; /* ".", ".." and this one */
	while (readdir(d) != NULL)
		(*v)++;
	(void)closedir(d);
	return true;
}

static bool
limit(__rlimit_resource_t which, double *v)
{
	struct rlimit l;

	if (getrlimit(which, &l) != 0)
		return false;
	*v = l.rlim_cur == RLIM_INFINITY ? 18446744073709551615.0
					 : (double)l.rlim_cur;
	return true;
}

bool
ls_procstat(enum ls_procstat what, double *v)
{
	switch (what) {
	case LS_PROC_CPU: return cpu(v);
	case LS_PROC_START: return start(v);
	case LS_PROC_RSS:
		if (!stat_field(24, v))
			return false;
		*v *= (double)sysconf(_SC_PAGESIZE);
		return true;
	case LS_PROC_VSIZE: return stat_field(23, v);
	case LS_PROC_VMAX: return limit(RLIMIT_AS, v);
	case LS_PROC_FDS: return fds(v);
	case LS_PROC_MAX_FDS: return limit(RLIMIT_NOFILE, v);
	}
	return false;
}
