/* guard_torture.c -- the guard against writers that are killed at the worst
 * moments.
 *
 *   guard_torture DIR [SECONDS [ROUNDS [SEED]]]
 *
 * One guard process captures, checkpoints, parks, wakes, is killed and started
 * again, while three writers spill, delete, VACUUM, checkpoint in every mode,
 * close together (the WAL is deleted then) and are killed at random, at a
 * random operation of their VFS, and between the two copies of the wal-index
 * header. Every second round uses savepoints, which make some SQLite libraries
 * commit frames without checksums; a killed writer may then corrupt the
 * database by itself, so nothing is said about its integrity there.
 *
 * After each opening, and at random, a consistent state is compared with what
 * the LTX files add up to. One page that differs is a failure (status 1). */
#include "capture/capture.h"
#include "format/crc64.h"

#include "base/bytes.h"
#include "base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITERS = 3, MAX_PAGES = 60000, PATH = 1024 };

struct shared { /* in a file: every process counts, a kill loses nothing */
	long commits, files, copies, diffs, restarts, parks, refused, audits,
	    pages, finds, kills, tears, fuses, guard_kills, closes, opens,
	    proven, app_errors, worst_lock_us, worst_commit_us;
	volatile int stop, close_all, done, savepoints;
	/* What the LTX files add up to. */
	uint64_t txid;
	uint32_t commit;
	uint64_t sum[MAX_PAGES];
};

static struct shared *st;
static char db_path[PATH], self_arg[PATH];

static void
add(long *n, long k)
{
	(void)__atomic_fetch_add(n, k, __ATOMIC_RELAXED);
}

static void
most(long *max, long v)
{
	if (v > *max)
		*max = v;
}

static void
finding(const char *what, uint32_t pgno)
{
	add(&st->finds, 1);
	(void)fprintf(stderr, "FINDING: %s (page %u, TXID %llu)\n", what, pgno,
	    (unsigned long long)st->txid);
}

static _Noreturn void
die(const char *what, const struct ls_err *e)
{
	(void)fprintf(stderr, "guard: %s: %s\n", what, e->msg);
	exit(3);
}

/* ---- writers: a VFS that can end the process anywhere ----------------------- */

static sqlite3_vfs *root;
static sqlite3_vfs app_vfs;
static sqlite3_io_methods app_methods;
static const sqlite3_io_methods *real_methods;
static int fuse, tear_odds;
static bool has_write;
static volatile uint32_t *walindex;

static void
end_here(long *why)
{
	add(why, 1);
	(void)kill(getpid(), SIGKILL);
	(void)pause();
}

static void
tick(void)
{
	if (fuse > 0 && --fuse == 0)
		end_here(&st->fuses);
}

static int
app_write(sqlite3_file *f, const void *b, int n, sqlite3_int64 o)
{
	tick();
	return real_methods->xWrite(f, b, n, o);
}

static int
app_sync(sqlite3_file *f, int how)
{
	tick();
	return real_methods->xSync(f, how);
}

static int
app_shm_map(
    sqlite3_file *f, int region, int size, int extend, void volatile **out)
{
	int rc = real_methods->xShmMap(f, region, size, extend, out);

	tick();
	if (rc == SQLITE_OK && region == 0 && *out != NULL)
		walindex = *out;
	return rc;
}

static int
app_shm_lock(sqlite3_file *f, int slot, int n, int flags)
{
	int rc;

	tick();
	rc = real_methods->xShmLock(f, slot, n, flags);
	if (rc == SQLITE_OK && slot == 0)
		has_write = (flags & SQLITE_SHM_LOCK) != 0;
	return rc;
}

/* SQLite calls it between writing the two copies of the header. */
static void
app_barrier(sqlite3_file *f)
{
	tick();
	if (tear_odds && has_write && walindex != NULL &&
	    memcmp((const void *)walindex, (const void *)(walindex + 12), 48) !=
		0 &&
	    rand() % tear_odds == 0)
		end_here(&st->tears);
	real_methods->xShmBarrier(f);
}

static int
app_shm_unmap(sqlite3_file *f, int del)
{
	walindex = NULL;
	return real_methods->xShmUnmap(f, del);
}

static int
app_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
	int rc = root->xOpen(root, name, f, flags, out);

	(void)v;
	if (rc != SQLITE_OK || !(flags & SQLITE_OPEN_MAIN_DB))
		return rc;
	real_methods = f->pMethods;
	app_methods = *real_methods;
	app_methods.iVersion = 2;
	app_methods.xWrite = app_write;
	app_methods.xSync = app_sync;
	app_methods.xShmMap = app_shm_map;
	app_methods.xShmLock = app_shm_lock;
	app_methods.xShmBarrier = app_barrier;
	app_methods.xShmUnmap = app_shm_unmap;
	f->pMethods = &app_methods;
	return rc;
}

static int
sql(sqlite3 *db, const char *q)
{
	return sqlite3_exec(db, q, NULL, NULL, NULL);
}

static sqlite3 *
app_connect(void)
{
	sqlite3 *db = NULL;

	(void)sqlite3_open_v2(
	    db_path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "app");
	(void)sqlite3_busy_timeout(db, 10000);
	(void)sql(db, "PRAGMA synchronous=NORMAL; PRAGMA cache_size=10");
	return db;
}

static void
insert_text(char *q, size_t n)
{
	(void)snprintf(q, n,
	    "REPLACE INTO %s VALUES(abs(random())%%2000,randomblob(%d))",
	    rand() % 3 ? "u" : "t", rand() % (rand() % 4 ? 200 : 9000));
}

static int
app_spill(sqlite3 *db)
{
	char q[200];
	int rc = sql(db, "BEGIN IMMEDIATE");

	for (int i = rand() % 300; i > 0 && rc == SQLITE_OK; i--) {
		insert_text(q, sizeof q);
		rc = sql(db, i % 40 == 7 && st->savepoints
				 ? "SAVEPOINT a; DELETE FROM t WHERE x%5=0; "
				   "ROLLBACK TO a"
				 : q);
	}
	if (rc == SQLITE_OK)
		rc = sql(db, rand() % 3 ? "COMMIT" : "ROLLBACK");
	(void)sql(db, "ROLLBACK");
	return rc;
}

static int
app_statement(sqlite3 *db)
{
	static const char *const mode[] = { "PASSIVE", "FULL", "RESTART",
		"TRUNCATE" };
	char q[200];
	int op = rand() % 89, rc;
	uint64_t t = ls_sys->mono_ns();

	if (op < 4)
		return app_spill(db);
	if (op < 7)
		(void)snprintf(
		    q, sizeof q, "DELETE FROM t WHERE x%%%d=0", 2 + rand() % 5);
	else if (op < 11)
		(void)snprintf(
		    q, sizeof q, "PRAGMA wal_checkpoint(%s)", mode[rand() % 4]);
	else if (op < 12)
		(void)snprintf(q, sizeof q, "VACUUM");
	else if (op < 13)
		(void)snprintf(q, sizeof q, "PRAGMA journal_size_limit=%d",
		    32 + rand() % 300 * 4120 +
			(rand() % 2 ? rand() % 4120 : 0));
	else if (op < 15)
		(void)snprintf(q, sizeof q, "BEGIN; SELECT * FROM t LIMIT 1");
	else
		insert_text(q, sizeof q);
	rc = sql(db, q);
	if (op >= 13 && op < 15) {
		(void)usleep((useconds_t)(rand() % 30000));
		(void)sql(db, "COMMIT");
	}
	if (op >= 15 && rc == SQLITE_OK) {
		add(&st->commits, 1);
		most(&st->worst_commit_us,
		    (long)((ls_sys->mono_ns() - t) / 1000));
	}
	return rc;
}

static int
app_main(void)
{
	sqlite3 *db = NULL;
	int rc;

	root = sqlite3_vfs_find(NULL);
	app_vfs = *root;
	app_vfs.zName = "app";
	app_vfs.xOpen = app_open;
	(void)sqlite3_vfs_register(&app_vfs, 0);
	fuse = rand() % 3 ? 0 : 1 + rand() % 20000;
	tear_odds = rand() % 2 ? 0 : 1 + rand() % 300;
	while (!st->stop) {
		if (st->close_all || rand() % 60 == 0) {
			(void)sqlite3_close(db);
			db = NULL;
		}
		if (st->close_all) {
			(void)usleep(5000);
			continue;
		}
		if (db == NULL)
			db = app_connect();
		rc = app_statement(db);
		/* BUSY: another writer is long; CORRUPT: see the file's head. */
		if (rc != SQLITE_OK && rc != SQLITE_BUSY &&
		    !(rc == SQLITE_CORRUPT && st->savepoints))
			add(&st->app_errors, 1);
		if (rand() % 8 == 0)
			(void)usleep((useconds_t)(rand() % 20000));
	}
	return sqlite3_close(db);
}

/* ---- the guard --------------------------------------------------------------- */

struct source {
	int fd;
};

static enum ls_rc
read_fd(void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	ssize_t k = read(((struct source *)arg)->fd, buf, n);

	if (k < 0)
		return ls_err_set(e, LS_EIO, "read");
	*got = (size_t)k;
	return LS_OK;
}

static void
apply_file(struct ls_capture *c, uint64_t txid)
{
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_page pg;
	struct ls_err e = { 0 };
	struct source src;
	char path[PATH * 2];
	uint32_t commit;

	src.fd =
	    open(ls_spool_path(ls_capture_spool(c), txid, path, sizeof path),
		O_RDONLY | O_CLOEXEC);
	if (src.fd < 0 || ls_ltx_reader_open(read_fd, &src, &r, &e) != LS_OK)
		die(path, &e);
	commit = ls_ltx_reader_header(r)->commit;
	for (uint32_t p = commit; p < st->commit; p++)
		st->sum[p] = 0;
	while (ls_ltx_reader_next(r, &pg, &e) == LS_OK)
		st->sum[pg.pgno - 1] = ls_page_checksum(pg.pgno,
		    LS_SPAN(pg.data, ls_ltx_reader_header(r)->page_size));
	if (!ls_ltx_reader_at_end(r) || ls_ltx_reader_finish(r, &e) != LS_OK)
		die(path, &e);
	st->commit = commit;
	st->txid = txid; /* last: a kill before it applies the file again */
	ls_ltx_reader_free(r);
	(void)close(src.fd);
}

static void
follow(struct ls_capture *c)
{
	uint64_t oldest, newest, safe;
	struct ls_err e = { 0 };

	ls_spool_range(ls_capture_spool(c), &oldest, &newest);
	if (newest < st->txid)
		finding("the spool went back", 0);
	while (st->txid < newest)
		apply_file(c, st->txid + 1), add(&st->files, 1);
	if (rand() % 20 == 0 && ls_capture_save(c, &safe, &e) == LS_OK &&
	    ls_spool_drop(ls_capture_spool(c), LS_MIN(safe, st->txid), &e) !=
		LS_OK)
		die("drop", &e);
}

static void
step(struct ls_capture *c)
{
	struct ls_captured got;
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_capture_step(c, &got, &e);

	if (rc != LS_OK && !ls_rc_retry(rc))
		die("step", &e);
	if (rc != LS_OK)
		return;
	st->copies += got.kind == LS_CAP_COPY_ALL;
	st->diffs += got.kind == LS_CAP_DIFF;
	follow(c);
}

static void
audit(struct ls_capture *c, const char *when)
{
	struct ls_view *v = NULL;
	struct ls_view_info info;
	struct ls_err e = { 0 };
	enum ls_rc rc = LS_EAGAIN;
	uint8_t page[4096];

	for (int i = 0; i < 50 && rc != LS_OK; i++) {
		if ((rc = ls_view_open(c, &v, &info, &e)) == LS_OK)
			break;
		if (!ls_rc_retry(rc))
			die("view", &e);
		step(c);
	}
	if (rc != LS_OK)
		return;
	follow(c);
	if (st->txid != info.txid || st->commit != info.commit)
		finding(when, 0);
	for (uint32_t p = 1; p <= info.commit && p <= MAX_PAGES; p++) {
		if (ls_view_page(v, p, page, &e) != LS_OK)
			die("page", &e);
		if (st->sum[p - 1] !=
		    ls_page_checksum(p, LS_SPAN(page, sizeof page)))
			finding(when, p);
	}
	add(&st->audits, 1);
	add(&st->pages, info.commit);
	ls_view_close(v);
}

static void
checkpoint(struct ls_capture *c, enum ls_ckpt mode)
{
	struct ls_checkpointed k;
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_capture_checkpoint(c, mode, &k, &e);

	if (rc != LS_OK && !ls_rc_retry(rc))
		die("checkpoint", &e);
	add(&st->restarts, rc == LS_OK && k.restarted);
	if (rc == LS_OK)
		most(&st->worst_lock_us, (long)(k.locked_ns / 1000));
	follow(c);
}

static struct ls_capture *
wake(void)
{
	char *meta = ls_meta_path(db_path);
	struct ls_capture_conf conf = {
		.db_path = db_path,
		.meta_path = meta,
		.busy_timeout_ns = 5 * (int64_t)LS_SEC,
	};
	struct ls_capture_pos pos;
	struct ls_capture *c = NULL;
	struct ls_err e = { 0 };
	enum ls_rc rc = LS_EBUSY;

	for (int i = 0; i < 200 && rc != LS_OK; i++) {
		if ((rc = ls_capture_open(&conf, &c, &e)) == LS_OK)
			break;
		if (!ls_rc_retry(rc) && rc != LS_ELOCKED)
			die("open", &e);
		(void)usleep(10000);
	}
	if (rc != LS_OK)
		die("open", &e);
	ls_free(meta);
	ls_capture_position(c, &pos);
	add(&st->opens, 1);
	add(&st->proven, !pos.resync_due);
	follow(c);
	audit(c, "after opening");
	return c;
}

static struct ls_capture *
sleep_and_wake(struct ls_capture *c)
{
	static const int most_ms[] = { 1, 3, 10, 30, 300 };
	struct ls_err e = { 0 };

	if (rand() % 4 == 0) {
		(void)ls_capture_close(c, &e);
	} else if (ls_capture_park(c, &e) == LS_OK) {
		add(&st->parks, 1);
	} else {
		add(&st->refused, 1);
		follow(c);
		return c;
	}
	st->close_all = rand() % 12 == 0;
	(void)usleep((useconds_t)(rand() % (most_ms[rand() % 5] * 1000) +
				  (st->close_all ? 150000 : 0)));
	add(&st->closes, st->close_all);
	st->close_all = 0;
	return wake();
}

static void
watch(struct ls_capture *c)
{
	struct ls_err e = { 0 };

	if (!ls_capture_torn(c))
		return;
	(void)usleep(10000);
	if (ls_capture_torn(c) && ls_capture_recover(c, &e) != LS_OK &&
	    !ls_rc_retry(e.rc))
		die("recover", &e);
}

static void
compare_file(void)
{
	struct ls_buf b = LS_BUF_INIT((size_t)1 << 30);
	struct ls_err e = { 0 };

	if (ls_read_file(db_path, (size_t)1 << 30, &b, &e) != LS_OK)
		die("read", &e);
	if (b.n != (size_t)st->commit * 4096)
		finding("size of the file", st->commit);
	for (uint32_t p = 1; p <= b.n / 4096; p++)
		if (ls_page_checksum(p, LS_SPAN(b.p + (size_t)(p - 1) * 4096,
					    4096)) != st->sum[p - 1])
			finding("in the file", p);
	ls_buf_free(&b);
}

static int
guard_main(void)
{
	struct ls_err e = { 0 };
	struct ls_checkpointed k = { .restarted = false };
	struct ls_capture *c;

	if (ls_capture_init(&e) != LS_OK)
		die("init", &e);
	c = wake();
	while (st->stop < 2) {
		watch(c);
		step(c);
		if (rand() % 6 == 0)
			checkpoint(
			    c, rand() % 6 ? LS_CKPT_RESTART : LS_CKPT_TRUNCATE);
		if (rand() % 30 == 0)
			audit(c, "in flight");
		if (rand() % 8 == 0)
			c = sleep_and_wake(c);
		(void)usleep((useconds_t)(rand() % 20000));
	}
	audit(c, "at the end");
	for (int i = 0; i < 50 && !k.restarted; i++) {
		step(c);
		(void)!ls_capture_checkpoint(c, LS_CKPT_TRUNCATE, &k, &e);
	}
	follow(c);
	if (!k.restarted || k.log != k.done)
		finding("not checkpointed", 0);
	if (ls_capture_close(c, &e) != LS_OK)
		die("close", &e);
	compare_file();
	st->done = 1;
	return 0;
}

/* ---- the supervisor: no SQLite connection here -------------------------------- */

static pid_t
start(const char *what)
{
	char seed[20];
	pid_t pid;

	(void)snprintf(seed, sizeof seed, "%d", rand());
	if ((pid = fork()) == 0) {
		(void)execl("/proc/self/exe", "guard_torture", self_arg, what,
		    seed, (char *)NULL);
		_exit(9);
	}
	return pid;
}

static void
create(void)
{
	pid_t pid = start("create");

	(void)waitpid(pid, NULL, 0);
}

static void
mayhem(pid_t *guard, pid_t w[WRITERS])
{
	bool all = rand() % 60 == 0;
	pid_t p;
	int how;

	for (int k = 0; k < WRITERS; k++)
		if (all || rand() % 60 == 0)
			(void)kill(w[k], SIGKILL), st->kills++;
	if (rand() % 100 == 0)
		(void)kill(*guard, SIGKILL), st->guard_kills++;
	while ((p = waitpid(-1, &how, WNOHANG)) > 0) {
		for (int k = 0; k < WRITERS; k++)
			if (p == w[k])
				w[k] = start("app");
		if (p != *guard)
			continue;
		if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL)
			finding("the guard ended by itself", 0);
		st->close_all = 0;
		*guard = start("guard");
	}
}

static void
play(unsigned seconds)
{
	pid_t guard, w[WRITERS];
	uint64_t until = ls_sys->mono_ns() + seconds * LS_SEC;

	create();
	guard = start("guard");
	for (int k = 0; k < WRITERS; k++)
		w[k] = start("app");
	while (ls_sys->mono_ns() < until) {
		mayhem(&guard, w);
		(void)usleep((useconds_t)(rand() % 30000));
	}
	st->stop = 1; /* the application ends first, then the guard */
	for (int k = 0; k < WRITERS; k++)
		(void)waitpid(w[k], NULL, 0);
	st->stop = 2;
	(void)waitpid(guard, NULL, 0);
	for (int i = 0; i < 3 && !st->done; i++)
		(void)waitpid(start("guard"), NULL, 0);
	if (!st->done)
		finding("the guard did not come to its end", 0);
}

static void
report(int round)
{
	(void)printf("round %d: commits %ld, files %ld (copies %ld, "
		     "differences %ld), restarts %ld; opened %ld, proven %ld, "
		     "parked %ld, refused %ld, all closed %ld; killed: writers "
		     "%ld, at an operation %ld, between header copies %ld, "
		     "guard %ld; audits %ld of %ld pages; application errors "
		     "%ld; write lock at most %.1f ms, commit %.1f ms; "
		     "FINDINGS %ld\n",
	    round, st->commits, st->files, st->copies, st->diffs, st->restarts,
	    st->opens, st->proven, st->parks, st->refused, st->closes,
	    st->kills, st->fuses, st->tears, st->guard_kills, st->audits,
	    st->pages, st->app_errors, (double)st->worst_lock_us / 1e3,
	    (double)st->worst_commit_us / 1e3, st->finds);
	(void)fflush(stdout);
}

static struct shared *
map_shared(void)
{
	char path[PATH + 16];
	void *p;
	int fd;

	(void)snprintf(path, sizeof path, "%s/shared", self_arg);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof *st) != 0)
		return NULL;
	p = mmap(NULL, sizeof *st, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	return p == MAP_FAILED ? NULL : p;
}

static int
create_main(void)
{
	sqlite3 *db = NULL;

	(void)sqlite3_open(db_path, &db);
	(void)sql(db,
	    "PRAGMA journal_mode=WAL; CREATE TABLE t(x INTEGER "
	    "PRIMARY KEY,y); CREATE TABLE u(x INTEGER PRIMARY KEY,y)");
	return sqlite3_close(db);
}

int
main(int argc, char **argv)
{
	struct ls_err e;
	long finds = 0;
	unsigned seconds =
	    argc > 2 ? (unsigned)(int)strtol(argv[2], NULL, 10) : 5;
	int rounds = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 2;

	if (argc < 2)
		return fprintf(stderr, "guard_torture DIR [SECONDS [ROUNDS "
				       "[SEED]]]\n"),
		       2;
	(void)snprintf(self_arg, sizeof self_arg, "%s", argv[1]);
	(void)snprintf(db_path, sizeof db_path, "%s/t.db", argv[1]);
	if (argc > 3 && argv[2][0] >= 'a') { /* a child */
		srand((unsigned)(int)strtol(argv[3], NULL, 10));
		if ((st = map_shared()) == NULL)
			return 2;
		return argv[2][0] == 'c'   ? create_main()
		       : argv[2][0] == 'a' ? app_main()
					   : guard_main();
	}
	srand(argc > 4 ? (unsigned)(int)strtol(argv[4], NULL, 10) : 1);
	for (int i = 0; i < rounds; i++) {
		if (ls_remove_tree(self_arg, &e) != LS_OK ||
		    mkdir(self_arg, 0700) != 0 || (st = map_shared()) == NULL)
			return perror(self_arg), 2;
		st->savepoints = i & 1;
		play(seconds);
		report(i + 1);
		finds += st->finds;
		(void)munmap(st, sizeof *st);
	}
	return finds != 0;
}
