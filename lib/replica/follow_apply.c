/* follow_apply.c -- change a database in place, beside readers.
 *
 * (1) AS SQLITE'S PAGER COMMITS: the old content of every page that changes or
 *     goes is in "<path>-journal", synced, before the first byte of the
 *     database is written; deleting the journal is the commit. Whoever finds
 *     it after a kill, reader or follower, rolls it back. Its header stays
 *     zero until its records are synced, which SQLite takes for "not hot".
 *     (tests: follow_rolls_back_on_fault, test_kills_beside_readers)
 * (2) READERS SEE ALL OR NOTHING: pages are written under EXCLUSIVE, which is
 *     had only while no reader is in a transaction. The journal is made and
 *     the difference found under RESERVED, so they wait for the writing only.
 * (3) CACHES ARE DROPPED: the change counter moves on with each apply, and
 *     version-valid-for with it, so that the size in the header, which is set
 *     too, counts. (test: follow_reader_sees_each_txid)
 * (4) AGAIN IS THE SAME: pages that are there already are left alone, so what
 *     was applied when a crash hid it costs reading only, and a whole source
 *     is applied as a difference. (test: follow_again_changes_nothing)
 * Source of the journal: https://sqlite.org/fileformat2.html#rollbackjournal.
 * Not here: the locks (follow_lock.c), what to apply (follow.c).
 */
#include "replica/follow_apply.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"
#include "format/ltx.h"
#include "replica/follow_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
	DB_HEADER = 100,
	AT_MODE = 18,	/* write and read version: 1 journal, 2 WAL */
	AT_CHANGE = 24, /* change counter */
	AT_PAGES = 28,	/* size in pages */
	AT_VALID = 92,	/* change counter that the size is valid for */
	SECTOR = 512,	/* of the journal: its header, padded */
	JOURNAL_FIELDS = 28,
};

static const uint8_t journal_magic[8] = { 0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1,
	0x63, 0xd7 };

struct apply {
	const char *path;
	const struct ls_apply_src *src;
	const struct ls_call *c;
	char *journal;
	int fd, jfd;
	uint32_t page_size, pages; /* before; page size 0: an empty file */
	uint8_t head[DB_HEADER];   /* before */
	mode_t mode;
	uint32_t nonce, records, changed;
	uint64_t at; /* end of the journal */
	bool page1_came;
	bool written; /* the database may have been touched */
	uint8_t *old, *page1, *record;
	uint8_t *changes; /* a bit a page of the source */
};

/* ---- what is there --------------------------------------------------------*/

static uint32_t
page_size_of(const uint8_t *head)
{
	uint32_t n = ls_be16(head + 16);

	return n == 1 ? LS_PAGE_MAX : n;
}

static enum ls_rc
look(struct apply *a, struct ls_err *e)
{
	struct stat st;
	enum ls_rc rc;

	if (ls_sys->fstat(a->fd, &st) != 0)
		return ls_err_sys(e, errno, "stat %s", a->path);
	a->mode = st.st_mode & 0777;
	a->page_size = a->pages = 0;
	memset(a->head, 0, sizeof a->head);
	if (st.st_size == 0)
		return LS_OK;
	if ((rc = ls_pread_all(a->fd, a->head, DB_HEADER, 0, e)) != LS_OK)
		return rc;
	a->page_size = page_size_of(a->head);
	if (!ls_page_size_valid(a->page_size) ||
	    (uint64_t)st.st_size / a->page_size > UINT32_MAX)
		return ls_err_set(
		    e, LS_ECORRUPT, "%s is not a database", a->path);
	a->pages = (uint32_t)((uint64_t)st.st_size / a->page_size);
	return LS_OK;
}

enum ls_rc
ls_follow_shape(
    const char *path, uint32_t *page_size, uint32_t *pages, struct ls_err *e)
{
	struct apply a = { .path = path, .fd = -1 };
	enum ls_rc rc = ls_open(path, O_RDONLY, 0, &a.fd, e);

	if (rc != LS_OK)
		return rc;
	if ((rc = look(&a, e)) == LS_OK) {
		*page_size = a.page_size;
		*pages = a.pages;
	}
	(void)ls_sys->close(a.fd);
	return rc;
}

enum ls_rc
ls_follow_settle(const char *path, struct ls_apply_mark *mark, struct ls_err *e)
{
	static const uint8_t mode[2] = { 1, 1 };
	uint8_t change[4];
	int fd = -1;
	enum ls_rc rc = ls_open(path, O_RDWR, 0, &fd, e);

	if (rc != LS_OK)
		return rc;
	if ((rc = ls_pread_all(fd, change, 4, AT_CHANGE, e)) == LS_OK &&
	    (rc = ls_pwrite_all(fd, mode, 2, AT_MODE, e)) == LS_OK &&
	    (rc = ls_fsync(fd, path, e)) == LS_OK)
		*mark = (struct ls_apply_mark){ true, ls_be32(change) };
	(void)ls_sys->close(fd);
	return rc;
}

/* Size of "<path><suffix>"; 0 when there is none. */
static int64_t
beside_size(const char *path, const char *suffix)
{
	char *p = ls_asprintf("%s%s", path, suffix);
	int64_t n = p != NULL ? ls_file_size(p) : 0;

	ls_free(p);
	return n > 0 ? n : 0;
}

/* May a source that has only what changed be applied to this file? */
static enum ls_rc
check_base(
    const struct apply *a, const struct ls_apply_mark *m, struct ls_err *e)
{
	if (a->src->whole)
		return LS_OK;
	if (a->page_size != a->src->page_size)
		return ls_err_set(e, LS_EGAP,
		    "the page size changed from %u to %u", a->page_size,
		    a->src->page_size);
	if ((m->known && ls_be32(a->head + AT_CHANGE) != m->change) ||
	    beside_size(a->path, "-wal") > 0)
		return ls_err_set(e, LS_EGAP,
		    "another program wrote to the copy %s", a->path);
	return LS_OK;
}

static enum ls_rc
read_old(struct apply *a, uint32_t pgno, struct ls_err *e)
{
	return ls_pread_all(a->fd, a->old, a->page_size,
	    (uint64_t)(pgno - 1) * a->page_size, e);
}

/* Is page 1 what we made of this data, but for what each apply sets? */
static bool
same_page1(const struct apply *a, const uint8_t *data)
{
	uint8_t want[DB_HEADER];

	memcpy(want, data, DB_HEADER);
	memcpy(want + AT_CHANGE, a->old + AT_CHANGE, 4);
	memcpy(want + AT_VALID, a->old + AT_VALID, 4);
	memset(want + AT_MODE, 1, 2);
	ls_put_be32(want + AT_PAGES, a->src->commit);
	return memcmp(want, a->old, DB_HEADER) == 0 &&
	       memcmp(data + DB_HEADER, a->old + DB_HEADER,
		   a->page_size - DB_HEADER) == 0;
}

/* Does the file hold this page already? Its old content is in a->old then, if
 * it had one. */
static enum ls_rc
compare(struct apply *a, uint32_t pgno, const uint8_t *data, bool *same,
    struct ls_err *e)
{
	enum ls_rc rc;

	*same = false;
	if (pgno > a->pages || a->page_size != a->src->page_size)
		return LS_OK;
	if ((rc = read_old(a, pgno, e)) == LS_OK)
		*same = pgno == 1 ? same_page1(a, data)
				  : memcmp(data, a->old, a->page_size) == 0;
	return rc;
}

/* ---- the journal ----------------------------------------------------------*/

/* Source: pager_cksum of pager.c. */
static uint32_t
journal_sum(uint32_t nonce, const uint8_t *page, uint32_t page_size)
{
	for (uint32_t i = page_size - 200; (int32_t)i > 0; i -= 200)
		nonce += page[i];
	return nonce;
}

/* The content of a->old, which is page pgno's. */
static enum ls_rc
journal_old(struct apply *a, uint32_t pgno, struct ls_err *e)
{
	size_t n = (size_t)a->page_size + 8;
	enum ls_rc rc;

	ls_put_be32(a->record, pgno);
	memcpy(a->record + 4, a->old, a->page_size);
	ls_put_be32(a->record + 4 + a->page_size,
	    journal_sum(a->nonce, a->old, a->page_size));
	if ((rc = ls_pwrite_all(a->jfd, a->record, n, a->at, e)) != LS_OK)
		return ls_err_wrap(e, rc, "write %s", a->journal);
	a->at += n;
	a->records++;
	return LS_OK;
}

/* Pages first..last, the lock page aside. */
static enum ls_rc
journal_range(struct apply *a, uint32_t first, uint32_t last, struct ls_err *e)
{
	uint32_t lock = a->page_size ? ls_lock_pgno(a->page_size) : 0;
	enum ls_rc rc;

	for (uint32_t p = first; p <= last && p >= first; p++)
		if (p != lock && ((rc = ls_call_check(a->c, e)) != LS_OK ||
				     (rc = read_old(a, p, e)) != LS_OK ||
				     (rc = journal_old(a, p, e)) != LS_OK))
			return rc;
	return LS_OK;
}

static enum ls_rc
journal_page(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	struct apply *a = arg;
	bool same;
	enum ls_rc rc;

	if ((rc = ls_call_check(a->c, e)) != LS_OK ||
	    (rc = compare(a, pgno, data, &same, e)) != LS_OK)
		return rc;
	if (pgno == 1) {
		memcpy(a->page1, data, a->src->page_size);
		a->page1_came = true;
	}
	if (same)
		return LS_OK;
	a->changed++;
	a->changes[pgno / 8] |= (uint8_t)(1 << pgno % 8);
	if (pgno == 1 || pgno > a->pages || a->page_size != a->src->page_size)
		return LS_OK; /* page 1, or all, are in the journal already */
	return journal_old(a, pgno, e);
}

static enum ls_rc
journal_open(struct apply *a, struct ls_err *e)
{
	uint64_t now = (uint64_t)ls_sys->wall_ns();

	a->nonce = (uint32_t)(now ^ now >> 32 ^ (uint64_t)getpid() << 16);
	a->at = SECTOR;
	return ls_open(
	    a->journal, O_RDWR | O_CREAT | O_TRUNC, a->mode, &a->jfd, e);
}

/* Records to the disk, and only then the header that makes them count. */
static enum ls_rc
journal_seal(struct apply *a, struct ls_err *e)
{
	uint8_t h[JOURNAL_FIELDS];
	enum ls_rc rc;

	memcpy(h, journal_magic, 8);
	ls_put_be32(h + 8, a->records);
	ls_put_be32(h + 12, a->nonce);
	ls_put_be32(h + 16, a->pages);
	ls_put_be32(h + 20, SECTOR);
	ls_put_be32(h + 24, a->page_size ? a->page_size : a->src->page_size);
	if (a->records == 0 && /* nothing behind the header: fill its sector */
	    ls_sys->ftruncate(a->jfd, SECTOR) != 0)
		return ls_err_sys(e, errno, "write %s", a->journal);
	if ((rc = ls_fsync(a->jfd, a->journal, e)) != LS_OK ||
	    (rc = ls_pwrite_all(a->jfd, h, sizeof h, 0, e)) != LS_OK ||
	    (rc = ls_fsync(a->jfd, a->journal, e)) != LS_OK)
		return rc;
	return ls_fsync_dir_of(a->path, e);
}

/* Everything that will change, into the journal. */
static enum ls_rc
journal_all(struct apply *a, struct ls_err *e)
{
	const struct ls_apply_src *s = a->src;
	bool sized = a->page_size == s->page_size;
	enum ls_rc rc;

	if ((rc = journal_open(a, e)) != LS_OK)
		return rc;
	rc = journal_range(a, 1, sized ? LS_MIN(a->pages, 1u) : a->pages, e);
	if (rc != LS_OK ||
	    (rc = s->each(s->arg, NULL, journal_page, a, e)) != LS_OK)
		return rc;
	if (!sized || s->commit != a->pages || a->head[AT_MODE] != 1)
		a->changed++;
	if (sized && s->commit < a->pages)
		rc = journal_range(a, s->commit + 1, a->pages, e);
	if (rc == LS_OK && a->changed > 0)
		rc = journal_seal(a, e);
	return rc;
}

/* ---- the database ---------------------------------------------------------*/

static enum ls_rc
write_page(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	struct apply *a = arg;

	if (pgno == 1 || !(a->changes[pgno / 8] & 1 << pgno % 8))
		return LS_OK; /* write_page1; or the same as before */
	return ls_pwrite_all(a->fd, data, a->src->page_size,
	    (uint64_t)(pgno - 1) * a->src->page_size, e);
}

static enum ls_rc
write_page1(struct apply *a, struct ls_apply_mark *m, struct ls_err *e)
{
	uint32_t change = ls_be32(a->head + AT_CHANGE) + 1;
	enum ls_rc rc;

	if (!a->page1_came) {
		if ((rc = read_old(a, 1, e)) != LS_OK)
			return rc;
		memcpy(a->page1, a->old, a->page_size);
	}
	memset(a->page1 + AT_MODE, 1, 2);
	ls_put_be32(a->page1 + AT_CHANGE, change);
	ls_put_be32(a->page1 + AT_VALID, change);
	ls_put_be32(a->page1 + AT_PAGES, a->src->commit);
	rc = ls_pwrite_all(a->fd, a->page1, a->src->page_size, 0, e);
	if (rc == LS_OK)
		*m = (struct ls_apply_mark){ true, change };
	return rc;
}

static void
drop_beside(const char *path, const char *suffix)
{
	char *p = ls_asprintf("%s%s", path, suffix);

	if (p != NULL)
		(void)ls_sys->unlink(p);
	ls_free(p);
}

/* Under EXCLUSIVE. A WAL that lies here is from a life that ended. */
static enum ls_rc
write_all(struct apply *a, struct ls_apply_mark *m, struct ls_err *e)
{
	uint64_t size = (uint64_t)a->src->commit * a->src->page_size;
	struct ls_apply_mark mark;
	enum ls_rc rc;

	a->written = true;
	if ((rc = a->src->each(a->src->arg, a->changes, write_page, a, e)) !=
		LS_OK ||
	    (rc = write_page1(a, &mark, e)) != LS_OK)
		return rc;
	if (ls_sys->ftruncate(a->fd, (off_t)size) != 0)
		return ls_err_sys(e, errno, "truncate %s", a->path);
	if ((rc = ls_fsync(a->fd, a->path, e)) != LS_OK)
		return rc;
	drop_beside(a->path, "-wal");
	drop_beside(a->path, "-shm");
	if (ls_sys->unlink(a->journal) != 0) /* the commit point */
		return ls_err_sys(e, errno, "remove %s", a->journal);
	a->written = false;
	*m = mark;
	return ls_fsync_dir_of(a->path, e);
}

/* ---- all of it ------------------------------------------------------------*/

/* RESERVED, and no hot journal left. */
static enum ls_rc
reserve(struct apply *a, struct ls_err *e)
{
	enum { TRIES = 3 };
	enum ls_rc rc;

	for (int i = 0; i < TRIES; i++) {
		uint8_t first = 0;

		if ((rc = ls_follow_recover(a->path, e)) != LS_OK ||
		    (rc = ls_open(a->path, O_RDWR, 0, &a->fd, e)) != LS_OK ||
		    (rc = ls_lock_reserve(a->fd, a->c, e)) != LS_OK)
			return rc;
		if (beside_size(a->path, "-journal") == 0)
			return LS_OK;
		if ((rc = ls_open(a->journal, O_RDONLY, 0, &a->jfd, e)) !=
		    LS_OK)
			return rc;
		rc = ls_pread_all(a->jfd, &first, 1, 0, e);
		(void)ls_sys->close(a->jfd);
		a->jfd = -1;
		if (rc != LS_OK || first == 0) /* 0: a journal that is over */
			return rc;
		(void)ls_sys->close(a->fd);
		a->fd = -1;
	}
	return ls_err_set(
	    e, LS_EBUSY, "%s comes back all the time", a->journal);
}

static enum ls_rc
run(struct apply *a, struct ls_apply_mark *m, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = reserve(a, e)) != LS_OK || (rc = look(a, e)) != LS_OK ||
	    (rc = check_base(a, m, e)) != LS_OK ||
	    (rc = journal_all(a, e)) != LS_OK)
		return rc;
	if (a->changed == 0) {
		*m = (struct ls_apply_mark){ true,
			ls_be32(a->head + AT_CHANGE) };
		return LS_OK;
	}
	if ((rc = ls_lock_exclusive(a->fd, a->c, e)) != LS_OK)
		return rc;
	return write_all(a, m, e);
}

/* A journal that was not needed goes while RESERVED is held; one that is needed
 * is rolled back, now or by the next who looks. */
static void
finish(struct apply *a)
{
	if (a->jfd >= 0 && !a->written)
		(void)ls_sys->unlink(a->journal);
	if (a->jfd >= 0)
		(void)ls_sys->close(a->jfd);
	if (a->fd >= 0)
		(void)ls_sys->close(a->fd);
	if (a->written && ls_follow_recover(a->path, NULL) != LS_OK)
		return; /* it is hot: the next step tries again */
}

enum ls_rc
ls_follow_apply(const char *path, const struct ls_apply_src *src,
    struct ls_apply_mark *mark, const struct ls_call *c, struct ls_err *e)
{
	struct apply a = {
		.path = path, .src = src, .c = c, .fd = -1, .jfd = -1
	};
	enum ls_rc rc;

	a.journal = ls_asprintf("%s-journal", path);
	a.old = ls_alloc(LS_PAGE_MAX);
	a.page1 = ls_alloc(LS_PAGE_MAX);
	a.record = ls_alloc(LS_PAGE_MAX + 8);
	a.changes = ls_zalloc((size_t)src->commit / 8 + 1);
	if (a.journal == NULL || a.old == NULL || a.page1 == NULL ||
	    a.record == NULL || a.changes == NULL) {
		rc = ls_err_nomem(e);
	} else {
		rc = run(&a, mark, e);
		finish(&a);
	}
	ls_free(a.journal);
	ls_free(a.old);
	ls_free(a.page1);
	ls_free(a.record);
	ls_free(a.changes);
	return ls_err_wrap(e, rc, "apply to %s", path);
}
