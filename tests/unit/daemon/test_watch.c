#include "test.h"

#include "daemon/watch.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int seen[3];

static int node_seen;
static char node_name[64];

static void
count(void *arg, void *owner)
{
	(void)arg;
	seen[*(int *)owner]++;
}

static void
count_node(void *arg, void *node, const char *name, uint32_t mask)
{
	(void)arg, (void)node, (void)mask;
	node_seen++;
	(void)snprintf(
	    node_name, sizeof node_name, "%.60s", name ? name : "(all)");
}

static const struct ls_watch_fns fns = { count, count_node, NULL };

/* Read what the kernel has for us now. */
static void
drain(struct ls_watch *w)
{
	struct pollfd p = { ls_watch_fd(w), POLLIN, 0 };

	memset(seen, 0, sizeof seen);
	node_seen = 0;
	while (poll(&p, 1, 50) > 0)
		ls_watch_read(w, &fns);
}

TEST(watch_tells_of_the_right_database_only)
{
	int a = 0, b = 1;
	struct ls_watch *w = NULL;
	struct ls_err e;

	test_write_file(T("a.db-wal"), "x", 1);
	CHECK_OK(ls_watch_new(&w, &e));
	CHECK_OK(ls_watch_db(w, T("a.db"), &a, &e));
	CHECK_OK(ls_watch_db(w, T("b.db"), &b, &e));
	CHECK(ls_watch_arm(w, T("a.db"), &a));
	CHECK(!ls_watch_arm(w, T("b.db"), &b)); /* no -wal */

	test_write_file(T("b.db"), "x", 1); /* created */
	drain(w);
	CHECK_EQ(seen[0], 0);
	CHECK(seen[1] > 0);

	test_write_file(T("a.db-wal"), "xy", 2); /* written: once */
	test_write_file(T("a.db-wal"), "xyz", 3);
	drain(w);
	CHECK_EQ(seen[0], 1);
	CHECK_EQ(seen[1], 0);
	test_write_file(T("a.db-wal"), "xyzz", 4); /* not armed again */
	drain(w);
	CHECK_EQ(seen[0], 0);
	CHECK(ls_watch_arm(w, T("a.db"), &a));
	CHECK(unlink(T("a.db-wal")) == 0);
	drain(w);
	CHECK(seen[0] > 0);

	ls_watch_forget(w, &b);
	CHECK(unlink(T("b.db")) == 0);
	drain(w);
	CHECK_EQ(seen[1], 0);
	ls_watch_free(w);
}

/* A folder that goes and comes again is another one: its databases are told,
 * and watching them again watches the new folder. */
TEST(watch_follows_a_folder_that_is_made_again)
{
	int a = 0;
	struct ls_watch *w = NULL;
	struct ls_err e;

	CHECK_OK(ls_watch_new(&w, &e));
	for (int turn = 0; turn < 3; turn++) {
		CHECK(mkdir(T("f"), 0700) == 0);
		CHECK_OK(ls_watch_db(w, T("f/a.db"), &a, &e));
		CHECK_OK(ls_watch_db(w, T("f/a.db"), &a, &e)); /* no matter */
		test_write_file(T("f/a.db"), "x", 1);
		drain(w);
		CHECK_EQ(seen[0], 1);
		if (turn == 1) {
			CHECK(rename(T("f"), T("g")) == 0);
			drain(w);
			CHECK(seen[0] > 0);
			test_write_file(T("g/a.db-wal"), "x", 1);
			drain(w);
			CHECK_EQ(seen[0], 0);
			continue;
		}
		CHECK(unlink(T("f/a.db")) == 0);
		CHECK(rmdir(T("f")) == 0);
		drain(w);
		CHECK(seen[0] > 0);
	}
	ls_watch_free(w);
}

/* One kernel watch, two paths: both owners are told until the old one is
 * forgotten, and then the new one still is. */
TEST(watch_follows_a_folder_that_is_renamed)
{
	int a = 0, b = 1, node_a, node_b;
	struct ls_watch *w = NULL;
	struct ls_err e;

	CHECK_OK(ls_watch_new(&w, &e));
	CHECK(mkdir(T("t"), 0700) == 0 && mkdir(T("t/f"), 0700) == 0);
	CHECK_OK(ls_watch_dir(w, T("t"), &node_a, &e));
	CHECK_OK(ls_watch_db(w, T("t/f/x.db"), &a, &e));
	CHECK(rename(T("t/f"), T("t/g")) == 0);
	CHECK_OK(ls_watch_db(w, T("t/g/x.db"), &b, &e));
	CHECK_OK(ls_watch_dir(w, T("t/g"), &node_b, &e));
	drain(w); /* the move itself ends that watch */
	CHECK(seen[0] > 0 && seen[1] > 0 && node_seen > 0);
	ls_watch_forget(w, &a);
	CHECK_OK(ls_watch_db(w, T("t/g/x.db"), &b, &e));
	CHECK_OK(ls_watch_dir(w, T("t/g"), &node_b, &e));
	test_write_file(T("t/g/x.db"), "x", 1);
	drain(w);
	CHECK_EQ(seen[0], 0);
	CHECK(seen[1] > 0 && node_seen > 0);
	CHECK_STR(node_name, "x.db");
	ls_watch_forget(w, &node_b);
	test_write_file(T("t/g/x.db-wal"), "x", 1);
	drain(w);
	CHECK(seen[1] > 0);
	CHECK_EQ(node_seen, 0);
	CHECK(!ls_watch_full(w));
	ls_watch_free(w);
}
