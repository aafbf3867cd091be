/* test_s3.c -- the S3 driver against scripted servers: put, get, head, errors
 * and retries. */
#include "s3fix.h"

#include <fcntl.h>
#include <unistd.h>

/* ---- requests --------------------------------------------------------------*/

TEST(s3_put_request)
{
	static const struct httpd_step steps[] = { { "PUT",
	    "/bkt/db/0000/a%20b%2B",
	    SIGNED ABC_HASH "\ncontent-length: 3\n!if-none-match\n"
			    "x-amz-meta-litestream-timestamp: "
			    "2023-11-14T22:13:20.12Z\n!x-amz-storage-class",
	    "abc" } };
	struct fix f = start(steps, 1);
	struct ls_err e = { 0 };
	struct ls_put o = { .timestamp_ms = 1700000000120 };

	CHECK_OK(
	    ls_store_put(f.st, "0000/a b+", LS_SPAN_STR("abc"), &o, NULL, &e));
	CHECK(strstr(httpd_header(f.h, "authorization"),
		  "SignedHeaders=host;x-amz-content-sha256;x-amz-date;"
		  "x-amz-meta-litestream-timestamp,") != NULL);
	finish(&f);
}

TEST(s3_put_options)
{
	static const struct httpd_step steps[] = { { "PUT", "/bkt/0000/k",
	    "x-amz-content-sha256: UNSIGNED-PAYLOAD\nif-none-match: *\n"
	    "x-amz-storage-class: GLACIER_IR\n"
	    "x-amz-server-side-encryption: aws:kms\n"
	    "x-amz-server-side-encryption-aws-kms-key-id: key",
	    "abc" } };
	struct fix f = start_at("",
	    "&signPayload=false&storageClass=GLACIER_IR&sseKmsKeyId=key", steps,
	    1);
	struct ls_err e = { 0 };
	struct ls_put o = { .if_absent = true };

	CHECK_OK(put_abc(&f, &o, NULL, &e));
	finish(&f);
}

TEST(s3_customer_key_headers)
{
#define SSE_C                                                       \
	"x-amz-server-side-encryption-customer-algorithm: AES256\n" \
	"x-amz-server-side-encryption-customer-key: "               \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"            \
	"x-amz-server-side-encryption-customer-key-md5: "           \
	"cLyPS3KoaSFGi/joRB3OUQ=="
	static const struct httpd_step steps[] = {
		{ "PUT", "/bkt/db/0000/k", SSE_C },
		{ "GET", "/bkt/db/0000/k", SSE_C, .status = 206,
		    .headers = "Content-Range: bytes 0-2/3\r\n",
		    .reply = "abc" },
		{ "HEAD", "/bkt/db/0000/k", SSE_C },
	};
	struct fix f = start_at("/db",
	    "&sseCustomerKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D",
	    steps, 3);
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(10);
	struct ls_got g;

	CHECK_OK(put_abc(&f, NULL, NULL, &e));
	CHECK_OK(ls_store_get(f.st, "0000/k", NULL, &b, &g, NULL, &e));
	CHECK_OK(ls_store_head(f.st, "0000/k", &g, NULL, &e));
	ls_buf_free(&b);
	finish(&f);
}

TEST(s3_tigris_header)
{
	static const struct httpd_step steps[] = { { "PUT", "/bkt/db/0000/k",
	    "x-tigris-consistent: true" } };
	struct fix f = start(steps, 1);
	struct ls_err e = { 0 };

	f.st->place.tigris = true; /* its rule: test_place */
	CHECK_OK(put_abc(&f, NULL, NULL, &e));
	finish(&f);
}

TEST(s3_fenced_put_is_signed_as_of_its_proof)
{
	static const struct httpd_step steps[] = {
		{ "PUT", "/bkt/db/0000/k",
		    "x-amz-date: 20130524T000000Z\nif-none-match: *" },
		{ "PUT", "/bkt/db/0000/k", .status = 403,
		    .reply = "<Error><Code>RequestTimeTooSkewed</Code>"
			     "<ServerTime>2013-05-24T01:00:00Z</ServerTime>"
			     "</Error>" },
		{ "PUT", "/bkt/db/0000/k", .status = 403,
		    .reply = "<Error><Code>RequestTimeTooSkewed</Code>"
			     "<ServerTime>2013-05-24T01:00:00Z</ServerTime>"
			     "</Error>" },
	};
	struct fix f = start(steps, 3);
	struct ls_err e = { 0 };
	struct ls_put o = { .if_absent = true,
		.once = true,
		.sign_time_ns = 1369353600ll * 1000000000 };

	CHECK_OK(put_abc(&f, &o, NULL, &e));
	CHECK_RC(put_abc(&f, &o, NULL, &e), LS_ETIMEOUT);
	CHECK(strstr(e.msg, "too late") != NULL);
	CHECK_RC(put_abc(&f, NULL, NULL, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "2013-05-24T01:00:00Z") != NULL);
	CHECK(strstr(e.hint, "clock") != NULL);
	finish(&f);
}

TEST(s3_put_file_is_hashed_and_streamed)
{
	static const struct httpd_step steps[] = { { "PUT", "/bkt/db/0000/k",
						       SIGNED ABC_HASH, "abc" },
		{ "PUT", "/bkt/db/0000/k", .status = 500 },
		{ "PUT", "/bkt/db/0000/k", SIGNED ABC_HASH, "abc" } };
	struct fix f = start(steps, 3);
	struct ls_err e = { 0 };
	int fd;

	test_write_file(T("body"), "abcdef", 6);
	fd = open(T("body"), O_RDONLY);
	for (int i = 0; i < 2; i++) /* the second is sent twice */
		CHECK_OK(
		    ls_store_put_file(f.st, "0000/k", fd, 3, NULL, NULL, &e));
	(void)close(fd);
	finish(&f);
}

TEST(s3_addresses)
{
	static const struct {
		const char *url, *host, *path;
	} t[] = {
		{ "s3://b/db?region=eu-west-1", "b.s3.eu-west-1.amazonaws.com",
		    "/db/k" },
		{ "s3://b.dot/db?region=eu-west-1",
		    "s3.eu-west-1.amazonaws.com", "/b.dot/db/k" },
		{ "s3://b/db?region=cn-north-1",
		    "b.s3.cn-north-1.amazonaws.com.cn", "/db/k" },
		{ "s3://b/?region=r&forcePathStyle=true", "s3.r.amazonaws.com",
		    "/b/k" },
		{ "s3://arn:aws:s3:eu-north-1:123:accesspoint/ap/db",
		    "ap-123.s3-accesspoint.eu-north-1.amazonaws.com", "/db/k" },
		{ "s3://b/db?endpoint=http://h:80", "h", "/b/db/k" },
		{ "s3://b/db?endpoint=https://h:443", "h", "/b/db/k" },
		{ "s3://b/db?endpoint=http://h:443", "h:443", "/b/db/k" },
		{ "s3://b/db?endpoint=http://h&forcePathStyle=false", "b.h",
		    "/db/k" },
		{ "s3://b/db?endpoint=https://h/storage/v1/s3", "h",
		    "/storage/v1/s3/b/db/k" },
		{ "s3://b.nyc3.digitaloceanspaces.com/db",
		    "b.nyc3.digitaloceanspaces.com", "/db/k" },
	};
	struct ls_net *net;
	struct ls_err e = { 0 };

	CHECK_OK(ls_net_new(&net, &e));
	for (size_t i = 0; i < LS_COUNT(t); i++) {
		struct ls_place p;
		struct ls_store *st;
		struct ls_s3_addr a;
		char path[64];

		ls_place_init(&p);
		CHECK_OK(ls_place_from_url(t[i].url, &p, &e));
		CHECK_OK(ls_store_open(&p, net, &st, &e));
		(void)snprintf(path, sizeof path, "%s%sk", st->place.path,
		    st->place.path[0] ? "/" : "");
		CHECK_OK(ls_s3_addr(st, path, &a, &e));
		CHECK_STR(a.host, t[i].host);
		CHECK_STR(a.path, t[i].path);
		ls_s3_addr_fini(&a);
		ls_store_free(st);
		ls_place_fini(&p);
	}
	ls_net_free(net);
}

/* ---- get -------------------------------------------------------------------*/

TEST(s3_get_request_and_answer)
{
	static const struct httpd_step steps[] = {
		{ "GET", "/bkt/db/k",
		    SIGNED EMPTY_HASH "\nrange: bytes=2-4\n"
				      "if-match: \"e1\"",
		    .status = 206,
		    .headers = "Content-Range: bytes 2-4/10\r\n"
			       "ETag: \"e1\"\r\n"
			       "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
			       "\r\nx-amz-meta-litestream-timestamp: "
			       "2023-11-14T22:13:20.12Z\r\n",
		    .reply = "234" },
		{ "GET", "/bkt/db/k", "range: bytes=0-", .reply = "all" },
		{ "GET", "/bkt/db/k", "range: bytes=-4", .status = 206,
		    .headers = "Content-Range: bytes 96-99/100\r\n",
		    .reply = "tail" },
	};
	struct fix f = start(steps, 3);
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(100);
	struct ls_get o = { .off = 2, .len = 3, .if_match = "e1" };
	struct ls_got g;

	CHECK_OK(ls_store_get(f.st, "k", &o, &b, &g, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "234");
	CHECK_EQ(g.total_size, 10);
	CHECK_STR(g.etag, "e1");
	CHECK_EQ(g.mtime_ns, 784111777ll * 1000000000);
	CHECK_EQ(g.timestamp_ms, 1700000000120);
	CHECK_OK(ls_store_get(f.st, "k", NULL, &b, &g, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "234all");
	CHECK_EQ(g.total_size, 3);
	o = (struct ls_get){ .suffix = 4 };
	CHECK_OK(ls_store_get(f.st, "k", &o, &b, &g, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "234alltail");
	CHECK_EQ(g.total_size, 100);
	ls_buf_free(&b);
	finish(&f);
}

TEST(s3_get_checks_what_it_gets)
{
#define RANGE(s) .status = 206, .headers = "Content-Range: " s "\r\n"
	static const struct httpd_step steps[] = {
		{ "GET", "/bkt/db/k", RANGE("bytes 3-5/10"), .reply = "abc" },
		{ "GET", "/bkt/db/k", RANGE("bytes 2-3/10"), .reply = "abc" },
		{ "GET", "/bkt/db/k", RANGE("bytes 2-4/4"), .reply = "abc" },
		{ "GET", "/bkt/db/k", RANGE("bytes 2-4/*"), .reply = "abc" },
		{ "GET", "/bkt/db/k", RANGE("bytes 2-3/10"), .reply = "ab" },
		{ "GET", "/bkt/db/k", RANGE("octets 2-4/10"), .reply = "abc" },
		{ "GET", "/bkt/db/k", RANGE("bytes 2-99999999999999999999/10"),
		    .reply = "abc" },
		{ "GET", "/bkt/db/k", .status = 206, .reply = "abc" },
		{ "GET", "/bkt/db/k", .reply = "abc" },
		{ "GET", "/bkt/db/k", .status = 204 },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(100);
	struct ls_get o = { .off = 2, .len = 3 };

	for (size_t i = 0; i < LS_COUNT(steps); i++) {
		CHECK_RC(ls_store_get(f.st, "k", &o, &b, NULL, NULL, &e),
		    LS_ESERVER);
		CHECK_EQ(b.n, 0);
	}
	ls_buf_free(&b);
	finish(&f);
}

TEST(s3_get_asks_again_for_a_truncated_range)
{
	static const struct httpd_step steps[] = {
		{ "GET", "/bkt/db/k", RANGE("bytes 2-4/10"), .reply = "ab" },
		{ "GET", "/bkt/db/k", RANGE("bytes 2-4/10"), .reply = "abc" },
		{ "GET", "/bkt/db/k", RANGE("bytes 2-4/10"), .reply = "" },
		{ "GET", "/bkt/db/k", RANGE("bytes 2-4/10"), .reply = "a" },
		{ "GET", "/bkt/db/k", RANGE("bytes 2-4/10"), .reply = "ab" },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(100);
	struct ls_get o = { .off = 2, .len = 3 };

	CHECK_OK(ls_store_get(f.st, "k", &o, &b, NULL, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "abc");
	CHECK_RC(ls_store_get(f.st, "k", &o, &b, NULL, NULL, &e), LS_ESERVER);
	CHECK_STR(ls_buf_str(&b), "abc");
	ls_buf_free(&b);
	finish(&f);
}

TEST(s3_get_retries_a_cut_body)
{
	static const struct httpd_step steps[] = {
		{ "GET", "/bkt/db/k", RANGE("bytes 0-9/10"), .act = HTTPD_CUT,
		    .reply = "0123456789", .cut = 4 },
		{ "GET", "/bkt/db/k", .act = HTTPD_ABORT },
		{ "GET", "/bkt/db/k", .status = 503,
		    .reply = "<Error><Code>"
			     "SlowDown</Code></Error>",
		    .headers = "Retry-After: 2\r\n" },
		{ "GET", "/bkt/db/k", RANGE("bytes 0-9/10"),
		    .reply = "0123456789" },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(12);
	uint64_t before = ls_sys->mono_ns();

	CHECK_OK(ls_buf_adds(&b, "x", &e));
	CHECK_OK(ls_store_get(f.st, "k", NULL, &b, NULL, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "x0123456789");
	/* Virtual time: the server's two seconds were waited for. */
	CHECK(ls_sys->mono_ns() - before >= 2 * LS_SEC);
	ls_buf_free(&b);
	finish(&f);
}

TEST(s3_if_match_dialects)
{
	static const struct httpd_step steps[] = {
		{ "GET", "/bkt/db/k", "if-match: \"e\"", .status = 412 },
		{ "GET", "/bkt/db/k", "if-match: e", RANGE("bytes 0-0/1"),
		    .reply = "x" },
		{ "GET", "/bkt/db/k", "if-match: e", RANGE("bytes 0-0/1"),
		    .reply = "x" },
		/* another object */
		{ "GET", "/bkt/db/k", "if-match: e", .status = 412 },
		{ "GET", "/bkt/db/k", "if-match: \"e\"", .status = 412 },
		{ "HEAD", "/bkt/db/k", "!if-match" },
		/* gone */
		{ "GET", "/bkt/db/k", "if-match: e", .status = 412 },
		{ "GET", "/bkt/db/k", "if-match: \"e\"", .status = 412 },
		{ "HEAD", "/bkt/db/k", .status = 404 },
		{ "GET", "/bkt/db/k", "range: bytes=0-0", .status = 404,
		    .reply = "<Error><Code>NoSuchKey</Code></Error>" },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(12);
	struct ls_get o = { .if_match = "e" };

	CHECK_OK(ls_store_get(f.st, "k", &o, &b, NULL, NULL, &e));
	CHECK_OK(ls_store_get(f.st, "k", &o, &b, NULL, NULL, &e));
	CHECK_RC(ls_store_get(f.st, "k", &o, &b, NULL, NULL, &e), LS_ECHANGED);
	CHECK_RC(ls_store_get(f.st, "k", &o, &b, NULL, NULL, &e), LS_ENOTFOUND);
	CHECK_EQ(b.n, 2);
	ls_buf_free(&b);
	finish(&f);
}

TEST(s3_ranges_of_small_objects)
{
	static const struct httpd_step steps[] = {
		{ "GET", "/bkt/db/k", "range: bytes=-9", .status = 416 },
		{ "HEAD", "/bkt/db/k", .reply = "abc" },
		{ "GET", "/bkt/db/k", "range: bytes=0-2", RANGE("bytes 0-2/3"),
		    .reply = "abc" },
		{ "GET", "/bkt/db/k", "range: bytes=0-", .status = 416 },
		{ "HEAD", "/bkt/db/k" },
		{ "GET", "/bkt/db/k", "range: bytes=-9",
		    RANGE("bytes 0--1/0") },
		{ "GET", "/bkt/db/k", "range: bytes=7-", .status = 416 },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(12);
	struct ls_get o = { .suffix = 9 };
	struct ls_got g;

	CHECK_OK(ls_store_get(f.st, "k", &o, &b, &g, NULL, &e));
	CHECK_STR(ls_buf_str(&b), "abc");
	CHECK_EQ(g.total_size, 3);
	CHECK_OK(ls_store_get(f.st, "k", NULL, &b, &g, NULL, &e));
	CHECK_EQ(g.total_size, 0);
	CHECK_OK(ls_store_get(f.st, "k", &o, &b, &g, NULL, &e));
	CHECK_EQ(b.n, 3);
	o = (struct ls_get){ .off = 7 };
	CHECK_RC(ls_store_get(f.st, "k", &o, &b, &g, NULL, &e), LS_ERANGE);
	ls_buf_free(&b);
	finish(&f);
}

/* ---- errors and retries ----------------------------------------------------*/

TEST(s3_errors_by_status)
{
	static const struct {
		int status;
		const char *body;
		enum ls_rc rc;
		const char *text, *hint;
	} t[] = {
		{ 404, ERR("NoSuchBucket"), LS_ENOBUCKET, "\"bkt\"",
		    "create the bucket" },
		{ 404, ERR("NoSuchKey"), LS_ENOTFOUND, "NoSuchKey", "" },
		{ 404, "<html>", LS_ENOTFOUND, "404", "" },
		{ 403, ERR("AccessDenied"), LS_EDENIED, "AccessDenied: why",
		    "s3:PutObject" },
		{ 403, ERR("SignatureDoesNotMatch"), LS_EDENIED,
		    "SignatureDoesNotMatch", "secret-access-key" },
		{ 403, ERR("InvalidAccessKeyId"), LS_EDENIED,
		    "InvalidAccessKeyId", "access-key-id" },
		{ 400, ERR("InvalidArgument"), LS_EINVALID, "InvalidArgument",
		    "" },
		{ 405, ERR("MethodNotAllowed"), LS_EUNSUPPORTED, "405", "" },
		{ 501, ERR("NotImplemented"), LS_EUNSUPPORTED, "501", "" },
		{ 412, ERR("PreconditionFailed"), LS_ECHANGED, "", "" },
		{ 507, ERR("XMinioStorageFull"), LS_ENOSPC, "507", "" },
		{ 301, ERR("PermanentRedirect"), LS_EINVALID, "301",
		    "another region" },
		{ 409, ERR("BucketNotEmpty"), LS_EBUSY, "409", "" },
	};

	for (size_t i = 0; i < LS_COUNT(t); i++) {
		const struct httpd_step step = { "PUT", "/bkt/db/0000/k",
			.status = t[i].status, .reply = t[i].body };
		struct fix f = start(&step, 1);
		struct ls_err e = { 0 };

		CHECK_RC(put_abc(&f, NULL, NULL, &e), t[i].rc);
		CHECK(strstr(e.msg, t[i].text) != NULL);
		CHECK(strstr(e.msg,
			  "put 0000/k to s3://bkt/db at http://127") != NULL);
		CHECK(t[i].hint[0] ? strstr(e.hint, t[i].hint) != NULL
				   : e.hint[0] == '\0');
		finish(&f);
	}
}

TEST(s3_retries_what_may_pass)
{
	static const struct httpd_step ok = { "PUT", "/bkt/db/0000/k" };
	static const struct {
		int status;
		const char *body;
		enum httpd_act act;
	} t[] = {
		{ 500, ERR("InternalError"), HTTPD_REPLY },
		{ 502, "<html>", HTTPD_REPLY },
		{ 503, "", HTTPD_REPLY },
		{ 504, "", HTTPD_CLOSE },
		{ 429, "", HTTPD_REPLY },
		{ 408, "", HTTPD_REPLY },
		{ 400, ERR("RequestTimeout"), HTTPD_REPLY },
		{ 409, ERR("ConditionalRequestConflict"), HTTPD_REPLY },
		{ 0, "", HTTPD_ABORT },
		{ 0, "", HTTPD_REFUSE },
	};

	for (size_t i = 0; i < LS_COUNT(t); i++) {
		struct httpd_step steps[] = { ok, ok };
		struct ls_err e = { 0 };
		struct fix f;

		steps[0].status = t[i].status;
		steps[0].reply = t[i].body;
		steps[0].act = t[i].act;
		f = start(steps, 2);
		CHECK_OK(put_abc(&f, NULL, NULL, &e));
		finish(&f);
	}
}

TEST(s3_gives_up_after_ten_attempts)
{
	struct httpd_step steps[10];
	struct ls_err e = { 0 };
	struct fix f;

	for (size_t i = 0; i < 10; i++)
		steps[i] = (struct httpd_step){ "PUT", "/bkt/db/0000/k",
			.status = 503, .reply = ERR("SlowDown") };
	f = start(steps, 10);
	CHECK_RC(put_abc(&f, NULL, NULL, &e), LS_ETHROTTLED);
	CHECK(strstr(e.msg, "gave up after 10 attempts") != NULL);
	finish(&f);
}

TEST(s3_does_not_wait_past_the_deadline)
{
	static const struct httpd_step steps[] = { { "PUT", "/bkt/db/0000/k",
	    .status = 503, .headers = "Retry-After: 50\r\n" } };
	struct fix f = start(steps, 1);
	struct ls_err e = { 0 };
	struct ls_call c = { NULL, ls_sys->mono_ns() + 30 * LS_SEC };
	uint64_t before = ls_sys->mono_ns();

	CHECK_RC(put_abc(&f, NULL, &c, &e), LS_ESERVER);
	CHECK(strstr(e.msg, "no time left") != NULL);
	CHECK(strstr(e.msg, "503") != NULL);
	CHECK(ls_sys->mono_ns() - before < 30 * LS_SEC); /* virtual */
	finish(&f);
}

TEST(s3_once_does_not_retry)
{
	static const struct {
		int status;
		const char *body;
		enum httpd_act act;
		enum ls_rc rc;
		bool ambiguous;
	} t[] = {
		{ 500, ERR("InternalError"), HTTPD_REPLY, LS_EAGAIN, true },
		{ 503, "", HTTPD_REPLY, LS_EAGAIN, true },
		{ 503, ERR("SlowDown"), HTTPD_REPLY, LS_ETHROTTLED, false },
		{ 0, "", HTTPD_ABORT, LS_EAGAIN, true },
		{ 409, ERR("ConditionalRequestConflict"), HTTPD_REPLY, LS_EBUSY,
		    false },
		{ 412, ERR("PreconditionFailed"), HTTPD_REPLY, LS_EEXISTS,
		    false },
	};
	struct ls_put o = { .if_absent = true, .once = true };

	for (size_t i = 0; i < LS_COUNT(t); i++) {
		const struct httpd_step step = { "PUT", "/bkt/db/0000/k",
			"if-none-match: *", .status = t[i].status,
			.reply = t[i].body, .act = t[i].act };
		struct fix f = start(&step, 1);
		struct ls_err e = { 0 };

		CHECK_RC(put_abc(&f, &o, NULL, &e), t[i].rc);
		CHECK((strstr(e.msg, "ambiguous") != NULL) == t[i].ambiguous);
		finish(&f);
	}
}

TEST(s3_once_in_time_or_ambiguous)
{
	static const struct httpd_step steps[] = { { "PUT", "/bkt/db/0000/k",
	    .act = HTTPD_STALL } };
	struct fix f = start(steps, 1);
	struct ls_err e = { 0 };
	struct ls_put o = { .once = true };
	struct ls_call c = { NULL, ls_sys->mono_ns() + 200 * LS_MS };

	CHECK_RC(put_abc(&f, &o, &c, &e), LS_EAGAIN);
	CHECK(strstr(e.msg, "ambiguous") != NULL);
	finish(&f);
}

TEST(s3_lost_answer_then_412_is_ambiguous)
{
	static const struct httpd_step steps[] = {
		{ "PUT", "/bkt/db/0000/k", .act = HTTPD_ABORT },
		{ "PUT", "/bkt/db/0000/k", .status = 412 },
	};
	struct fix f = start(steps, 2);
	struct ls_err e = { 0 };
	struct ls_put o = { .if_absent = true };

	CHECK_RC(put_abc(&f, &o, NULL, &e), LS_EAGAIN);
	CHECK(strstr(e.msg, "ambiguous") != NULL);
	finish(&f);
}

TEST(s3_learns_the_region_once)
{
	static const struct httpd_step steps[] = {
		{ "PUT", "/bkt/db/0000/k", .status = 400,
		    .reply = "<Error><Code>AuthorizationHeaderMalformed</Code>"
			     "<Region>eu-central-1</Region></Error>" },
		{ "PUT", "/bkt/db/0000/k" },
		{ "PUT", "/bkt/db/0000/k" },
		{ "PUT", "/bkt/db/0000/k", .status = 301,
		    .headers = "x-amz-bucket-region: eu-west-1\r\n" },
		{ "PUT", "/bkt/db/0000/k", .status = 301,
		    .headers = "x-amz-bucket-region: eu-west-2\r\n" },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };

	CHECK_OK(put_abc(&f, NULL, NULL, &e));
	CHECK(strstr(httpd_header(f.h, "authorization"), "/eu-central-1/s3/") !=
	      NULL);
	CHECK_OK(put_abc(&f, NULL, NULL, &e));
	CHECK(strstr(httpd_header(f.h, "authorization"), "/eu-central-1/s3/") !=
	      NULL);
	CHECK(put_abc(&f, NULL, NULL, &e) != LS_OK); /* no loop */
	CHECK(strstr(httpd_header(f.h, "authorization"), "/eu-west-1/s3/") !=
	      NULL);
	finish(&f);
}

TEST(s3_region_of_a_hostile_server_is_not_believed)
{
	static const struct httpd_step steps[] = { { "PUT", "/bkt/db/0000/k",
	    .status = 301,
	    .headers = "x-amz-bucket-region: evil.example/x\r\n" } };
	struct fix f = start(steps, 1);
	struct ls_err e = { 0 };

	CHECK_RC(put_abc(&f, NULL, NULL, &e), LS_EINVALID);
	finish(&f);
}

TEST(s3_head_asks_why)
{
	static const struct httpd_step steps[] = {
		{ "HEAD", "/bkt/db/k", .status = 404 },
		{ "GET", "/bkt/db/k", "range: bytes=0-0", .status = 404,
		    .reply = ERR("NoSuchBucket") },
		{ "HEAD", "/bkt/db/k",
		    .headers = "Content-Length: 7\r\n"
			       "ETag: \"e\"\r\n" },
	};
	struct fix f = start(steps, 3);
	struct ls_err e = { 0 };
	struct ls_got g;

	CHECK_RC(ls_store_head(f.st, "k", &g, NULL, &e), LS_ENOBUCKET);
	CHECK_OK(ls_store_head(f.st, "k", &g, NULL, &e));
	CHECK_EQ(g.total_size, 7);
	CHECK_STR(g.etag, "e");
	finish(&f);
}
