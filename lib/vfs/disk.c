/* disk.c -- bytes of stored files on a local disk. See disk.h.
 *
 * A stored file is cut into segments of 1 MiB, each a sparse file of its own:
 * a head of 4 KiB, then its bytes at their places. The head holds what the
 * segment is of, a CRC of that, and for each unit of 4 KiB a CRC (0: not here).
 *
 * (1) NEVER A WRONG BYTE. A unit counts when its CRC fits, and the CRC is
 *     seeded with what object it is of and where it lies: the key, size, ETag,
 *     header and checksum of the stored file. So a crash, a torn write, a
 *     damaged disk or another object under the old name make a miss.
 *     (test: damaged_disk_cache_is_a_miss, another_object_is_a_miss)
 * (2) NO LOCKS, NO fsync. Two processes that write one unit, or what a segment
 *     is of, write the same bytes, and nobody writes the table but for his own
 *     units; what is stale in it does not fit (1). An open file outlives its
 *     removal. (test: test_disk.py, processes that are killed)
 * (3) BOUNDED. What the folder holds is added up before the first write, then
 *     whenever our own writes reach the limit, or a thirty-second of it (others
 *     write too); the segments unused for longest are removed down to seven
 *     eighths. So it may be exceeded by a thirty-second a process.
 *     (test: disk_cache_is_bounded)
 * (4) NEVER AN ERROR. A disk that is full or fails is left alone for a while.
 *     (test: any_fault_of_the_disk_cache_is_a_miss)
 * (5) NO DESCRIPTOR IS KEPT: a read costs an open, which is nothing beside a
 *     request.
 */
#include "vfs/disk.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "format/crc64.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	UNIT = LS_DISK_UNIT,
	SEGMENT = 1 << 20,
	UNITS = SEGMENT / UNIT,
	NAME_AT = 0, /* of the head */
	NAME_MOST = 2040,
	SUM_AT = 2040,
	TABLE_AT = 2048,
	HEAD = TABLE_AT + UNITS * 8,
	REST_SECONDS = 30,	    /* after a failure */
	TOUCH_SECONDS = 60,	    /* how exactly the last use is known */
	SHARE = 32,		    /* of the limit, between two looks */
	FILE_NAME = 16 + 1 + 8 + 4, /* hex, dash, hex, ".seg" */
};
_Static_assert(HEAD == UNIT, "the head is one unit");

struct ls_disk {
	char *dir;
	uint64_t most;
	pthread_mutex_t mu;
	/* Under mu: */
	uint64_t used;	/* when last added up, and what we wrote since */
	uint64_t since; /* bytes written since */
	bool counted, sweeping;
	uint64_t rest_until_ns;
	struct ls_log_limit said;
	struct ls_disk_stats st;
};

/* One segment of one stored file. */
struct segment {
	char *path;
	uint64_t seed; /* of its CRCs */
	uint8_t name[NAME_MOST];
	uint8_t head[HEAD];
	int fd;
};

enum ls_rc
ls_disk_new(
    const char *dir, uint64_t most, struct ls_disk **out, struct ls_err *e)
{
	struct ls_disk *d = ls_zalloc(sizeof *d);

	if (d == NULL || (d->dir = ls_abspath(dir)) == NULL) {
		ls_free(d);
		return ls_err_nomem(e);
	}
	d->most = most;
	(void)pthread_mutex_init(&d->mu, NULL);
	*out = d;
	return LS_OK;
}

void
ls_disk_free(struct ls_disk *d)
{
	if (d == NULL)
		return;
	(void)pthread_mutex_destroy(&d->mu);
	ls_free(d->dir);
	ls_free(d);
}

const char *
ls_disk_path(const struct ls_disk *d)
{
	return d->dir;
}

/* ---- names and sums -------------------------------------------------------*/

/* Everything that tells one stored file from another; false: too long. */
static bool
name_of(const struct ls_vfile *f, uint32_t seg, uint8_t name[static NAME_MOST])
{
	uint8_t h[LS_LTX_HEADER];
	int n;

	ls_ltx_header_encode(&f->h, h);
	memset(name, 0, NAME_MOST);
	n = snprintf((char *)name, NAME_MOST,
	    "litestream-vfs cache 1\n%s\n%llu\n%s\n%016llx\n%016llx\n%u\n",
	    f->key, (unsigned long long)f->size, f->etag,
	    (unsigned long long)f->checksum,
	    (unsigned long long)ls_crc64(0, h, sizeof h), seg);
	return n > 0 && n < NAME_MOST;
}

/* Of a unit, never 0. */
static uint64_t
sum_of(const struct segment *s, uint32_t unit, const uint8_t *p, size_t n)
{
	uint64_t seed = s->seed ^ (unit + 1) * 0x9e3779b97f4a7c15u;
	uint64_t crc = ls_crc64(seed, p, n);

	return crc ? crc : 1;
}

static uint64_t
table(const struct segment *s, uint32_t unit)
{
	return ls_be64(s->head + TABLE_AT + unit * 8);
}

static size_t
unit_size(const struct ls_vfile *f, uint32_t seg, uint32_t unit)
{
	uint64_t at = (uint64_t)seg * SEGMENT + (uint64_t)unit * UNIT;

	return (size_t)LS_MIN(f->size - at, (uint64_t)UNIT);
}

static bool
head_fits(const struct segment *s)
{
	return memcmp(s->head + NAME_AT, s->name, NAME_MOST) == 0 &&
	       ls_be64(s->head + SUM_AT) == s->seed;
}

static void
head_make(struct segment *s)
{
	memcpy(s->head + NAME_AT, s->name, NAME_MOST);
	ls_put_be64(s->head + SUM_AT, s->seed);
}

static void
segment_close(struct segment *s)
{
	if (s->fd >= 0)
		(void)ls_sys->close(s->fd);
	ls_free(s->path);
	ls_free(s);
}

/* NULL when it is not there, or cannot be had. Its head is read, or zero. */
static struct segment *
segment_open(
    struct ls_disk *d, const struct ls_vfile *f, uint32_t seg, int flags)
{
	struct segment *s = ls_zalloc(sizeof *s);

	if (s == NULL)
		return NULL;
	s->fd = -1;
	if (!name_of(f, seg, s->name))
		goto out;
	s->seed = ls_crc64(0, s->name, NAME_MOST);
	s->path = ls_asprintf(
	    "%s/%016llx-%08x.seg", d->dir, (unsigned long long)s->seed, seg);
	if (s->path == NULL)
		goto out;
	s->fd = ls_sys->open(
	    s->path, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
	if (s->fd < 0)
		goto out;
	if (ls_pread_all(s->fd, s->head, HEAD, 0, NULL) != LS_OK)
		memset(s->head, 0, HEAD);
	return s;
out:
	segment_close(s);
	return NULL;
}

static bool
write_all(const struct segment *s, const void *p, size_t n, uint64_t at)
{
	return ls_pwrite_all(s->fd, p, n, at, NULL) == LS_OK;
}

/* ---- getting --------------------------------------------------------------*/

static void
touch(const struct segment *s)
{
	static const struct timespec now[2] = { { 0, UTIME_OMIT },
		{ 0, UTIME_NOW } };
	struct stat st;

	if (ls_sys->fstat(s->fd, &st) == 0 &&
	    ls_sys->wall_ns() / (int64_t)LS_SEC - st.st_mtim.tv_sec >
		TOUCH_SECONDS)
		(void)ls_sys->futimens(s->fd, now);
}

/* Forget units lo..hi that are not what was written, so that they are kept
 * anew. */
static void
drop(struct ls_disk *d, struct segment *s, uint32_t lo, uint32_t hi)
{
	if (!write_all(s, s->head + TABLE_AT + lo * 8, (hi - lo + 1) * 8,
		TABLE_AT + lo * 8))
		(void)ls_sys->unlink(s->path);
	(void)pthread_mutex_lock(&d->mu);
	d->st.dropped++;
	(void)pthread_mutex_unlock(&d->mu);
}

/* Units lo..hi of s into buf; they are said to be there. The table forgets
 * those that are not. */
static bool
read_units(struct segment *s, const struct ls_vfile *f, uint32_t seg,
    uint32_t lo, uint32_t hi, uint8_t *buf)
{
	size_t n = (hi - lo) * (size_t)UNIT + unit_size(f, seg, hi);
	bool read = ls_pread_all(s->fd, buf, n, HEAD + (uint64_t)lo * UNIT,
			NULL) == LS_OK;
	bool ok = read;

	for (uint32_t u = lo; u <= hi; u++) {
		if (read && sum_of(s, u, buf + (u - lo) * (size_t)UNIT,
				unit_size(f, seg, u)) == table(s, u))
			continue;
		ls_put_be64(s->head + TABLE_AT + u * 8, 0);
		ok = false;
	}
	return ok;
}

/* Bytes at..end of segment seg, by way of buf (a segment's worth). */
static bool
get_segment(struct ls_disk *d, const struct ls_vfile *f, uint32_t seg,
    size_t at, size_t end, uint8_t *buf, uint8_t *out)
{
	struct segment *s = segment_open(d, f, seg, O_RDWR);
	uint32_t lo = (uint32_t)(at / UNIT), hi = (uint32_t)((end - 1) / UNIT);
	bool there, ok = false;

	if (s == NULL)
		return false;
	there = head_fits(s);
	for (uint32_t u = lo; there && u <= hi; u++)
		there = table(s, u) != 0;
	if (there && (ok = read_units(s, f, seg, lo, hi, buf))) {
		memcpy(out, buf + (at - lo * (size_t)UNIT), end - at);
		touch(s);
	} else if (there) {
		drop(d, s, lo, hi);
	}
	segment_close(s);
	return ok;
}

bool
ls_disk_get(struct ls_disk *d, const struct ls_vfile *f, uint64_t off, size_t n,
    uint8_t *out)
{
	uint64_t end = off + n;
	uint8_t *buf = NULL;
	bool ok =
	    n > 0 && end >= off && end <= f->size &&
	    end / SEGMENT < UINT32_MAX &&
	    (buf = ls_alloc(LS_MIN(n + 2 * UNIT, (size_t)SEGMENT))) != NULL;

	while (ok && off < end) {
		uint32_t seg = (uint32_t)(off / SEGMENT);
		uint64_t base = (uint64_t)seg * SEGMENT;
		uint64_t to = LS_MIN(end, base + SEGMENT);

		ok = get_segment(d, f, seg, (size_t)(off - base),
		    (size_t)(to - base), buf, out);
		out += to - off;
		off = to;
	}
	ls_free(buf);
	(void)pthread_mutex_lock(&d->mu);
	d->st.hits += ok;
	d->st.misses += !ok;
	(void)pthread_mutex_unlock(&d->mu);
	return ok;
}

/* ---- the bound ------------------------------------------------------------*/

struct entry {
	char name[FILE_NAME + 1];
	struct timespec used;
	uint64_t bytes;
};

static int
by_use(const void *a, const void *b)
{
	const struct timespec *x = &((const struct entry *)a)->used;
	const struct timespec *y = &((const struct entry *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static bool
is_segment(const char *name)
{
	size_t n = strlen(name);

	return n == FILE_NAME && name[16] == '-' &&
	       strcmp(name + FILE_NAME - 4, ".seg") == 0 &&
	       strspn(name, "0123456789abcdef") == 16;
}

static char *
path_in(const struct ls_disk *d, const char *name)
{
	return ls_asprintf("%s/%s", d->dir, name);
}

static bool
weigh(const struct ls_disk *d, const char *name, struct entry *x)
{
	char *path = path_in(d, name);
	struct stat st;
	bool ok = path != NULL && ls_sys->stat(path, &st) == 0;

	if (ok) {
		memcpy(x->name, name, FILE_NAME + 1);
		x->used = st.st_mtim;
		x->bytes = (uint64_t)st.st_blocks * 512;
	}
	ls_free(path);
	return ok;
}

/* All segments of the folder, the longest unused first; heap. */
static size_t
list(const struct ls_disk *d, struct entry **out)
{
	DIR *dir = opendir(d->dir);
	struct entry *v = NULL;
	struct dirent *x;
	size_t n = 0, cap = 0;

	while (dir != NULL && (x = readdir(dir)) != NULL) {
		if (!is_segment(x->d_name))
			continue;
		if (n == cap) {
			struct entry *more =
			    ls_realloc(v, (2 * cap + 64) * sizeof *v);

			if (more == NULL)
				break;
			v = more;
			cap = 2 * cap + 64;
		}
		n += weigh(d, x->d_name, &v[n]);
	}
	if (dir != NULL)
		(void)closedir(dir);
	if (n > 0)
		qsort(v, n, sizeof *v, by_use);
	*out = v;
	return n;
}

/* (3): what is used, with room for n bytes made where it would not do. */
static uint64_t
sweep(const struct ls_disk *d, uint64_t room)
{
	struct entry *v;
	size_t n = list(d, &v), i;
	uint64_t used = 0, target;

	for (i = 0; i < n; i++)
		used += v[i].bytes;
	target =
	    used + room > d->most ? d->most - LS_MAX(d->most / 8, room) : used;
	for (i = 0; i < n && used > target; i++) {
		char *path = path_in(d, v[i].name);

		if (path == NULL)
			break;
		if (ls_sys->unlink(path) == 0 || errno == ENOENT)
			used -= v[i].bytes;
		ls_free(path);
	}
	ls_free(v);
	return used;
}

/* May n bytes be written now? Makes room first where that is due. */
static bool
admit(struct ls_disk *d, size_t n)
{
	uint64_t used;
	bool look;

	(void)pthread_mutex_lock(&d->mu);
	if (n > d->most || ls_sys->mono_ns() < d->rest_until_ns) {
		(void)pthread_mutex_unlock(&d->mu);
		return false;
	}
	look = !d->sweeping && (!d->counted || d->used + n > d->most ||
				   d->since > d->most / SHARE);
	if (look)
		d->sweeping = true;
	(void)pthread_mutex_unlock(&d->mu);
	if (!look)
		return true;
	used = sweep(d, n);
	(void)pthread_mutex_lock(&d->mu);
	d->sweeping = false;
	d->counted = true;
	d->used = used;
	d->since = 0;
	(void)pthread_mutex_unlock(&d->mu);
	return used + n <= d->most;
}

/* ---- putting --------------------------------------------------------------*/

/* Units lo..hi of a segment, whose bytes are p. The bytes, then the table.
 * *wrote: bytes that take room now. */
static bool
put_units(struct segment *s, const struct ls_vfile *f, uint32_t seg,
    uint32_t lo, uint32_t hi, const uint8_t *p, size_t *wrote)
{
	size_t n = (hi - lo) * (size_t)UNIT + unit_size(f, seg, hi);
	bool fresh = !head_fits(s), same = !fresh;

	if (fresh)
		head_make(s);
	for (uint32_t u = lo; u <= hi; u++) {
		uint64_t sum = sum_of(
		    s, u, p + (u - lo) * (size_t)UNIT, unit_size(f, seg, u));

		same = same && table(s, u) == sum;
		ls_put_be64(s->head + TABLE_AT + u * 8, sum);
	}
	if (same)
		return true;
	*wrote += n + (fresh ? HEAD : 0);
	if (!write_all(s, p, n, HEAD + (uint64_t)lo * UNIT) ||
	    (fresh && !write_all(s, s->head, TABLE_AT, 0)))
		return false;
	return write_all(s, s->head + TABLE_AT + lo * 8, (hi - lo + 1) * 8,
	    TABLE_AT + lo * 8);
}

static bool
put_segment(struct ls_disk *d, const struct ls_vfile *f, uint64_t off,
    const uint8_t *p, size_t n, size_t *wrote)
{
	uint32_t seg = (uint32_t)(off / SEGMENT);
	uint32_t lo = (uint32_t)(off % SEGMENT / UNIT);
	uint32_t hi = lo + (uint32_t)((n - 1) / UNIT);
	struct segment *s = segment_open(d, f, seg, O_RDWR | O_CREAT);
	bool ok = s != NULL && put_units(s, f, seg, lo, hi, p, wrote);

	if (s != NULL)
		segment_close(s);
	return ok;
}

/* The disk failed, or is full: it is left alone for a while. */
static void
note(struct ls_disk *d, bool ok, size_t wrote)
{
	bool say = false;

	(void)pthread_mutex_lock(&d->mu);
	d->used += wrote;
	d->since += wrote;
	d->st.written += wrote;
	if (!ok) {
		d->st.failures++;
		d->rest_until_ns = ls_sys->mono_ns() + REST_SECONDS * LS_SEC;
		say = ls_log_due(&d->said, 600 * LS_SEC);
	}
	(void)pthread_mutex_unlock(&d->mu);
	if (say)
		ls_warn("cannot write the disk cache, pages are not kept there",
		    LS_ATTRS(LS_S("path", d->dir)));
}

void
ls_disk_put(struct ls_disk *d, const struct ls_vfile *f, uint64_t off,
    struct ls_span bytes)
{
	uint64_t at = (off + UNIT - 1) / UNIT * UNIT, end = off + bytes.n;
	size_t wrote = 0;
	bool ok = true;

	if (end < f->size)
		end = end / UNIT * UNIT;
	if (end < off || end > f->size || at >= end ||
	    end / SEGMENT >= UINT32_MAX || !admit(d, (size_t)(end - at)))
		return;
	if (ls_mkdirs(d->dir, 0700, NULL) != LS_OK)
		ok = false;
	while (ok && at < end) {
		uint64_t to = LS_MIN(end, (at / SEGMENT + 1) * SEGMENT);

		ok = put_segment(
		    d, f, at, bytes.p + (at - off), (size_t)(to - at), &wrote);
		at = to;
	}
	note(d, ok, wrote);
}

void
ls_disk_stats(struct ls_disk *d, struct ls_disk_stats *out)
{
	(void)pthread_mutex_lock(&d->mu);
	*out = d->st;
	(void)pthread_mutex_unlock(&d->mu);
}
