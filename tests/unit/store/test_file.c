/* test_file.c -- the file driver. */
#include "fault.h"

#include "base/bytes.h"
#include "base/call.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

static struct ls_store *
open_at(const char *folder)
{
	struct ls_place p;
	struct ls_store *st = NULL;
	struct ls_err e = { 0 };

	ls_place_init(&p);
	p.type = ls_strdup("file");
	p.path = ls_strdup(T(folder));
	CHECK_OK(ls_store_open(&p, NULL, &st, &e));
	ls_place_fini(&p);
	return st;
}

struct seen {
	char text[1024];
	int n, stop_after;
};

static bool
see(void *arg, const struct ls_object *o)
{
	struct seen *s = arg;

	size_t n = strlen(s->text);

	(void)snprintf(s->text + n, sizeof s->text - n, "%s ", o->key);
	return ++s->n != s->stop_after;
}

TEST(file_put_get_and_ranges)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(100);
	struct ls_got g;
	struct ls_put o = { .timestamp_ms = 1700000000123 };
	struct ls_get r = { .off = 3, .len = 2 };

	CHECK_STR(ls_store_type(st), "file");
	CHECK(ls_store_layout(st) == LS_LAYOUT_LTX);
	CHECK_OK(ls_store_put(
	    st, "ltx/0/a", LS_SPAN_STR("0123456789"), &o, NULL, &e));
	CHECK_OK(ls_store_get(st, "ltx/0/a", NULL, &b, &g, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "0123456789");
	CHECK_EQ(g.total_size, 10);
	CHECK_EQ(g.timestamp_ms, 1700000000123);
	CHECK_OK(ls_store_get(st, "ltx/0/a", &r, &b, &g, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "012345678934");
	r = (struct ls_get){ .suffix = 4, .if_match = g.etag };
	CHECK_OK(ls_store_get(st, "ltx/0/a", &r, &b, NULL, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "0123456789346789");
	ls_buf_clear(&b);
	r = (struct ls_get){ .suffix = 40 };
	CHECK_OK(ls_store_get(st, "ltx/0/a", &r, &b, NULL, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "0123456789");
	r = (struct ls_get){ .off = 10 };
	CHECK_RC(
	    ls_store_get(st, "ltx/0/a", &r, &b, NULL, NULL, &e), LS_ERANGE);
	r = (struct ls_get){ .if_match = "other" };
	CHECK_RC(
	    ls_store_get(st, "ltx/0/a", &r, &b, NULL, NULL, &e), LS_ECHANGED);
	CHECK_RC(ls_store_get(st, "ltx/0/b", NULL, &b, NULL, NULL, &e),
	    LS_ENOTFOUND);
	CHECK_STR(ls_buf_str(&b), "0123456789");
	ls_buf_free(&b);
	b.max = 9; /* a ceiling is an error and leaves the buffer alone */
	CHECK_RC(
	    ls_store_get(st, "ltx/0/a", NULL, &b, NULL, NULL, &e), LS_ERANGE);
	CHECK_EQ(b.n, 0);
	ls_buf_free(&b);
	ls_store_free(st);
}

TEST(file_empty_object)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(100);
	struct ls_got g;
	struct ls_get r = { .suffix = 9 };

	CHECK_OK(ls_store_put(st, "a", LS_SPAN_STR(""), NULL, NULL, &e));
	CHECK_OK(ls_store_get(st, "a", NULL, &b, &g, NULL, &e));
	CHECK_EQ(g.total_size, 0);
	CHECK_OK(ls_store_get(st, "a", &r, &b, &g, NULL, &e));
	CHECK_EQ(b.n, 0);
	ls_store_free(st);
}

TEST(file_list_is_sorted_and_clean)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };
	struct seen s = { .n = 0 };
	static const char *const keys[] = { "ltx/0/b", "ltx/0/a", "ltx/1/c",
		"ltx/0/ab", "z" };

	CHECK_OK(ls_store_list(st, "ltx/0/", NULL, see, &s, NULL, &e));
	CHECK_EQ(s.n, 0); /* the folder does not exist yet */
	for (size_t i = 0; i < LS_COUNT(keys); i++)
		CHECK_OK(ls_store_put(
		    st, keys[i], LS_SPAN_STR("x"), NULL, NULL, &e));
	test_write_file(T("r/ltx/0/aa.12-3.tmp"), "x", 1);
	CHECK(symlink("nowhere", T("r/ltx/0/dangling")) == 0);
	CHECK_OK(ls_store_list(st, "ltx/0/", NULL, see, &s, NULL, &e));
	CHECK_STR(s.text, "ltx/0/a ltx/0/ab ltx/0/b ");
	s = (struct seen){ .n = 0 };
	CHECK_OK(ls_store_list(st, "ltx/0/", "ltx/0/a", see, &s, NULL, &e));
	CHECK_STR(s.text, "ltx/0/ab ltx/0/b ");
	s = (struct seen){ .stop_after = 2 };
	CHECK_OK(ls_store_list(st, "", NULL, see, &s, NULL, &e));
	CHECK_STR(s.text, "ltx/0/a ltx/0/ab ");
	s = (struct seen){ .n = 0 };
	CHECK_OK(ls_store_list_dirs(st, "ltx/", see, &s, NULL, &e));
	CHECK_STR(s.text, "ltx/0/ ltx/1/ ");
	ls_store_free(st);
}

TEST(file_follows_symbolic_links_to_folders)
{
	struct ls_store *st;
	struct ls_err e = { 0 };
	struct seen s = { .n = 0 };

	CHECK(mkdir(T("real"), 0700) == 0);
	CHECK(symlink("real", T("link")) == 0);
	st = open_at("link");
	CHECK_OK(ls_store_put(st, "ltx/0/a", LS_SPAN_STR("x"), NULL, NULL, &e));
	CHECK(ls_exists(T("real/ltx/0/a")));
	CHECK(symlink(".", T("real/ltx/0/loop")) == 0);
	CHECK_OK(ls_store_list(st, "ltx/", NULL, see, &s, NULL, &e));
	CHECK(s.n >= 1); /* the loop ends */
	ls_store_free(st);
}

TEST(file_delete_copy_head)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };
	struct ls_got a, b;
	struct ls_put o = { .timestamp_ms = 1600000000001 };
	struct ls_put absent = { .if_absent = true };
	static const char *const keys[] = { "a", "nope/at/all", "b" };

	CHECK_OK(ls_store_put(st, "a", LS_SPAN_STR("abc"), &o, NULL, &e));
	CHECK_OK(ls_store_copy(st, "a", "d/b", &absent, NULL, &e));
	CHECK_RC(ls_store_copy(st, "a", "d/b", &absent, NULL, &e), LS_EEXISTS);
	CHECK_RC(ls_store_copy(st, "no", "b", NULL, NULL, &e), LS_ENOTFOUND);
	CHECK_OK(ls_store_head(st, "a", &a, NULL, &e));
	CHECK_OK(ls_store_head(st, "d/b", &b, NULL, &e));
	CHECK_EQ(b.timestamp_ms, 1600000000001);
	CHECK_EQ(b.total_size, 3);
	CHECK_OK(ls_store_delete(st, keys, 3, NULL, &e));
	CHECK_RC(ls_store_head(st, "a", &a, NULL, &e), LS_ENOTFOUND);
	ls_store_free(st);
}

TEST(bad_keys_are_refused)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };
	static const char *const bad[] = { "", "/a", "a/", "../a", "a/../b",
		"a//b", ".", "a/." };
	struct seen s = { .n = 0 };

	for (size_t i = 0; i < LS_COUNT(bad); i++)
		CHECK_RC(
		    ls_store_put(st, bad[i], LS_SPAN_STR("x"), NULL, NULL, &e),
		    LS_EINVALID);
	CHECK_RC(
	    ls_store_list(st, "../", NULL, see, &s, NULL, &e), LS_EINVALID);
	CHECK_RC(ls_store_list(st, "a", NULL, see, &s, NULL, &e), LS_EINVALID);
	CHECK(!ls_exists(T("a")));
	ls_store_free(st);
}

TEST(file_upload_is_invisible_before_commit)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };
	struct ls_upload *u = NULL;
	struct seen s = { .n = 0 };
	struct ls_put o = { .if_absent = true, .timestamp_ms = 1700000000000 };
	struct ls_got g;

	CHECK_OK(ls_upload_begin(st, "x/a", &o, NULL, &u, &e));
	CHECK_OK(ls_upload_write(u, LS_SPAN_STR("abc"), &e));
	CHECK_OK(ls_upload_write(u, LS_SPAN_STR("def"), &e));
	CHECK_OK(ls_store_list(st, "", NULL, see, &s, NULL, &e));
	CHECK_EQ(s.n, 0);
	CHECK_OK(ls_upload_commit(u, &e));
	CHECK_OK(ls_store_head(st, "x/a", &g, NULL, &e));
	CHECK_EQ(g.total_size, 6);
	CHECK_EQ(g.timestamp_ms, 1700000000000);
	CHECK_OK(ls_upload_begin(st, "x/a", &o, NULL, &u, &e));
	CHECK_RC(ls_upload_commit(u, &e), LS_EEXISTS);
	CHECK_OK(ls_upload_begin(st, "x/b", &o, NULL, &u, &e));
	ls_upload_abort(u);
	CHECK_OK(ls_store_list(st, "", NULL, see, &s, NULL, &e));
	CHECK_STR(s.text, "x/a ");
	ls_store_free(st);
}

struct racer {
	struct ls_store *st;
	const char *etag; /* NULL: if absent */
	atomic_int won, lost;
};

static void
race(void *arg, size_t i)
{
	struct racer *r = arg;
	struct ls_put o = { .if_absent = r->etag == NULL, .if_match = r->etag };
	uint8_t body[1000];
	enum ls_rc rc;

	memset(body, (int)('a' + i), sizeof body);
	rc = ls_store_put(
	    r->st, "k", LS_SPAN(body, sizeof body), &o, NULL, NULL);
	atomic_fetch_add(rc == LS_OK ? &r->won : &r->lost, 1);
}

TEST(file_if_absent_has_one_winner)
{
	struct racer r = { .st = open_at("r") };
	struct ls_span s;

	ls_par_threads.run(&ls_par_threads, 8, 8, race, &r);
	CHECK_EQ(atomic_load(&r.won), 1);
	CHECK_EQ(atomic_load(&r.lost), 7);
	s = test_read_file(T("r/k"));
	CHECK_EQ(s.n, 1000);
	CHECK(memcmp(s.p, s.p + 1, 999) == 0);
	ls_store_free(r.st);
}

TEST(file_if_match_has_one_winner)
{
	struct racer r = { .st = open_at("r") };
	struct ls_err e = { 0 };
	struct ls_got was, now;

	CHECK_OK(ls_store_put(r.st, "k", LS_SPAN_STR("x"), NULL, NULL, &e));
	CHECK_OK(ls_store_head(r.st, "k", &was, NULL, &e));
	r.etag = was.etag;
	ls_par_threads.run(&ls_par_threads, 8, 8, race, &r);
	CHECK_EQ(atomic_load(&r.won), 1);
	CHECK_EQ(atomic_load(&r.lost), 7);
	CHECK_RC(
	    ls_store_delete_if(r.st, "k", was.etag, NULL, &e), LS_ECHANGED);
	CHECK_OK(ls_store_head(r.st, "k", &now, NULL, &e));
	CHECK_OK(ls_store_delete_if(r.st, "k", now.etag, NULL, &e));
	CHECK_RC(
	    ls_store_delete_if(r.st, "k", now.etag, NULL, &e), LS_ENOTFOUND);
	race(&r, 0);
	CHECK_EQ(atomic_load(&r.won), 1);
	ls_store_free(r.st);
}

/* What lies under the folder: nothing but whole files under final names. */
static void
check_whole(const char *want_old, const char *want_new)
{
	struct ls_span s;
	struct seen seen = { .n = 0 };
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };

	if (ls_exists(T("r/d/k"))) {
		s = test_read_file(T("r/d/k"));
		CHECK((s.n == strlen(want_new) &&
			  memcmp(s.p, want_new, s.n) == 0) ||
		      (want_old && s.n == strlen(want_old) &&
			  memcmp(s.p, want_old, s.n) == 0));
	}
	CHECK_OK(ls_store_list(st, "", NULL, see, &seen, NULL, &e));
	CHECK(seen.n <= 1);
	ls_store_free(st);
}

static int
count_tmp(void)
{
	FILE *f;
	char cmd[600], line[32] = "";

	(void)snprintf(cmd, sizeof cmd,
	    "find %s -name '*.tmp' 2>/dev/null | wc -l", T("r"));
	if ((f = popen(cmd, "r")) == NULL)
		return -1;
	if (fgets(line, sizeof line, f) == NULL)
		line[0] = '\0';
	(void)pclose(f);
	return (int)strtol(line, NULL, 10);
}

static void
sweep_faults(bool absent, bool exists)
{
	for (int n = 1;; n++) {
		struct ls_store *st;
		struct ls_err e = { 0 };
		struct ls_put o = { .if_absent = absent,
			.timestamp_ms = 1700000000000 };
		int fds = test_open_fds();
		enum ls_rc rc;

		CHECK(ls_remove_tree(T("r"), &e) == LS_OK);
		if (exists) {
			CHECK_OK(ls_mkdirs(T("r/d"), 0700, &e));
			test_write_file(T("r/d/k"), "old", 3);
		}
		st = open_at("r");
		fault_arm(n, EIO);
		rc = ls_store_put(
		    st, "d/k", LS_SPAN_STR("new body"), &o, NULL, &e);
		fault_disarm();
		ls_store_free(st);
		CHECK_EQ(test_open_fds(), fds);
		check_whole(exists ? "old" : NULL, "new body");
		CHECK_EQ(count_tmp(), 0);
		if (!fault_fired()) {
			CHECK_OK(rc);
			CHECK(n > 5);
			return;
		}
		CHECK(rc != LS_OK && e.msg[0] != '\0');
	}
}

TEST(file_put_is_all_or_nothing_under_any_fault)
{
	sweep_faults(false, false);
	sweep_faults(false, true);
	sweep_faults(true, false);
}

TEST(file_upload_is_all_or_nothing_under_any_fault)
{
	for (int n = 1;; n++) {
		struct ls_store *st = open_at("r");
		struct ls_err e = { 0 };
		struct ls_upload *u = NULL;
		int fds = test_open_fds();
		enum ls_rc rc;

		fault_arm(n, ENOSPC);
		rc = ls_upload_begin(st, "d/k", NULL, NULL, &u, &e);
		if (rc == LS_OK) {
			rc = ls_upload_write(u, LS_SPAN_STR("new body"), &e);
			if (rc == LS_OK)
				rc = ls_upload_commit(u, &e);
			else
				ls_upload_abort(u);
		}
		fault_disarm();
		ls_store_free(st);
		CHECK_EQ(test_open_fds(), fds);
		check_whole(NULL, "new body");
		CHECK_EQ(count_tmp(), 0);
		if (!fault_fired()) {
			CHECK_OK(rc);
			return;
		}
		CHECK(rc != LS_OK && e.msg[0] != '\0');
		CHECK(ls_remove_tree(T("r"), &e) == LS_OK);
	}
}

TEST(file_get_under_any_fault)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };

	CHECK_OK(ls_store_put(st, "k", LS_SPAN_STR("body"), NULL, NULL, &e));
	fault_reads(1);
	for (int n = 1;; n++) {
		struct ls_buf b = LS_BUF_INIT(100);
		int fds = test_open_fds();
		enum ls_rc rc;

		fault_arm(n, EIO);
		rc = ls_store_get(st, "k", NULL, &b, NULL, NULL, &e);
		fault_disarm();
		CHECK_EQ(test_open_fds(), fds);
		CHECK_EQ(b.n, rc == LS_OK ? 4 : 0);
		ls_buf_free(&b);
		if (!fault_fired()) {
			CHECK_OK(rc);
			break;
		}
		CHECK(rc != LS_OK);
	}
	fault_reads(0);
	ls_store_free(st);
}

TEST(file_put_file_streams_a_descriptor)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };
	size_t n = 700001;
	uint8_t *p = malloc(n);
	struct ls_span s;
	int fd;

	test_rand_bytes(p, n);
	test_write_file(T("src"), p, n);
	fd = open(T("src"), O_RDONLY);
	CHECK_OK(ls_store_put_file(st, "k", fd, n, NULL, NULL, &e));
	s = test_read_file(T("r/k"));
	CHECK(s.n == n && memcmp(s.p, p, n) == 0);
	CHECK_RC(ls_store_put_file(st, "long", fd, n + 1, NULL, NULL, &e),
	    LS_ESHORT);
	CHECK(!ls_exists(T("r/long")));
	(void)close(fd);
	free(p);
	ls_store_free(st);
}

/* The spool's file and the stored one are one file with two names; putting it
 * again, as after a lost answer, leaves no third one. */
TEST(file_put_again_leaves_no_other_name)
{
	struct ls_put o = { .if_absent = true, .timestamp_ms = 1000 };
	struct ls_err e = { 0 };
	struct ls_store *st = open_at("r");
	struct stat sb;
	int fd;

	test_write_file(T("src"), "0123456789", 10);
	CHECK((fd = open(T("src"), O_RDONLY)) >= 0);
	CHECK_OK(ls_store_put(st, "ltx/0/b", LS_SPAN_STR("x"), NULL, NULL, &e));
	for (int i = 0; i < 3; i++) {
		CHECK_OK(
		    ls_store_put_file(st, "ltx/0/a", fd, 10, &o, NULL, &e));
		CHECK(stat(T("src"), &sb) == 0);
		CHECK_EQ(sb.st_nlink, 2);
		o.if_absent = false;
	}
	(void)close(fd);
	ls_store_free(st);
}

TEST(file_sweep_removes_old_temporary_files)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };

	CHECK_OK(ls_store_put(st, "d/k", LS_SPAN_STR("x"), NULL, NULL, &e));
	test_write_file(T("r/d/k.1-1.tmp"), "x", 1);
	CHECK_OK(ls_store_sweep(st, 3600000, NULL, &e));
	CHECK(ls_exists(T("r/d/k.1-1.tmp"))); /* too young */
	fault_clock(7200 * (int64_t)LS_SEC);
	CHECK_OK(ls_store_sweep(st, 3600000, NULL, &e));
	CHECK(!ls_exists(T("r/d/k.1-1.tmp")));
	CHECK(ls_exists(T("r/d/k")));
	fault_disarm();
	ls_store_free(st);
}

TEST(file_obeys_cancel_and_counts)
{
	struct ls_store *st = open_at("r");
	struct ls_err e = { 0 };
	struct ls_cancel cancel = LS_CANCEL_INIT;
	struct ls_call c = { &cancel, 0 };
	struct ls_store_stats s;

	CHECK_OK(ls_store_put(st, "k", LS_SPAN_STR("xyz"), NULL, &c, &e));
	ls_cancel_set(&cancel);
	CHECK_RC(ls_store_put(st, "l", LS_SPAN_STR("x"), NULL, &c, &e),
	    LS_ECANCELED);
	ls_store_stats(st, &s);
	CHECK_EQ(s.put_n, 1);
	CHECK_EQ(s.put_bytes, 3);
	CHECK_EQ(s.errors, 0);
	ls_store_free(st);
}
