/* restart_lock.c -- how long the write lock is held by our checkpoint.
 *
 *   build/tests/bench_restart_lock DIR [FRAMES [FSYNC_MS]]
 *
 * A database in DIR gets FRAMES (40,000) WAL frames from an application without
 * checkpoints; every fsync of the process, SQLite's too, takes FSYNC_MS (20)
 * longer. Then the two-phase checkpoint runs, and the time that
 * WAL_WRITE_LOCK was held is printed, with the fsyncs that fell into it. The bar
 * is 50 ms; without the sync of phase one it is the whole database's sync.
 */
#include "base/file.h"
#include "base/sys.h"
#include "capture/capture.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t delay_ns;
static unsigned syncs;

/* Of this program and of libsqlite3: the names of a program come first. */
int
fdatasync(int fd)
{
	syncs++;
	ls_sys->sleep_ns(delay_ns);
	return (int)syscall(SYS_fdatasync, fd);
}

int
fsync(int fd)
{
	syncs++;
	ls_sys->sleep_ns(delay_ns);
	return (int)syscall(SYS_fsync, fd);
}

static int
run(sqlite3 *db, const char *sql)
{
	char *msg = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &msg) == SQLITE_OK)
		return 0;
	(void)fprintf(stderr, "%s: %s\n", sql, msg);
	return 1;
}

static int
fill(sqlite3 *db, unsigned frames)
{
	char sql[256];

	(void)snprintf(sql, sizeof sql,
	    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n "
	    "WHERE i<%u) INSERT INTO t SELECT i, randomblob(3900) FROM n",
	    frames);
	return run(db, sql);
}

int
main(int argc, char **argv)
{
	unsigned frames =
	    argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 40000;
	uint64_t ms = argc > 3 ? strtoull(argv[3], NULL, 10) : 20;
	char path[4096], meta[4200];
	struct ls_capture_conf conf = { .db_path = path,
		.meta_path = meta,
		.busy_timeout_ns = (int64_t)LS_SEC,
		.min_checkpoint_pages = 1000,
		.truncate_pages = 121359 };
	struct ls_capture *c = NULL;
	struct ls_captured got;
	struct ls_checkpointed cp = { 0 };
	struct ls_err e = { 0 };
	sqlite3 *app = NULL;
	unsigned before;

	if (argc < 2)
		return fprintf(stderr, "usage: bench_restart_lock DIR [FRAMES "
				       "[FSYNC_MS]]\n"),
		       2;
	(void)snprintf(path, sizeof path, "%s/lock.db", argv[1]);
	(void)snprintf(meta, sizeof meta, "%s/.lock.db-litestream", argv[1]);
	if (sqlite3_open(path, &app) != SQLITE_OK ||
	    run(app, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; "
		     "CREATE TABLE t(x INTEGER PRIMARY KEY, y)"))
		return 1;
	if (ls_capture_init(&e) != LS_OK ||
	    ls_capture_open(&conf, &c, &e) != LS_OK ||
	    ls_capture_step(c, &got, &e) != LS_OK || fill(app, frames))
		return fprintf(stderr, "%s\n", e.msg), 1;
	do {
		if (ls_capture_step(c, &got, &e) != LS_OK)
			return fprintf(stderr, "%s\n", e.msg), 1;
	} while (got.more);
	delay_ns = ms * LS_MS;
	before = syncs;
	if (ls_capture_checkpoint(c, LS_CKPT_RESTART, &cp, &e) != LS_OK)
		return fprintf(stderr, "%s\n", e.msg), 1;
	(void)printf(
	    "%u frames, %u backfilled, restarted %d, %u fsyncs of %llu "
	    "ms; write lock held %.2f ms\n",
	    cp.log, cp.done, cp.restarted, syncs - before,
	    (unsigned long long)ms, (double)cp.locked_ns / 1e6);
	(void)sqlite3_close(app);
	return ls_capture_close(c, &e) != LS_OK;
}
