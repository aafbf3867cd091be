/* store_s3.c -- the whole store interface against a live S3 endpoint.
 *
 * LS_TEST_S3_URL, LS_TEST_S3_KEY, LS_TEST_S3_SECRET name it (support/minio.sh
 * and support/ceph.sh print them); without them every test says "skipped".
 * Each test works under its own random prefix and removes it. */
#include "test.h"

#include "base/bytes.h"
#include "base/call.h"
#include "store/store.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

struct live {
	struct ls_net *net;
	struct ls_store *st;
	struct ls_place place;
	struct ls_call call;
};

/* false: not configured. */
static bool
live_open(struct live *l)
{
	const char *url = getenv("LS_TEST_S3_URL");
	struct ls_err e = { 0 };
	char prefix[128];

	*l = (struct live){ .net = NULL };
	if (url == NULL) {
		(void)printf("    skipped: LS_TEST_S3_URL is not set\n");
		return false;
	}
	ls_place_init(&l->place);
	CHECK_OK(ls_place_from_url(url, &l->place, &e));
	l->place.access_key_id = ls_strdup(getenv("LS_TEST_S3_KEY"));
	l->place.secret_access_key = ls_strdup(getenv("LS_TEST_S3_SECRET"));
	(void)snprintf(prefix, sizeof prefix, "%s/%llx", l->place.path,
	    (unsigned long long)ls_sys->wall_ns());
	ls_free(l->place.path);
	l->place.path = ls_strdup(prefix);
	CHECK_OK(ls_net_new(&l->net, &e));
	CHECK_OK(ls_store_open(&l->place, l->net, &l->st, &e));
	l->call.deadline_ns = ls_sys->mono_ns() + 120 * LS_SEC;
	return true;
}

struct keys {
	char **k;
	size_t n;
};

static bool
take_key(void *arg, const struct ls_object *o)
{
	struct keys *v = arg;

	v->k = realloc(v->k, (v->n + 1) * sizeof *v->k);
	v->k[v->n++] = strdup(o->key);
	return true;
}

static void
keys_free(struct keys *v)
{
	while (v->n > 0)
		free(v->k[--v->n]);
	free(v->k);
	v->k = NULL;
}

static void
live_close(struct live *l)
{
	struct ls_err e = { 0 };
	struct keys v = { NULL, 0 };

	CHECK_OK(ls_store_list(l->st, "", NULL, take_key, &v, NULL, &e));
	CHECK_OK(
	    ls_store_delete(l->st, (const char *const *)v.k, v.n, NULL, &e));
	keys_free(&v);
	CHECK_OK(ls_store_list(l->st, "", NULL, take_key, &v, NULL, &e));
	CHECK_EQ(v.n, 0);
	ls_store_free(l->st);
	ls_net_free(l->net);
	ls_place_fini(&l->place);
}

TEST(live_put_get_head)
{
	struct live l;
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	struct ls_put o = { .timestamp_ms = 1700000000120 };
	struct ls_get r = { .off = 3, .len = 4 };
	struct ls_got g;

	if (!live_open(&l))
		return;
	CHECK_OK(ls_store_put(l.st, "0000/a b+c&d=%.ltx",
	    LS_SPAN_STR("0123456789"), &o, &l.call, &e));
	CHECK_OK(ls_store_get(
	    l.st, "0000/a b+c&d=%.ltx", NULL, &b, &g, &l.call, &e));
	CHECK_STR(ls_buf_str(&b), "0123456789");
	CHECK_EQ(g.total_size, 10);
	CHECK_EQ(g.timestamp_ms, 1700000000120);
	CHECK(g.etag[0] != '\0' && g.etag[0] != '"');
	CHECK(g.mtime_ns > 1600000000 * 1000000000ll);
	ls_buf_clear(&b);
	r.if_match = g.etag;
	CHECK_OK(
	    ls_store_get(l.st, "0000/a b+c&d=%.ltx", &r, &b, &g, &l.call, &e));
	CHECK_STR(ls_buf_str(&b), "3456");
	ls_buf_clear(&b);
	r = (struct ls_get){ .off = 7, .len = 100 };
	CHECK_OK(
	    ls_store_get(l.st, "0000/a b+c&d=%.ltx", &r, &b, &g, &l.call, &e));
	CHECK_STR(ls_buf_str(&b), "789");
	ls_buf_clear(&b);
	r = (struct ls_get){ .suffix = 3 };
	CHECK_OK(
	    ls_store_get(l.st, "0000/a b+c&d=%.ltx", &r, &b, &g, &l.call, &e));
	CHECK_STR(ls_buf_str(&b), "789");
	CHECK_EQ(g.total_size, 10);
	ls_buf_clear(&b);
	r = (struct ls_get){ .suffix = 300 };
	CHECK_OK(
	    ls_store_get(l.st, "0000/a b+c&d=%.ltx", &r, &b, &g, &l.call, &e));
	CHECK_STR(ls_buf_str(&b), "0123456789");
	ls_buf_free(&b);
	r = (struct ls_get){ .off = 10 };
	CHECK_RC(
	    ls_store_get(l.st, "0000/a b+c&d=%.ltx", &r, &b, &g, &l.call, &e),
	    LS_ERANGE);
	r = (struct ls_get){ .if_match = "0123456789abcdef0123456789abcdef" };
	CHECK_RC(
	    ls_store_get(l.st, "0000/a b+c&d=%.ltx", &r, &b, &g, &l.call, &e),
	    LS_ECHANGED);
	CHECK_RC(ls_store_get(l.st, "0000/none", &r, &b, &g, &l.call, &e),
	    LS_ENOTFOUND);
	CHECK_RC(ls_store_get(l.st, "0000/none", NULL, &b, &g, &l.call, &e),
	    LS_ENOTFOUND);
	CHECK_RC(
	    ls_store_head(l.st, "0000/none", &g, &l.call, &e), LS_ENOTFOUND);
	CHECK_OK(ls_store_head(l.st, "0000/a b+c&d=%.ltx", &g, &l.call, &e));
	CHECK_EQ(g.total_size, 10);
	CHECK_EQ(g.timestamp_ms, 1700000000120);
	live_close(&l);
}

TEST(live_empty_object)
{
	struct live l;
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(100);
	struct ls_get r = { .suffix = 10 };
	struct ls_got g;

	if (!live_open(&l))
		return;
	CHECK_OK(
	    ls_store_put(l.st, "empty", LS_SPAN_STR(""), NULL, &l.call, &e));
	CHECK_OK(ls_store_get(l.st, "empty", NULL, &b, &g, &l.call, &e));
	CHECK_EQ(g.total_size, 0);
	CHECK_OK(ls_store_get(l.st, "empty", &r, &b, &g, &l.call, &e));
	CHECK_EQ(b.n, 0);
	live_close(&l);
}

struct fill {
	struct live *l;
	atomic_int failed;
};

static void
fill_one(void *arg, size_t i)
{
	struct fill *f = arg;
	char key[64];

	(void)snprintf(key, sizeof key, "0000/%016zx-%016zx.ltx", i, i);
	if (ls_store_put(f->l->st, key, LS_SPAN_STR("x"), NULL, &f->l->call,
		NULL) != LS_OK)
		atomic_fetch_add(&f->failed, 1);
}

TEST(live_list_pages_and_delete)
{
	enum { N = 1105 };
	struct live l;
	struct ls_err e = { 0 };
	struct fill f = { .l = &l };
	struct keys v = { NULL, 0 };
	char after[64];

	if (!live_open(&l))
		return;
	ls_par_threads.run(&ls_par_threads, N, 8, fill_one, &f);
	CHECK_EQ(atomic_load(&f.failed), 0);
	CHECK_OK(ls_store_put(
	    l.st, "0001/z<&>", LS_SPAN_STR("x"), NULL, &l.call, &e));
	CHECK_OK(ls_store_list(l.st, "0000/", NULL, take_key, &v, &l.call, &e));
	CHECK_EQ(v.n, N);
	for (size_t i = 1; i < v.n; i++)
		CHECK(strcmp(v.k[i - 1], v.k[i]) < 0);
	(void)snprintf(after, sizeof after, "%s", v.k[N - 3]);
	keys_free(&v);
	CHECK_OK(
	    ls_store_list(l.st, "0000/", after, take_key, &v, &l.call, &e));
	CHECK_EQ(v.n, 2);
	keys_free(&v);
	CHECK_OK(ls_store_list_dirs(l.st, "", take_key, &v, &l.call, &e));
	CHECK_EQ(v.n, 2);
	CHECK_STR(v.k[0], "0000/");
	CHECK_STR(v.k[1], "0001/");
	keys_free(&v);
	CHECK_OK(ls_store_list(l.st, "0001/", NULL, take_key, &v, &l.call, &e));
	CHECK_STR(v.k[0], "0001/z<&>");
	keys_free(&v);
	CHECK_OK(ls_store_list(l.st, "0007/", NULL, take_key, &v, &l.call, &e));
	CHECK_EQ(v.n, 0);
	live_close(&l); /* deletes 1,106 keys in two batches */
}

TEST(live_multipart)
{
	enum { SIZE = (11 << 20) + 17 };
	struct live l;
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(SIZE);
	struct ls_upload *u = NULL;
	struct ls_put o = { .timestamp_ms = 1700000000001 };
	struct ls_got g;
	uint8_t *p = malloc(SIZE);
	int fd;

	if (!live_open(&l)) {
		free(p);
		return;
	}
	test_rand_bytes(p, SIZE);
	CHECK_OK(ls_upload_begin(l.st, "stream", &o, &l.call, &u, &e));
	for (size_t at = 0; at < SIZE; at += 65536)
		CHECK_OK(ls_upload_write(
		    u, LS_SPAN(p + at, LS_MIN((size_t)65536, SIZE - at)), &e));
	CHECK_RC(ls_store_head(l.st, "stream", &g, &l.call, &e), LS_ENOTFOUND);
	CHECK_OK(ls_upload_commit(u, &e));
	CHECK_OK(ls_store_get(l.st, "stream", NULL, &b, &g, &l.call, &e));
	CHECK(b.n == SIZE && memcmp(b.p, p, SIZE) == 0);
	CHECK_EQ(g.timestamp_ms, 1700000000001);
	test_write_file(T("body"), p, SIZE);
	fd = open(T("body"), O_RDONLY);
	CHECK_OK(ls_store_put_file(l.st, "file", fd, SIZE, &o, &l.call, &e));
	ls_buf_clear(&b);
	CHECK_OK(ls_store_get(l.st, "file", NULL, &b, &g, &l.call, &e));
	CHECK(b.n == SIZE && memcmp(b.p, p, SIZE) == 0);
	o.if_absent = true;
	CHECK_RC(ls_store_put_file(l.st, "file", fd, SIZE, &o, &l.call, &e),
	    LS_EEXISTS);
	CHECK_OK(ls_upload_begin(l.st, "file", &o, &l.call, &u, &e));
	for (size_t at = 0; at < SIZE; at += 1 << 20)
		CHECK_OK(ls_upload_write(u,
		    LS_SPAN(p + at, LS_MIN((size_t)1 << 20, SIZE - at)), &e));
	CHECK_RC(ls_upload_commit(u, &e), LS_EEXISTS);
	CHECK_OK(ls_upload_begin(l.st, "never", NULL, &l.call, &u, &e));
	for (size_t at = 0; at < SIZE; at += 1 << 20)
		CHECK_OK(ls_upload_write(u,
		    LS_SPAN(p + at, LS_MIN((size_t)1 << 20, SIZE - at)), &e));
	ls_upload_abort(u);
	CHECK_RC(ls_store_head(l.st, "never", &g, &l.call, &e), LS_ENOTFOUND);
	CHECK_OK(ls_store_sweep(l.st, 3600000, &l.call, &e));
	(void)close(fd);
	ls_buf_free(&b);
	free(p);
	live_close(&l);
}

struct racer {
	struct live *l;
	atomic_int won, lost, other;
};

static void
race(void *arg, size_t i)
{
	struct racer *r = arg;
	struct ls_put o = { .if_absent = true, .once = true };
	uint8_t body[4096];
	enum ls_rc rc;

	memset(body, (int)('a' + i), sizeof body);
	do
		rc = ls_store_put(r->l->st, "0000/race", LS_SPAN(body, 4096),
		    &o, &r->l->call, NULL);
	while (rc == LS_EBUSY);
	atomic_fetch_add(rc == LS_OK	    ? &r->won
			 : rc == LS_EEXISTS ? &r->lost
					    : &r->other,
	    1);
}

TEST(live_if_absent_race)
{
	struct live l;
	struct ls_err e = { 0 };
	struct racer r = { .l = &l };
	struct ls_buf b = LS_BUF_INIT(4096);
	unsigned caps = 0;
	bool multi = false;

	if (!live_open(&l))
		return;
	CHECK_OK(ls_store_caps(l.st, &caps, &l.call, &e));
	CHECK_OK(ls_store_caps_multi(l.st, &multi, &l.call, &e));
	(void)printf("    if absent: put %s, complete %s\n",
	    caps & LS_CAP_IF_ABSENT ? "yes" : "no", multi ? "yes" : "no");
	if (caps & LS_CAP_IF_ABSENT) {
		ls_par_threads.run(&ls_par_threads, 8, 8, race, &r);
		CHECK_EQ(atomic_load(&r.other), 0);
		CHECK_EQ(atomic_load(&r.won), 1);
		CHECK_EQ(atomic_load(&r.lost), 7);
		CHECK_OK(ls_store_get(
		    l.st, "0000/race", NULL, &b, NULL, &l.call, &e));
		CHECK(b.n == 4096 && memcmp(b.p, b.p + 1, 4095) == 0);
	}
	ls_buf_free(&b);
	live_close(&l);
}

TEST(live_copy_keeps_the_time)
{
	struct live l;
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(100);
	struct ls_put o = { .timestamp_ms = 1700000000120 };
	struct ls_put absent = { .if_absent = true };
	struct ls_got g;

	if (!live_open(&l))
		return;
	CHECK_OK(ls_store_put(
	    l.st, "0000/a+b c", LS_SPAN_STR("body"), &o, &l.call, &e));
	CHECK_OK(
	    ls_store_copy(l.st, "0000/a+b c", "0009/d", &absent, &l.call, &e));
	CHECK_OK(ls_store_get(l.st, "0009/d", NULL, &b, &g, &l.call, &e));
	CHECK_STR(ls_buf_str(&b), "body");
	CHECK_EQ(g.timestamp_ms, 1700000000120);
	CHECK_RC(
	    ls_store_copy(l.st, "0000/a+b c", "0009/d", &absent, &l.call, &e),
	    LS_EEXISTS);
	CHECK_RC(ls_store_copy(l.st, "0000/none", "0009/e", NULL, &l.call, &e),
	    LS_ENOTFOUND);
	ls_buf_free(&b);
	live_close(&l);
}

TEST(live_errors_are_told_apart)
{
	struct live l;
	struct ls_err e = { 0 };
	struct ls_place p;
	struct ls_store *st = NULL;
	struct ls_got g;

	if (!live_open(&l))
		return;
	CHECK_OK(ls_place_copy(&p, &l.place, &e));
	ls_free(p.secret_access_key);
	p.secret_access_key = ls_strdup("wrong");
	CHECK_OK(ls_store_open(&p, l.net, &st, &e));
	CHECK_RC(ls_store_put(st, "k", LS_SPAN_STR("x"), NULL, &l.call, &e),
	    LS_EDENIED);
	CHECK(strstr(e.msg, "SignatureDoesNotMatch") != NULL);
	CHECK(strstr(e.hint, "secret-access-key") != NULL);
	CHECK_RC(ls_store_head(st, "k", &g, &l.call, &e), LS_EDENIED);
	ls_store_free(st);
	ls_free(p.access_key_id);
	p.access_key_id = ls_strdup("NOBODY");
	CHECK_OK(ls_store_open(&p, l.net, &st, &e));
	CHECK_RC(ls_store_put(st, "k", LS_SPAN_STR("x"), NULL, &l.call, &e),
	    LS_EDENIED);
	CHECK(strstr(e.msg, "InvalidAccessKeyId") != NULL);
	ls_store_free(st);
	ls_place_fini(&p);
	CHECK_OK(ls_place_copy(&p, &l.place, &e));
	ls_free(p.bucket);
	p.bucket = ls_strdup("no-such-bucket-here");
	CHECK_OK(ls_store_open(&p, l.net, &st, &e));
	CHECK_RC(ls_store_put(st, "k", LS_SPAN_STR("x"), NULL, &l.call, &e),
	    LS_ENOBUCKET);
	CHECK_RC(ls_store_head(st, "k", &g, &l.call, &e), LS_ENOBUCKET);
	CHECK_RC(ls_store_list(st, "", NULL, take_key, NULL, &l.call, &e),
	    LS_ENOBUCKET);
	CHECK(strstr(e.msg, "no-such-bucket-here") != NULL);
	ls_store_free(st);
	ls_place_fini(&p);
	live_close(&l);
}

TEST(live_if_match)
{
	struct live l;
	struct ls_err e = { 0 };
	struct ls_got was, now;
	struct ls_put o = { .if_match = was.etag };

	if (!live_open(&l))
		return;
	CHECK_OK(ls_store_put(l.st, "k", LS_SPAN_STR("a"), NULL, &l.call, &e));
	CHECK_OK(ls_store_head(l.st, "k", &was, &l.call, &e));
	CHECK_OK(ls_store_put(l.st, "k", LS_SPAN_STR("b"), &o, &l.call, &e));
	CHECK_RC(ls_store_put(l.st, "k", LS_SPAN_STR("c"), &o, &l.call, &e),
	    LS_ECHANGED);
	CHECK_RC(ls_store_put(l.st, "gone", LS_SPAN_STR("c"), &o, &l.call, &e),
	    LS_ECHANGED);
	CHECK_OK(ls_store_head(l.st, "k", &now, &l.call, &e));
	CHECK_OK(ls_store_delete_if(l.st, "k", now.etag, &l.call, &e));
	CHECK_RC(ls_store_head(l.st, "k", &now, &l.call, &e), LS_ENOTFOUND);
	live_close(&l);
}

TEST(live_unsigned_payload)
{
	struct live l;
	struct ls_err e = { 0 };
	struct ls_store *st = NULL;

	if (!live_open(&l))
		return;
	l.place.sign_payload = LS_NO;
	CHECK_OK(ls_store_open(&l.place, l.net, &st, &e));
	CHECK_OK(ls_store_put(st, "k", LS_SPAN_STR("x"), NULL, &l.call, &e));
	ls_store_free(st);
	live_close(&l);
}
