/* dirty.c -- the pages of one write transaction. See dirty.h.
 *
 * (1) NOBODY ELSE SEES THEM. SQLite writes pages before COMMIT when its cache
 *     is full, and writes the old ones back on ROLLBACK: both happen here only.
 *     (test: spilled_pages_are_read_back)
 * (2) BOUNDED MEMORY: past the limit a page goes to a file that has no name
 *     any more, so that nothing is left of it after a crash.
 */
#include "vfs/dirty.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"

#include <stdlib.h>
#include <unistd.h>

enum { BLOCK_PAGES = 16, HASH_FIRST = 64 };

struct entry {
	uint32_t pgno, next; /* index + 1 of the same hash; 0: none */
};

struct ls_dirty {
	uint32_t page_size;
	uint32_t in_memory; /* pages that may be */
	struct entry *v;    /* slot i of the pages */
	uint32_t n, cap, live;
	uint32_t *head, nheads;
	uint8_t **block;
	uint32_t nblocks;
	int fd;
	uint8_t *scratch;
};

enum ls_rc
ls_dirty_new(uint32_t page_size, uint64_t memory, struct ls_dirty **out,
    struct ls_err *e)
{
	struct ls_dirty *d = ls_zalloc(sizeof *d);
	uint64_t pages = LS_MIN(memory / page_size, (uint64_t)UINT32_MAX / 2);

	if (d == NULL)
		return ls_err_nomem(e);
	d->page_size = page_size;
	d->fd = -1;
	d->in_memory = (uint32_t)(pages / BLOCK_PAGES * BLOCK_PAGES);
	*out = d;
	return LS_OK;
}

void
ls_dirty_free(struct ls_dirty *d)
{
	if (d == NULL)
		return;
	for (uint32_t i = 0; i < d->nblocks; i++)
		ls_free(d->block[i]);
	if (d->fd >= 0)
		(void)ls_sys->close(d->fd);
	ls_free(d->block);
	ls_free(d->v);
	ls_free(d->head);
	ls_free(d->scratch);
	ls_free(d);
}

uint32_t
ls_dirty_page_size(const struct ls_dirty *d)
{
	return d->page_size;
}

uint32_t
ls_dirty_count(const struct ls_dirty *d)
{
	return d->live;
}

/* ---- the table ------------------------------------------------------------*/

static uint32_t *
head_of(const struct ls_dirty *d, uint32_t pgno)
{
	return &d->head[(pgno * 0x9e3779b9u >> 7) & (d->nheads - 1)];
}

/* Index + 1, or 0. */
static uint32_t
find(const struct ls_dirty *d, uint32_t pgno)
{
	uint32_t i = d->nheads ? *head_of(d, pgno) : 0;

	while (i != 0 && d->v[i - 1].pgno != pgno)
		i = d->v[i - 1].next;
	return i;
}

static void
rehash(struct ls_dirty *d)
{
	memset(d->head, 0, d->nheads * sizeof *d->head);
	for (uint32_t i = 0; i < d->n; i++) {
		uint32_t *h = head_of(d, d->v[i].pgno);

		if (d->v[i].pgno == 0)
			continue;
		d->v[i].next = *h;
		*h = i + 1;
	}
}

static enum ls_rc
grow(struct ls_dirty *d, struct ls_err *e)
{
	uint32_t cap = d->cap ? 2 * d->cap : HASH_FIRST;
	struct entry *v = ls_realloc(d->v, cap * sizeof *v);
	uint32_t *head;

	if (v == NULL)
		return ls_err_nomem(e);
	d->v = v;
	if ((head = ls_realloc(d->head, cap * sizeof *head)) == NULL)
		return ls_err_nomem(e);
	d->head = head;
	d->cap = d->nheads = cap;
	rehash(d);
	return LS_OK;
}

/* ---- pages ----------------------------------------------------------------*/

static enum ls_rc
open_spill(struct ls_dirty *d, struct ls_err *e)
{
	const char *dir = getenv("TMPDIR");
	char *path = ls_asprintf("%s/litestream-vfs-spill-%ld-%llx",
	    dir && dir[0] ? dir : "/tmp", (long)getpid(),
	    (unsigned long long)ls_sys->mono_ns());
	enum ls_rc rc;

	if (path == NULL)
		return ls_err_nomem(e);
	rc = ls_open(
	    path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &d->fd, e);
	if (rc == LS_OK)
		(void)ls_sys->unlink(path);
	ls_free(path);
	return rc;
}

static enum ls_rc
add_block(struct ls_dirty *d, struct ls_err *e)
{
	uint8_t **b = ls_realloc(d->block, (d->nblocks + 1) * sizeof *b);

	if (b == NULL)
		return ls_err_nomem(e);
	d->block = b;
	b[d->nblocks] = ls_alloc((size_t)BLOCK_PAGES * d->page_size);
	if (b[d->nblocks] == NULL)
		return ls_err_nomem(e);
	d->nblocks++;
	return LS_OK;
}

static enum ls_rc
put_slot(
    struct ls_dirty *d, uint32_t slot, const uint8_t *page, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	if (slot < d->in_memory) {
		if (slot / BLOCK_PAGES == d->nblocks &&
		    (rc = add_block(d, e)) != LS_OK)
			return rc;
		memcpy(d->block[slot / BLOCK_PAGES] +
			   (size_t)(slot % BLOCK_PAGES) * d->page_size,
		    page, d->page_size);
		return LS_OK;
	}
	if (d->fd < 0 && (rc = open_spill(d, e)) != LS_OK)
		return rc;
	return ls_err_wrap(e,
	    ls_pwrite_all(d->fd, page, d->page_size,
		(uint64_t)(slot - d->in_memory) * d->page_size, e),
	    "pages of the transaction");
}

enum ls_rc
ls_dirty_put(
    struct ls_dirty *d, uint32_t pgno, const uint8_t *page, struct ls_err *e)
{
	uint32_t i = find(d, pgno), *h;
	enum ls_rc rc;

	if (i != 0)
		return put_slot(d, i - 1, page, e);
	if (d->n == d->cap && (rc = grow(d, e)) != LS_OK)
		return rc;
	if ((rc = put_slot(d, d->n, page, e)) != LS_OK)
		return rc;
	h = head_of(d, pgno);
	d->v[d->n] = (struct entry){ pgno, *h };
	*h = ++d->n;
	d->live++;
	return LS_OK;
}

bool
ls_dirty_has(const struct ls_dirty *d, uint32_t pgno)
{
	return find(d, pgno) != 0;
}

enum ls_rc
ls_dirty_get(
    struct ls_dirty *d, uint32_t pgno, const uint8_t **page, struct ls_err *e)
{
	uint32_t i = find(d, pgno);
	enum ls_rc rc;

	if (i-- == 0)
		return LS_ENOTFOUND;
	if (i < d->in_memory) {
		*page = d->block[i / BLOCK_PAGES] +
			(size_t)(i % BLOCK_PAGES) * d->page_size;
		return LS_OK;
	}
	if (d->scratch == NULL && (d->scratch = ls_alloc(d->page_size)) == NULL)
		return ls_err_nomem(e);
	rc = ls_pread_all(d->fd, d->scratch, d->page_size,
	    (uint64_t)(i - d->in_memory) * d->page_size, e);
	*page = d->scratch;
	return ls_err_wrap(e, rc, "pages of the transaction");
}

void
ls_dirty_cut(struct ls_dirty *d, uint32_t commit)
{
	uint32_t before = d->live;

	for (uint32_t i = 0; i < d->n; i++)
		if (d->v[i].pgno > commit) {
			d->v[i].pgno = 0; /* its slot stays unused */
			d->live--;
		}
	if (d->live != before)
		rehash(d);
}

static int
by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

enum ls_rc
ls_dirty_list(const struct ls_dirty *d, uint32_t commit, size_t more,
    uint32_t **out, uint32_t *n, struct ls_err *e)
{
	uint32_t *v = ls_alloc((d->live + more + 1) * sizeof *v);

	if (v == NULL)
		return ls_err_nomem(e);
	*n = 0;
	for (uint32_t i = 0; i < d->n; i++)
		if (d->v[i].pgno != 0 && d->v[i].pgno <= commit)
			v[(*n)++] = d->v[i].pgno;
	qsort(v, *n, sizeof *v, by_number);
	*out = v;
	return LS_OK;
}
