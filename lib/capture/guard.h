/* guard.h -- the checkpoint guard: the one connection that holds
 * WAL_CKPT_LOCK, recovers the wal-index, and runs our checkpoints.
 *
 * The connection is used under the guard's own mutex, so that
 * ls_guard_recover may be called by a watcher while another thread is in the
 * middle of a step. Everything else: one thread at a time. */
#ifndef LS_GUARD_H
#define LS_GUARD_H

#include "base/err.h"
#include "capture/shim.h"
#include "format/wal.h"

#include <pthread.h>

struct ls_guard {
	struct ls_shim shim;
	sqlite3 *db; /* NULL: closed */
	sqlite3_stmt *read;
	sqlite3_file *file; /* borrowed from db */
	pthread_mutex_t mu; /* around db */
	uint64_t busy_ns;
	char *path;
	uint32_t page_size;
};

/* Open, switch to WAL mode when it is not, read once, take the CKPT lock.
 * Runs no checkpoint. Errors as ls_capture_open. g: zeroed memory; fini also
 * after an error. */
enum ls_rc ls_guard_init(struct ls_guard *g, const char *path, uint64_t busy_ns,
    struct ls_err *e) LS_MUST_CHECK;
void ls_guard_fini(struct ls_guard *g);

/* Read on the guard: recovers a torn wal-index. Tries for the busy time. */
enum ls_rc ls_guard_recover(struct ls_guard *g, struct ls_err *e) LS_MUST_CHECK;

/* Checks as SQLite does; false when the header is not valid now. tries: of
 * 0.1 ms. */
bool ls_guard_header(struct ls_guard *g, int tries, struct ls_wal_index *h);
bool ls_guard_torn(struct ls_guard *g);
uint32_t ls_guard_backfilled(struct ls_guard *g);
/* mxFrame and salts as they are now, unchecked: a hint. false: not mapped. */
bool ls_guard_peek(struct ls_guard *g, uint32_t *max_frame, uint32_t salt[2]);

/* The write lock, past SQLite, for at most wait_ns: LS_EBUSY. */
enum ls_rc ls_guard_take_write(
    struct ls_guard *g, uint64_t wait_ns, struct ls_err *e) LS_MUST_CHECK;
void ls_guard_give_write(struct ls_guard *g);

/* sqlite3_wal_checkpoint_v2, its status and counts (-1 when it did not run). */
int ls_guard_checkpoint(struct ls_guard *g, int mode, int *log, int *done);
/* fsync of the database file through SQLite's own handle. */
enum ls_rc ls_guard_sync(struct ls_guard *g, struct ls_err *e) LS_MUST_CHECK;
/* n bytes of the database file; LS_ESHORT past its end. */
enum ls_rc ls_guard_read(struct ls_guard *g, void *buf, size_t n, uint64_t off,
    struct ls_err *e) LS_MUST_CHECK;

/* Of a SQLite status: the code and the message of a connection. */
enum ls_rc ls_sqlite_err(
    struct ls_err *e, sqlite3 *db, int rc, const char *what);

#endif
