/* pagemap_file.c -- the page map's file. See pagemap.h.
 *
 * <meta>/litestreamd-pagemap, big-endian, in blocks of 4096:
 *   block 0, never rewritten: "LSDPMAP1", version u32, page_size u32,
 *     file id u64, CRC-64 of these 24 bytes
 *   block 1, the state: n u32, zero u32, txid u64, lineage u64, xor u64,
 *     file id u64, CRC-64 of these 40 bytes
 *   block 2 + b: 512 entries, from page 512 b + 1 on
 * <meta>/litestreamd-pagemap-redo: "LSDPREDO", version u32, zero u32, file id
 *   u64, count u64, the 48 bytes of a state, then count times (block number
 *   u64, 4096 bytes), then the CRC-64 of everything before.
 *
 *  (1) OLD OR NEW. What a save changes in place lies synced in the redo file
 *      first, complete under a CRC, and that is published by rename: the
 *      commit point. From then on every load lays the redo over the file. A
 *      save of more than half of the map writes a new file and renames it.
 *      (tests: pagemap_fault_sweep, pagemap_crash_at_every_call)
 *  (2) A REDO IS LAID ONLY OVER THE FILE IT WAS MADE FOR: both carry the id
 *      that every new file draws. One that a failed unlink left behind is
 *      either this file's last state, which changes nothing, or a stranger's.
 *      (test: pagemap_stale_redo_is_ignored)
 *  (3) LOADING WRITES NOTHING: the blocks of a redo are laid over the array
 *      and count as dirty, so the next save, whose redo replaces this one,
 *      holds them too.
 *  (4) WHAT IS LOADED IS WHOLE: both CRCs, and the XOR over the array equals
 *      the state's; else there is no map. (test: pagemap_damage_is_no_map)
 * Memory beside the map: one piece of 64 KiB. */
#include "capture/pagemap_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "format/crc64.h"
#include "format/ltx.h"

#include <errno.h>
#include <fcntl.h>

enum {
	VERSION = 1,
	PIECE = 65536,
	FIRST = 24, /* bytes of block 0 under its CRC */
	STATE = 40, /* of block 1 */
	REDO_HEAD = 32,
	REDO_FIXED = REDO_HEAD + STATE + 8,
	REDO_BLOCK = 8 + PM_BLOCK,
};

static const char map_magic[] = "LSDPMAP1";
static const char redo_magic[] = "LSDPREDO";

struct state {
	uint32_t n;
	uint64_t txid, lineage, xor;
};

static void
state_encode(const struct state *s, uint64_t id, uint8_t p[static STATE + 8])
{
	ls_put_be32(p, s->n);
	ls_put_be32(p + 4, 0);
	ls_put_be64(p + 8, s->txid);
	ls_put_be64(p + 16, s->lineage);
	ls_put_be64(p + 24, s->xor);
	ls_put_be64(p + 32, id);
	ls_put_be64(p + STATE, ls_crc64(0, p, STATE));
}

static bool
state_decode(const uint8_t p[static STATE + 8], uint64_t id, struct state *s)
{
	if (ls_be64(p + STATE) != ls_crc64(0, p, STATE) ||
	    ls_be64(p + 32) != id)
		return false;
	*s = (struct state){ ls_be32(p), ls_be64(p + 8), ls_be64(p + 16),
		ls_be64(p + 24) };
	return true;
}

static void
block_encode(const uint64_t *v, uint8_t p[static PM_BLOCK])
{
	for (size_t i = 0; i < PM_ENTRIES; i++)
		ls_put_be64(p + 8 * i, v[i]);
}

static void
block_decode(const uint8_t p[static PM_BLOCK], uint64_t *v)
{
	for (size_t i = 0; i < PM_ENTRIES; i++)
		v[i] = ls_be64(p + 8 * i);
}

/* ---- loading -----------------------------------------------------------------*/

struct load {
	int fd, redo; /* redo: -1 without a usable one */
	uint64_t id;
	uint32_t page_size;
	struct state state;
	uint64_t file_blocks, redo_blocks;
	uint8_t *piece;
};

/* An absent file is LS_OK and *fd stays -1. */
static enum ls_rc
open_there(const char *path, int *fd, uint64_t *size, struct ls_err *e)
{
	enum ls_rc rc = ls_open(path, O_RDONLY, 0, fd, e);
	struct stat st;

	if (rc == LS_ENOTFOUND)
		return LS_OK;
	if (rc != LS_OK)
		return rc;
	if (ls_sys->fstat(*fd, &st) != 0)
		return ls_err_sys(e, errno, "stat %s", path);
	*size = (uint64_t)st.st_size;
	return LS_OK;
}

/* Block 0. *ok tells whether it is ours. */
static enum ls_rc
load_first(struct load *l, bool *ok, struct ls_err *e)
{
	enum ls_rc rc = ls_pread_all(l->fd, l->piece, FIRST + 8, 0, e);
	const uint8_t *p = l->piece;

	if (rc != LS_OK)
		return rc;
	l->page_size = ls_be32(p + 12);
	l->id = ls_be64(p + 16);
	*ok = memcmp(p, map_magic, 8) == 0 && ls_be32(p + 8) == VERSION &&
	      ls_be64(p + FIRST) == ls_crc64(0, p, FIRST) &&
	      ls_page_size_valid(l->page_size);
	return LS_OK;
}

/* Check all of a redo of size bytes against its CRC. */
static enum ls_rc
redo_check(struct load *l, int fd, uint64_t size, bool *ok, struct ls_err *e)
{
	uint64_t crc = 0, at = 0, end = size - 8;
	enum ls_rc rc;

	while (at < end) {
		size_t k = (size_t)LS_MIN(end - at, (uint64_t)PIECE);

		rc = ls_pread_all(fd, l->piece, k, at, e);
		if (rc != LS_OK)
			return rc;
		crc = ls_crc64(crc, l->piece, k);
		at += k;
	}
	if ((rc = ls_pread_all(fd, l->piece, 8, end, e)) != LS_OK)
		return rc;
	*ok = ls_be64(l->piece) == crc;
	return LS_OK;
}

/* Look for a redo of this file: l->redo, l->redo_blocks and the state. */
static enum ls_rc
load_redo(struct load *l, const char *path, struct ls_err *e)
{
	uint8_t p[REDO_FIXED];
	uint64_t size = 0, blocks;
	enum ls_rc rc;
	bool ok = false;
	int fd = -1;

	if ((rc = open_there(path, &fd, &size, e)) != LS_OK || fd < 0)
		goto out;
	if (size < REDO_FIXED + 8)
		goto out;
	blocks = (size - REDO_FIXED - 8) / REDO_BLOCK;
	if ((rc = ls_pread_all(fd, p, sizeof p, 0, e)) != LS_OK)
		goto out;
	if (memcmp(p, redo_magic, 8) != 0 || ls_be32(p + 8) != VERSION ||
	    ls_be64(p + 16) != l->id || ls_be64(p + 24) != blocks ||
	    size != REDO_FIXED + blocks * REDO_BLOCK + 8)
		goto out;
	if ((rc = redo_check(l, fd, size, &ok, e)) != LS_OK || !ok ||
	    !state_decode(p + REDO_HEAD, l->id, &l->state))
		goto out;
	l->redo = fd;
	l->redo_blocks = blocks;
	return LS_OK;
out:
	if (fd >= 0)
		(void)ls_sys->close(fd);
	return rc == LS_ESHORT ? LS_OK : rc;
}

/* The blocks that are in the file; the others are left zero. */
static enum ls_rc
read_blocks(struct ls_pagemap *m, struct load *l, struct ls_err *e)
{
	uint64_t blocks = pagemap_blocks(l->state.n);
	uint64_t b = 0, end = LS_MIN(blocks, l->file_blocks);

	while (b < end) {
		uint64_t k = LS_MIN(end - b, (uint64_t)PIECE / PM_BLOCK);
		enum ls_rc rc;

		rc = ls_pread_all(l->fd, l->piece, (size_t)k * PM_BLOCK,
		    (b + 2) * PM_BLOCK, e);
		if (rc != LS_OK)
			return rc;
		for (uint64_t i = 0; i < k; i++)
			block_decode(l->piece + i * PM_BLOCK,
			    &m->v[(b + i) * PM_ENTRIES]);
		b += k;
	}
	return LS_OK;
}

static enum ls_rc
lay_redo(struct ls_pagemap *m, struct load *l, struct ls_err *e)
{
	uint64_t at = REDO_FIXED;

	for (uint64_t i = 0; i < l->redo_blocks; i++, at += REDO_BLOCK) {
		enum ls_rc rc;
		uint64_t b;

		rc = ls_pread_all(l->redo, l->piece, REDO_BLOCK, at, e);
		if (rc != LS_OK)
			return rc;
		if ((b = ls_be64(l->piece)) >= pagemap_blocks(l->state.n))
			return ls_err_set(e, LS_ECORRUPT, "redo of block %llu",
			    (unsigned long long)b);
		block_decode(l->piece + 8, &m->v[b * PM_ENTRIES]);
		pagemap_mark(m, (size_t)b);
	}
	return LS_OK;
}

/* The array from file and redo; LS_ECORRUPT or LS_ESHORT: they are damaged. */
static enum ls_rc
load_array(struct ls_pagemap *m, struct load *l, struct ls_err *e)
{
	size_t blocks = pagemap_blocks(l->state.n);
	enum ls_rc rc;

	/* Every block comes from one of the two: no size is just believed. */
	if (blocks > l->file_blocks + l->redo_blocks)
		return ls_err_set(e, LS_ECORRUPT, "page map is cut off");
	if ((rc = pagemap_reserve(m, blocks, e)) != LS_OK)
		return rc;
	if (blocks > 0) {
		memset(m->v, 0, blocks * PM_BLOCK);
		memset(m->dirty, 0, blocks);
	}
	if ((rc = read_blocks(m, l, e)) != LS_OK ||
	    (l->redo >= 0 && (rc = lay_redo(m, l, e)) != LS_OK))
		return rc;
	m->n = l->state.n;
	for (size_t i = 0; i < blocks * PM_ENTRIES; i++) {
		if (i >= m->n && m->v[i] != 0)
			return ls_err_set(e, LS_ECORRUPT, "entries at the end");
		m->xor ^= m->v[i];
		m->unknown += i < m->n && m->v[i] == 0;
	}
	if (m->xor != l->state.xor)
		return ls_err_set(e, LS_ECORRUPT, "checksum differs");
	return LS_OK;
}

static enum ls_rc
load_file(struct ls_pagemap *m, struct load *l, struct ls_err *e)
{
	uint8_t p[STATE + 8];
	enum ls_rc rc;
	bool ok = false;

	if ((rc = load_first(l, &ok, e)) != LS_OK || !ok)
		return rc;
	if ((rc = load_redo(l, m->redo, e)) != LS_OK)
		return rc;
	if (l->redo < 0) {
		rc = ls_pread_all(l->fd, p, sizeof p, PM_BLOCK, e);
		if (rc != LS_OK || !state_decode(p, l->id, &l->state))
			return rc;
	}
	if ((rc = load_array(m, l, e)) != LS_OK)
		return rc;
	m->page_size = l->page_size;
	m->file_id = m->last_id = l->id;
	m->file_blocks = (size_t)l->file_blocks;
	m->txid = l->state.txid;
	m->lineage = l->state.lineage;
	m->saved_n = m->n;
	m->valid = true;
	return LS_OK;
}

enum ls_rc
pagemap_load(struct ls_pagemap *m, struct ls_err *e)
{
	struct load l = { .fd = -1, .redo = -1 };
	uint64_t size = 0;
	enum ls_rc rc;

	if ((rc = open_there(m->path, &l.fd, &size, e)) != LS_OK || l.fd < 0)
		goto out;
	if ((l.piece = ls_alloc(PIECE)) == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	l.file_blocks = size / PM_BLOCK;
	l.file_blocks -= LS_MIN(l.file_blocks, 2u);
	rc = load_file(m, &l, e);
	if (!m->valid)
		pagemap_empty(m);
	if (rc == LS_ECORRUPT || rc == LS_ESHORT)
		rc = LS_OK; /* no map: a difference or a copy answers it */
out:
	if (l.redo >= 0)
		(void)ls_sys->close(l.redo);
	if (l.fd >= 0)
		(void)ls_sys->close(l.fd);
	ls_free(l.piece);
	return rc;
}

/* ---- saving ------------------------------------------------------------------*/

/* A file being written front to back under a CRC. */
struct out {
	int fd;
	size_t n;
	uint64_t crc;
	uint8_t buf[PIECE];
};

static enum ls_rc
out_flush(struct out *o, struct ls_err *e)
{
	size_t n = o->n;

	o->crc = ls_crc64(o->crc, o->buf, n);
	o->n = 0;
	return ls_write_all(o->fd, o->buf, n, e);
}

/* Room for n bytes in *p, zeroed. */
static enum ls_rc
out_room(struct out *o, size_t n, uint8_t **p, struct ls_err *e)
{
	enum ls_rc rc;

	if (n > sizeof o->buf - o->n && (rc = out_flush(o, e)) != LS_OK)
		return rc;
	*p = o->buf + o->n;
	memset(*p, 0, n);
	o->n += n;
	return LS_OK;
}

/* Write path whole or not: fill, sync, rename, sync the folder. */
static enum ls_rc
publish(struct ls_pagemap *m, const char *path,
    enum ls_rc (*fill)(struct ls_pagemap *m, const struct state *s,
	struct out *o, struct ls_err *e),
    const struct state *s, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	char *tmp = ls_asprintf("%s.tmp", path);
	struct out *o = ls_alloc(sizeof *o);

	if (tmp == NULL || o == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	o->fd = -1;
	o->n = 0;
	o->crc = 0;
	if ((rc = ls_open(
		 tmp, O_WRONLY | O_CREAT | O_TRUNC, 0600, &o->fd, e)) != LS_OK)
		goto out;
	if ((rc = fill(m, s, o, e)) == LS_OK && (rc = out_flush(o, e)) == LS_OK)
		rc = ls_fsync(o->fd, tmp, e);
	if (ls_sys->close(o->fd) != 0 && rc == LS_OK)
		rc = ls_err_sys(e, errno, "close %s", tmp);
	if (rc == LS_OK)
		rc = ls_rename(tmp, path, e); /* the commit point */
	if (rc != LS_OK)
		(void)ls_sys->unlink(tmp);
	else
		rc = ls_fsync_dir(m->meta, e);
out:
	ls_free(o);
	ls_free(tmp);
	return rc;
}

static enum ls_rc
fill_map(struct ls_pagemap *m, const struct state *s, struct out *o,
    struct ls_err *e)
{
	size_t blocks = pagemap_blocks(m->n);
	enum ls_rc rc;
	uint8_t *p;

	if ((rc = out_room(o, 2 * PM_BLOCK, &p, e)) != LS_OK)
		return rc;
	memcpy(p, map_magic, 8);
	ls_put_be32(p + 8, VERSION);
	ls_put_be32(p + 12, m->page_size);
	ls_put_be64(p + 16, m->last_id);
	ls_put_be64(p + FIRST, ls_crc64(0, p, FIRST));
	state_encode(s, m->last_id, p + PM_BLOCK);
	for (size_t b = 0; b < blocks; b++) {
		if ((rc = out_room(o, PM_BLOCK, &p, e)) != LS_OK)
			return rc;
		block_encode(&m->v[b * PM_ENTRIES], p);
	}
	return LS_OK;
}

static enum ls_rc
fill_redo(struct ls_pagemap *m, const struct state *s, struct out *o,
    struct ls_err *e)
{
	size_t blocks = pagemap_blocks(m->n);
	enum ls_rc rc;
	uint8_t *p;

	if ((rc = out_room(o, REDO_FIXED, &p, e)) != LS_OK)
		return rc;
	memcpy(p, redo_magic, 8);
	ls_put_be32(p + 8, VERSION);
	ls_put_be64(p + 16, m->file_id);
	ls_put_be64(p + 24, m->ndirty);
	state_encode(s, m->file_id, p + REDO_HEAD);
	for (size_t b = 0; b < blocks; b++) {
		if (!m->dirty[b])
			continue;
		if ((rc = out_room(o, REDO_BLOCK, &p, e)) != LS_OK)
			return rc;
		ls_put_be64(p, b);
		block_encode(&m->v[b * PM_ENTRIES], p + 8);
	}
	if ((rc = out_flush(o, e)) != LS_OK ||
	    (rc = out_room(o, 8, &p, e)) != LS_OK)
		return rc;
	ls_put_be64(p, o->crc);
	return LS_OK;
}

/* Write the dirty blocks and the state into the file; the redo has them. */
static enum ls_rc
apply(struct ls_pagemap *m, const struct state *s, struct ls_err *e)
{
	size_t blocks = pagemap_blocks(m->n);
	uint8_t p[PM_BLOCK];
	enum ls_rc rc;
	int fd = -1;

	if ((rc = ls_open(m->path, O_WRONLY, 0, &fd, e)) != LS_OK)
		return rc;
	for (size_t b = 0; rc == LS_OK && b < blocks; b++) {
		if (!m->dirty[b])
			continue;
		block_encode(&m->v[b * PM_ENTRIES], p);
		rc = ls_pwrite_all(fd, p, PM_BLOCK, (b + 2) * PM_BLOCK, e);
	}
	if (rc == LS_OK) {
		state_encode(s, m->file_id, p);
		rc = ls_pwrite_all(fd, p, STATE + 8, PM_BLOCK, e);
	}
	if (rc == LS_OK)
		rc = ls_fsync(fd, m->path, e);
	if (ls_sys->close(fd) != 0 && rc == LS_OK)
		rc = ls_err_sys(e, errno, "close %s", m->path);
	return rc;
}

static enum ls_rc
save_whole(struct ls_pagemap *m, const struct state *s, struct ls_err *e)
{
	int64_t wall = ls_sys->wall_ns();
	uint64_t mix[3] = { m->last_id, (uint64_t)wall, ls_sys->boot_ns() };
	enum ls_rc rc;

	m->last_id = ls_crc64(0, mix, sizeof mix);
	if (m->last_id == 0)
		m->last_id = 1;
	if ((rc = publish(m, m->path, fill_map, s, e)) != LS_OK) {
		m->file_id = 0; /* which file has the name is not known */
		return rc;
	}
	m->file_id = m->last_id;
	m->file_blocks = pagemap_blocks(m->n);
	return LS_OK;
}

static enum ls_rc
save_redo(struct ls_pagemap *m, const struct state *s, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = publish(m, m->redo, fill_redo, s, e)) != LS_OK)
		return rc;
	if ((rc = apply(m, s, e)) != LS_OK) {
		if (rc == LS_ENOTFOUND)
			m->file_id = 0; /* somebody removed it: a new one */
		return rc;
	}
	m->file_blocks = LS_MAX(m->file_blocks, pagemap_blocks(m->n));
	return LS_OK;
}

enum ls_rc
ls_pagemap_save(
    struct ls_pagemap *m, uint64_t txid, uint64_t lineage, struct ls_err *e)
{
	struct state s = { m->n, txid, lineage, m->xor };
	size_t blocks = pagemap_blocks(m->n);
	enum ls_rc rc;

	if (!m->valid)
		return ls_err_set(e, LS_EINVALID, "page map is not valid");
	if (m->file_id != 0 && m->ndirty == 0 && m->saved_n == m->n &&
	    m->txid == txid && m->lineage == lineage)
		return LS_OK;
	if (m->file_id == 0 || m->ndirty > blocks / 2 ||
	    m->file_blocks / 2 > blocks + 8)
		rc = save_whole(m, &s, e);
	else
		rc = save_redo(m, &s, e);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "save page map %s", m->path);
	(void)ls_sys->unlink(m->redo); /* done with; see (2) when it stays */
	if (blocks > 0)
		memset(m->dirty, 0, blocks);
	m->ndirty = 0;
	m->txid = txid;
	m->lineage = lineage;
	m->saved_n = m->n;
	return LS_OK;
}

enum ls_rc
ls_pagemap_wipe(struct ls_pagemap *m, struct ls_err *e)
{
	const char *names[] = { m->path, m->redo };

	pagemap_empty(m);
	for (size_t i = 0; i < LS_COUNT(names); i++)
		if (ls_sys->unlink(names[i]) != 0 && errno != ENOENT)
			return ls_err_sys(e, errno, "remove %s", names[i]);
	return ls_fsync_dir(m->meta, e);
}
