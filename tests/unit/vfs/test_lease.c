/* The lease of one writer: who gets it, until when, and what is left of it. */
#include "kit.h"

#include "base/bytes.h"
#include "base/call.h"
#include "fault.h"
#include "vfs/lease.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

static struct ls_store *
folder(void)
{
	struct ls_place p;
	struct ls_store *st = NULL;
	struct ls_err e = { 0 };
	char url[4200];

	(void)snprintf(url, sizeof url, "file://%s", T("rep"));
	ls_place_init(&p);
	CHECK_OK(ls_place_from_url(url, &p, &e));
	CHECK_OK(ls_place_settle(&p, &e));
	CHECK_OK(ls_store_open(&p, NULL, &st, &e));
	ls_place_fini(&p);
	return st;
}

static struct ls_lease *
taken(struct ls_store *st, const char *owner)
{
	struct ls_lease *l = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_lease_take(st, owner, LS_LEASE_TTL, &l, NULL, &e));
	CHECK_OK(ls_lease_held(l, &e));
	return l;
}

static void
refused(struct ls_store *st, const char *holder)
{
	struct ls_lease *l = NULL;
	struct ls_err e = { 0 };

	CHECK_RC(ls_lease_take(st, "late:2", LS_LEASE_TTL, &l, NULL, &e),
	    LS_ELOCKED);
	CHECK(strstr(e.msg, "lease already held by ") != NULL);
	CHECK(strstr(e.msg, holder) != NULL && strstr(e.msg, "Z") != NULL);
}

static void
put_text(struct ls_store *st, const char *text)
{
	struct ls_err e = { 0 };

	CHECK_OK(
	    ls_store_put(st, LS_LEASE_KEY, LS_SPAN_STR(text), NULL, NULL, &e));
}

TEST(lease_is_the_object_of_the_specification)
{
	struct ls_store *st = folder();
	struct ls_lease *l = taken(st, "host:7");
	struct ls_span s = test_read_file(T("rep/lock.json"));
	char *text = strndup((const char *)s.p, s.n);

	CHECK(strncmp(text, "{\"generation\":1,\"expires_at\":\"20", 31) == 0);
	CHECK(strstr(text, "Z\",\"owner\":\"host:7\"}") != NULL);
	free(text);
	refused(st, "host:7");
	ls_lease_drop(l);
	CHECK(!ls_exists(T("rep/lock.json")));
	ls_lease_drop(taken(st, NULL)); /* host:pid */
	ls_store_free(st);
}

struct racer {
	struct ls_store *st;
	atomic_int won, lost;
	struct ls_lease *l[8];
};

static void
race(void *arg, size_t i)
{
	struct racer *r = arg;
	struct ls_err e = { 0 };
	char owner[8];
	enum ls_rc rc;

	(void)snprintf(owner, sizeof owner, "o%zu", i);
	rc = ls_lease_take(r->st, owner, LS_LEASE_TTL, &r->l[i], NULL, &e);
	atomic_fetch_add(rc == LS_OK ? &r->won : &r->lost, 1);
	if (rc != LS_OK)
		CHECK_EQ(rc, LS_ELOCKED);
}

TEST(lease_has_one_winner)
{
	for (int expired = 0; expired < 2; expired++) {
		struct racer r = { .st = folder() };

		if (expired)
			put_text(r.st, "{\"generation\":41,\"expires_at\":"
				       "\"2001-02-03T04:05:06.5Z\"}");
		ls_par_threads.run(&ls_par_threads, 8, 8, race, &r);
		CHECK_EQ(atomic_load(&r.won), 1);
		CHECK_EQ(atomic_load(&r.lost), 7);
		for (int i = 0; i < 8; i++)
			ls_lease_drop(r.l[i]);
		ls_store_free(r.st);
	}
}

TEST(lease_runs_out)
{
	struct ls_store *st = folder();
	struct ls_lease *a, *b;
	struct ls_err e = { 0 };

	fault_clock(0); /* before there is a thread that looks at it */
	a = taken(st, "a:1");
	fault_clock(29 * (int64_t)LS_SEC);
	CHECK_OK(ls_lease_held(a, &e));
	refused(st, "a:1");
	fault_clock(31 * (int64_t)LS_SEC);
	CHECK_RC(ls_lease_held(a, &e), LS_ETIMEOUT);
	CHECK_OK(ls_lease_renew(a, NULL, &e)); /* nobody took it */
	CHECK_OK(ls_lease_held(a, &e));
	refused(st, "a:1");
	fault_clock(63 * (int64_t)LS_SEC);
	b = taken(st, "b:2");
	CHECK_RC(ls_lease_renew(a, NULL, &e), LS_ELOCKED);
	CHECK(strstr(e.msg, "b:2") != NULL);
	CHECK_RC(ls_lease_held(a, &e), LS_ELOCKED);
	ls_lease_drop(a);
	CHECK_OK(ls_lease_renew(b, NULL, &e)); /* (4) */
	ls_lease_drop(b);
	ls_store_free(st);
}

TEST(lease_of_another_is_left)
{
	struct ls_store *st = folder();
	struct ls_lease *a = taken(st, "a:1");

	put_text(st, "{\"generation\":9,\"expires_at\":"
		     "\"2099-01-01T00:00:00Z\",\"owner\":\"x:9\"}");
	ls_lease_drop(a); /* its ETag is not there any more */
	refused(st, "x:9");
	ls_store_free(st);
}

TEST(lease_removed_by_hand_is_taken_anew)
{
	struct ls_store *st = folder();
	struct ls_lease *a = taken(st, "a:1");
	struct ls_err e = { 0 };

	CHECK_EQ(unlink(T("rep/lock.json")), 0);
	CHECK_OK(ls_lease_renew(a, NULL, &e));
	refused(st, "a:1");
	ls_lease_drop(a);
	ls_store_free(st);
}

TEST(lease_that_is_none_is_said)
{
	static const char *const bad[] = { "", "{", "[]", "{\"generation\":1}",
		("{\"generation\":\"1\",\"expires_at\":\"2099-01-01T00:00:"
		 "00Z\"}"),
		"{\"generation\":1,\"expires_at\":\"soon\"}" };
	struct ls_store *st = folder();

	for (size_t i = 0; i < LS_COUNT(bad); i++) {
		struct ls_lease *l = NULL;
		struct ls_err e = { 0 };

		put_text(st, bad[i]);
		CHECK_RC(ls_lease_take(st, "a:1", LS_LEASE_TTL, &l, NULL, &e),
		    LS_ECORRUPT);
		CHECK(strstr(e.msg, "lock.json") != NULL);
	}
	ls_store_free(st);
}

TEST(lease_survives_any_fault)
{
	struct ls_store *st = folder();

	fault_reads(1);
	for (int n = 1;; n++) {
		struct ls_lease *l = NULL;
		struct ls_err e = { 0 };
		enum ls_rc rc;

		fault_arm(n, EIO);
		rc = ls_lease_take(st, "a:1", LS_LEASE_TTL, &l, NULL, &e);
		if (rc == LS_OK)
			rc = ls_lease_renew(l, NULL, &e);
		fault_calm();
		CHECK(rc == LS_OK || e.msg[0] != '\0');
		if (l != NULL && rc != LS_ELOCKED)
			CHECK_OK(ls_lease_renew(l, NULL, &e));
		ls_lease_drop(l);
		/* What a lost put left ends. */
		fault_clock(n * 40 * (int64_t)LS_SEC);
		if (!fault_fired()) {
			CHECK_OK(rc);
			break;
		}
		ls_lease_drop(taken(st, "b:2"));
	}
	fault_disarm();
	fault_reads(0);
	ls_store_free(st);
}
