/* test_place.c -- URLs, provider rules, validation (compatibility 3.1-3.3). */
#include "test.h"

#include "base/bytes.h"
#include "store/store.h"

#include <unistd.h>

static struct ls_place
parse(const char *url)
{
	struct ls_place p;
	struct ls_err e = { 0 };

	ls_place_init(&p);
	CHECK_OK(ls_place_from_url(url, &p, &e));
	return p;
}

static struct ls_place
settled(const char *url)
{
	struct ls_place p = parse(url);
	struct ls_err e = { 0 };

	CHECK_OK(ls_place_settle(&p, &e));
	CHECK_OK(ls_place_settle(&p, &e)); /* twice changes nothing */
	return p;
}

static void
check_refused(const char *url, enum ls_rc want, const char *word)
{
	struct ls_place p;
	struct ls_err e = { 0 };
	enum ls_rc rc;

	ls_place_init(&p);
	rc = ls_place_from_url(url, &p, &e);
	if (rc == LS_OK)
		rc = ls_place_settle(&p, &e);
	if (rc != want || strstr(e.msg, word) == NULL)
		test_fail(__FILE__, __LINE__, "%s: %s %s", url, ls_rc_name(rc),
		    e.msg);
	ls_place_fini(&p);
}

#define STR(s) ((s) ? (s) : "(null)")

TEST(url_is_recognised)
{
	CHECK(ls_is_url("s3://b"));
	CHECK(ls_is_url("a_1://"));
	CHECK(!ls_is_url("/s3://b"));
	CHECK(!ls_is_url("://b"));
	CHECK(!ls_is_url("s3:/b"));
	CHECK(!ls_is_url("s-3://b"));
}

/* The table of compatibility 3.2: host forms. */
TEST(url_host_forms)
{
	static const struct {
		const char *url, *bucket, *region, *endpoint;
		enum ls_tri path_style;
		const char *path;
	} t[] = {
		{ "s3://b/db", "b", "(null)", "(null)", LS_NO, "db" },
		{ "s3://b.localhost:9000/db", "b", "us-east-1",
		    "http://localhost:9000", LS_YES, "db" },
		{ "s3://b.127.0.0.1:9000/db", "b", "us-east-1",
		    "http://127.0.0.1:9000", LS_YES, "db" },
		{ "s3://b.s3.amazonaws.com/db", "b", "(null)", "(null)", LS_NO,
		    "db" },
		{ "s3://my.b.s3.eu-west-1.amazonaws.com/db", "my.b",
		    "eu-west-1", "(null)", LS_NO, "db" },
		{ "s3://b.nyc3.digitaloceanspaces.com/db", "b", "nyc3",
		    "https://nyc3.digitaloceanspaces.com", LS_NO, "db" },
		{ "s3://b.s3.us-west-000.backblazeb2.com/db", "b",
		    "us-west-000", "https://s3.us-west-000.backblazeb2.com",
		    LS_YES, "db" },
		{ "s3://b.s3.filebase.com/db", "b", "us-east-1",
		    "https://s3.filebase.com", LS_YES, "db" },
		{ "s3://b.s3.nl-ams.scw.cloud/db", "b", "nl-ams",
		    "https://s3.nl-ams.scw.cloud", LS_NO, "db" },
		{ "S3://b/x//y/../z/", "b", "(null)", "(null)", LS_NO, "x/z" },
		{ "s3://b", "b", "(null)", "(null)", LS_NO, "" },
		{ "s3://b/", "b", "(null)", "(null)", LS_NO, "" },
		{ "s3://b/a%20b", "b", "(null)", "(null)", LS_NO, "a b" },
		{ "s3://arn:aws:s3:eu-north-1:123:accesspoint/ap/db",
		    "arn:aws:s3:eu-north-1:123:accesspoint/ap", "eu-north-1",
		    "(null)", LS_NO, "db" },
		{ "s3://ARN:aws:s3:eu-north-1:123:accesspoint/ap?region=x",
		    "ARN:aws:s3:eu-north-1:123:accesspoint/ap", "x", "(null)",
		    LS_NO, "" },
	};

	for (size_t i = 0; i < LS_COUNT(t); i++) {
		struct ls_place p = settled(t[i].url);

		CHECK_STR(p.type, "s3");
		CHECK_STR(p.bucket, t[i].bucket);
		CHECK_STR(STR(p.region), t[i].region);
		CHECK_STR(STR(p.endpoint), t[i].endpoint);
		CHECK_EQ(p.force_path_style, t[i].path_style);
		CHECK_STR(p.path, t[i].path);
		ls_place_fini(&p);
	}
}

/* The table of compatibility 3.2: providers. */
TEST(provider_rules)
{
	static const struct {
		const char *endpoint, *settled;
		enum ls_tri path_style, md5;
		int concurrency;
		bool tigris;
		const char *region;
	} t[] = {
		{ "https://fsn1.your-objectstorage.com",
		    "https://fsn1.your-objectstorage.com", LS_YES, LS_YES, 5,
		    false, "us-east-1" },
		{ "https://fly.storage.tigris.dev",
		    "https://fly.storage.tigris.dev", LS_YES, LS_NO, 5, true,
		    "auto" },
		{ "https://T3.storage.dev", "https://T3.storage.dev", LS_YES,
		    LS_NO, 5, true, "auto" },
		{ "https://x.t3.storage.dev", "https://x.t3.storage.dev",
		    LS_YES, LS_YES, 5, false, "us-east-1" },
		{ "s3.us-west-000.backblazeb2.com",
		    "https://s3.us-west-000.backblazeb2.com", LS_YES, LS_YES, 5,
		    false, "us-east-1" },
		{ "acc.r2.cloudflarestorage.com",
		    "https://acc.r2.cloudflarestorage.com", LS_YES, LS_YES, 2,
		    false, "auto" },
		{ "minio:9000", "https://minio:9000", LS_YES, LS_YES, 5, false,
		    "us-east-1" },
		{ "localhost:9000/", "http://localhost:9000", LS_YES, LS_YES, 5,
		    false, "us-east-1" },
		{ "192.168.1.2:9000", "http://192.168.1.2:9000", LS_YES, LS_YES,
		    5, false, "us-east-1" },
		{ "172.20.0.2", "http://172.20.0.2", LS_YES, LS_YES, 5, false,
		    "us-east-1" },
		{ "172.32.0.2", "https://172.32.0.2", LS_YES, LS_YES, 5, false,
		    "us-east-1" },
		{ "store.local", "http://store.local", LS_YES, LS_YES, 5, false,
		    "us-east-1" },
		{ "https://ref.supabase.co/storage/v1/s3",
		    "https://ref.supabase.co/storage/v1/s3", LS_YES, LS_YES, 5,
		    false, "us-east-1" },
	};

	for (size_t i = 0; i < LS_COUNT(t); i++) {
		char url[200];
		struct ls_place p;

		(void)snprintf(
		    url, sizeof url, "s3://b/db?endpoint=%s", t[i].endpoint);
		p = settled(url);
		CHECK_STR(p.endpoint, t[i].settled);
		CHECK_EQ(p.force_path_style, t[i].path_style);
		CHECK_EQ(p.require_content_md5, t[i].md5);
		CHECK_EQ(p.sign_payload, LS_YES);
		CHECK_EQ(p.concurrency, t[i].concurrency);
		CHECK_EQ(p.tigris, t[i].tigris);
		CHECK_STR(p.region, t[i].region);
		CHECK_EQ(p.part_size, 5 << 20);
		ls_place_fini(&p);
	}
}

TEST(explicit_path_style_wins)
{
	struct ls_place p = settled("s3://b/db?endpoint=s3.filebase.com"
				    "&forcePathStyle=false");

	CHECK_EQ(p.force_path_style, LS_NO);
	ls_place_fini(&p);
	p = settled("s3://b/db?force-path-style=yes");
	CHECK_EQ(p.force_path_style, LS_YES);
	ls_place_fini(&p);
	p = settled("s3://b.nyc3.digitaloceanspaces.com/?forcePathStyle=1");
	CHECK_EQ(p.force_path_style, LS_YES);
	ls_place_fini(&p);
}

TEST(url_parameters_in_both_spellings)
{
	struct ls_place p = settled(
	    "s3://b/db?region=r&skip-verify=1&sign-payload=false&"
	    "require-content-md5=no&storage-class=STANDARD_IA&part-size="
	    "6000000&concurrency=7&sse-kms-key-id=k%2F1&fencing=require");

	CHECK_STR(p.region, "r");
	CHECK_EQ(p.skip_verify, LS_YES);
	CHECK_EQ(p.sign_payload, LS_NO);
	CHECK_EQ(p.require_content_md5, LS_NO);
	CHECK_STR(p.storage_class, "STANDARD_IA");
	CHECK_EQ(p.part_size, 6000000);
	CHECK_EQ(p.concurrency, 7);
	CHECK_STR(p.sse_kms_key_id, "k/1");
	CHECK_EQ(p.fencing, LS_FENCING_REQUIRE);
	ls_place_fini(&p);
	p = settled("s3://b/db?skipVerify=T&signPayload=0&requireContentMD5=f"
		    "&storageClass=X&partSize=7000000&sseCustomerKey="
		    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D"
		    "&sseCustomerKeyMD5=cLyPS3KoaSFGi/joRB3OUQ%3D%3D");
	CHECK_EQ(p.skip_verify, LS_YES);
	CHECK_EQ(p.sign_payload, LS_NO);
	CHECK_EQ(p.require_content_md5, LS_NO);
	CHECK_STR(p.storage_class, "X");
	CHECK_EQ(p.part_size, 7000000);
	CHECK_STR(p.sse_algorithm, "AES256");
	CHECK_STR(p.sse_key_md5, "cLyPS3KoaSFGi/joRB3OUQ==");
	ls_place_fini(&p);
}

TEST(url_keeps_what_was_configured)
{
	struct ls_place p;
	struct ls_err e = { 0 };

	ls_place_init(&p);
	p.part_size = 8 << 20;
	p.concurrency = 3;
	p.region = ls_strdup("mine");
	CHECK_OK(ls_place_from_url("s3://b.s3.eu-west-1.amazonaws.com/x?"
				   "partSize=9000000&concurrency=9",
	    &p, &e));
	CHECK_EQ(p.part_size, 8 << 20);
	CHECK_EQ(p.concurrency, 3);
	CHECK_STR(p.region, "mine");
	CHECK_RC(ls_place_from_url("s3://c?nonsense=1", &p, &e), LS_EINVALID);
	CHECK_STR(p.bucket, "b"); /* an error changes nothing */
	ls_place_fini(&p);
}

TEST(url_errors_name_the_thing)
{
	check_refused("gs://b/p", LS_EUNSUPPORTED, "\"gs\"");
	check_refused("abs://b/p", LS_EUNSUPPORTED, "\"abs\"");
	check_refused("sftp://h/p", LS_EUNSUPPORTED, "\"sftp\"");
	check_refused("webdavs://h/p", LS_EUNSUPPORTED, "\"webdavs\"");
	check_refused("nats://h/p", LS_EUNSUPPORTED, "\"nats\"");
	check_refused("oss://h/p", LS_EUNSUPPORTED, "\"oss\"");
	check_refused("gcs://b/p", LS_EINVALID, "\"gcs\"");
	check_refused("nonsense", LS_EINVALID, "nonsense");
	check_refused("s3:///path", LS_EINVALID, "bucket required");
	check_refused("s3://localhost:9000/db", LS_EINVALID, "bucket");
	check_refused("s3://k:s@b/db", LS_EINVALID, "user");
	check_refused("s3://b/db?partSize=x", LS_EINVALID,
	    "invalid value for query parameter \"partSize\": \"x\" (must be a "
	    "positive integer)");
	check_refused("s3://b/db?concurrency=0", LS_EINVALID, "concurrency");
	check_refused("s3://b/db?part-size=5242879", LS_EINVALID,
	    "part size must be at least 5242880 bytes");
	check_refused(
	    "s3://b/db?forcepathstile=1", LS_EINVALID, "\"forcepathstile\"");
	check_refused("s3://b/db?endpoint=ftp://x", LS_EINVALID, "ftp://x");
	check_refused("s3://b/%zz", LS_EINVALID, "%zz");
	check_refused("s3://b/db?sseCustomerKey=short", LS_EINVALID,
	    "base64 of 32 bytes");
	check_refused("s3://b/db?sseCustomerAlgorithm=AES256", LS_EINVALID,
	    "sse-customer-key");
	check_refused("s3://b/db?endpoint=http://x.example&sseCustomerKey="
		      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D",
	    LS_EINVALID, "TLS");
	check_refused("s3://b/db?sseKmsKeyId=k&sseCustomerKey="
		      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D",
	    LS_EINVALID, "exclude");
}

TEST(url_unknown_parameter_has_a_hint)
{
	static const char *const t[][2] = {
		{ "s3://b?force_path_style=1",
		    "did you mean \"forcePathStyle\"?" },
		{ "s3://b?region-=x", "did you mean \"region\"?" },
		{ "s3://b?-Re--gion=x", "did you mean \"region\"?" },
		{ "s3://b?regions=x", "" },
		{ "s3://b?-=x", "" },
	};

	for (size_t i = 0; i < LS_COUNT(t); i++) {
		struct ls_place p;
		struct ls_err e = { 0 };

		ls_place_init(&p);
		CHECK_RC(ls_place_from_url(t[i][0], &p, &e), LS_EINVALID);
		CHECK_STR(e.hint, t[i][1]);
		ls_place_fini(&p);
	}
}

TEST(file_urls)
{
	static const char *const t[][2] = { { "file:///a/b", "/a/b" },
		{ "file:///a//b/../c/?x=1", "/a/c" },
		{ "FILE:///a%20b", "/a%20b" }, { "file://a/b", "/a/b" },
		{ "file:///", "/" } };
	char cwd[500];

	for (size_t i = 0; i < LS_COUNT(t); i++) {
		struct ls_place p = settled(t[i][0]);

		CHECK_STR(p.type, "file");
		CHECK_STR(p.path, t[i][1]);
		ls_place_fini(&p);
	}
	struct ls_place p = settled("file://");
	CHECK(getcwd(cwd, sizeof cwd) != NULL);
	CHECK_STR(p.path, cwd);
	ls_place_fini(&p);
}

TEST(place_text_has_no_secret)
{
	struct ls_place p = settled("s3://b/db?endpoint=localhost:1");
	char *s;

	p.secret_access_key = ls_strdup("SECRET");
	s = ls_place_text(&p);
	CHECK_STR(s, "s3://b/db at http://localhost:1");
	ls_free(s);
	ls_place_fini(&p);
	p = settled("file:///x/y");
	s = ls_place_text(&p);
	CHECK_STR(s, "file:///x/y");
	ls_free(s);
	ls_place_fini(&p);
}

TEST(place_sse_key_from_a_file)
{
	struct ls_place p = parse("s3://b/db");
	struct ls_err e = { 0 };

	test_write_file(
	    T("key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 45);
	p.sse_key_path = ls_strdup(T("key"));
	CHECK_OK(ls_place_settle(&p, &e));
	CHECK_STR(p.sse_key_md5, "cLyPS3KoaSFGi/joRB3OUQ==");
	ls_place_fini(&p);
	p = parse("s3://b/db");
	p.sse_key_path = ls_strdup(T("nokey"));
	CHECK_RC(ls_place_settle(&p, &e), LS_ENOTFOUND);
	CHECK(strstr(e.msg, "sse-customer-key-path") != NULL);
	ls_place_fini(&p);
}

TEST(endpoint_from_environment_only_when_asked)
{
	struct ls_place p = parse("s3://b/db");
	struct ls_err e = { 0 };

	CHECK(setenv("LITESTREAM_S3_ENDPOINT", "localhost:77", 1) == 0);
	CHECK_OK(ls_place_settle(&p, &e));
	CHECK(p.endpoint == NULL);
	CHECK_OK(ls_place_from_env(&p, &e));
	CHECK_STR(STR(p.endpoint), "localhost:77");
	CHECK(unsetenv("LITESTREAM_S3_ENDPOINT") == 0);
	ls_place_fini(&p);
}
