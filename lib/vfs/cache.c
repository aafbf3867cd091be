/* cache.c -- decoded pages, least recently used out first. See cache.h.
 *
 * (1) BOUNDED. Pages live in slabs that are taken one after the other up to
 *     the limit and never leave it: no heap fragmentation, and the memory that
 *     a scan needs is the limit, whatever the size of the database. Slabs
 *     start small, so that many small databases cost little.
 *     (test: cache_is_bounded)
 * (2) WHAT COMES OUT IS WHAT WENT IN. We live in somebody else's process: each
 *     page keeps the CRC of the moment it came in, and a page that does not
 *     fit it any more is dropped, a miss. (test: damaged_page_is_a_miss)
 * (3) A PAGE IS NAMED BY THE FILE THAT IT CAME FROM, so old and new versions
 *     lie side by side and nothing is ever invalidated.
 * (4) INTERIOR PAGES OF B-TREES STAY LONGER: every lookup comes by one of them,
 *     and brings a block of leaves that nobody asked for. When its turn to go
 *     comes such a page is passed over CHANCES times since it was last used.
 *     (test: interior_pages_outlive_leaves)
 */
#include "vfs/cache.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "format/crc64.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	NONE = UINT32_MAX,
	SLAB_FIRST = 64 << 10,
	SLAB_MOST = 1 << 20,
	SLABS = 4096,
	LEAST = 16,
	CHANCES = 32,
	PASSED_OVER = 64, /* at most for one page that comes in */
};

struct slot {
	uint32_t serial, pgno; /* serial 0: free */
	uint32_t chain;	       /* next of the same hash */
	uint32_t older, newer;
	uint8_t chances;
	bool interior;
	uint64_t crc;
	uint8_t *data;
};

struct ls_cache {
	_Atomic uint32_t refs;
	pthread_mutex_t mu;
	uint32_t page_size, max; /* slots at most */
	uint32_t n, cap;	 /* slots with memory; of the arrays */
	struct slot *v;
	uint32_t *head, nheads; /* a power of two */
	uint32_t newest, oldest;
	uint32_t used;
	uint8_t *slab[SLABS];
	uint32_t nslabs;
	uint64_t hits, misses;
};

enum ls_rc
ls_cache_new(
    uint32_t page_size, uint64_t bytes, struct ls_cache **out, struct ls_err *e)
{
	uint64_t each = page_size + sizeof(struct slot) + 2 * sizeof(uint32_t);
	struct ls_cache *c = ls_zalloc(sizeof *c);

	if (c == NULL)
		return ls_err_nomem(e);
	atomic_init(&c->refs, 1);
	(void)pthread_mutex_init(&c->mu, NULL);
	c->page_size = page_size;
	c->max = (uint32_t)LS_MAX(
	    LS_MIN(bytes / each, (uint64_t)1 << 30), (uint64_t)LEAST);
	c->newest = c->oldest = NONE;
	*out = c;
	return LS_OK;
}

struct ls_cache *
ls_cache_ref(struct ls_cache *c)
{
	(void)atomic_fetch_add(&c->refs, 1);
	return c;
}

void
ls_cache_unref(struct ls_cache *c)
{
	if (c == NULL || atomic_fetch_sub(&c->refs, 1) > 1)
		return;
	for (uint32_t i = 0; i < c->nslabs; i++)
		ls_free(c->slab[i]);
	ls_free(c->v);
	ls_free(c->head);
	(void)pthread_mutex_destroy(&c->mu);
	ls_free(c);
}

uint32_t
ls_cache_page_size(const struct ls_cache *c)
{
	return c->page_size;
}

uint32_t
ls_cache_room(const struct ls_cache *c)
{
	return c->max;
}

/* ---- the table ------------------------------------------------------------*/

static uint32_t
hash_of(const struct ls_cache *c, uint32_t serial, uint32_t pgno)
{
	uint64_t x = ((uint64_t)serial << 32 | pgno) * 0x9e3779b97f4a7c15u;

	return (uint32_t)(x >> 32) & (c->nheads - 1);
}

static uint32_t
find(const struct ls_cache *c, uint32_t serial, uint32_t pgno)
{
	uint32_t i;

	if (c->nheads == 0)
		return NONE;
	i = c->head[hash_of(c, serial, pgno)];
	while (i != NONE && (c->v[i].serial != serial || c->v[i].pgno != pgno))
		i = c->v[i].chain;
	return i;
}

static void
chain_in(struct ls_cache *c, uint32_t i)
{
	uint32_t *h = &c->head[hash_of(c, c->v[i].serial, c->v[i].pgno)];

	c->v[i].chain = *h;
	*h = i;
}

static void
chain_out(struct ls_cache *c, uint32_t i)
{
	uint32_t *p = &c->head[hash_of(c, c->v[i].serial, c->v[i].pgno)];

	while (*p != i)
		p = &c->v[*p].chain;
	*p = c->v[i].chain;
}

static void
lru_out(struct ls_cache *c, uint32_t i)
{
	struct slot *s = &c->v[i];

	*(s->newer == NONE ? &c->newest : &c->v[s->newer].older) = s->older;
	*(s->older == NONE ? &c->oldest : &c->v[s->older].newer) = s->newer;
}

static void
lru_in(struct ls_cache *c, uint32_t i)
{
	struct slot *s = &c->v[i];

	s->newer = NONE;
	s->older = c->newest;
	if (c->newest != NONE)
		c->v[c->newest].newer = i;
	else
		c->oldest = i;
	c->newest = i;
}

/* Free slots lie at the old end, so they are used first. */
static void
lru_in_old(struct ls_cache *c, uint32_t i)
{
	struct slot *s = &c->v[i];

	s->older = NONE;
	s->newer = c->oldest;
	if (c->oldest != NONE)
		c->v[c->oldest].older = i;
	else
		c->newest = i;
	c->oldest = i;
}

static void
drop(struct ls_cache *c, uint32_t i)
{
	chain_out(c, i);
	lru_out(c, i);
	c->v[i].serial = 0;
	c->used--;
	lru_in_old(c, i);
}

/* ---- growing --------------------------------------------------------------*/

/* Room for cap slots in the arrays: all of it or nothing. */
static bool
grow_table(struct ls_cache *c, uint32_t cap)
{
	uint32_t heads = LS_MAX(c->nheads, 64u);
	uint32_t *h = NULL;
	struct slot *v;

	while (heads < cap)
		heads *= 2;
	if (heads != c->nheads && (h = ls_alloc(heads * sizeof *h)) == NULL)
		return false;
	if ((v = ls_realloc(c->v, cap * sizeof *v)) == NULL) {
		ls_free(h);
		return false;
	}
	c->v = v;
	c->cap = cap;
	if (h == NULL)
		return true;
	ls_free(c->head);
	c->head = h;
	c->nheads = heads;
	memset(h, 0xff, heads * sizeof *h);
	for (uint32_t i = 0; i < c->n; i++)
		if (c->v[i].serial != 0)
			chain_in(c, i);
	return true;
}

/* One slab more, if the limit allows. */
static void
grow(struct ls_cache *c)
{
	size_t want = LS_MIN(
	    (size_t)SLAB_FIRST << LS_MIN(c->nslabs, 8u), (size_t)SLAB_MOST);
	uint32_t n, left = c->max - c->n;
	uint8_t *p;

	if (want < 4 * (size_t)c->page_size)
		want = 4 * (size_t)c->page_size;
	/* The last slabs of a huge cache take all that is left evenly. */
	if (left / (SLABS - c->nslabs + 1) * c->page_size > want)
		want = (size_t)(left / (SLABS - c->nslabs + 1)) * c->page_size;
	n = LS_MIN((uint32_t)(want / c->page_size), left);
	if (n == 0 || c->nslabs == SLABS)
		return;
	if (c->n + n > c->cap &&
	    !grow_table(c, LS_MIN(LS_MAX(c->cap * 2, c->n + n), c->max)))
		return;
	if ((p = ls_alloc((size_t)n * c->page_size)) == NULL)
		return;
	c->slab[c->nslabs++] = p;
	for (uint32_t k = 0; k < n; k++, c->n++) {
		c->v[c->n] =
		    (struct slot){ .data = p + (size_t)k * c->page_size };
		lru_in_old(c, c->n);
	}
}

/* ---- use ------------------------------------------------------------------*/

bool
ls_cache_get(struct ls_cache *c, uint32_t serial, uint32_t pgno, size_t off,
    size_t n, uint8_t *out)
{
	bool hit = false;
	uint32_t i;

	(void)pthread_mutex_lock(&c->mu);
	if ((i = find(c, serial, pgno)) != NONE) {
		struct slot *s = &c->v[i];

		if (ls_crc64(0, s->data, c->page_size) != s->crc) {
			drop(c, i);
		} else {
			memcpy(out, s->data + off, n);
			lru_out(c, i);
			lru_in(c, i);
			s->chances = CHANCES;
			hit = true;
		}
	}
	c->hits += hit;
	c->misses += !hit;
	(void)pthread_mutex_unlock(&c->mu);
	return hit;
}

bool
ls_cache_has(struct ls_cache *c, uint32_t serial, uint32_t pgno)
{
	bool hit;

	(void)pthread_mutex_lock(&c->mu);
	hit = find(c, serial, pgno) != NONE;
	(void)pthread_mutex_unlock(&c->mu);
	return hit;
}

/* By the type of a B-tree page: 2 and 5 are interior (SQLite file format 1.6).
 * Page 1 begins with the header of the file. Another kind of page may look
 * like it; then it stays a little longer. */
static bool
is_interior(uint32_t pgno, const uint8_t *data)
{
	uint8_t type = data[pgno == 1 ? 100 : 0];

	return type == 2 || type == 5;
}

/* Whose turn it is to go; NONE: there are no slots. (4) */
static uint32_t
victim(struct ls_cache *c)
{
	for (int i = 0; i < PASSED_OVER && c->oldest != NONE; i++) {
		struct slot *s = &c->v[c->oldest];
		uint32_t at = c->oldest;

		if (s->serial == 0 || !s->interior || s->chances == 0)
			break;
		s->chances--;
		lru_out(c, at);
		lru_in(c, at);
	}
	return c->oldest;
}

void
ls_cache_put(
    struct ls_cache *c, uint32_t serial, uint32_t pgno, const uint8_t *data)
{
	uint64_t crc = ls_crc64(0, data, c->page_size);
	uint32_t i;

	(void)pthread_mutex_lock(&c->mu);
	if (find(c, serial, pgno) != NONE)
		goto out;
	if (c->used == c->n)
		grow(c);
	if ((i = victim(c)) == NONE)
		goto out;
	if (c->v[i].serial != 0)
		chain_out(c, i);
	else
		c->used++;
	lru_out(c, i);
	c->v[i].serial = serial;
	c->v[i].pgno = pgno;
	c->v[i].crc = crc;
	c->v[i].interior = is_interior(pgno, data);
	c->v[i].chances = CHANCES;
	memcpy(c->v[i].data, data, c->page_size);
	chain_in(c, i);
	lru_in(c, i);
out:
	(void)pthread_mutex_unlock(&c->mu);
}

void
ls_cache_stats(struct ls_cache *c, struct ls_cache_stats *out)
{
	(void)pthread_mutex_lock(&c->mu);
	*out = (struct ls_cache_stats){ c->hits, c->misses, c->used,
		(uint64_t)c->n * c->page_size };
	(void)pthread_mutex_unlock(&c->mu);
}
