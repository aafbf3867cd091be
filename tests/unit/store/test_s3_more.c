/* test_s3_more.c -- the S3 driver against scripted servers: list, delete,
 * multipart, copy, capabilities, memory. */
#include "s3fix.h"

#include "store/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* ---- list ------------------------------------------------------------------*/

struct seen {
	char text[1000];
	int n, stop;
};

static bool
see(void *arg, const struct ls_object *o)
{
	struct seen *s = arg;
	size_t n = strlen(s->text);

	(void)snprintf(s->text + n, sizeof s->text - n, "%s:%llu:%s ", o->key,
	    (unsigned long long)o->size, o->etag ? o->etag : "-");
	return ++s->n != s->stop;
}

#define ITEM(key)                                                        \
	"<Contents><Key>" key "</Key><LastModified>2024-01-02T03:04:05." \
	"000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>3</Size>"    \
	"</Contents>"
#define LIST(inner)                                                      \
	"<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazon" \
	"aws.com/doc/2006-03-01/'>" inner "</ListBucketResult>"
#define LIST_0 "/bkt?encoding-type=url&list-type=2&prefix=db%2F0000%2F"

TEST(s3_list_pages)
{
	static const struct httpd_step steps[] = {
		{ "GET", LIST_0 "&start-after=db%2F0000%2Fa", SIGNED EMPTY_HASH,
		    .reply = LIST(
			"<IsTruncated>true</IsTruncated>" ITEM("db/0000/") ITEM(
			    "db/0000/b+c%2B") "<EncodingType>url"
					      "</"
					      "EncodingType><"
					      "NextContinuationToken>"
					      "t/1=</NextContinuationToken>") },
		{ "GET",
		    "/bkt?continuation-token=t%2F1%3D&encoding-type=url&"
		    "list-type=2&prefix=db%2F0000%2F",
		    .reply = LIST(ITEM("db/0000/d") "<IsTruncated>false"
						    "</IsTruncated>") },
	};
	struct fix f = start(steps, 2);
	struct ls_err e = { 0 };
	struct seen s = { .n = 0 };

	CHECK_OK(ls_store_list(f.st, "0000/", "0000/a", see, &s, NULL, &e));
	CHECK_STR(s.text, "0000/b c+:3:e 0000/d:3:e ");
	finish(&f);
}

TEST(s3_list_dirs_and_stop)
{
	static const struct httpd_step steps[] = {
		{ "GET",
		    "/bkt?delimiter=%2F&encoding-type=url&list-type=2&"
		    "prefix=db%2Fg%2F",
		    .reply = LIST("<CommonPrefixes><Prefix>db/g/1/</Prefix>"
				  "</CommonPrefixes><CommonPrefixes><Prefix>"
				  "db/g/2/</Prefix></CommonPrefixes>") },
		{ "GET", LIST_0,
		    .reply = LIST("<IsTruncated>true</IsTruncated>" ITEM(
			"db/0000/a") ITEM("db/0000/b")) },
	};
	struct fix f = start(steps, 2);
	struct ls_err e = { 0 };
	struct seen s = { .n = 0 };

	CHECK_OK(ls_store_list_dirs(f.st, "g/", see, &s, NULL, &e));
	CHECK_STR(s.text, "g/1/:0:- g/2/:0:- ");
	s = (struct seen){ .stop = 1 };
	CHECK_OK(ls_store_list(f.st, "0000/", NULL, see, &s, NULL, &e));
	CHECK_STR(s.text, "0000/a:3:e ");
	finish(&f);
}

TEST(s3_list_hostile)
{
	static const char *const t[] = {
		LIST(ITEM("db/0000/a") ITEM("other/0000/b")),
		LIST(ITEM("db/0000/b") ITEM("db/0000/a")),
		LIST(ITEM("db/0000/b") ITEM("db/0000/b")),
		LIST("<Contents><Size>3</Size></Contents>"),
		LIST("<Contents><Key>db/0000/a</Key><Size>-3</Size>"
		     "</Contents>"),
		LIST("<Contents><Key>db/0000/a</Key>"
		     "<Size>99999999999999999999999</Size></Contents>"),
		LIST("<Contents><Key>db/0000/a</Key><LastModified>never"
		     "</LastModified></Contents>"),
		LIST("<IsTruncated>true</IsTruncated>"),
		LIST("<EncodingType>url</EncodingType>" ITEM("db/0000/%00")),
		"<ListBucketResult>" ITEM("db/0000/a"),
		"",
	};

	for (size_t i = 0; i < LS_COUNT(t); i++) {
		const struct httpd_step step = { "GET", LIST_0, .reply = t[i] };
		struct fix f = start(&step, 1);
		struct ls_err e = { 0 };
		struct seen s = { .n = 0 };
		enum ls_rc rc =
		    ls_store_list(f.st, "0000/", NULL, see, &s, NULL, &e);

		if (rc != LS_ESERVER && rc != LS_EINVALID)
			test_fail(
			    __FILE__, __LINE__, "%zu: %s", i, ls_rc_name(rc));
		CHECK(s.n <= 1);
		finish(&f);
	}
}

/* ---- delete ----------------------------------------------------------------*/

TEST(s3_delete_batch)
{
	static const struct httpd_step steps[] = {
		{ "POST", "/bkt?delete=", "content-md5\nx-amz-content-sha256",
		    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Delete "
		    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
		    "<Object><Key>db/a&#38;b</Key></Object><Object><Key>db/c"
		    "</Key></Object><Quiet>true</Quiet></Delete>",
		    .reply = "<DeleteResult><Error><Key>db/c</Key><Code>"
			     "NoSuchKey</Code></Error></DeleteResult>" },
		{ "POST", "/bkt?delete=",
		    .reply = "<DeleteResult><Error><Key>db/c</Key><Code>"
			     "AccessDenied</Code><Message>no</Message></Error>"
			     "</DeleteResult>" },
		{ "DELETE", "/bkt/db/c", .status = 204 },
		/* no batches here: one by one, now and later */
		{ "POST", "/bkt?delete=", .status = 501,
		    .reply = ERR("NotImplemented") },
		{ "DELETE", "/bkt/db/a%26b", .status = 404,
		    .reply = ERR("NoSuchKey") },
		{ "DELETE", "/bkt/db/c", .status = 204 },
		{ "DELETE", "/bkt/db/a%26b", .status = 204 },
		{ "DELETE", "/bkt/db/c", .status = 204 },
	};
	static const char *const keys[] = { "a&b", "c" };
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };

	CHECK_OK(ls_store_delete(f.st, keys, 2, NULL, &e));
	CHECK_RC(ls_store_delete(f.st, keys, 2, NULL, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "1 of 2 keys not deleted, first db/c: "
			    "AccessDenied no") != NULL);
	CHECK_OK(ls_store_delete(f.st, keys + 1, 1, NULL, &e));
	CHECK_OK(ls_store_delete(f.st, keys, 2, NULL, &e));
	CHECK_OK(ls_store_delete(f.st, keys, 2, NULL, &e));
	finish(&f);
}

TEST(s3_delete_without_md5)
{
	static const struct httpd_step steps[] = { { "POST",
	    "/bkt?delete=", "!content-md5", .reply = "<DeleteResult/>" } };
	static const char *const keys[] = { "a", "c" };
	struct fix f = start_at("/db", "&requireContentMD5=false", steps, 1);
	struct ls_err e = { 0 };

	CHECK_OK(ls_store_delete(f.st, keys, 2, NULL, &e));
	finish(&f);
}

/* ---- multipart -------------------------------------------------------------*/

#define CREATED                                                   \
	"<InitiateMultipartUploadResult><UploadId>u/1</UploadId>" \
	"</InitiateMultipartUploadResult>"
#define KEY_T "/bkt/db/0009/k"
#define PART(n)                                                  \
	{                                                        \
		"PUT", KEY_T "?partNumber=" n "&uploadId=u%2F1", \
		    .headers = "ETag: \"e" n "\"\r\n"            \
	}
#define COMPLETE                                                         \
	"<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/"  \
	"2006-03-01/\"><Part><PartNumber>1</PartNumber><ETag>&#34;e1"    \
	"&#34;</ETag></Part><Part><PartNumber>2</PartNumber><ETag>&#34;" \
	"e2&#34;</ETag></Part></CompleteMultipartUpload>"

enum { PART_SIZE = 5 << 20 };

/* Stream n bytes in odd pieces and commit. */
static enum ls_rc
stream(struct fix *f, size_t n, const struct ls_put *o, struct ls_err *e)
{
	struct ls_upload *u = NULL;
	uint8_t *p = calloc(1, 100003);
	enum ls_rc rc = ls_upload_begin(f->st, "0009/k", o, NULL, &u, e);

	while (rc == LS_OK && n > 0) {
		size_t k = LS_MIN(n, (size_t)100003);

		rc = ls_upload_write(u, LS_SPAN(p, k), e);
		n -= k;
	}
	free(p);
	if (rc == LS_OK)
		return ls_upload_commit(u, e);
	ls_upload_abort(u);
	return rc;
}

TEST(s3_small_upload_is_one_put)
{
	static const struct httpd_step steps[] = {
		{ "PUT", KEY_T, "content-length: 300000\nif-none-match: *" },
		{ "PUT", KEY_T, "content-length: 5242880" },
	};
	struct fix f = start(steps, 2);
	struct ls_err e = { 0 };
	struct ls_put o = { .if_absent = true };

	CHECK_OK(stream(&f, 300000, &o, &e));
	CHECK_OK(stream(&f, PART_SIZE, NULL, &e));
	finish(&f);
}

TEST(s3_multipart_upload)
{
	static const struct httpd_step steps[] = {
		{ "POST", KEY_T "?uploads=",
		    SIGNED EMPTY_HASH
		    "\ncontent-length: 0\n"
		    "x-amz-meta-litestream-timestamp: 2023-11-14T22:13:20Z",
		    .reply = CREATED },
		PART("1"),
		{ "PUT", KEY_T "?partNumber=2&uploadId=u%2F1",
		    "content-length: 9\n!x-amz-meta-litestream-timestamp",
		    .status = 500 },
		PART("2"),
		{ "POST", KEY_T "?uploadId=u%2F1", "!if-none-match", COMPLETE,
		    .reply = "<CompleteMultipartUploadResult/>" },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	struct ls_put o = { .timestamp_ms = 1700000000000 };
	struct ls_req_stats requests = { 0 };
	struct ls_req_stat req[LS_REQ_MAX];
	struct ls_store_stats s;
	size_t n;

	ls_store_count(f.st, &requests);
	CHECK_OK(stream(&f, PART_SIZE + 9, &o, &e));
	ls_store_stats(f.st, &s);
	CHECK_EQ(s.put_n, 1);
	CHECK_EQ(s.put_bytes, PART_SIZE + 9);
	/* Each try counts as it was answered: begin, two parts, one of them
	 * twice, end. */
	n = ls_req_read(&requests, req);
	for (size_t i = 0; i < n; i++) {
		CHECK_EQ(req[i].op, LS_OP_PUT);
		CHECK_EQ(req[i].n, req[i].code == 500 ? 1 : 4);
	}
	CHECK_EQ(n, 2);
	finish(&f);
}

TEST(s3_multipart_from_a_file)
{
	static const struct httpd_step steps[] = {
		{ "POST", KEY_T "?uploads=", .reply = CREATED },
		{ "PUT", KEY_T "?partNumber=1&uploadId=u%2F1",
		    "content-length: 5242880", .headers = "ETag: \"e1\"\r\n" },
		{ "PUT", KEY_T "?partNumber=2&uploadId=u%2F1", ABC_HASH, "abc",
		    .headers = "ETag: \"e2\"\r\n" },
		{ "POST", KEY_T "?uploadId=u%2F1", .body = COMPLETE },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	int fd = open(T("body"), O_RDWR | O_CREAT, 0600);

	CHECK(ftruncate(fd, PART_SIZE) == 0);
	CHECK(pwrite(fd, "abc", 3, PART_SIZE) == 3);
	CHECK_OK(ls_store_put_file(
	    f.st, "0009/k", fd, PART_SIZE + 3, NULL, NULL, &e));
	(void)close(fd);
	finish(&f);
}

TEST(s3_multipart_is_aborted_on_failure)
{
	static const struct httpd_step steps[] = {
		{ "POST", KEY_T "?uploads=", .reply = CREATED },
		PART("1"),
		{ "PUT", KEY_T "?partNumber=2&uploadId=u%2F1", .status = 403,
		    .reply = ERR("AccessDenied") },
		{ "DELETE", KEY_T "?uploadId=u%2F1", .status = 204 },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };

	CHECK_RC(stream(&f, PART_SIZE + 9, NULL, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "part 2") != NULL);
	finish(&f);
}

TEST(s3_complete_200_error)
{
	static const struct httpd_step steps[] = {
		{ "POST", KEY_T "?uploads=", .reply = CREATED },
		PART("1"),
		PART("2"),
		{ "POST", KEY_T "?uploadId=u%2F1",
		    .reply = " \n<?xml version='1.0'?>" ERR("InternalError") },
		/* the answer was an error, the upload was done all the same */
		{ "POST", KEY_T "?uploadId=u%2F1", .status = 404,
		    .reply = ERR("NoSuchUpload") },
		{ "HEAD", KEY_T, .headers = "Content-Length: 5242889\r\n" },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };

	CHECK_OK(stream(&f, PART_SIZE + 9, NULL, &e));
	finish(&f);
}

TEST(s3_complete_if_absent)
{
	static const struct httpd_step steps[] = {
		{ "POST", KEY_T "?uploads=", .reply = CREATED },
		PART("1"),
		PART("2"),
		{ "HEAD", KEY_T, .status = 404 },
		{ "GET", KEY_T, .status = 404, .reply = ERR("NoSuchKey") },
		{ "POST", KEY_T "?uploadId=u%2F1", "if-none-match: *",
		    .status = 412 },
		{ "DELETE", KEY_T "?uploadId=u%2F1", .status = 204 },
		/* there before */
		{ "POST", KEY_T "?uploads=", .reply = CREATED },
		PART("1"),
		PART("2"),
		{ "HEAD", KEY_T },
		{ "DELETE", KEY_T "?uploadId=u%2F1", .status = 204 },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	struct ls_put o = { .if_absent = true };

	CHECK_RC(stream(&f, PART_SIZE + 9, &o, &e), LS_EEXISTS);
	CHECK_RC(stream(&f, PART_SIZE + 9, &o, &e), LS_EEXISTS);
	finish(&f);
}

/* 101 MiB of a file, fenced as an uploader does it, in parts of 60 MiB. date:
 * what the last request was signed with. */
static enum ls_rc
put_large(const struct httpd_step *steps, size_t n, char date[static 40],
    struct ls_err *e)
{
	struct fix f = start_at("/db", "&partSize=62914560", steps, n);
	/* 2023-11-14T22:13:20Z */
	struct ls_put o = { .if_absent = true,
		.once = true,
		.sign_time_ns = 1700000000ll * 1000000000 };
	int fd = open(T("body"), O_RDWR | O_CREAT, 0600);
	enum ls_rc rc;

	CHECK(ftruncate(fd, 101 << 20) == 0);
	rc = ls_store_put_file(f.st, "0009/k", fd, 101 << 20, &o, NULL, e);
	(void)close(fd);
	(void)snprintf(date, 40, "%s", httpd_header(f.h, "x-amz-date"));
	finish(&f);
	return rc;
}

#define PROBE(status_of_complete)                                           \
	{ .want = "!if-none-match" }, { .reply = CREATED },                 \
	    { .headers = "ETag: \"e\"\r\n" },                               \
	    { .want = "if-none-match: *", .status = (status_of_complete) }, \
	    { .status = 204 }, /* the upload */                             \
	{                                                                   \
		.status = 204 /* the object */                              \
	}

TEST(s3_fenced_in_parts)
{
	static const struct httpd_step yes[] = {
		PROBE(412),
		{ "POST", KEY_T "?uploads=", .reply = CREATED },
		PART("1"),
		PART("2"),
		{ "POST", KEY_T "?uploadId=u%2F1", "if-none-match: *", COMPLETE,
		    .status = 412 },
		{ "DELETE", KEY_T "?uploadId=u%2F1", .status = 204 },
	};
	static const struct httpd_step no[] = {
		PROBE(501),
		{ "PUT", KEY_T, "if-none-match: *\ncontent-length: 105906176" },
	};
	struct ls_err e = { 0 };
	char date[40];

	CHECK_RC(put_large(yes, LS_COUNT(yes), date, &e), LS_EEXISTS);
	CHECK_OK(put_large(no, LS_COUNT(no), date, &e));
	CHECK_STR(date, "20231114T221320Z");
}

/* The second part waits n minutes for its turn; gives what Complete was signed
 * with. */
static void
put_waiting(size_t n, char date[static 40])
{
	struct httpd_step steps[20] = { PROBE(412),
		{ "POST", KEY_T "?uploads=", .reply = CREATED }, PART("1") };
	const struct httpd_step end[] = { PART("2"),
		{ "POST", KEY_T "?uploadId=u%2F1" } };
	struct ls_err e = { 0 };

	for (size_t i = 0; i < n; i++)
		steps[8 + i] = (struct httpd_step){ "PUT",
			KEY_T "?partNumber=2&uploadId=u%2F1", .status = 503,
			.headers = "Retry-After: 60\r\n" };
	memcpy(steps + 8 + n, end, sizeof end);
	CHECK_OK(put_large(steps, 8 + n + LS_COUNT(end), date, &e));
}

/* A slow line moves the time that Complete is signed with, a pause does not. */
TEST(s3_slow_is_not_paused)
{
	char date[40];

	put_waiting(2, date); /* 22:13:20 and two minutes, and jitter */
	CHECK(strcmp(date, "20231114T221520Z") >= 0);
	CHECK(strcmp(date, "20231114T221700Z") < 0);
	put_waiting(6, date);
	CHECK(strcmp(date, "20231114T221320Z") >= 0);
	CHECK(strcmp(date, "20231114T221500Z") < 0);
}

TEST(s3_stream_slots)
{
	const size_t room = 16 << 20;

	for (size_t part = 5 << 20; part < 8 * room; part += part / 3)
		for (int c = 0; c < 70; c++) {
			size_t n = ls_s3_stream_slots(part, c);

			CHECK(n >= 1 && (n == 1 || n * part <= room));
			CHECK(n == 1 || n <= (size_t)c);
		}
	CHECK_EQ(ls_s3_stream_slots(5 << 20, 5), 3);
	CHECK_EQ(ls_s3_stream_slots(8 << 20, 5), 2);
}

TEST(s3_part_sizes)
{
	const uint64_t min = 5 << 20, tib = 1ull << 40;
	uint64_t part = min, sum = 0;

	CHECK_EQ(ls_s3_equal_part(min, 1), min);
	CHECK_EQ(ls_s3_equal_part(min, 10000 * min - 1), min);
	for (uint64_t size = min; size <= 5 * tib; size += size / 3) {
		part = ls_s3_equal_part(min, size);
		CHECK(part >= min && part <= LS_S3_PUT_MAX);
		CHECK((size + part - 1) / part <= LS_S3_PARTS_MAX);
	}
	part = min;
	for (size_t n = 1; n <= LS_S3_PARTS_MAX; n++) {
		sum += part;
		if (n == 1000)
			CHECK_EQ(sum, 1000 * min); /* memory stays small */
		part = ls_s3_next_part(part, n);
		CHECK(part <= LS_S3_PUT_MAX);
	}
	CHECK(sum >= 4 * tib);
}

TEST(s3_sweep_aborts_old_uploads_of_ours)
{
#define UPLOAD(key, id, at)                                     \
	"<Upload><Key>" key "</Key><UploadId>" id "</UploadId>" \
	"<Initiated>" at "</Initiated></Upload>"
	static const struct httpd_step steps[] = {
		{ "GET", "/bkt?prefix=db%2F&uploads=",
		    .reply = "<ListMultipartUploadsResult>" UPLOAD(
			"db/0009/1.ltx", "old", "2020-01-01T00:00:00.000Z")
			UPLOAD("db/0009/2.ltx", "new",
			    "2200-01-01T00:00:00.000Z") UPLOAD("db/photo.jpg",
			    "foreign", "2020-01-01T00:00:00.000Z")
			    UPLOAD("dbx/0009/1.ltx", "neighbour",
				"2020-01-01T00:00:00.000Z") "</"
							    "ListMultipartUploa"
							    "dsResult>" },
		{ "DELETE", "/bkt/db/0009/1.ltx?uploadId=old", .status = 204 },
	};
	struct fix f = start(steps, 2);
	struct ls_err e = { 0 };

	CHECK_OK(ls_store_sweep(f.st, 3600000, NULL, &e));
	finish(&f);
}

/* ---- copy and capabilities -------------------------------------------------*/

TEST(s3_copy)
{
	static const struct httpd_step steps[] = {
		{ "HEAD", "/bkt/db/a%20b", .headers = "Content-Length: 3\r\n" },
		{ "PUT", "/bkt/db/0009/k",
		    "x-amz-copy-source: /bkt/db/a%20b\ncontent-length: 0\n"
		    "!x-amz-meta-litestream-timestamp",
		    .reply = "<CopyObjectResult/>" },
		/* an error behind a 200 is tried again */
		{ "HEAD", "/bkt/db/a%20b", .headers = "Content-Length: 3\r\n" },
		{ "PUT", "/bkt/db/0009/k", .reply = ERR("InternalError") },
		{ "PUT", "/bkt/db/0009/k", .reply = "<CopyObjectResult/>" },
		/* not implemented: remembered */
		{ "HEAD", "/bkt/db/a%20b", .headers = "Content-Length: 3\r\n" },
		{ "PUT", "/bkt/db/0009/k", .status = 501 },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	unsigned caps = 0;

	atomic_store(&ls_s3_of(f.st)->fact->caps_known, LS_CAP_IF_ABSENT);
	CHECK_OK(ls_store_copy(f.st, "a b", "0009/k", NULL, NULL, &e));
	CHECK_OK(ls_store_copy(f.st, "a b", "0009/k", NULL, NULL, &e));
	CHECK_OK(ls_store_caps(f.st, &caps, NULL, &e));
	CHECK_EQ(caps, LS_CAP_COPY);
	CHECK_RC(ls_store_copy(f.st, "a b", "0009/k", NULL, NULL, &e),
	    LS_EUNSUPPORTED);
	CHECK_OK(ls_store_caps(f.st, &caps, NULL, &e));
	CHECK_EQ(caps, 0);
	finish(&f);
}

TEST(s3_probe_if_absent)
{
	static const struct {
		int first, second;
		bool yes;
	} t[] = { { 200, 412, true }, { 200, 200, false }, { 501, 0, false },
		{ 400, 0, false }, { 200, 501, false } };

	for (size_t i = 0; i < LS_COUNT(t); i++) {
		struct httpd_step steps[3];
		struct ls_err e = { 0 };
		struct fix f;
		unsigned caps = 0;
		size_t n = 0;

		steps[n++] = (struct httpd_step){ .want = "if-none-match: *",
			.status = t[i].first };
		if (t[i].second != 0)
			steps[n++] =
			    (struct httpd_step){ .want = "if-none-match: *",
				    .status = t[i].second };
		steps[n++] = (struct httpd_step){ .status = 204 };
		f = start(steps, n);
		CHECK_OK(ls_store_caps(f.st, &caps, NULL, &e));
		CHECK_EQ((caps & LS_CAP_IF_ABSENT) != 0, t[i].yes);
		caps = 0;
		CHECK_OK(ls_store_caps(f.st, &caps, NULL, &e)); /* no request */
		CHECK_EQ((caps & LS_CAP_IF_ABSENT) != 0, t[i].yes);
		finish(&f);
	}
}

TEST(s3_probe_failure_is_not_remembered)
{
	static const struct httpd_step steps[] = {
		{ .status = 403 },
		{ .status = 403 },
		{ .status = 200 },
		{ .status = 412 },
		{ .status = 204 },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_err e = { 0 };
	unsigned caps = 0;

	CHECK_RC(ls_store_caps(f.st, &caps, NULL, &e), LS_EDENIED);
	CHECK_OK(ls_store_caps(f.st, &caps, NULL, &e));
	CHECK(caps & LS_CAP_IF_ABSENT);
	finish(&f);
}

/* ---- memory ----------------------------------------------------------------*/

TEST(s3_put_if_match)
{
	static const struct httpd_step steps[] = {
		/* AWS, MinIO; then Ceph, which wants it bare */
		{ "PUT", "/bkt/db/0000/k", "if-match: \"e\"" },
		{ "PUT", "/bkt/db/0000/k", "if-match: \"e\"", .status = 412 },
		{ "PUT", "/bkt/db/0000/k", "if-match: e" },
		{ "PUT", "/bkt/db/0000/k", "if-match: e", .status = 412 },
		{ "PUT", "/bkt/db/0000/k", "if-match: \"e\"", .status = 412 },
		{ "PUT", "/bkt/db/0000/k", "if-match: e", .status = 404,
		    .reply = "<Error><Code>NoSuchKey</Code></Error>" },
		{ "DELETE", "/bkt/db/k", "if-match: e", .status = 412 },
		{ "DELETE", "/bkt/db/k", "if-match: \"e\"", .status = 412 },
		{ "DELETE", "/bkt/db/k", "if-match: e", .status = 204 },
	};
	struct fix f = start(steps, LS_COUNT(steps));
	struct ls_put o = { .if_match = "e" };
	struct ls_err e = { 0 };

	CHECK_OK(put_abc(&f, &o, NULL, &e));
	CHECK_OK(put_abc(&f, &o, NULL, &e));
	CHECK_RC(put_abc(&f, &o, NULL, &e), LS_ECHANGED);
	CHECK_RC(put_abc(&f, &o, NULL, &e), LS_ECHANGED);
	CHECK_RC(ls_store_delete_if(f.st, "k", "e", NULL, &e), LS_ECHANGED);
	CHECK_OK(ls_store_delete_if(f.st, "k", "e", NULL, &e));
	finish(&f);
}

/* Every allocation of a put fails once: an error or success, nothing leaked
 * (the sanitizer build looks). */
TEST(s3_put_survives_any_allocation_failure)
{
	struct httpd_step steps[200];
	struct fix f;
	struct ls_put o = { .once = true };
	int n;

	for (size_t i = 0; i < LS_COUNT(steps); i++)
		steps[i] = (struct httpd_step){ "PUT", "/bkt/db/0000/k" };
	f = start(steps, LS_COUNT(steps));
	fault_disarm();
	for (n = 1; n < 200; n++) {
		struct ls_err e = { 0 };
		enum ls_rc rc;

		fault_arm(n, ENOMEM);
		rc = put_abc(&f, &o, NULL, &e);
		fault_disarm();
		if (!fault_fired()) {
			CHECK_OK(rc);
			break;
		}
		CHECK(rc == LS_OK || e.msg[0] != '\0');
	}
	CHECK(n > 10 && n < 200);
	ls_store_free(f.st);
	CHECK(strstr(httpd_stop(f.h), "requests came") != NULL);
	ls_net_free(f.net);
}
