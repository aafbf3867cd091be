/* scratch.c -- bytes of stored files in a temporary file. See scratch.h.
 *
 * The file is cut into places of 64 KiB, each for one chunk of one stored file;
 * what lies where, and a CRC of each unit of 4 KiB, is in memory.
 *
 * (1) NEVER A WRONG BYTE. A unit counts when its CRC fits, seeded with what it
 *     is of. So nothing is locked over a read or a write: who reads a place
 *     that is being given to another chunk has a miss.
 *     (test: scratch_gives_back_what_was_put, damaged_scratch_is_a_miss)
 * (2) BOUNDED: by its limit, by a quarter of what is free on that disk, and by
 *     RLIMIT_FSIZE, past which the host would get a signal; then the place
 *     unused for longest goes. One file, and one descriptor, a process.
 *     (test: scratch_is_bounded, scratch_leaves_the_disk_free)
 * (3) A GUEST'S FILE: it has no name, so that no crash leaves it; it is made
 *     when first written, on no file system in memory, since the host did not
 *     give us that memory; and it ends with the last replica that uses it. It
 *     is cut to nothing then: the child of a fork may hold a copy.
 *     (test: scratch_is_gone_with_the_last, scratch_needs_a_disk)
 * (4) NEVER AN ERROR. A disk that is full or fails gets everything back and is
 *     left alone for a while. (test: any_fault_of_the_scratch_is_a_miss)
 */
#include "vfs/scratch.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "format/crc64.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	UNIT = LS_DISK_UNIT,
	CHUNK = 64 << 10,
	UNITS = CHUNK / UNIT,
	NONE = UINT32_MAX,
	FIRST = 16,	   /* places; then twice as many each time */
	REST_SECONDS = 30, /* after a failure */
	SHARE = 4,	   /* of what is free */
};

#define TMPFS 0x01021994u /* statfs(2) */
#define RAMFS 0x858458f6u

struct place {
	uint64_t name; /* who and serial; 0: free */
	uint32_t chunk, chain;
	uint32_t older, newer;
	uint16_t have; /* units, as bits */
	uint16_t writers;
	uint64_t sum[UNITS];
};
_Static_assert(UNITS <= 16, "a bit for each unit");

struct ls_scratch {
	char *dir; /* as asked for, or NULL */
	pthread_mutex_t mu;
	/* Under mu: */
	uint64_t most, limit; /* limit: RLIMIT_FSIZE */
	char *in;	      /* the folder it is in */
	int fd;
	uint32_t users, last_user;
	struct place *v;
	uint32_t n, cap, used;	/* used: not free */
	uint32_t *head, nheads; /* a power of two */
	uint32_t newest, oldest;
	uint64_t rest_until_ns;
	struct ls_disk_stats st;
};

/* What is read or written of one place. */
struct piece {
	uint64_t name, at; /* at: in the file */
	uint32_t chunk, place, lo, hi;
	int fd;
	uint64_t sum[UNITS];
};

/* ---- life -----------------------------------------------------------------*/

enum ls_rc
ls_scratch_new(
    const char *dir, uint64_t most, struct ls_scratch **out, struct ls_err *e)
{
	struct ls_scratch *s = ls_zalloc(sizeof *s);

	if (s == NULL || (dir != NULL && (s->dir = ls_strdup(dir)) == NULL)) {
		ls_free(s);
		return ls_err_nomem(e);
	}
	s->most = most;
	s->fd = -1;
	s->newest = s->oldest = NONE;
	(void)pthread_mutex_init(&s->mu, NULL);
	*out = s;
	return LS_OK;
}

/* Everything that goes with the file. */
static void
end_file(struct ls_scratch *s)
{
	int fd = s->fd;

	s->fd = -1; /* before it is closed: ls_scratch_forked */
	if (fd >= 0) {
		(void)ls_sys->ftruncate(fd, 0); /* (3) */
		(void)ls_sys->close(fd);
	}
	ls_free(s->in);
	ls_free(s->v);
	ls_free(s->head);
	s->in = NULL;
	s->v = NULL;
	s->head = NULL;
	s->n = s->cap = s->used = s->nheads = 0;
	s->newest = s->oldest = NONE;
	s->st = (struct ls_disk_stats){ 0 };
}

void
ls_scratch_free(struct ls_scratch *s)
{
	if (s == NULL)
		return;
	end_file(s);
	(void)pthread_mutex_destroy(&s->mu);
	ls_free(s->dir);
	ls_free(s);
}

void
ls_scratch_allow(struct ls_scratch *s, uint64_t most)
{
	(void)pthread_mutex_lock(&s->mu);
	s->most = LS_MAX(s->most, most);
	(void)pthread_mutex_unlock(&s->mu);
}

uint64_t
ls_scratch_most(struct ls_scratch *s)
{
	uint64_t most;

	(void)pthread_mutex_lock(&s->mu);
	most = s->most;
	(void)pthread_mutex_unlock(&s->mu);
	return most;
}

uint32_t
ls_scratch_join(struct ls_scratch *s)
{
	uint32_t who;

	(void)pthread_mutex_lock(&s->mu);
	s->users++;
	who = ++s->last_user;
	(void)pthread_mutex_unlock(&s->mu);
	return who;
}

bool
ls_scratch_works(struct ls_scratch *s)
{
	bool ok;

	(void)pthread_mutex_lock(&s->mu);
	ok = ls_sys->mono_ns() >= s->rest_until_ns;
	(void)pthread_mutex_unlock(&s->mu);
	return ok;
}

void
ls_scratch_forked(struct ls_scratch *s)
{
	if (s->fd >= 0)
		(void)ls_sys->close(s->fd);
	s->fd = -1;
}

/* ---- the table ------------------------------------------------------------*/

static uint32_t *
head_of(const struct ls_scratch *s, uint64_t name, uint32_t chunk)
{
	uint64_t x =
	    (name ^ (uint64_t)chunk << 40 ^ chunk) * 0x9e3779b97f4a7c15u;

	return &s->head[(uint32_t)(x >> 32) & (s->nheads - 1)];
}

static uint32_t
find(const struct ls_scratch *s, uint64_t name, uint32_t chunk)
{
	uint32_t i;

	if (s->nheads == 0)
		return NONE;
	i = *head_of(s, name, chunk);
	while (i != NONE && (s->v[i].name != name || s->v[i].chunk != chunk))
		i = s->v[i].chain;
	return i;
}

static void
chain_in(struct ls_scratch *s, uint32_t i)
{
	uint32_t *h = head_of(s, s->v[i].name, s->v[i].chunk);

	s->v[i].chain = *h;
	*h = i;
}

static void
chain_out(struct ls_scratch *s, uint32_t i)
{
	uint32_t *p = head_of(s, s->v[i].name, s->v[i].chunk);

	while (*p != i)
		p = &s->v[*p].chain;
	*p = s->v[i].chain;
}

static void
lru_out(struct ls_scratch *s, uint32_t i)
{
	struct place *x = &s->v[i];

	*(x->newer == NONE ? &s->newest : &s->v[x->newer].older) = x->older;
	*(x->older == NONE ? &s->oldest : &s->v[x->older].newer) = x->newer;
}

static void
lru_in(struct ls_scratch *s, uint32_t i)
{
	s->v[i].newer = NONE;
	s->v[i].older = s->newest;
	*(s->newest == NONE ? &s->oldest : &s->v[s->newest].newer) = i;
	s->newest = i;
}

/* What lies there is nobody's now. Free places lie at the old end. */
static void
clear(struct ls_scratch *s, uint32_t i)
{
	if (s->v[i].name == 0)
		return;
	chain_out(s, i);
	lru_out(s, i);
	s->v[i].name = 0;
	s->v[i].have = 0;
	s->v[i].older = NONE;
	s->v[i].newer = s->oldest;
	*(s->oldest == NONE ? &s->newest : &s->v[s->oldest].older) = i;
	s->oldest = i;
	s->used--;
}

static bool
grow_table(struct ls_scratch *s)
{
	uint32_t cap = LS_MAX(2 * s->cap, (uint32_t)FIRST);
	struct place *v = ls_realloc(s->v, cap * sizeof *v);
	uint32_t *h;

	if (v == NULL)
		return false;
	s->v = v;
	if ((h = ls_realloc(s->head, cap * sizeof *h)) == NULL)
		return false;
	s->head = h;
	s->cap = s->nheads = cap;
	memset(h, 0xff, cap * sizeof *h);
	for (uint32_t i = 0; i < s->n; i++)
		if (s->v[i].name != 0)
			chain_in(s, i);
	return true;
}

/* ---- the file -------------------------------------------------------------*/

/* (4); with mu. */
static void
rest(struct ls_scratch *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		clear(s, i);
	if (s->fd >= 0)
		(void)ls_sys->ftruncate(s->fd, 0);
	s->st.failures++;
	s->rest_until_ns = ls_sys->mono_ns() + REST_SECONDS * LS_SEC;
}

/* Where SQLite puts its temporary files, by its order. NULL: nowhere, or in
 * memory. */
static const char *
temp_folder(void)
{
	const char *v[] = { getenv("SQLITE_TMPDIR"), getenv("TMPDIR"),
		"/var/tmp", "/usr/tmp", "/tmp" };
	struct stat st;
	struct statfs fs;

	for (size_t i = 0; i < LS_COUNT(v); i++) {
		if (v[i] == NULL || ls_sys->stat(v[i], &st) != 0 ||
		    !S_ISDIR(st.st_mode) ||
		    ls_sys->access(v[i], W_OK | X_OK) != 0)
			continue;
		if (ls_sys->statfs(v[i], &fs) == 0 && fs.f_type != TMPFS &&
		    fs.f_type != RAMFS)
			return v[i];
		return NULL; /* what was chosen for all is good for us */
	}
	return NULL;
}

static int
open_nameless(const char *dir)
{
	int fd =
	    ls_sys->open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
	char *path;

	if (fd >= 0) /* not every file system can */
		return fd;
	path = ls_asprintf("%s/litestream-vfs-cache-%ld-%llx", dir,
	    (long)getpid(), (unsigned long long)ls_sys->mono_ns());
	if (path == NULL)
		return -1;
	fd = ls_sys->open(
	    path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		(void)ls_sys->unlink(path);
	ls_free(path);
	return fd;
}

static bool
open_file(struct ls_scratch *s)
{
	const char *dir = s->dir ? s->dir : temp_folder();
	struct rlimit most;

	s->limit = UINT64_MAX;
	if (getrlimit(RLIMIT_FSIZE, &most) == 0)
		s->limit = most.rlim_cur;
	if (dir == NULL || (s->in = ls_strdup(dir)) == NULL)
		return false;
	if ((s->fd = open_nameless(dir)) >= 0)
		return true;
	ls_free(s->in);
	s->in = NULL;
	return false;
}

/* May the file take the room of one place more? (2) */
static bool
has_room(const struct ls_scratch *s)
{
	uint64_t size = (uint64_t)(s->used + 1) * CHUNK;
	struct statvfs fs;

	return size <= LS_MIN(s->most, s->limit) &&
	       ls_sys->statvfs(s->in, &fs) == 0 &&
	       size <= (uint64_t)fs.f_bavail * fs.f_frsize / SHARE;
}

/* A place for a chunk that has none: a free one, a new one, or the one unused
 * for longest. It is free, and nowhere in the order. */
static uint32_t
take(struct ls_scratch *s)
{
	bool room = has_room(s);
	uint32_t i = s->oldest;

	while (
	    i != NONE && (s->v[i].writers > 0 || (s->v[i].name == 0 && !room)))
		i = s->v[i].newer;
	if ((i == NONE || s->v[i].name != 0) && room &&
	    (uint64_t)(s->n + 1) * CHUNK <= s->limit && s->n < NONE / 2 &&
	    (s->n < s->cap || grow_table(s))) {
		s->v[s->n] = (struct place){ 0 };
		return s->n++;
	}
	if (i == NONE)
		return NONE;
	clear(s, i);
	lru_out(s, i);
	return i;
}

/* ---- pieces ---------------------------------------------------------------*/

static uint64_t
sum_of(const struct piece *p, uint32_t unit, const uint8_t *b, size_t n)
{
	uint64_t seed =
	    (p->name ^ (uint64_t)p->chunk << 20 ^ unit) * 0x9e3779b97f4a7c15u;

	return ls_crc64(seed, b, n);
}

static size_t
unit_size(const struct ls_vfile *f, const struct piece *p, uint32_t unit)
{
	uint64_t at = (uint64_t)p->chunk * CHUNK + (uint64_t)unit * UNIT;

	return (size_t)LS_MIN(f->size - at, (uint64_t)UNIT);
}

static size_t
piece_size(const struct ls_vfile *f, const struct piece *p)
{
	return (p->hi - p->lo) * (size_t)UNIT + unit_size(f, p, p->hi);
}

static uint16_t
units(const struct piece *p)
{
	return (uint16_t)((2u << p->hi) - (1u << p->lo));
}

/* The bytes off.. of f, up to end, that are in one chunk. */
static struct piece
piece_of(uint32_t who, const struct ls_vfile *f, uint64_t off, uint64_t end)
{
	uint64_t base = off - off % CHUNK;
	uint64_t last = LS_MIN(end, base + CHUNK) - 1;

	return (struct piece){ .name = (uint64_t)who << 32 | f->serial,
		.chunk = (uint32_t)(base / CHUNK),
		.lo = (uint32_t)(off % CHUNK / UNIT),
		.hi = (uint32_t)(last % CHUNK / UNIT),
		.fd = -1 };
}

static uint64_t
place_off(const struct piece *p)
{
	return (uint64_t)p->place * CHUNK + (uint64_t)p->lo * UNIT;
}

/* ---- getting --------------------------------------------------------------*/

/* Are all units said to be here? Then what is needed to read them. */
static bool
look_up(struct ls_scratch *s, struct piece *p)
{
	uint32_t i;
	bool here;

	(void)pthread_mutex_lock(&s->mu);
	i = find(s, p->name, p->chunk);
	here = i != NONE && (s->v[i].have & units(p)) == units(p);
	if (here) {
		p->place = i;
		p->fd = s->fd;
		memcpy(p->sum, s->v[i].sum, sizeof p->sum);
		lru_out(s, i);
		lru_in(s, i);
	}
	(void)pthread_mutex_unlock(&s->mu);
	return here;
}

/* Forget units that are not what was written. */
static void
drop(struct ls_scratch *s, const struct piece *p)
{
	uint32_t i;

	(void)pthread_mutex_lock(&s->mu);
	if ((i = find(s, p->name, p->chunk)) != NONE)
		s->v[i].have &= (uint16_t)~units(p);
	s->st.dropped++;
	(void)pthread_mutex_unlock(&s->mu);
}

static bool
read_piece(const struct piece *p, const struct ls_vfile *f, uint8_t *buf)
{
	bool ok = ls_pread_all(p->fd, buf, piece_size(f, p), place_off(p),
		      NULL) == LS_OK;

	for (uint32_t u = p->lo; ok && u <= p->hi; u++)
		ok = sum_of(p, u, buf + (u - p->lo) * (size_t)UNIT,
			 unit_size(f, p, u)) == p->sum[u];
	return ok;
}

static bool
in_bounds(const struct ls_vfile *f, uint64_t off, uint64_t end)
{
	return off < end && end <= f->size && end / CHUNK < UINT32_MAX;
}

bool
ls_scratch_get(struct ls_scratch *s, uint32_t who, const struct ls_vfile *f,
    uint64_t off, size_t n, uint8_t *out)
{
	uint64_t end = off + n;
	uint8_t *buf = NULL;
	bool ok = in_bounds(f, off, end) &&
		  (buf = ls_alloc(LS_MIN(n + 2 * UNIT, (size_t)CHUNK))) != NULL;

	while (ok && off < end) {
		struct piece p = piece_of(who, f, off, end);
		size_t k =
		    (size_t)(LS_MIN(end, off - off % CHUNK + CHUNK) - off);

		if ((ok = look_up(s, &p)) && !(ok = read_piece(&p, f, buf)))
			drop(s, &p);
		if (ok)
			memcpy(out, buf + off % UNIT, k);
		out += k;
		off += k;
	}
	ls_free(buf);
	(void)pthread_mutex_lock(&s->mu);
	s->st.hits += ok;
	s->st.misses += !ok;
	(void)pthread_mutex_unlock(&s->mu);
	return ok;
}

/* ---- putting --------------------------------------------------------------*/

/* A place for p that nobody takes away until it is written. */
static bool
reserve(struct ls_scratch *s, struct piece *p)
{
	uint32_t i = NONE;

	(void)pthread_mutex_lock(&s->mu);
	if (ls_sys->mono_ns() < s->rest_until_ns)
		goto out;
	if (s->fd < 0 && !open_file(s)) {
		rest(s);
		goto out;
	}
	if ((i = find(s, p->name, p->chunk)) == NONE && (i = take(s)) != NONE) {
		s->v[i].name = p->name;
		s->v[i].chunk = p->chunk;
		s->used++;
		chain_in(s, i);
	} else if (i != NONE) {
		lru_out(s, i);
	} else if (s->used == 0) { /* the disk is too full to begin */
		rest(s);
	}
	if (i == NONE)
		goto out;
	lru_in(s, i);
	s->v[i].writers++;
	p->place = i;
	p->fd = s->fd;
out:
	(void)pthread_mutex_unlock(&s->mu);
	return i != NONE;
}

/* It was written, or could not be. */
static void
settle(struct ls_scratch *s, const struct piece *p, size_t n, bool ok)
{
	struct place *x;

	(void)pthread_mutex_lock(&s->mu);
	x = &s->v[p->place];
	x->writers--;
	if (ok && x->name == p->name && x->chunk == p->chunk) {
		memcpy(x->sum + p->lo, p->sum + p->lo,
		    (p->hi - p->lo + 1) * sizeof *p->sum);
		x->have |= units(p);
		s->st.written += n;
	} else if (!ok) {
		rest(s);
	}
	(void)pthread_mutex_unlock(&s->mu);
}

void
ls_scratch_put(struct ls_scratch *s, uint32_t who, const struct ls_vfile *f,
    uint64_t off, struct ls_span bytes)
{
	uint64_t at = (off + UNIT - 1) / UNIT * UNIT, end = off + bytes.n;
	bool ok = true;

	if (end < f->size)
		end = end / UNIT * UNIT;
	if (end < off || !in_bounds(f, at, end))
		return;
	while (ok && at < end) {
		struct piece p = piece_of(who, f, at, end);
		const uint8_t *b = bytes.p + (at - off);
		size_t n = piece_size(f, &p);

		for (uint32_t u = p.lo; u <= p.hi; u++)
			p.sum[u] = sum_of(&p, u, b + (u - p.lo) * (size_t)UNIT,
			    unit_size(f, &p, u));
		if ((ok = reserve(s, &p))) {
			ok = ls_pwrite_all(p.fd, b, n, place_off(&p), NULL) ==
			     LS_OK;
			settle(s, &p, n, ok);
		}
		at += n;
	}
}

void
ls_scratch_leave(struct ls_scratch *s, uint32_t who)
{
	(void)pthread_mutex_lock(&s->mu);
	for (uint32_t i = 0; i < s->n; i++)
		if (s->v[i].name >> 32 == who)
			clear(s, i);
	if (--s->users == 0)
		end_file(s);
	(void)pthread_mutex_unlock(&s->mu);
}

void
ls_scratch_stats(struct ls_scratch *s, struct ls_disk_stats *out)
{
	(void)pthread_mutex_lock(&s->mu);
	*out = s->st;
	(void)pthread_mutex_unlock(&s->mu);
}
