#include "test.h"

#include "daemon/watch.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int seen[3];

static void
count(void *arg, void *owner)
{
	(void)arg;
	seen[*(int *)owner]++;
}

/* Read what the kernel has for us now. */
static void
drain(struct ls_watch *w)
{
	struct pollfd p = { ls_watch_fd(w), POLLIN, 0 };

	memset(seen, 0, sizeof seen);
	while (poll(&p, 1, 50) > 0)
		ls_watch_read(w, count, NULL);
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

	ls_watch_forget(w, T("b.db"), &b);
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
