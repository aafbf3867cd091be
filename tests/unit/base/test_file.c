#include "fault.h"

#include <errno.h>

TEST(publish_is_all_or_nothing_under_any_fault)
{
	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		int fds = test_open_fds();
		enum ls_rc rc;

		test_write_file(T("a"), "old", 3);
		fault_arm(n, EIO);
		rc = ls_publish(T("a"), LS_SPAN_STR("new!"), 0600, &e);
		fault_disarm();
		CHECK_EQ(test_open_fds(), fds);
		CHECK(!ls_exists(T("a.tmp")));
		struct ls_span s = test_read_file(T("a"));
		CHECK((s.n == 3 && memcmp(s.p, "old", 3) == 0) ||
		      (s.n == 4 && memcmp(s.p, "new!", 4) == 0));
		if (!fault_fired()) {
			CHECK_OK(rc);
			CHECK_EQ(s.n, 4);
			CHECK(n > 4);
			return;
		}
		CHECK(rc != LS_OK && e.msg[0] != '\0');
	}
}

TEST(paths_are_cleaned)
{
	char *p = ls_abspath("/a//b/./c/../d/");

	CHECK_STR(p, "/a/b/d");
	ls_free(p);
	p = ls_abspath("/../..");
	CHECK_STR(p, "/");
	ls_free(p);
}
