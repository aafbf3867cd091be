/* vfs.c -- the VFS "litestream": SQLite's interface over reader.c. See vfs.h.
 *
 * (1) ONLY THE MAIN DATABASE IS OURS. Temporary files are the default VFS's:
 *     its file takes the place of ours in the same memory, and SQLite then
 *     talks to it directly. The rollback journal is one of them: it undoes a
 *     transaction of this connection, and nobody else's, so it has no name.
 * (2) THERE IS NO JOURNAL AND NO WAL of another life: xAccess says no, so
 *     SQLite never plays back a file that happens to lie under such a name, and
 *     xDelete leaves it alone. What a crash left is the write buffer's matter.
 * (3) io_methods version 1: no shared memory, so WAL mode is not entered. Not
 *     IMMUTABLE: the database changes, and the locks tell us when.
 * (4) AN ERROR IS A RESULT CODE, its text goes to sqlite3_log, and the last one
 *     of a connection is in PRAGMA litestream_stats. Of opening sqlite3_errmsg
 *     has it (refused.c).
 * (5) AFTER A FORK every call on a connection of the parent is an I/O error and
 *     nothing is freed (reader.c).
 */
#include "vfs/vfs.h"

#include "vfs/refused.h"
#include "vfs/sql.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"

#include <stdlib.h>

SQLITE_EXTENSION_INIT1

enum { OLDEST_SQLITE = 3031000 };

struct file {
	sqlite3_file base;
	struct ls_reader *r;
	int lock;
};

static sqlite3_vfs the_vfs;
static sqlite3_vfs *
under(void)
{
	return the_vfs.pAppData;
}

/* ---- a file ---------------------------------------------------------------*/

static int
io_close(sqlite3_file *f)
{
	struct file *self = (struct file *)f;

	ls_reader_close(self->r);
	self->r = NULL;
	return SQLITE_OK;
}

static int
io_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 off)
{
	struct file *self = (struct file *)f;
	struct ls_err e = { 0 };
	enum ls_rc rc =
	    ls_reader_read(self->r, buf, (size_t)n, (uint64_t)off, &e);

	if (rc == LS_OK)
		return SQLITE_OK;
	if (rc == LS_ESHORT && e.rc == LS_OK)
		return SQLITE_IOERR_SHORT_READ;
	return ls_sql_code("read", rc, &e, SQLITE_IOERR_READ);
}

/* SQLite's code for what went wrong with writing. */
static int
write_code(
    const char *what, enum ls_rc rc, const struct ls_err *e, int otherwise)
{
	int code = otherwise;

	switch (rc) {
	case LS_OK: return SQLITE_OK;
	case LS_EBUSY:
	case LS_ELOCKED: return SQLITE_BUSY;
	case LS_ECHANGED: return SQLITE_BUSY_SNAPSHOT;
	case LS_EDENIED:
	case LS_EUNSUPPORTED:
	case LS_EFENCED: code = SQLITE_READONLY; break;
	case LS_ENOSPC: code = SQLITE_FULL; break;
	default: break;
	}
	return ls_sql_code(what, rc, e, code);
}

static int
io_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 off)
{
	struct file *self = (struct file *)f;
	struct ls_err e = { 0 };
	enum ls_rc rc =
	    ls_reader_write(self->r, buf, (size_t)n, (uint64_t)off, &e);

	return write_code("write", rc, &e, SQLITE_IOERR_WRITE);
}

static int
io_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	struct file *self = (struct file *)f;
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_reader_truncate(self->r, (uint64_t)size, &e);

	return write_code("truncate", rc, &e, SQLITE_IOERR_TRUNCATE);
}

static int
io_sync(sqlite3_file *f, int flags)
{
	struct file *self = (struct file *)f;
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_reader_flush(self->r, &e);

	(void)flags;
	return write_code("sync", rc, &e, SQLITE_IOERR_FSYNC);
}

/* Phase one. */
static int
io_prepare(struct file *self, const char *super)
{
	struct ls_err e = { 0 };
	char *path = NULL;
	enum ls_rc rc = LS_OK;

	if (super != NULL && super[0] != '\0' &&
	    (path = ls_abspath(super)) == NULL)
		rc = ls_err_nomem(&e);
	if (rc == LS_OK)
		rc = ls_reader_prepare(self->r, path, &e);
	ls_free(path);
	return write_code("commit", rc, &e, SQLITE_IOERR_WRITE);
}

static int
io_commit(struct file *self)
{
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_reader_commit(self->r, &e);

	if (rc == LS_OK)
		return SQLITE_OK;
	/* Nothing but an I/O error makes SQLite drop the pages that it has
	 * in its cache at this point. */
	return ls_sql_code("commit", rc, &e, SQLITE_IOERR_WRITE);
}

static int
io_size(sqlite3_file *f, sqlite3_int64 *size)
{
	struct file *self = (struct file *)f;
	struct ls_err e = { 0 };
	uint64_t n = 0;
	enum ls_rc rc = ls_reader_size(self->r, &n, &e);

	if (rc != LS_OK)
		return ls_sql_code("size", rc, &e, SQLITE_IOERR_FSTAT);
	*size = (sqlite3_int64)n;
	return SQLITE_OK;
}

static int
io_lock(sqlite3_file *f, int level)
{
	struct file *self = (struct file *)f;
	struct ls_err e = { 0 };
	enum ls_rc rc;

	if (level >= SQLITE_LOCK_SHARED && self->lock < SQLITE_LOCK_SHARED) {
		if ((rc = ls_reader_begin(self->r, &e)) != LS_OK)
			return ls_sql_code("lock", rc, &e, SQLITE_IOERR_LOCK);
		self->lock = SQLITE_LOCK_SHARED;
	}
	/* Readers see versions: nobody has to leave for a writer. */
	if (level >= SQLITE_LOCK_RESERVED &&
	    (rc = ls_reader_reserve(self->r, &e)) != LS_OK)
		return write_code("lock", rc, &e, SQLITE_IOERR_LOCK);
	self->lock = LS_MAX(self->lock, level);
	return SQLITE_OK;
}

static int
io_unlock(sqlite3_file *f, int level)
{
	struct file *self = (struct file *)f;

	if (level < SQLITE_LOCK_RESERVED)
		ls_reader_unreserve(self->r);
	if (level < SQLITE_LOCK_SHARED)
		ls_reader_end(self->r);
	self->lock = LS_MIN(self->lock, level);
	return SQLITE_OK;
}

static int
io_reserved(sqlite3_file *f, int *out)
{
	(void)f;
	*out = 0;
	return SQLITE_OK;
}

static int
io_control(sqlite3_file *f, int op, void *arg)
{
	struct file *self = (struct file *)f;

	switch (op) {
	case SQLITE_FCNTL_PRAGMA: return ls_sql_pragma(self->r, arg);
	case SQLITE_FCNTL_SYNC: return io_prepare(self, arg);
	case SQLITE_FCNTL_COMMIT_PHASETWO: return io_commit(self);
	case SQLITE_FCNTL_VFSNAME:
		*(char **)arg = sqlite3_mprintf("%s", the_vfs.zName);
		return SQLITE_OK;
	default: return SQLITE_NOTFOUND;
	}
}

static int
io_sector(sqlite3_file *f)
{
	(void)f;
	return 0;
}

/* The journal is never read by another life: it needs no sync. */
static int
io_device(sqlite3_file *f)
{
	(void)f;
	return SQLITE_IOCAP_SEQUENTIAL | SQLITE_IOCAP_SAFE_APPEND |
	       SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = io_close,
	.xRead = io_read,
	.xWrite = io_write,
	.xTruncate = io_truncate,
	.xSync = io_sync,
	.xFileSize = io_size,
	.xLock = io_lock,
	.xUnlock = io_unlock,
	.xCheckReservedLock = io_reserved,
	.xFileControl = io_control,
	.xSectorSize = io_sector,
	.xDeviceCharacteristics = io_device,
};

struct ls_reader *
ls_vfs_reader_of(sqlite3 *db, const char *schema)
{
	sqlite3_file *f = NULL;

	if (sqlite3_file_control(db, schema, SQLITE_FCNTL_FILE_POINTER, &f) !=
		SQLITE_OK ||
	    f == NULL || f->pMethods != &methods)
		return NULL;
	return ((struct file *)f)->r;
}

/* ---- the VFS --------------------------------------------------------------*/

static const char *
env(const char *name)
{
	return getenv(name);
}

static bool
param(void *arg, int i, const char **name, const char **value)
{
	*name = sqlite3_uri_key(arg, i);
	if (*name == NULL)
		return false;
	*value = sqlite3_uri_parameter(arg, *name);
	return *value != NULL;
}

static int
refuse(sqlite3_file *f, enum ls_rc rc, const struct ls_err *e)
{
	int code = ls_sql_code("open", rc, e, SQLITE_CANTOPEN);

	return code == SQLITE_CANTOPEN ? ls_refused_open(f, ls_sql_text(e))
				       : code;
}

static int
open_main(const char *name, struct file *self, int flags, int *out_flags)
{
	struct ls_vfs_opts o;
	struct ls_err e = { 0 };
	enum ls_rc rc;
	union {
		const char *in;
		void *out;
	} u = { name };

	self->base.pMethods = NULL;
	ls_sql_log_start();
	if ((rc = ls_vfs_opts_read(&o, env, param, u.out, &e)) != LS_OK)
		return refuse(&self->base, rc, &e);
	rc = ls_reader_open(&o, &self->r, &e);
	ls_vfs_opts_fini(&o);
	if (rc != LS_OK)
		return refuse(&self->base, rc, &e);
	self->lock = SQLITE_LOCK_NONE;
	self->base.pMethods = &methods;
	/* Whether it may be written to is asked again by every transaction:
	 * PRAGMA litestream_write_enabled may come later. */
	if (out_flags != NULL)
		*out_flags = flags;
	return SQLITE_OK;
}

/* (1) */
static int
open_journal(sqlite3_file *f)
{
	int out;

	f->pMethods = NULL;
	return under()->xOpen(under(), NULL, f,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE |
		SQLITE_OPEN_DELETEONCLOSE | SQLITE_OPEN_TEMP_JOURNAL,
	    &out);
}

static int
vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags,
    int *out_flags)
{
	(void)vfs;
	if (flags & SQLITE_OPEN_MAIN_DB)
		return name
			   ? open_main(name, (struct file *)f, flags, out_flags)
			   : SQLITE_CANTOPEN;
	if ((flags & SQLITE_OPEN_MAIN_JOURNAL) &&
	    (flags & SQLITE_OPEN_READWRITE))
		return open_journal(f);
	if (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL)) {
		f->pMethods = NULL;
		return SQLITE_CANTOPEN; /* (2) */
	}
	return under()->xOpen(under(), name, f, flags, out_flags);
}

static bool
ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && strcmp(s + n - k, end) == 0;
}

static int
vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	(void)vfs;
	if (ends_with(name, "-journal") || ends_with(name, "-wal"))
		return SQLITE_OK; /* (2) */
	return under()->xDelete(under(), name, sync);
}

static int
vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	(void)vfs;
	*out = 0;
	if (ends_with(name, "-journal") || ends_with(name, "-wal"))
		return SQLITE_OK; /* (2) */
	return under()->xAccess(under(), name, flags, out);
}

/* The name is a label: the place is in the replica's URL. */
static int
vfs_full(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
	(void)vfs;
	(void)sqlite3_snprintf(n, out, "%s", name);
	return SQLITE_OK;
}

static void *
vfs_dlopen(sqlite3_vfs *vfs, const char *name)
{
	(void)vfs;
	return under()->xDlOpen(under(), name);
}

static void
vfs_dlerror(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	under()->xDlError(under(), n, out);
}

static void (*vfs_dlsym(sqlite3_vfs *vfs, void *h, const char *name))(void)
{
	(void)vfs;
	return under()->xDlSym(under(), h, name);
}

static void
vfs_dlclose(sqlite3_vfs *vfs, void *h)
{
	(void)vfs;
	under()->xDlClose(under(), h);
}

static int
vfs_random(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	return under()->xRandomness(under(), n, out);
}

static int
vfs_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return under()->xSleep(under(), us);
}

static int
vfs_time(sqlite3_vfs *vfs, double *out)
{
	(void)vfs;
	return under()->xCurrentTime(under(), out);
}

static int
vfs_time64(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
	(void)vfs;
	return under()->xCurrentTimeInt64(under(), out);
}

static sqlite3_vfs the_vfs = {
	.iVersion = 2,
	.mxPathname = 1024,
	.zName = "litestream",
	.xOpen = vfs_open,
	.xDelete = vfs_delete,
	.xAccess = vfs_access,
	.xFullPathname = vfs_full,
	.xDlOpen = vfs_dlopen,
	.xDlError = vfs_dlerror,
	.xDlSym = vfs_dlsym,
	.xDlClose = vfs_dlclose,
	.xRandomness = vfs_random,
	.xSleep = vfs_sleep,
	.xCurrentTime = vfs_time,
	.xCurrentTimeInt64 = vfs_time64,
};

int
ls_vfs_register(char **err, const struct sqlite3_api_routines *api)
{
	sqlite3_vfs *base;
	int rc;

	SQLITE_EXTENSION_INIT2(api);
	if (sqlite3_libversion_number() < OLDEST_SQLITE) {
		*err = sqlite3_mprintf(
		    "litestream VFS requires SQLite 3.31.0 or later (found %s)",
		    sqlite3_libversion());
		return SQLITE_ERROR;
	}
	if (sqlite3_vfs_find(the_vfs.zName) == &the_vfs)
		return SQLITE_OK;
	base = sqlite3_vfs_find(NULL);
	if (base == NULL || base->iVersion < 2) {
		*err = sqlite3_mprintf("there is no default VFS");
		return SQLITE_ERROR;
	}
	the_vfs.pAppData = base;
	the_vfs.szOsFile = LS_MAX((int)sizeof(struct file), base->szOsFile);
	if ((rc = sqlite3_vfs_register(&the_vfs, 0)) != SQLITE_OK)
		return rc;
	/* The list of automatic extensions wants the shape of no arguments. */
	return sqlite3_auto_extension((void (*)(void))ls_sql_auto);
}
