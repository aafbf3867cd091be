/* shim.c -- the thin VFS. See shim.h and README.md.
 *
 *  (1) THE CHECKPOINT LOCK STAYS. Once the guard has WAL_CKPT_LOCK, requests
 *      that cover it touch only the other slots, and it goes when the file is
 *      closed. (test: guard_refuses_every_checkpoint)
 *  (2) LOCKED, NOT BUSY. When the write lock cannot be had in our RESTART,
 *      SQLITE_BUSY would make SQLite fall back to PASSIVE silently, without
 *      the lock, and backfill what is not captured; SQLITE_LOCKED makes it
 *      give up. (test: a_busy_lock_is_no_passive_checkpoint)
 *  (3) READERS NEVER RECOVER. Recovery needs the lock that the guard holds, so
 *      a reader whose header is torn would retry for 10 s. Asking for
 *      WAL_WRITE_LOCK is how it shows; it fails at once. (test:
 *      torn_header_is_recovered)
 *  (4) A reader's copy of the header is taken after its shared read lock and
 *      before SQLite compares the header again: a BEGIN that succeeds has
 *      exactly the copied one. (test: view_is_one_state)
 * Not here: what is done with any of it (guard.c, checkpoint.c, view.c). */
#include "capture/shim.h"

#include "capture/capture.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <string.h>

enum { /* slots of the wal-index lock (wal.c) */
	SLOT_WRITE = 0,
	SLOT_CKPT = 1,
	SLOT_READ0 = 3,
	LOCK_X = SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE,
	LOCK_S = SQLITE_SHM_LOCK | SQLITE_SHM_SHARED,
	UNLOCK_X = SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE,
	/* 50 ms at most. A writer at full speed lets go for some 10 us between
	 * two transactions: single looks miss that nearly always (none of 5
	 * checkpoints got the lock), bursts of looks (some 50 us) do not. */
	WRITE_TRIES = 300,
	WRITE_BURST = 64,
	WRITE_STEP_NS = 100000,
	FCNTL_ATTACH = 0x4c534744,
};

const char ls_shim_vfs[] = "ls-guard";

struct shim_file {
	sqlite3_file base;
	sqlite3_file *real; /* behind this struct, in the same memory */
	struct ls_shim *s;  /* NULL until attached */
};

static sqlite3_vfs *root;
static sqlite3_vfs vfs;

static struct shim_file *
self(sqlite3_file *f)
{
	return (struct shim_file *)f;
}

static sqlite3_file *
real(sqlite3_file *f)
{
	return self(f)->real;
}

#define PASS(ret, name, params, args)                \
	static ret pass_##name params                \
	{                                            \
		return real(f)->pMethods->name args; \
	}
PASS(int, xRead, (sqlite3_file * f, void *b, int n, sqlite3_int64 o),
    (real(f), b, n, o))
PASS(int, xWrite, (sqlite3_file * f, const void *b, int n, sqlite3_int64 o),
    (real(f), b, n, o))
PASS(int, xTruncate, (sqlite3_file * f, sqlite3_int64 n), (real(f), n))
PASS(int, xSync, (sqlite3_file * f, int how), (real(f), how))
PASS(int, xFileSize, (sqlite3_file * f, sqlite3_int64 *n), (real(f), n))
PASS(int, xLock, (sqlite3_file * f, int level), (real(f), level))
PASS(int, xUnlock, (sqlite3_file * f, int level), (real(f), level))
PASS(int, xCheckReservedLock, (sqlite3_file * f, int *held), (real(f), held))
PASS(int, xSectorSize, (sqlite3_file * f), (real(f)))
PASS(int, xDeviceCharacteristics, (sqlite3_file * f), (real(f)))
PASS(void, xShmBarrier, (sqlite3_file * f), (real(f)))

static int
shim_control(sqlite3_file *f, int op, void *arg)
{
	if (op == FCNTL_ATTACH) {
		self(f)->s = arg;
		return SQLITE_OK;
	}
	return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int
raw_lock(sqlite3_file *f, int slot, int n, int flags)
{
	return real(f)->pMethods->xShmLock(real(f), slot, n, flags);
}

static void
let_go(sqlite3_file *f)
{
	struct ls_shim *s = self(f)->s;

	if (s == NULL)
		return;
	atomic_store(&s->index, NULL);
	if (s->held)
		(void)raw_lock(f, SLOT_CKPT, 1, UNLOCK_X);
	s->held = false;
}

static int
shim_close(sqlite3_file *f)
{
	let_go(f);
	return real(f)->pMethods->xClose(real(f));
}

static int
shim_unmap(sqlite3_file *f, int del)
{
	let_go(f);
	return real(f)->pMethods->xShmUnmap(real(f), del);
}

static int
shim_map(sqlite3_file *f, int region, int size, int extend, void volatile **out)
{
	int rc = real(f)->pMethods->xShmMap(real(f), region, size, extend, out);

	if (rc == SQLITE_OK && region == 0 && *out != NULL && self(f)->s)
		atomic_store(&self(f)->s->index, (volatile uint32_t *)*out);
	return rc;
}

/* The write lock inside our own RESTART or TRUNCATE: (2). */
static int
hooked_write(sqlite3_file *f, struct ls_shim *s)
{
	int rc = SQLITE_BUSY;

	for (int i = 0; i < WRITE_TRIES && rc == SQLITE_BUSY; i++) {
		if (i > 0)
			ls_sys->sleep_ns(WRITE_STEP_NS);
		for (int k = 0; k < WRITE_BURST && rc == SQLITE_BUSY; k++)
			rc = raw_lock(f, SLOT_WRITE, 1, LOCK_X);
	}
	if (rc != SQLITE_OK)
		return SQLITE_LOCKED;
	s->write_since = ls_sys->mono_ns();
	if (s->on_write(s->arg) == LS_HOOK_GO)
		return SQLITE_OK;
	(void)raw_lock(f, SLOT_WRITE, 1, UNLOCK_X);
	s->write_held_ns += ls_sys->mono_ns() - s->write_since;
	s->write_since = 0;
	return SQLITE_LOCKED;
}

/* A range that covers the lock we keep: only the other slots change, (1). */
static int
around_ckpt(sqlite3_file *f, int slot, int n, int flags)
{
	int rc = SQLITE_OK, end = slot + n;

	if (slot < SLOT_CKPT)
		rc = raw_lock(f, slot, SLOT_CKPT - slot, flags);
	if (rc == SQLITE_OK && end > SLOT_CKPT + 1)
		rc = raw_lock(f, SLOT_CKPT + 1, end - SLOT_CKPT - 1, flags);
	if (rc != SQLITE_OK && slot < SLOT_CKPT && flags == LOCK_X)
		(void)raw_lock(f, slot, SLOT_CKPT - slot, UNLOCK_X);
	return rc;
}

static int
guard_lock(sqlite3_file *f, struct ls_shim *s, int slot, int n, int flags)
{
	bool covers = slot <= SLOT_CKPT && slot + n > SLOT_CKPT;
	int rc;

	if (covers && s->held)
		return around_ckpt(f, slot, n, flags);
	if (s->on_write != NULL && slot == SLOT_WRITE && flags == LOCK_X)
		return hooked_write(f, s);
	rc = raw_lock(f, slot, n, flags);
	if (s->write_since && slot == SLOT_WRITE && flags == UNLOCK_X) {
		s->write_held_ns += ls_sys->mono_ns() - s->write_since;
		s->write_since = 0;
	}
	if (rc == SQLITE_OK && covers && flags == LOCK_X)
		s->held = true; /* the recovery of the first read took it */
	return rc;
}

static int
reader_lock(sqlite3_file *f, struct ls_shim *s, int slot, int n, int flags)
{
	volatile uint32_t *index = atomic_load(&s->index);
	int rc;

	if (slot == SLOT_WRITE && flags == LOCK_X)
		return SQLITE_LOCKED; /* (3) */
	rc = raw_lock(f, slot, n, flags);
	if (rc == SQLITE_OK && slot >= SLOT_READ0 && flags == LOCK_S &&
	    index != NULL) { /* (4) */
		s->read_mark = slot - SLOT_READ0;
		memcpy(
		    s->read_header, (const void *)index, sizeof s->read_header);
	}
	return rc;
}

static int
shim_lock(sqlite3_file *f, int slot, int n, int flags)
{
	struct ls_shim *s = self(f)->s;

	if (s == NULL)
		return raw_lock(f, slot, n, flags);
	return s->role == LS_SHIM_GUARD ? guard_lock(f, s, slot, n, flags)
					: reader_lock(f, s, slot, n, flags);
}

static const sqlite3_io_methods methods = {
	.iVersion = 2, /* no xFetch: nothing of ours maps the database */
	.xClose = shim_close,
	.xRead = pass_xRead,
	.xWrite = pass_xWrite,
	.xTruncate = pass_xTruncate,
	.xSync = pass_xSync,
	.xFileSize = pass_xFileSize,
	.xLock = pass_xLock,
	.xUnlock = pass_xUnlock,
	.xCheckReservedLock = pass_xCheckReservedLock,
	.xFileControl = shim_control,
	.xSectorSize = pass_xSectorSize,
	.xDeviceCharacteristics = pass_xDeviceCharacteristics,
	.xShmMap = shim_map,
	.xShmLock = shim_lock,
	.xShmBarrier = pass_xShmBarrier,
	.xShmUnmap = shim_unmap,
};

static int
shim_vfs_open(
    sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
	struct shim_file *s = self(f);
	int rc;

	(void)v;
	if (!(flags & SQLITE_OPEN_MAIN_DB)) /* -wal, journals: as they are */
		return root->xOpen(root, name, f, flags, out);
	memset(s, 0, sizeof *s);
	s->real = (sqlite3_file *)(s + 1);
	rc = root->xOpen(root, name, s->real, flags, out);
	s->base.pMethods = s->real->pMethods != NULL ? &methods : NULL;
	return rc;
}

enum ls_rc
ls_shim_register(struct ls_err *e)
{
	if (sqlite3_initialize() != SQLITE_OK ||
	    (root = sqlite3_vfs_find(NULL)) == NULL)
		return ls_err_set(e, LS_EUNSUPPORTED, "SQLite has no VFS");
	if (!sqlite3_threadsafe())
		return ls_err_set(e, LS_EUNSUPPORTED,
		    "this SQLite library is built without threads");
	if (sqlite3_vfs_find(ls_shim_vfs) != NULL) {
		root = sqlite3_vfs_find("unix");
		return LS_OK;
	}
	vfs = *root;
	vfs.zName = ls_shim_vfs;
	vfs.szOsFile = (int)sizeof(struct shim_file) + root->szOsFile;
	vfs.xOpen = shim_vfs_open;
	vfs.pNext = NULL;
	if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
		return ls_err_nomem(e);
	return LS_OK;
}

int
ls_shim_open(const char *path, struct ls_shim *s, sqlite3 **db)
{
	int rc = sqlite3_open_v2(
	    path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, ls_shim_vfs);

	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(
		    *db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_wal_autocheckpoint(*db, 0);
	if (rc == SQLITE_OK)
		rc = sqlite3_file_control(*db, "main", FCNTL_ATTACH, s);
	if (rc != SQLITE_OK) {
		(void)sqlite3_close(*db);
		*db = NULL;
	}
	return rc;
}

sqlite3_file *
ls_shim_file(sqlite3 *db)
{
	sqlite3_file *f = NULL;

	(void)sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &f);
	return f;
}

int
ls_shim_take_ckpt(sqlite3_file *f)
{
	struct ls_shim *s = self(f)->s;
	int rc = SQLITE_OK;

	if (!s->held && (rc = raw_lock(f, SLOT_CKPT, 1, LOCK_X)) == SQLITE_OK)
		s->held = true;
	return rc;
}

int
ls_shim_take_write(sqlite3_file *f)
{
	return raw_lock(f, SLOT_WRITE, 1, LOCK_X);
}

void
ls_shim_give_write(sqlite3_file *f)
{
	(void)raw_lock(f, SLOT_WRITE, 1, UNLOCK_X);
}

bool
ls_capture_is_db(const char *path)
{
	sqlite3_vfs *unix_vfs = sqlite3_vfs_find(NULL);
	sqlite3_filename name = NULL;
	sqlite3_file *f = NULL;
	struct stat st;
	char head[16];
	int flags = 0;
	bool yes = false;

	/* A pipe would block the open. */
	if (unix_vfs == NULL || ls_sys->stat(path, &st) != 0 ||
	    !S_ISREG(st.st_mode) || (size_t)st.st_size < sizeof head)
		return false;
	f = ls_zalloc((size_t)unix_vfs->szOsFile);
	name = sqlite3_create_filename(path, "", "", 0, NULL);
	if (f != NULL && name != NULL &&
	    unix_vfs->xOpen(unix_vfs, name, f,
		SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB,
		&flags) == SQLITE_OK)
		yes = f->pMethods->xRead(f, head, (int)sizeof head, 0) ==
			  SQLITE_OK &&
		      memcmp(head, "SQLite format 3", sizeof head) == 0;
	if (f != NULL && f->pMethods != NULL)
		(void)f->pMethods->xClose(f);
	sqlite3_free_filename(name);
	ls_free(f);
	return yes;
}
