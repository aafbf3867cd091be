/* refused.c -- how sqlite3_open says why. See refused.h.
 *
 * (1) AN ERROR OF xOpen HAS NO TEXT: sqlite3_errmsg is "unable to open database
 *     file", whatever was wrong. One of an automatic extension has, and those
 *     run in sqlite3_open right after xOpen. So xOpen gives a file that can do
 *     nothing, and ls_sql_auto fails with the reason.
 *     (test: test_bad_uris_fail_at_once_and_say_why)
 * (2) NOTHING IS READ FROM IT. Before the extensions SQLite reads 100 bytes for
 *     the page size, and takes none for an answer. Where no extension is asked
 *     (ATTACH; a host that reset the list) it needs a lock or the size next,
 *     and both are the error that xOpen would have been.
 *     (test: test_a_refused_file_is_not_an_empty_database)
 */
#include "vfs/refused.h"

#include <string.h>

SQLITE_EXTENSION_INIT3

struct refused {
	sqlite3_file base;
	char *why;
};

static int
no_close(sqlite3_file *f)
{
	struct refused *self = (struct refused *)f;

	sqlite3_free(self->why);
	self->why = NULL;
	return SQLITE_OK;
}

static int
no_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 off)
{
	(void)f, (void)off;
	memset(buf, 0, (size_t)n);
	return SQLITE_IOERR_SHORT_READ;
}

static int
no_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 off)
{
	(void)f, (void)buf, (void)n, (void)off;
	return SQLITE_CANTOPEN;
}

static int
no_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	(void)f, (void)size;
	return SQLITE_CANTOPEN;
}

static int
no_size(sqlite3_file *f, sqlite3_int64 *size)
{
	(void)f;
	*size = 0;
	return SQLITE_CANTOPEN;
}

static int
no_lock(sqlite3_file *f, int level)
{
	(void)f, (void)level;
	return SQLITE_CANTOPEN;
}

static int
nothing(sqlite3_file *f, int level)
{
	(void)f, (void)level;
	return SQLITE_OK;
}

static int
no_reserved(sqlite3_file *f, int *out)
{
	(void)f;
	*out = 0;
	return SQLITE_CANTOPEN;
}

static int
no_control(sqlite3_file *f, int op, void *arg)
{
	(void)f, (void)op, (void)arg;
	return SQLITE_NOTFOUND;
}

static int
zero(sqlite3_file *f)
{
	(void)f;
	return 0;
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = no_close,
	.xRead = no_read,
	.xWrite = no_write,
	.xTruncate = no_truncate,
	.xSync = no_lock,
	.xFileSize = no_size,
	.xLock = no_lock,
	.xUnlock = nothing,
	.xCheckReservedLock = no_reserved,
	.xFileControl = no_control,
	.xSectorSize = zero,
	.xDeviceCharacteristics = zero,
};

int
ls_refused_open(sqlite3_file *f, char *why)
{
	if (why == NULL)
		return SQLITE_NOMEM;
	((struct refused *)f)->why = why;
	f->pMethods = &methods;
	return SQLITE_OK;
}

const char *
ls_refused_why(sqlite3 *db)
{
	sqlite3_file *f = NULL;

	if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &f) !=
		SQLITE_OK ||
	    f == NULL || f->pMethods != &methods)
		return NULL;
	return ((struct refused *)f)->why;
}
