/* check.c -- SQLite's own judgement of a restored file. The only file here
 * that knows SQLite.
 *
 * The file is opened as immutable unless a WAL with content lies beside it: a
 * WAL-mode database is then read without making -wal and -shm files, so
 * nothing is left and nothing is written.
 */
#include "replica/replica.h"

#include "base/file.h"

#include <sqlite3.h>
#include <stdio.h>

/* "file:<path, percent-encoded>?mode=ro&immutable=1"; gives a heap string. */
static char *
uri_of(const char *path, bool immutable)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/._-~";
	size_t n = strlen(path), at = 5;
	char *uri = ls_alloc(n * 3 + 64);

	if (uri == NULL)
		return NULL;
	memcpy(uri, "file:", 5);
	for (size_t i = 0; i < n; i++)
		if (strchr(plain, path[i]) != NULL)
			uri[at++] = path[i];
		else
			at += (size_t)snprintf(uri + at, 4, "%%%02X",
			    (unsigned)(unsigned char)path[i]);
	(void)snprintf(uri + at, 64, "%s",
	    immutable ? "?mode=ro&immutable=1" : "?mode=rw");
	return uri;
}

static bool
has_wal(const char *path)
{
	char *wal = ls_asprintf("%s-wal", path);
	bool yes = wal != NULL && ls_file_size(wal) > 0;

	ls_free(wal);
	return yes;
}

static enum ls_rc
ask(sqlite3 *db, const char *path, const char *sql, struct ls_err *e)
{
	sqlite3_stmt *st = NULL;
	const char *text = "no answer";
	enum ls_rc rc = LS_OK;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		text = sqlite3_errmsg(db);
	else if (sqlite3_column_text(st, 0) != NULL)
		text = (const char *)sqlite3_column_text(st, 0);
	if (strcmp(text, "ok") != 0)
		rc =
		    ls_err_set(e, LS_ECORRUPT, "%s of %s: %s", sql, path, text);
	(void)sqlite3_finalize(st);
	return rc;
}

enum ls_rc
ls_check_database(const char *path, int mode, struct ls_err *e)
{
	sqlite3 *db = NULL;
	enum ls_rc rc;
	char *uri;
	int flags =
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;

	if (mode == 0)
		return LS_OK;
	if ((uri = uri_of(path, !has_wal(path))) == NULL)
		return ls_err_nomem(e);
	if (sqlite3_open_v2(uri, &db, flags, NULL) != SQLITE_OK)
		rc = ls_err_set(e, db == NULL ? LS_ENOMEM : LS_ECORRUPT,
		    "open %s: %s", path,
		    db == NULL ? "out of memory" : sqlite3_errmsg(db));
	else
		rc = ask(db, path,
		    mode == 1 ? "PRAGMA quick_check" : "PRAGMA integrity_check",
		    e);
	(void)sqlite3_close(db);
	ls_free(uri);
	return rc;
}
