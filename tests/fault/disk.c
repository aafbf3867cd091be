/* disk.c -- a whole turn of the daemon's on a disk that fails: capture, save,
 * upload into a folder, drop, merge; a restart; a restore. Each fallible call of
 * each of them fails once, with ENOSPC and with EIO.
 *
 * After every fault: no descriptor leaked, a message, and the same call again
 * (no restart, no help) goes through; what the folder holds restores to the
 * application's database, byte for byte. */
#include "capture/internal.h"
#include "fault.h"
#include "replica/replica.h"
#include "unit/capture/app.h"

#include <errno.h>
#include <unistd.h>

struct world {
	struct app app;
	struct ls_capture *cap;
	struct ls_store *store;
	struct ls_replica *replica;
	struct ls_uploader *up;
	uint64_t safe, acked;
	uint64_t sent; /* the newest that a put was begun for */
	int rows;
};

static void
open_replica(struct world *w)
{
	struct ls_err e = { 0 };
	struct ls_place p;

	ls_place_init(&p);
	p.type = ls_strdup("file");
	p.path = ls_strdup(T("replica"));
	CHECK_OK(ls_place_settle(&p, &e));
	CHECK_OK(ls_store_open(&p, NULL, &w->store, &e));
	ls_place_fini(&p);
	CHECK_OK(ls_replica_new(w->store, &w->replica, &e));
	CHECK_OK(ls_uploader_new(w->replica, 0, &w->up, &e));
}

static void
close_replica(struct world *w)
{
	ls_uploader_free(w->up);
	ls_replica_free(w->replica);
	ls_store_free(w->store);
	w->up = NULL;
}

/* Open descriptors, but those of the database file: SQLite closes such a one
 * only when no lock of this process is left on it, and uses it again. */
static int
open_fds(void)
{
	char link[64], to[1024];
	int count = 0;

	for (int fd = 0; fd < 1024; fd++) {
		(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t n = readlink(link, to, sizeof to - 1);
		to[n > 0 ? n : 0] = '\0';
		count += n > 0 && strcmp(to, T("db")) != 0;
	}
	return count;
}

static void
commit(struct world *w)
{
	app_ok(&w->app, "REPLACE INTO t VALUES(%d, randomblob(%d))",
	    w->rows % 5, 3000 + w->rows % 7 * 1000);
	w->rows++;
}

/* ---- what is swept ---------------------------------------------------------*/

static enum ls_rc
upload(struct world *w, struct ls_err *e)
{
	uint64_t oldest, newest;
	char path[1024];
	enum ls_rc rc = LS_OK;

	if (w->acked == 0 &&
	    (rc = ls_uploader_sync(w->up, &w->acked, NULL, NULL, e)) != LS_OK)
		return rc;
	ls_spool_range(ls_capture_spool(w->cap), &oldest, &newest);
	while (rc == LS_OK && w->acked < newest) {
		(void)ls_spool_path(
		    ls_capture_spool(w->cap), w->acked + 1, path, sizeof path);
		w->sent = w->acked + 1;
		rc = ls_uploader_put(w->up, w->acked + 1, path, NULL, e);
		if (rc == LS_OK)
			w->acked++;
	}
	return rc;
}

/* One commit captured, saved, uploaded, dropped; some pending ones merged. */
static enum ls_rc
turn(struct world *w, struct ls_err *e)
{
	struct ls_captured got;
	enum ls_rc rc;

	do {
		if ((rc = ls_capture_step(w->cap, &got, e)) != LS_OK)
			return rc;
	} while (got.more);
	if ((rc = ls_capture_merge(w->cap, LS_MAX(w->sent, w->acked), e)) !=
		LS_OK ||
	    (rc = ls_capture_save(w->cap, &w->safe, e)) != LS_OK ||
	    (rc = upload(w, e)) != LS_OK)
		return rc;
	return ls_spool_drop(
	    ls_capture_spool(w->cap), LS_MIN(w->safe, w->acked), e);
}

/* From a process that ended without a word to a position that is told. */
static enum ls_rc
restart(struct world *w, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	if (w->cap == NULL)
		rc = cap_try("db", &w->cap, e);
	return rc == LS_OK ? turn(w, e) : rc;
}

static enum ls_rc
restore(struct world *w, struct ls_err *e)
{
	static const struct ls_target newest = { 0, 0 };
	const struct ls_restore_opts o = {
		.output = T("out"), .parallelism = 1, .par = &ls_par_serial
	};
	struct ls_files all = { 0 };
	struct ls_plan plan = { 0 };
	struct ls_restored got;
	enum ls_rc rc;

	rc = ls_replica_list_all(w->replica, &ls_par_serial, &all, NULL, e);
	if (rc == LS_OK)
		rc = ls_plan_make(w->replica, &all, &newest, &plan, NULL, e);
	if (rc == LS_OK)
		rc = ls_restore(w->replica, &plan, &o, &got, NULL, e);
	ls_plan_fini(&plan);
	ls_files_fini(&all);
	return rc;
}

/* ---- comparing -------------------------------------------------------------*/

/* Restored, it is what a reader of the database sees now. */
static void
check_restored(struct world *w)
{
	struct ls_view *v = NULL;
	struct ls_view_info info = { 0 };
	struct ls_err e = { 0 };
	uint8_t page[4096];
	struct ls_span f;

	CHECK_OK(restore(w, &e));
	f = test_read_file(T("out"));
	CHECK_OK(ls_view_open(w->cap, &v, &info, &e));
	CHECK_EQ(info.page_size, sizeof page);
	CHECK_EQ(f.n, (uint64_t)info.commit * sizeof page);
	for (uint32_t p = 1; p <= info.commit; p++) {
		CHECK_OK(ls_view_page(v, p, page, &e));
		CHECK(memcmp(page, f.p + (p - 1) * sizeof page, sizeof page) ==
		      0);
	}
	ls_view_close(v);
	CHECK_OK(ls_remove_tree(T("out"), &e));
}

static void
start(struct world *w)
{
	struct ls_err e = { 0 };

	*w = (struct world){ .rows = 0 };
	app_start(&w->app, "db");
	app_ok(&w->app, "PRAGMA page_size=4096");
	app_ok(&w->app, "PRAGMA journal_mode=WAL");
	app_ok(&w->app, "CREATE TABLE t(x INTEGER PRIMARY KEY, y)");
	app_ok(&w->app, "INSERT INTO t VALUES(100, randomblob(40000))");
	open_replica(w);
	w->cap = cap_open("db");
	CHECK_OK(turn(w, &e));
}

static void
finish(struct world *w)
{
	check_restored(w);
	cap_close(w->cap);
	app_close(&w->app);
	close_replica(w);
}

typedef enum ls_rc thing(struct world *w, struct ls_err *e);

/* The thing under the nth fault; false: there are fewer calls. */
static bool
faulted(struct world *w, thing *fn, int n, int err)
{
	struct ls_err e = { 0 };
	int fds = open_fds();
	bool was_open = w->cap != NULL, fired;
	enum ls_rc rc;

	fault_reads(1);
	fault_arm(n, err);
	rc = fn(w, &e);
	fired = fault_fired();
	fault_disarm();
	fault_reads(0);
	/* The folder's lock is taken by the first put, and stays. */
	if (was_open == (w->cap != NULL) && fn != restart)
		CHECK(open_fds() <= fds + 1);
	CHECK(rc == LS_OK || (fired && e.msg[0] != '\0'));
	return fired;
}

static int
sweep_turn(int err)
{
	struct world w;
	struct ls_err e = { 0 };
	int n = 1, fds;
	bool fired;

	start(&w);
	fds = open_fds();
	do {
		commit(&w);
		(void)cap_step(w.cap);
		commit(&w);
		fired = faulted(&w, turn, n++, err);
		commit(&w);
		CHECK_OK(turn(&w, &e));
		CHECK_EQ(w.cap->due, LS_DUE_NONE);
		CHECK_EQ(open_fds(), fds);
		check_restored(&w);
	} while (fired);
	finish(&w);
	return n;
}

TEST(turn_on_a_full_disk)
{
	CHECK(sweep_turn(ENOSPC) > 60);
}

TEST(turn_on_a_failing_disk)
{
	CHECK(sweep_turn(EIO) > 60);
}

/* Killed, and started on a disk that fails: the next start needs no help. */
static int
sweep_restart(int err)
{
	struct world w;
	struct ls_err e = { 0 };
	int n = 1, fds = 0;
	bool fired;

	start(&w);
	do {
		commit(&w);
		(void)cap_step(w.cap);
		cap_abandon(w.cap);
		w.cap = NULL;
		commit(&w);
		fired = faulted(&w, restart, n++, err);
		CHECK_OK(restart(&w, &e));
		fds = fds ? fds : open_fds();
		CHECK_EQ(open_fds(), fds);
		check_restored(&w);
	} while (fired);
	finish(&w);
	return n;
}

TEST(restart_on_a_full_disk)
{
	CHECK(sweep_restart(ENOSPC) > 60);
}

TEST(restart_on_a_failing_disk)
{
	CHECK(sweep_restart(EIO) > 60);
}

TEST(restore_on_a_failing_disk)
{
	static const int errs[] = { ENOSPC, EIO };
	struct world w;
	struct ls_err e = { 0 };

	start(&w);
	for (size_t k = 0; k < 2; k++) {
		int n = 1;

		while (faulted(&w, restore, n++, errs[k])) {
			/* A fault that is survived (a preallocation) may leave
			 * a whole file; nothing else is left. */
			CHECK(!ls_exists(T("out.tmp")));
			if (ls_exists(T("out")))
				CHECK_OK(ls_remove_tree(T("out"), &e));
			check_restored(&w);
		}
		CHECK(n > 10);
		CHECK_OK(ls_remove_tree(T("out"), &e));
	}
	finish(&w);
}
