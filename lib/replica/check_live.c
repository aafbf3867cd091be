/* check_live.c -- compare a restored file with the live database.
 *
 * The live database is read as any application would: SQLite's backup copies it
 * page by page under one read transaction, WAL included, and writes nothing to
 * it. What backup sets anew in the copy's page 1 is not compared: file format
 * (18, 19), change counter (24), schema cookie (40), version (92 to 99).
 */
#include "replica/verify.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"
#include "format/ltx.h"

#include <fcntl.h>
#include <sqlite3.h>

enum { BUSY_MS = 5000, HEAD = 100 };

static enum ls_rc
sql_error(struct ls_err *e, sqlite3 *db, int code, const char *what)
{
	enum ls_rc rc = LS_EIO;

	if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
		rc = LS_EBUSY;
	else if (code == SQLITE_NOMEM || db == NULL)
		rc = LS_ENOMEM;
	else if (code == SQLITE_NOTADB)
		rc = LS_ENOTDB;
	return ls_err_set(e, rc, "%s: %s", what,
	    db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(code));
}

static enum ls_rc
copy_live(const char *live, const char *to, struct ls_err *e)
{
	sqlite3 *from = NULL, *db = NULL;
	sqlite3_backup *b = NULL;
	int code, flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
	enum ls_rc rc = LS_OK;

	/* Write access is for the -shm file only, as every reader needs it. */
	if ((code = sqlite3_open_v2(live, &from, flags, NULL)) != SQLITE_OK) {
		rc = sql_error(e, from, code, live);
		goto out;
	}
	(void)sqlite3_busy_timeout(from, BUSY_MS);
	/* A close must not checkpoint behind a daemon's back. */
	(void)sqlite3_db_config(
	    from, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	flags |= SQLITE_OPEN_CREATE;
	if ((code = sqlite3_open_v2(to, &db, flags, NULL)) != SQLITE_OK) {
		rc = sql_error(e, db, code, to);
		goto out;
	}
	(void)sqlite3_exec(db,
	    "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF", NULL, NULL,
	    NULL);
	if ((b = sqlite3_backup_init(db, "main", from, "main")) == NULL)
		rc = sql_error(e, db, sqlite3_errcode(db), to);
	else if ((code = sqlite3_backup_step(b, -1)) != SQLITE_DONE)
		rc = sql_error(e, from, code, live);
	(void)sqlite3_backup_finish(b);
out:
	(void)sqlite3_close(db);
	(void)sqlite3_close(from);
	return rc;
}

static void
blank(uint8_t *page)
{
	page[18] = page[19] = 0;
	memset(page + 24, 0, 4);
	memset(page + 40, 0, 4);
	memset(page + 92, 0, 8);
}

static uint32_t
page_size_of(const uint8_t *head)
{
	uint32_t n = ls_be16(head + 16);

	return n == 1 ? LS_PAGE_MAX : n;
}

static enum ls_rc
compare_pages(int a, int b, uint32_t ps, uint64_t size, uint8_t *buf,
    uint32_t *differs, struct ls_err *e)
{
	uint32_t lock = ls_lock_pgno(ps);
	enum ls_rc rc;

	*differs = 0;
	for (uint64_t off = 0; off < size; off += ps) {
		uint32_t pgno = (uint32_t)(off / ps) + 1;

		if (pgno == lock)
			continue;
		if ((rc = ls_pread_all(a, buf, ps, off, e)) != LS_OK ||
		    (rc = ls_pread_all(b, buf + ps, ps, off, e)) != LS_OK)
			return rc;
		if (pgno == 1) {
			blank(buf);
			blank(buf + ps);
		}
		if (memcmp(buf, buf + ps, ps) != 0) {
			*differs = pgno;
			return LS_OK;
		}
	}
	return LS_OK;
}

static enum ls_rc
compare(
    const char *x, const char *y, bool *equal, uint32_t *pgno, struct ls_err *e)
{
	uint8_t head[HEAD], *buf = NULL;
	int64_t size = ls_file_size(x), other = ls_file_size(y);
	uint32_t ps, differs;
	int a = -1, b = -1;
	enum ls_rc rc;

	if ((rc = ls_open(x, O_RDONLY, 0, &a, e)) != LS_OK ||
	    (rc = ls_open(y, O_RDONLY, 0, &b, e)) != LS_OK ||
	    (rc = ls_pread_all(a, head, sizeof head, 0, e)) != LS_OK)
		goto out;
	ps = page_size_of(head);
	if (!ls_page_size_valid(ps) || size % ps != 0) {
		rc = ls_err_set(e, LS_ECORRUPT, "%s is not a database", x);
		goto out;
	}
	if ((buf = ls_alloc(2 * (size_t)ps)) == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	rc = compare_pages(a, b, ps, (uint64_t)(LS_MIN(size, other) / ps * ps),
	    buf, &differs, e);
	if (rc != LS_OK)
		goto out;
	if (differs == 0 && size != other)
		differs = (uint32_t)(LS_MIN(size, other) / ps) + 1;
	*equal = differs == 0;
	*pgno = differs;
out:
	if (a >= 0)
		(void)ls_sys->close(a);
	if (b >= 0)
		(void)ls_sys->close(b);
	ls_free(buf);
	return rc;
}

enum ls_rc
ls_compare_live(const char *restored, const char *live, bool *equal,
    uint32_t *pgno, struct ls_err *e)
{
	char *copy;
	enum ls_rc rc;

	if (!ls_exists(live))
		return ls_err_set(e, LS_ENOTFOUND, "%s: not found", live);
	if ((copy = ls_asprintf("%s.live", restored)) == NULL)
		return ls_err_nomem(e);
	(void)ls_sys->unlink(copy);
	if ((rc = copy_live(live, copy, e)) == LS_OK)
		rc = compare(restored, copy, equal, pgno, e);
	(void)ls_sys->unlink(copy);
	ls_free(copy);
	return ls_err_wrap(e, rc, "compare with %s", live);
}
