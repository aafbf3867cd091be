/* guard.c -- the checkpoint guard. See guard.h, shim.c.
 *
 *  (1) ALWAYS SQLITE'S HANDLE. Closing any other descriptor of the database or
 *      its -shm would drop every POSIX lock that SQLite holds there in this
 *      process, so the file is read and synced through SQLITE_FCNTL_FILE_
 *      POINTER only. (test: app_cannot_checkpoint_after_views)
 *  (2) NO CHECKPOINT TO TAKE THE LOCK. The shim takes WAL_CKPT_LOCK itself: a
 *      first checkpoint would backfill what is not captured. (test:
 *      open_backfills_nothing)
 *  (3) NO BUSY HANDLER on the guard: RESTART calls it with the write lock held
 *      while readers are busy, and the application would stand still. Waiting
 *      is done here, holding nothing. (test: restart_blocked_by_a_reader)
 *  (4) The first read touches no table (PRAGMA schema_version reads page 1
 *      only), so a broken schema or an empty one is guarded all the same.
 *  (5) The default of synchronous is never OFF here: a library that is built
 *      so is told NORMAL. The checkpoint's sync is the application's
 *      durability.
 * Not here: what was captured (position.c), when to checkpoint (checkpoint.c). */
#include "capture/guard.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "format/ltx.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
	INDEX_COPY = LS_WAL_INDEX_HEADER / 4, /* words to the second copy */
	INDEX_MXFRAME = 4,
	INDEX_SALT = 8,
	INDEX_BACKFILL = 24,
	RETRY_MS = 2,
};

enum ls_rc
ls_sqlite_err(struct ls_err *e, sqlite3 *db, int rc, const char *what)
{
	enum ls_rc to = LS_EIO;

	switch (rc & 0xff) {
	case SQLITE_OK: return LS_OK;
	case SQLITE_NOMEM: return ls_err_nomem(e);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL: to = LS_EBUSY; break;
	case SQLITE_FULL: to = LS_ENOSPC; break;
	case SQLITE_NOTADB: to = LS_ENOTDB; break;
	case SQLITE_CORRUPT: to = LS_ECORRUPT; break;
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH: to = LS_EDENIED; break;
	default: break;
	}
	return ls_err_set(e, to, "%s: %s", what,
	    db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

/* Step the prepared read once, with retries for the busy time. */
static int
read_once(struct ls_guard *g)
{
	uint64_t until = ls_sys->mono_ns() + g->busy_ns;
	int rc;

	for (;;) {
		rc = sqlite3_step(g->read);
		if (rc == SQLITE_ROW)
			rc = SQLITE_OK;
		(void)sqlite3_reset(g->read);
		if ((rc & 0xff) != SQLITE_BUSY && (rc & 0xff) != SQLITE_LOCKED)
			return rc;
		if (ls_sys->mono_ns() >= until)
			return rc;
		ls_sys->sleep_ns(RETRY_MS * LS_MS);
	}
}

enum ls_rc
ls_guard_recover(struct ls_guard *g, struct ls_err *e)
{
	enum ls_rc rc;

	/* Somebody else is on the connection: a checkpoint or another recovery,
	 * which do the same as their first act. */
	if (pthread_mutex_trylock(&g->mu) != 0)
		return ls_err_set(
		    e, LS_EBUSY, "%s: the guard is in use", g->path);
	rc = ls_sqlite_err(e, g->db, read_once(g), "read on the guard");
	(void)pthread_mutex_unlock(&g->mu);
	return ls_err_wrap(e, rc, "%s", g->path);
}

enum ls_rc
ls_guard_read(
    struct ls_guard *g, void *buf, size_t n, uint64_t off, struct ls_err *e)
{
	int rc =
	    g->file->pMethods->xRead(g->file, buf, (int)n, (sqlite3_int64)off);

	if (rc == SQLITE_IOERR_SHORT_READ)
		return ls_err_set(e, LS_ESHORT, "%s: end of file at %llu",
		    g->path, (unsigned long long)off);
	if (rc != SQLITE_OK)
		return ls_err_set(e, LS_EIO, "%s: read at %llu: %s", g->path,
		    (unsigned long long)off, sqlite3_errstr(rc));
	return LS_OK;
}

enum ls_rc
ls_guard_sync(struct ls_guard *g, struct ls_err *e)
{
	int rc = g->file->pMethods->xSync(g->file, SQLITE_SYNC_NORMAL);

	if (rc != SQLITE_OK)
		return ls_err_set(
		    e, LS_EIO, "%s: sync: %s", g->path, sqlite3_errstr(rc));
	return LS_OK;
}

static enum ls_rc
denied(struct ls_err *e, const char *path)
{
	return ls_err_hint(e,
	    ls_err_set(
		e, LS_EDENIED, "%s: cannot be written by this process", path),
	    "give the daemon's user write access to the file and its folder "
	    "(SQLite needs it for -wal and -shm)");
}

/* The 100 bytes at the front: is it a database, and in WAL mode? */
static enum ls_rc
check_header(struct ls_guard *g, bool *wal, struct ls_err *e)
{
	uint8_t h[100];
	sqlite3_int64 size = 0;
	enum ls_rc rc;

	if (g->file->pMethods->xFileSize(g->file, &size) != SQLITE_OK)
		return ls_err_set(e, LS_EIO, "%s: cannot be measured", g->path);
	if (size == 0)
		return ls_err_set(
		    e, LS_ENOTDB, "%s: is empty, not a database", g->path);
	rc = ls_guard_read(g, h, sizeof h, 0, e);
	if (rc != LS_OK && rc != LS_ESHORT)
		return rc;
	if (rc == LS_ESHORT || memcmp(h, "SQLite format 3", 16) != 0)
		return ls_err_set(
		    e, LS_ENOTDB, "%s: is not a database", g->path);
	*wal = h[18] == 2 && h[19] == 2;
	return LS_OK;
}

static enum ls_rc
switch_to_wal(struct ls_guard *g, struct ls_err *e)
{
	sqlite3_stmt *st = NULL;
	const unsigned char *mode;
	enum ls_rc rc;
	int src;

	(void)sqlite3_busy_timeout(g->db, (int)(g->busy_ns / LS_MS));
	src =
	    sqlite3_prepare_v2(g->db, "PRAGMA journal_mode=WAL", -1, &st, NULL);
	if (src == SQLITE_OK)
		src = sqlite3_step(st);
	rc = src == SQLITE_ROW
		 ? LS_OK
		 : ls_sqlite_err(e, g->db, src, "switch to WAL mode");
	if (rc == LS_OK && ((mode = sqlite3_column_text(st, 0)) == NULL ||
			       strcmp((const char *)mode, "wal") != 0))
		rc = ls_err_set(e, LS_EBUSY,
		    "cannot switch to WAL mode, it stays in %s mode",
		    mode ? (const char *)mode : "?");
	(void)sqlite3_finalize(st);
	(void)sqlite3_busy_timeout(g->db, 0); /* (3) */
	if (rc == LS_EBUSY)
		(void)ls_err_hint(e, rc,
		    "another connection is using it; let it finish, or run "
		    "PRAGMA journal_mode=WAL there");
	return ls_err_wrap(e, rc, "%s", g->path);
}

static bool
sync_off_by_default(void)
{
	return sqlite3_compileoption_used("DEFAULT_SYNCHRONOUS=0") ||
	       sqlite3_compileoption_used("DEFAULT_WAL_SYNCHRONOUS=0");
}

static enum ls_rc
open_connection(struct ls_guard *g, struct ls_err *e)
{
	enum ls_rc rc;
	struct stat st;
	int src;
	bool wal = false;

	if (ls_sys->stat(g->path, &st) != 0)
		return errno == EACCES ? denied(e, g->path)
				       : ls_err_sys(e, errno, "%s", g->path);
	if (!S_ISREG(st.st_mode))
		return ls_err_set(
		    e, LS_ENOTDB, "%s: is not a regular file", g->path);
	src = ls_shim_open(g->path, &g->shim, &g->db);
	if ((src & 0xff) == SQLITE_CANTOPEN)
		return denied(e, g->path);
	if (src != SQLITE_OK)
		return ls_err_wrap(
		    e, ls_sqlite_err(e, NULL, src, "open"), "%s", g->path);
	if (sqlite3_db_readonly(g->db, "main") == 1)
		return denied(e, g->path);
	g->file = ls_shim_file(g->db);
	if ((rc = check_header(g, &wal, e)) != LS_OK)
		return rc;
	return wal ? LS_OK : switch_to_wal(g, e);
}

/* Until the position is settled nothing may be checkpointed, so the lock is
 * taken by itself: (2). */
static enum ls_rc
take_ckpt(struct ls_guard *g, struct ls_err *e)
{
	uint64_t until = ls_sys->mono_ns() + g->busy_ns;
	int rc;

	while ((rc = ls_shim_take_ckpt(g->file)) == SQLITE_BUSY &&
	       ls_sys->mono_ns() < until)
		ls_sys->sleep_ns(LS_MS);
	if (rc == SQLITE_BUSY)
		return ls_err_hint(e,
		    ls_err_set(e, LS_EBUSY,
			"%s: another process is checkpointing it", g->path),
		    "is another replication daemon running on it?");
	return ls_err_wrap(
	    e, ls_sqlite_err(e, g->db, rc, "checkpoint lock"), "%s", g->path);
}

static enum ls_rc
find_page_size(struct ls_guard *g, struct ls_err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(g->db, "PRAGMA page_size", -1, &st, NULL);
	uint32_t n = 0;

	if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		n = (uint32_t)sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st);
	if (!ls_page_size_valid(n))
		return ls_err_set(
		    e, LS_ENOTDB, "%s: has no page size", g->path);
	g->page_size = n;
	return LS_OK;
}

enum ls_rc
ls_guard_init(
    struct ls_guard *g, const char *path, uint64_t busy_ns, struct ls_err *e)
{
	enum ls_rc rc;
	int src;

	g->shim.role = LS_SHIM_GUARD;
	g->busy_ns = busy_ns;
	if ((g->path = ls_strdup(path)) == NULL)
		return ls_err_nomem(e);
	(void)pthread_mutex_init(&g->mu, NULL);
	if ((rc = open_connection(g, e)) != LS_OK)
		return rc;
	if (sync_off_by_default() && /* (5) */
	    (src = sqlite3_exec(g->db, "PRAGMA synchronous=NORMAL", NULL, NULL,
		 NULL)) != SQLITE_OK)
		return ls_sqlite_err(e, g->db, src, "synchronous");
	src = sqlite3_prepare_v3(g->db, "PRAGMA schema_version", -1,
	    SQLITE_PREPARE_PERSISTENT, &g->read, NULL);
	if (src == SQLITE_OK)
		src = read_once(g);
	if ((src & 0xff) == SQLITE_CANTOPEN || (src & 0xff) == SQLITE_READONLY)
		return denied(e, g->path);
	if (src != SQLITE_OK)
		return ls_err_wrap(
		    e, ls_sqlite_err(e, g->db, src, "first read"), "%s", path);
	if (atomic_load(&g->shim.index) == NULL)
		return ls_err_set(e, LS_EBUSY, "%s: is not in WAL mode", path);
	if ((rc = take_ckpt(g, e)) != LS_OK)
		return rc;
	return find_page_size(g, e);
}

void
ls_guard_fini(struct ls_guard *g)
{
	if (g->path == NULL)
		return;
	(void)sqlite3_finalize(g->read);
	(void)sqlite3_close(g->db);
	(void)pthread_mutex_destroy(&g->mu);
	ls_free(g->path);
	*g = (struct ls_guard){ .db = NULL };
}

bool
ls_guard_header(struct ls_guard *g, int tries, struct ls_wal_index *h)
{
	volatile uint32_t *index = atomic_load(&g->shim.index);
	uint8_t a[LS_WAL_INDEX_HEADER], b[LS_WAL_INDEX_HEADER];

	for (; index != NULL && tries > 0; tries--) {
		memcpy(a, (const void *)index, sizeof a);
		atomic_thread_fence(memory_order_seq_cst);
		memcpy(b, (const void *)(index + INDEX_COPY), sizeof b);
		if (memcmp(a, b, sizeof a) == 0 && ls_wal_index_decode(a, h))
			return true;
		if (tries > 1)
			ls_sys->sleep_ns(LS_MS / 10);
	}
	return false;
}

bool
ls_guard_torn(struct ls_guard *g)
{
	volatile uint32_t *index = atomic_load(&g->shim.index);

	return index != NULL &&
	       memcmp((const void *)index, (const void *)(index + INDEX_COPY),
		   LS_WAL_INDEX_HEADER) != 0;
}

uint32_t
ls_guard_backfilled(struct ls_guard *g)
{
	volatile uint32_t *index = atomic_load(&g->shim.index);

	return index == NULL ? 0 : index[INDEX_BACKFILL];
}

bool
ls_guard_peek(struct ls_guard *g, uint32_t *max_frame, uint32_t salt[2])
{
	volatile uint32_t *index = atomic_load(&g->shim.index);

	if (index == NULL)
		return false;
	*max_frame = index[INDEX_MXFRAME];
	for (int i = 0; i < 2; i++) {
		uint32_t raw = index[INDEX_SALT + i];
		salt[i] = ls_be32(&raw);
	}
	return true;
}

enum ls_rc
ls_guard_take_write(struct ls_guard *g, uint64_t wait_ns, struct ls_err *e)
{
	uint64_t until = ls_sys->mono_ns() + wait_ns;
	int rc;

	while ((rc = ls_shim_take_write(g->file)) == SQLITE_BUSY &&
	       ls_sys->mono_ns() < until)
		ls_sys->sleep_ns(LS_MS);
	if (rc != SQLITE_OK)
		return ls_err_set(e, rc == SQLITE_BUSY ? LS_EBUSY : LS_EIO,
		    "%s: write lock: %s", g->path, sqlite3_errstr(rc));
	return LS_OK;
}

void
ls_guard_give_write(struct ls_guard *g)
{
	ls_shim_give_write(g->file);
}

int
ls_guard_checkpoint(struct ls_guard *g, int mode, int *log, int *done)
{
	int rc;

	*log = *done = -1;
	(void)pthread_mutex_lock(&g->mu);
	rc = sqlite3_wal_checkpoint_v2(g->db, "main", mode, log, done);
	(void)pthread_mutex_unlock(&g->mu);
	return rc;
}
