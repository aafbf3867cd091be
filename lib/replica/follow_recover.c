/* follow_recover.c -- SQLite's own recovery of a copy that was being changed
 * when its follower died: whoever reads first rolls the journal back. Apart
 * from check.c the only file here that knows SQLite.
 *
 * Trap: nobody in this process may close a descriptor of the file meanwhile:
 * that would drop SQLite's locks. The callers hold none. */
#include "replica/follow_apply.h"

#include "base/file.h"

#include <sqlite3.h>

enum { BUSY_MS = 5000 };

static enum ls_rc
rc_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_NOMEM: return LS_ENOMEM;
	case SQLITE_BUSY: return LS_EBUSY;
	case SQLITE_FULL: return LS_ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: return LS_ECORRUPT;
	default: return LS_EIO;
	}
}

enum ls_rc
ls_follow_recover(const char *path, struct ls_err *e)
{
	char *journal = ls_asprintf("%s-journal", path);
	sqlite3 *db = NULL;
	enum ls_rc rc = LS_OK;
	int code;

	if (journal == NULL)
		return ls_err_nomem(e);
	if (ls_file_size(journal) <= 0)
		goto out;
	code = sqlite3_open_v2(
	    path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code == SQLITE_OK) {
		(void)sqlite3_busy_timeout(db, BUSY_MS);
		code = sqlite3_exec(
		    db, "SELECT count(*) FROM sqlite_master", NULL, NULL, NULL);
	}
	if (code != SQLITE_OK)
		rc = ls_err_set(e, rc_of(code), "roll %s back: %s", journal,
		    db == NULL ? "out of memory" : sqlite3_errmsg(db));
	(void)sqlite3_close(db);
out:
	ls_free(journal);
	return rc;
}
