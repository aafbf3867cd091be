/* pagemap.c -- the page map in memory. See pagemap.h; its file is
 * pagemap_file.c.
 *
 *  (1) THE XOR AND THE COUNT OF UNKNOWN ENTRIES ARE THOSE OF THE ARRAY, at
 *      every moment: every change goes through _set or _resize.
 *      (test: pagemap_model)
 *  (2) BEHIND THE LAST PAGE THE LAST BLOCK IS ZERO, so that growing inside it
 *      needs no look at what was there before a shrink. (test:
 *      pagemap_shrink_and_regrow_forgets)
 *  (3) A BLOCK THAT DIFFERS FROM THE FILE IS DIRTY; a save is O(dirty). A block
 *      that comes (back) into being counts as different. (test: pagemap_model)
 * A heap array, not a mapping of the file: what is saved is decided here, not
 * by the kernel's writeback. */
#include "capture/pagemap_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "format/crc64.h"
#include "format/ltx.h"

#include <assert.h>

static bool
is_lock(const struct ls_pagemap *m, uint32_t pgno)
{
	return pgno == ls_lock_pgno(m->page_size);
}

bool
ls_pagemap_valid(const struct ls_pagemap *m)
{
	return m->valid;
}

uint64_t
ls_pagemap_txid(const struct ls_pagemap *m)
{
	return m->txid;
}

uint64_t
ls_pagemap_lineage(const struct ls_pagemap *m)
{
	return m->lineage;
}

uint32_t
ls_pagemap_page_size(const struct ls_pagemap *m)
{
	return m->page_size;
}

uint32_t
ls_pagemap_count(const struct ls_pagemap *m)
{
	return m->n;
}

uint64_t
ls_pagemap_xor(const struct ls_pagemap *m)
{
	return LS_CHECKSUM_FLAG | m->xor ;
}

bool
ls_pagemap_whole(const struct ls_pagemap *m)
{
	uint32_t lock;

	if (!m->valid)
		return false;
	lock = ls_lock_pgno(m->page_size);
	return m->unknown == (lock <= m->n ? 1u : 0u);
}

uint64_t
ls_pagemap_get(const struct ls_pagemap *m, uint32_t pgno)
{
	return pgno >= 1 && pgno <= m->n ? m->v[pgno - 1] : 0;
}

void
pagemap_mark(struct ls_pagemap *m, size_t block)
{
	m->ndirty += m->dirty[block] == 0;
	m->dirty[block] = 1;
}

void
ls_pagemap_set(struct ls_pagemap *m, uint32_t pgno, uint64_t sum)
{
	uint64_t *at;

	assert(pgno >= 1 && pgno <= m->n);
	at = &m->v[pgno - 1];
	if (*at == sum || is_lock(m, pgno))
		return;
	m->unknown -= *at == 0;
	m->unknown += sum == 0;
	m->xor ^= *at ^ sum;
	*at = sum;
	pagemap_mark(m, (pgno - 1) / PM_ENTRIES);
}

static void
shrink(struct ls_pagemap *m, uint32_t npages)
{
	size_t blocks = pagemap_blocks(npages), old = pagemap_blocks(m->n);
	size_t end = LS_MIN((size_t)m->n, blocks * PM_ENTRIES);

	for (size_t i = npages; i < m->n; i++) {
		m->xor ^= m->v[i];
		m->unknown -= m->v[i] == 0;
	}
	if (end > npages) {
		memset(&m->v[npages], 0, (end - npages) * sizeof *m->v);
		pagemap_mark(m, blocks - 1);
	}
	for (size_t b = blocks; b < old; b++) {
		m->ndirty -= m->dirty[b];
		m->dirty[b] = 0;
	}
	m->n = npages;
}

/* Room for that many blocks, at least an eighth more than before. */
enum ls_rc
pagemap_reserve(struct ls_pagemap *m, size_t blocks, struct ls_err *e)
{
	size_t cap = LS_MAX(blocks, m->cap + m->cap / 8);
	uint64_t bytes;
	uint64_t *v;
	uint8_t *d;

	if (blocks <= m->cap)
		return LS_OK;
	cap = LS_MIN(cap, pagemap_blocks(UINT32_MAX));
	if (!ls_mul_u64(cap, PM_BLOCK, &bytes) || bytes > SIZE_MAX / 2)
		return ls_err_set(e, LS_ERANGE,
		    "page map of %zu blocks does not fit in memory", blocks);
	if ((v = ls_realloc(m->v, (size_t)bytes)) == NULL)
		return ls_err_nomem(e);
	m->v = v;
	if ((d = ls_realloc(m->dirty, cap)) == NULL)
		return ls_err_nomem(e);
	m->dirty = d;
	m->cap = cap;
	return LS_OK;
}

enum ls_rc
ls_pagemap_resize(struct ls_pagemap *m, uint32_t npages, struct ls_err *e)
{
	size_t old = pagemap_blocks(m->n), blocks = pagemap_blocks(npages);
	enum ls_rc rc;

	if (npages <= m->n) {
		if (npages < m->n)
			shrink(m, npages);
		return LS_OK;
	}
	if ((rc = pagemap_reserve(m, blocks, e)) != LS_OK)
		return ls_err_wrap(e, rc, "page map");
	if (blocks > old) {
		memset(&m->v[old * PM_ENTRIES], 0, (blocks - old) * PM_BLOCK);
		memset(&m->dirty[old], 1, blocks - old);
		m->ndirty += blocks - old;
	}
	m->unknown += npages - m->n;
	m->n = npages;
	return LS_OK;
}

void
pagemap_empty(struct ls_pagemap *m)
{
	ls_free(m->v);
	ls_free(m->dirty);
	m->v = NULL;
	m->dirty = NULL;
	m->cap = m->ndirty = 0;
	m->n = m->unknown = m->saved_n = 0;
	m->xor = m->txid = m->lineage = m->file_id = 0;
	m->page_size = 0;
	m->valid = false;
}

void
ls_pagemap_reset(struct ls_pagemap *m, uint32_t page_size)
{
	assert(ls_page_size_valid(page_size));
	pagemap_empty(m);
	m->page_size = page_size;
	m->valid = true;
}

void
ls_pagemap_invalidate(struct ls_pagemap *m)
{
	pagemap_empty(m);
}

void
ls_pagemap_free(struct ls_pagemap *m)
{
	if (m == NULL)
		return;
	pagemap_empty(m);
	ls_free(m->meta);
	ls_free(m->path);
	ls_free(m->redo);
	ls_free(m);
}

enum ls_rc
ls_pagemap_open(const char *meta, struct ls_pagemap **out, struct ls_err *e)
{
	struct ls_pagemap *m = ls_zalloc(sizeof *m);
	enum ls_rc rc;

	if (m == NULL)
		return ls_err_nomem(e);
	m->meta = ls_strdup(meta);
	m->path = ls_asprintf("%s/litestreamd-pagemap", meta);
	m->redo = ls_asprintf("%s/litestreamd-pagemap-redo", meta);
	if (m->meta == NULL || m->path == NULL || m->redo == NULL)
		rc = ls_err_nomem(e);
	else
		rc = pagemap_load(m, e);
	if (rc == LS_OK)
		*out = m;
	else
		ls_pagemap_free(m);
	return ls_err_wrap(e, rc, "open page map");
}
