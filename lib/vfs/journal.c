/* journal.c -- the write buffer's file. See journal.h.
 *
 * (1) WHAT WAS APPENDED IS WHOLE OR NOT THERE. Every head and every
 *     transaction carry a CRC, and the salt of this very file, so a torn write,
 *     or bytes of an earlier life, end the reading there. What follows a torn
 *     entry was never acknowledged as durable: entries are synced in order.
 *     (test: torn_tail_is_cut)
 * (2) A TRANSACTION THAT WAS ROLLED BACK AFTER ITS FIRST PHASE IS CUT OFF
 *     before anything else is said, so an entry that is there counts. Between
 *     the phases the process may die: nobody was told anything then, and one
 *     database may fall either way. With several databases SQLite's
 *     super-journal decides, whose name is in the entry: while that file
 *     exists they are all rolled back. One sync a commit is enough so.
 *     (test: undone_is_not_replayed, super_journal_decides)
 * (3) THE DESCRIPTOR OUTLIVES THE NAME. A new file takes the name by rename,
 *     with what is still pending; readers of an older state keep the old one.
 *     (test: old_readers_keep_the_old_file)
 * (4) ONE PROCESS A BUFFER, by an OFD lock on <path>.lock, which is never
 *     removed: two who lock different files of one name exclude nobody. It
 *     says where the last one left the store, as the next one may have looked
 *     before that. A fork shares the lock, so it is undone and not only
 *     closed. (test: second_opener_is_locked_out, next_owner_is_told)
 * (5) A FAILED APPEND LEAVES THE FILE AS IT WAS: its room is taken before a
 *     byte is written, the end is remembered, and the next append writes there.
 *     (test: append_is_all_or_nothing_under_any_fault)
 * (6) A FULL DISK DOES NOT KEEP US FROM EMPTYING THE BUFFER: behind the last
 *     transaction there is always room for notes.
 *     (test: test_write_faults.py test_buffer_disk_full)
 */
#include "vfs/journal.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/units.h"
#include "format/crc64.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

enum {
	VERSION = 1,
	PIECE = 1 << 20,
	PAGES_MOST = 1 << 30,
	ROOM = 64 * LS_JHEAD, /* for notes (6) */
	T_FILE = 1,
	T_TXN = 2,
	T_SEAL = 3,
	T_DONE = 4,
	T_VOID = 5,
};
static const char magic[8] = "LSVBUF1\n";

struct ls_journal {
	char *path, *lock_path, *put;
	uint64_t id;
	int lock_fd;
	struct ls_local *file; /* NULL: none */
	uint64_t salt, end;
	bool dirty;   /* not synced since it was written */
	bool unnamed; /* nor is its name */
	struct ls_buf buf;
};

struct head {
	uint32_t type;
	uint64_t salt, seq, id;
	uint64_t at; /* of the entry itself */
	uint32_t n, super_n;
	uint32_t page_size, commit;
	int64_t timestamp_ms;
	struct ls_jbase base;
};

/* ---- heads ----------------------------------------------------------------*/

static void
head_encode(const struct head *h, uint8_t p[static LS_JHEAD])
{
	memset(p, 0, LS_JHEAD);
	memcpy(p, magic, sizeof magic);
	ls_put_be32(p + 8, VERSION);
	ls_put_be32(p + 12, h->type);
	ls_put_be64(p + 16, h->salt);
	ls_put_be64(p + 24, h->seq);
	ls_put_be64(p + 32, h->id);
	ls_put_be64(p + 40, h->at);
	ls_put_be32(p + 48, h->n);
	ls_put_be32(p + 52, h->super_n);
	ls_put_be32(p + 56, h->page_size);
	ls_put_be32(p + 60, h->commit);
	ls_put_be64(p + 64, (uint64_t)h->timestamp_ms);
	ls_put_be64(p + 72, h->base.txid);
	ls_put_be64(p + 80, h->base.lineage);
	ls_put_be64(p + 88, (uint64_t)h->base.timestamp_ms);
	ls_put_be32(p + 96, h->base.page_size);
	ls_put_be32(p + 100, h->base.commit);
	ls_put_be64(p + LS_JHEAD - 8, ls_crc64(0, p, LS_JHEAD - 8));
}

static bool
head_decode(const uint8_t p[static LS_JHEAD], struct head *h)
{
	if (memcmp(p, magic, sizeof magic) != 0 || ls_be32(p + 8) != VERSION ||
	    ls_be64(p + LS_JHEAD - 8) != ls_crc64(0, p, LS_JHEAD - 8))
		return false;
	*h = (struct head){ .type = ls_be32(p + 12),
		.salt = ls_be64(p + 16),
		.seq = ls_be64(p + 24),
		.id = ls_be64(p + 32),
		.at = ls_be64(p + 40),
		.n = ls_be32(p + 48),
		.super_n = ls_be32(p + 52),
		.page_size = ls_be32(p + 56),
		.commit = ls_be32(p + 60),
		.timestamp_ms = (int64_t)ls_be64(p + 64),
		.base = { .txid = ls_be64(p + 72),
		    .lineage = ls_be64(p + 80),
		    .timestamp_ms = (int64_t)ls_be64(p + 88),
		    .page_size = ls_be32(p + 96),
		    .commit = ls_be32(p + 100) } };
	return true;
}

void
ls_jrec_fini(struct ls_jrec *r)
{
	ls_free(r->pgno);
	r->pgno = NULL;
}

void
ls_jfound_fini(struct ls_jfound *f)
{
	for (size_t i = 0; i < f->n; i++)
		ls_jrec_fini(&f->rec[i]);
	ls_free(f->rec);
	*f = (struct ls_jfound){ 0 };
}

/* ---- reading --------------------------------------------------------------*/

static uint64_t
body_size(const struct head *h)
{
	return (uint64_t)h->n * (4 + (uint64_t)h->page_size) + h->super_n;
}

/* CRC of what lies between; reads it all. */
static enum ls_rc
crc_of(struct ls_journal *j, uint64_t from, uint64_t n, uint64_t *crc,
    struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	*crc = 0;
	ls_buf_clear(&j->buf);
	if ((rc = ls_buf_reserve(&j->buf, PIECE, e)) != LS_OK)
		return rc;
	while (rc == LS_OK && n > 0) {
		size_t k = (size_t)LS_MIN(n, (uint64_t)PIECE);

		rc = ls_pread_all(j->file->fd, j->buf.p, k, from, e);
		if (rc == LS_OK)
			*crc = ls_crc64(*crc, j->buf.p, k);
		from += k;
		n -= k;
	}
	return rc;
}

static enum ls_rc
read_pgnos(struct ls_journal *j, const struct head *h, struct ls_jrec *r,
    bool *ok, struct ls_err *e)
{
	enum ls_rc rc;

	*r = (struct ls_jrec){ .seq = h->seq,
		.page_size = h->page_size,
		.commit = h->commit,
		.timestamp_ms = h->timestamp_ms,
		.store_decides = h->base.txid != 0,
		.n = h->n,
		.at = h->at,
		.pages_at = h->at + LS_JHEAD + 4ull * h->n + h->super_n };
	r->end = r->pages_at + (uint64_t)h->n * h->page_size + 8;
	if ((r->pgno = ls_alloc(4ull * h->n + 4)) == NULL)
		return ls_err_nomem(e);
	rc = ls_pread_all(
	    j->file->fd, r->pgno, 4ull * h->n, h->at + LS_JHEAD, e);
	*ok = true;
	for (uint32_t i = 0; rc == LS_OK && i < h->n; i++) {
		r->pgno[i] = ls_be32(&r->pgno[i]);
		if (r->pgno[i] > h->commit || r->pgno[i] == 0 ||
		    (i > 0 && r->pgno[i] <= r->pgno[i - 1]))
			*ok = false;
	}
	return rc;
}

/* Is the entry of a transaction whole, and was it not rolled back? */
static enum ls_rc
read_txn(struct ls_journal *j, const struct head *h, uint64_t size,
    struct ls_jrec *r, bool *ok, struct ls_err *e)
{
	char super[LS_JSUPER_MAX + 1] = "";
	uint8_t tail[8];
	uint64_t crc;
	enum ls_rc rc;

	*ok = ls_page_size_valid(h->page_size) && h->n <= PAGES_MOST &&
	      h->super_n <= LS_JSUPER_MAX &&
	      h->at + LS_JHEAD + body_size(h) + 8 <= size;
	if (!*ok)
		return LS_OK;
	if ((rc = read_pgnos(j, h, r, ok, e)) != LS_OK || !*ok ||
	    (rc = crc_of(j, h->at + LS_JHEAD, body_size(h), &crc, e)) !=
		LS_OK ||
	    (rc = ls_pread_all(j->file->fd, tail, 8, r->end - 8, e)) != LS_OK)
		return rc;
	*ok = ls_be64(tail) == crc;
	if (*ok && h->super_n > 0) { /* (2) */
		rc = ls_pread_all(j->file->fd, super, h->super_n,
		    h->at + LS_JHEAD + 4ull * h->n, e);
		*ok = rc == LS_OK && !ls_exists(super);
	}
	return rc;
}

static enum ls_rc
add_rec(struct ls_jfound *f, struct ls_jrec *r, struct ls_err *e)
{
	struct ls_jrec *v;

	if ((f->n & (f->n - 1)) == 0) {
		v = ls_realloc(f->rec, (f->n ? 2 * f->n : 1) * sizeof *v);
		if (v == NULL)
			return ls_err_nomem(e);
		f->rec = v;
	}
	f->rec[f->n++] = *r;
	r->pgno = NULL;
	return LS_OK;
}

static void
forget(struct ls_jfound *f, uint64_t from, uint64_t to)
{
	size_t kept = 0;

	for (size_t i = 0; i < f->n; i++)
		if (f->rec[i].seq >= from && f->rec[i].seq <= to)
			ls_jrec_fini(&f->rec[i]);
		else
			f->rec[kept++] = f->rec[i];
	f->n = kept;
}

/* One entry at j->end. *ok false: nothing whole is there. */
static enum ls_rc
read_entry(struct ls_journal *j, uint64_t size, struct ls_jfound *f, bool *ok,
    struct ls_err *e)
{
	uint8_t p[LS_JHEAD];
	struct head h;
	struct ls_jrec r = { 0 };
	enum ls_rc rc;

	*ok = false;
	if (j->end + LS_JHEAD > size)
		return LS_OK;
	rc = ls_pread_all(j->file->fd, p, sizeof p, j->end, e);
	if (rc != LS_OK || !head_decode(p, &h) || h.salt != j->salt ||
	    h.at != j->end)
		return rc;
	*ok = true;
	switch (h.type) {
	case T_TXN:
		rc = read_txn(j, &h, size, &r, ok, e);
		if (rc == LS_OK && *ok) {
			j->end = r.end;
			rc = add_rec(f, &r, e);
		}
		ls_jrec_fini(&r);
		return rc;
	case T_SEAL: f->sealed = h.seq; break;
	case T_VOID:
		forget(f, h.seq, h.seq);
		if (f->sealed >= h.seq)
			f->sealed = 0; /* that file had it too */
		break;
	case T_DONE:
		forget(f, 0, h.seq);
		f->base = h.base;
		f->sealed = 0;
		break;
	default: *ok = false; return LS_OK;
	}
	j->end += LS_JHEAD;
	return LS_OK;
}

static enum ls_rc
read_all(struct ls_journal *j, struct ls_jfound *f, struct ls_err *e)
{
	uint8_t p[LS_JHEAD];
	struct stat st;
	struct head h;
	bool ok = true;
	enum ls_rc rc;

	if (ls_sys->fstat(j->file->fd, &st) != 0)
		return ls_err_sys(e, errno, "stat %s", j->path);
	rc = ls_pread_all(j->file->fd, p, sizeof p, 0, e);
	if (rc != LS_OK && rc != LS_ESHORT)
		return rc;
	if (rc == LS_ESHORT || !head_decode(p, &h) || h.type != T_FILE)
		return ls_err_set(e, LS_ECORRUPT,
		    "%s is not a write buffer of litestream-vfs", j->path);
	if (h.id != j->id)
		return ls_err_set(e, LS_EINVALID,
		    "the write buffer %s belongs to another replica", j->path);
	f->base = h.base;
	j->salt = h.salt;
	j->end = LS_JHEAD;
	while (rc == LS_OK && ok)
		rc = read_entry(j, (uint64_t)st.st_size, f, &ok, e);
	/* What is behind the end is torn: it must not come back. */
	if (rc == LS_OK && (uint64_t)st.st_size > j->end &&
	    ls_sys->ftruncate(j->file->fd, (off_t)j->end) != 0)
		rc = ls_err_sys(e, errno, "truncate %s", j->path);
	return rc;
}

/* ---- life -----------------------------------------------------------------*/

static enum ls_rc
lock(struct ls_journal *j, struct ls_err *e)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	enum ls_rc rc = ls_open(
	    j->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600, &j->lock_fd, e);

	if (rc != LS_OK || ls_sys->lock_range(j->lock_fd, &all) == 0)
		return rc;
	(void)ls_err_set(e, LS_ELOCKED,
	    "another process writes through the buffer %s", j->path);
	return ls_err_hint(e, LS_ELOCKED,
	    "give each process a buffer of its own, or let one write");
}

/* Anything odd: further than we know, so that we look. */
static uint64_t
read_left(const struct ls_journal *j)
{
	char text[LS_TXID_TEXT + 1] = "";
	uint64_t txid = 0;
	ssize_t n = ls_sys->pread(j->lock_fd, text, sizeof text - 1, 0);

	if (n == 0)
		return 0;
	text[LS_TXID_TEXT - 1] = '\0';
	if (n < 0 || ls_txid_parse(text, &txid, NULL) != LS_OK)
		return UINT64_MAX;
	return txid;
}

void
ls_journal_leave(struct ls_journal *j, uint64_t txid)
{
	char text[LS_TXID_TEXT + 1];

	(void)snprintf(
	    text, sizeof text, "%016llx\n", (unsigned long long)txid);
	if (ls_pwrite_all(j->lock_fd, text, sizeof text - 1, 0, NULL) != LS_OK)
		ls_debug("cannot write beside the lock",
		    LS_ATTRS(LS_S("path", j->lock_path)));
}

static void
unlock(struct ls_journal *j)
{
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (j->lock_fd < 0)
		return;
	(void)ls_sys->lock_range(j->lock_fd, &all); /* (4) */
	(void)ls_sys->close(j->lock_fd);
}

static enum ls_rc
open_file(struct ls_journal *j, struct ls_jfound *f, struct ls_err *e)
{
	int fd = -1;
	enum ls_rc rc = ls_open(j->path, O_RDWR | O_CLOEXEC, 0, &fd, e);

	if (rc == LS_ENOTFOUND) {
		if (e != NULL)
			*e = (struct ls_err){ 0 };
		return LS_OK;
	}
	if (rc == LS_OK && ls_file_size(j->path) == 0) {
		(void)ls_sys->close(fd); /* none yet: it needs its head */
		return LS_OK;
	}
	if (rc == LS_OK && (j->file = ls_local_new(fd)) == NULL)
		return ls_err_nomem(e);
	if (rc == LS_OK)
		rc = read_all(j, f, e);
	return ls_err_wrap(e, rc, "write buffer");
}

enum ls_rc
ls_journal_open(const char *path, const char *id, struct ls_journal **out,
    struct ls_jfound *found, struct ls_err *e)
{
	struct ls_journal *j = ls_zalloc(sizeof *j);
	enum ls_rc rc;

	if (j == NULL)
		return ls_err_nomem(e);
	*found = (struct ls_jfound){ 0 };
	j->lock_fd = -1;
	j->id = ls_crc64(0, id, strlen(id));
	ls_buf_init(&j->buf, PIECE + LS_PAGE_MAX + LS_JSUPER_MAX);
	j->path = ls_strdup(path);
	j->lock_path = ls_asprintf("%s.lock", path);
	j->put = ls_asprintf("%s.ltx", path);
	if (j->path == NULL || j->lock_path == NULL || j->put == NULL)
		rc = ls_err_nomem(e);
	else if ((rc = lock(j, e)) == LS_OK &&
		 (rc = open_file(j, found, e)) == LS_OK)
		found->left_txid = read_left(j);
	if (rc == LS_OK) {
		*out = j;
		return LS_OK;
	}
	ls_jfound_fini(found);
	ls_journal_close(j, false);
	return rc;
}

void
ls_journal_close(struct ls_journal *j, bool empty)
{
	if (j == NULL)
		return;
	if (empty && j->file != NULL)
		(void)ls_sys->unlink(j->path);
	if (empty)
		(void)ls_sys->unlink(j->put);
	ls_local_unref(j->file);
	unlock(j);
	ls_buf_free(&j->buf);
	ls_free(j->path);
	ls_free(j->lock_path);
	ls_free(j->put);
	ls_free(j);
}

const char *
ls_journal_path(const struct ls_journal *j)
{
	return j->path;
}

const char *
ls_journal_put_path(const struct ls_journal *j)
{
	return j->put;
}

uint64_t
ls_journal_size(const struct ls_journal *j)
{
	return j->file ? j->end : 0;
}

struct ls_local *
ls_journal_file(struct ls_journal *j)
{
	return j->file;
}

/* ---- writing --------------------------------------------------------------*/

/* Bytes at *at; what goes behind them is the next. */
struct out {
	int fd;
	uint64_t at, crc;
	struct ls_buf *buf;
};

static enum ls_rc
flush(struct out *o, struct ls_err *e)
{
	enum ls_rc rc = ls_pwrite_all(o->fd, o->buf->p, o->buf->n, o->at, e);

	o->at += o->buf->n;
	ls_buf_clear(o->buf);
	return rc;
}

static enum ls_rc
add(struct out *o, const void *p, size_t n, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	if (o->buf->n + n > PIECE && (rc = flush(o, e)) != LS_OK)
		return rc;
	o->crc = ls_crc64(o->crc, p, n);
	return ls_buf_add(o->buf, p, n, e);
}

static enum ls_rc
add_head(struct out *o, const struct head *h, struct ls_err *e)
{
	uint8_t p[LS_JHEAD];

	head_encode(h, p);
	return add(o, p, sizeof p, e);
}

static enum ls_rc
add_pages(struct out *o, const struct ls_jrec *r, ls_jpage *page, void *arg,
    struct ls_err *e)
{
	const uint8_t *p;
	enum ls_rc rc = LS_OK;

	for (uint32_t i = 0; rc == LS_OK && i < r->n; i++)
		if ((rc = page(arg, r->pgno[i], &p, e)) == LS_OK)
			rc = add(o, p, r->page_size, e);
	return rc;
}

/* The whole entry of r at o; sets its places. */
static enum ls_rc
put_txn(struct out *o, uint64_t salt, struct ls_jrec *r, const char *super,
    ls_jpage *page, void *arg, struct ls_err *e)
{
	struct head h = { .type = T_TXN,
		.salt = salt,
		.seq = r->seq,
		.at = o->at + o->buf->n,
		.n = r->n,
		.super_n = super ? (uint32_t)strlen(super) : 0,
		.page_size = r->page_size,
		.commit = r->commit,
		.timestamp_ms = r->timestamp_ms,
		.base = { .txid = r->store_decides } };
	uint8_t be[8];
	enum ls_rc rc = add_head(o, &h, e);

	o->crc = 0; /* the head has its own */
	for (uint32_t i = 0; rc == LS_OK && i < r->n; i++) {
		ls_put_be32(be, r->pgno[i]);
		rc = add(o, be, 4, e);
	}
	if (rc == LS_OK && super != NULL)
		rc = add(o, super, h.super_n, e);
	if (rc == LS_OK)
		rc = add_pages(o, r, page, arg, e);
	ls_put_be64(be, o->crc);
	if (rc == LS_OK)
		rc = add(o, be, 8, e);
	if (rc == LS_OK)
		rc = flush(o, e);
	r->at = h.at;
	r->pages_at = h.at + LS_JHEAD + 4ull * h.n + h.super_n;
	r->end = o->at;
	return rc;
}

static struct out
out_at(struct ls_journal *j, int fd, uint64_t at)
{
	ls_buf_clear(&j->buf);
	return (struct out){ fd, at, 0, &j->buf };
}

/* Room for n bytes at off, and for notes behind them. */
static enum ls_rc
take_room(int fd, uint64_t off, uint64_t n, struct ls_err *e)
{
	int err = ls_sys->fallocate(fd, (off_t)off, (off_t)(n + ROOM));

	if (err == 0 || err == EOPNOTSUPP || err == EINVAL)
		return LS_OK; /* or the file system cannot promise any */
	return ls_err_sys(e, err, "room for %llu bytes", (unsigned long long)n);
}

enum ls_rc
ls_journal_append(struct ls_journal *j, struct ls_jrec *r, const char *super,
    ls_jpage *page, void *arg, struct ls_err *e)
{
	struct out o = out_at(j, j->file->fd, j->end);
	uint64_t n = LS_JHEAD + r->n * (4 + (uint64_t)r->page_size) +
		     (super ? strlen(super) : 0) + 8;
	enum ls_rc rc;

	if (super != NULL && strlen(super) > LS_JSUPER_MAX)
		return ls_err_set(e, LS_EINVALID,
		    "the name of the super-journal is too long");
	rc = take_room(j->file->fd, j->end, n, e);
	if (rc == LS_OK)
		rc = put_txn(&o, j->salt, r, super, page, arg, e);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "write buffer %s", j->path);
	j->end = r->end;
	j->dirty = true;
	return LS_OK;
}

enum ls_rc
ls_journal_sync(struct ls_journal *j, struct ls_err *e)
{
	enum ls_rc rc;

	if (!j->dirty || j->file == NULL)
		return LS_OK;
	if ((rc = ls_fsync(j->file->fd, j->path, e)) != LS_OK ||
	    (j->unnamed && (rc = ls_fsync_dir_of(j->path, e)) != LS_OK))
		return rc;
	j->dirty = j->unnamed = false;
	return LS_OK;
}

static enum ls_rc
note(struct ls_journal *j, const struct head *h, struct ls_err *e)
{
	struct out o = out_at(j, j->file->fd, j->end);
	enum ls_rc rc;

	if ((rc = add_head(&o, h, e)) != LS_OK || (rc = flush(&o, e)) != LS_OK)
		return ls_err_wrap(e, rc, "write buffer %s", j->path);
	j->end = o.at;
	j->dirty = true;
	return LS_OK;
}

enum ls_rc
ls_journal_undo(struct ls_journal *j, const struct ls_jrec *r, struct ls_err *e)
{
	static const uint8_t nothing[LS_JHEAD];
	struct head h = {
		.type = T_VOID, .salt = j->salt, .seq = r->seq, .at = j->end
	};
	enum ls_rc rc;

	if (j->end != r->end) { /* notes lie behind it */
		rc = note(j, &h, e);
		return rc == LS_OK ? ls_journal_sync(j, e) : rc;
	}
	/* Not truncated: the room stays ours (6). */
	rc = ls_pwrite_all(j->file->fd, nothing, sizeof nothing, r->at, e);
	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "write buffer %s", j->path);
	j->end = r->at;
	j->dirty = true;
	return ls_journal_sync(j, e);
}

enum ls_rc
ls_journal_seal(struct ls_journal *j, uint64_t seq, struct ls_err *e)
{
	struct head h = {
		.type = T_SEAL, .salt = j->salt, .seq = seq, .at = j->end
	};
	enum ls_rc rc = note(j, &h, e);

	return rc == LS_OK ? ls_journal_sync(j, e) : rc;
}

enum ls_rc
ls_journal_done(struct ls_journal *j, uint64_t seq, const struct ls_jbase *base,
    struct ls_err *e)
{
	struct head h = { .type = T_DONE,
		.salt = j->salt,
		.seq = seq,
		.at = j->end,
		.base = *base };

	return note(j, &h, e);
}

/* ---- a new file -----------------------------------------------------------*/

struct from_file {
	int fd;
	uint64_t at;
	uint32_t page_size;
	uint8_t *page;
};

/* Pages are asked for in order. */
static enum ls_rc
page_of_file(void *arg, uint32_t pgno, const uint8_t **page, struct ls_err *e)
{
	struct from_file *f = arg;
	enum ls_rc rc = ls_pread_all(f->fd, f->page, f->page_size, f->at, e);

	(void)pgno;
	f->at += f->page_size;
	*page = f->page;
	return rc;
}

static enum ls_rc
write_new(struct ls_journal *j, int fd, const struct head *first,
    struct ls_jrec *moved, size_t n, uint64_t *end, struct ls_err *e)
{
	struct out o = out_at(j, fd, 0);
	struct from_file f = { .page = ls_alloc(LS_PAGE_MAX) };
	enum ls_rc rc;

	if (f.page == NULL)
		return ls_err_nomem(e);
	if ((rc = add_head(&o, first, e)) == LS_OK)
		rc = flush(&o, e);
	for (size_t i = 0; rc == LS_OK && i < n; i++) {
		f.fd = j->file->fd;
		f.at = moved[i].pages_at;
		f.page_size = moved[i].page_size;
		rc = put_txn(
		    &o, first->salt, &moved[i], NULL, page_of_file, &f, e);
	}
	*end = o.at;
	if (rc == LS_OK)
		rc = take_room(fd, o.at, 0, e);
	ls_free(f.page);
	/* An empty one is synced with its first transaction. */
	return rc == LS_OK && n > 0 ? ls_fsync(fd, j->path, e) : rc;
}

static enum ls_rc
publish(struct ls_journal *j, int fd, const char *tmp, uint64_t salt,
    uint64_t end, bool empty, struct ls_err *e)
{
	struct ls_local *l = ls_local_new(fd);
	enum ls_rc rc;

	if (l == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_rename(tmp, j->path, e)) != LS_OK) {
		ls_local_unref(l);
		return rc;
	}
	ls_local_unref(j->file); /* (3) */
	j->file = l;
	j->salt = salt;
	j->end = end;
	j->dirty = j->unnamed = empty;
	return empty ? LS_OK : ls_fsync_dir_of(j->path, e);
}

enum ls_rc
ls_journal_begin(struct ls_journal *j, const struct ls_jbase *base,
    struct ls_jrec *const *keep, size_t nkeep, struct ls_err *e)
{
	struct head h = { .type = T_FILE, .id = j->id, .base = *base };
	struct ls_jrec *moved = ls_alloc((nkeep + 1) * sizeof *moved);
	char *tmp = ls_asprintf("%s.tmp", j->path);
	uint64_t end = 0;
	int fd = -1;
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; moved != NULL && i < nkeep; i++)
		moved[i] = *keep[i];
	if (tmp == NULL || moved == NULL)
		rc = ls_err_nomem(e);
	else if (getrandom(&h.salt, sizeof h.salt, 0) != (ssize_t)sizeof h.salt)
		rc = ls_err_sys(e, errno, "random bytes");
	else if ((rc = ls_open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
		      0600, &fd, e)) == LS_OK &&
		 (rc = write_new(j, fd, &h, moved, nkeep, &end, e)) == LS_OK) {
		rc = publish(j, fd, tmp, h.salt, end, nkeep == 0, e);
		fd = -1;
		for (size_t i = 0; j->salt == h.salt && i < nkeep; i++)
			*keep[i] = moved[i];
	}
	if (fd >= 0)
		(void)ls_sys->close(fd);
	if (rc != LS_OK && tmp != NULL)
		(void)ls_sys->unlink(tmp);
	ls_free(moved);
	ls_free(tmp);
	return ls_err_wrap(e, rc, "make the write buffer %s", j->path);
}

/* ---- set aside ------------------------------------------------------------*/

enum ls_rc
ls_journal_set_aside(struct ls_journal *j, char **as, struct ls_err *e)
{
	char *to = NULL;
	enum ls_rc rc = LS_OK;

	for (int64_t t = ls_sys->wall_ns() / (int64_t)LS_SEC;; t++) {
		ls_free(to);
		to = ls_asprintf("%s.conflict-%lld", j->path, (long long)t);
		if (to == NULL || !ls_exists(to))
			break;
	}
	if (to == NULL)
		rc = ls_err_nomem(e);
	else if (j->file != NULL)
		rc = ls_rename(j->path, to, e);
	if (rc == LS_OK)
		rc = ls_fsync_dir_of(j->path, e);
	if (rc != LS_OK) {
		ls_free(to);
		return rc;
	}
	(void)ls_sys->unlink(j->put); /* made of the same transactions */
	ls_local_unref(j->file);
	j->file = NULL;
	*as = to;
	return LS_OK;
}
