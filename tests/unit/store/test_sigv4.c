/* test_sigv4.c -- signing, against the examples that AWS publishes ("Examples:
 * Signature Calculations in AWS Signature Version 4", S3 API reference). */
#include "test.h"

#include "base/bytes.h"
#include "store/sigv4.h"
#include "store/uri.h"

static const char empty_hash[] =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char amz_date[] = "20130524T000000Z";

static void
check_signature(const char *method, const char *path, const char *query,
    const struct ls_pair *h, size_t n, const char *hash, const char *names,
    const char *signature)
{
	struct ls_sigv4 in = { method, path, query, h, n, hash, "us-east-1",
		amz_date,
		{ "AKIAIOSFODNN7EXAMPLE",
		    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL },
		NULL };
	struct ls_buf out = LS_BUF_INIT(1024);
	struct ls_err e = { 0 };
	char want[1024];

	(void)snprintf(want, sizeof want,
	    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/"
	    "us-east-1/s3/aws4_request, SignedHeaders=%s, Signature=%s",
	    names, signature);
	CHECK_OK(ls_sigv4_sign(&in, &out, &e));
	CHECK_STR(ls_buf_str(&out), want);
	ls_buf_free(&out);
}

static const struct ls_pair host = { "host", "examplebucket.s3.amazonaws.com" };

TEST(sigv4_published_examples)
{
	struct ls_err e = { 0 };
	struct ls_buf path = LS_BUF_INIT(100);
	char hash[LS_SHA256_HEX];
	const struct ls_pair get[] = { { "range", "bytes=0-9" },
		{ "x-amz-date", amz_date }, host,
		{ "x-amz-content-sha256", empty_hash } };
	const struct ls_pair plain[] = { host, { "x-amz-date", amz_date },
		{ "x-amz-content-sha256", empty_hash } };

	check_signature("GET", "/test.txt", "", get, 4, empty_hash,
	    "host;range;x-amz-content-sha256;x-amz-date",
	    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
	CHECK_OK(ls_sha256_hex(LS_SPAN_STR("Welcome to Amazon S3."), hash, &e));
	CHECK_OK(ls_uri_encode(&path, "/test$file.text", true, &e));
	const struct ls_pair put[] = { host,
		{ "date", "Fri, 24 May 2013 00:00:00 GMT" },
		{ "x-amz-date", amz_date }, { "x-amz-content-sha256", hash },
		{ "x-amz-storage-class", "REDUCED_REDUNDANCY" } };
	check_signature("PUT", ls_buf_str(&path), "", put, 5, hash,
	    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
	check_signature("GET", "/", "lifecycle=", plain, 3, empty_hash,
	    "host;x-amz-content-sha256;x-amz-date",
	    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
	check_signature("GET", "/", "max-keys=2&prefix=J", plain, 3, empty_hash,
	    "host;x-amz-content-sha256;x-amz-date",
	    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
	ls_buf_free(&path);
}

TEST(sigv4_query_is_sorted_and_strict)
{
	struct ls_buf b = LS_BUF_INIT(1000);
	struct ls_err e = { 0 };
	const struct ls_pair q[] = { { "prefix", "a b/c+d~e%" },
		{ "list-type", "2" }, { "uploads", "" }, { "a", "2" },
		{ "a-b", "1" }, { "a", "1" }, { "A", "z" } };

	CHECK_OK(ls_sigv4_query(q, LS_COUNT(q), &b, &e));
	CHECK_STR(ls_buf_str(&b),
	    "A=z&a=1&a=2&a-b=1&list-type=2&prefix=a%20b%2Fc%2Bd~e%25&"
	    "uploads=");
	ls_buf_free(&b);
}

TEST(sigv4_header_values_are_trimmed)
{
	const struct ls_pair a[] = { host, { "x-amz-meta-x", "  a   b " } };
	const struct ls_pair b[] = { host, { "x-amz-meta-x", "a b" } };
	struct ls_sigv4 in = { "GET", "/", "", a, 2, empty_hash, "us-east-1",
		amz_date, { "K", "S", NULL }, NULL };
	struct ls_buf x = LS_BUF_INIT(1024), y = LS_BUF_INIT(1024);
	struct ls_err e = { 0 };

	CHECK_OK(ls_sigv4_sign(&in, &x, &e));
	in.headers = b;
	CHECK_OK(ls_sigv4_sign(&in, &y, &e));
	CHECK_STR(ls_buf_str(&x), ls_buf_str(&y));
	ls_buf_free(&x);
	ls_buf_free(&y);
}

TEST(digests)
{
	struct ls_err e = { 0 };
	char sha[LS_SHA256_HEX], md5[LS_MD5_BASE64], date[LS_AMZ_DATE];

	CHECK_OK(ls_sha256_hex(LS_SPAN_STR(""), sha, &e));
	CHECK_STR(sha, empty_hash);
	/* RFC 1321: MD5("abc") = 900150983cd24fb0d6963f7d28e17f72 */
	CHECK_OK(ls_md5_base64(LS_SPAN_STR("abc"), md5, &e));
	CHECK_STR(md5, "kAFQmDzST7DWlj99KOF/cg==");
	ls_amz_date(1369353600ll * 1000000000, date);
	CHECK_STR(date, amz_date);
	/* 32 zero bytes; MD5 of them is 70bc8f4b72a86921468bf8e8441dce51 */
	CHECK_OK(ls_sse_key_md5(
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", md5, &e));
	CHECK_STR(md5, "cLyPS3KoaSFGi/joRB3OUQ==");
	CHECK_RC(ls_sse_key_md5("AAAA", md5, &e), LS_EINVALID);
	CHECK_RC(ls_sse_key_md5(
		     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", md5, &e),
	    LS_EINVALID);
	CHECK_RC(ls_sse_key_md5(
		     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", md5, &e),
	    LS_EINVALID);
	CHECK_RC(ls_sse_key_md5(
		     "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", md5, &e),
	    LS_EINVALID);
}

TEST(uri_codec)
{
	struct ls_buf b = LS_BUF_INIT(100);
	struct ls_err e = { 0 };
	char *s = NULL;

	CHECK_OK(ls_uri_encode(&b, "a/b c+~\xc3\xa9", true, &e));
	CHECK_STR(ls_buf_str(&b), "a/b%20c%2B~%C3%A9");
	CHECK_OK(ls_uri_decode("a%2Fb+c%c3", 10, true, &s, &e));
	CHECK_STR(s, "a/b c\xc3");
	ls_free(s);
	CHECK_OK(ls_uri_decode("a+b", 3, false, &s, &e));
	CHECK_STR(s, "a+b");
	ls_free(s);
	CHECK_RC(ls_uri_decode("%", 1, false, &s, &e), LS_EINVALID);
	CHECK_RC(ls_uri_decode("%4", 2, false, &s, &e), LS_EINVALID);
	CHECK_RC(ls_uri_decode("%zz", 3, false, &s, &e), LS_EINVALID);
	CHECK_RC(ls_uri_decode("%00", 3, false, &s, &e), LS_EINVALID);
	ls_buf_free(&b);
}

/* The example of "Create a signed AWS API request", IAM's ListUsers. */
TEST(sigv4_of_another_service)
{
	static const struct ls_pair h[] = {
		{ "content-type",
		    "application/x-www-form-urlencoded; charset=utf-8" },
		{ "host", "iam.amazonaws.com" },
		{ "x-amz-date", "20150830T123600Z" },
	};
	const struct ls_sigv4 in = {
		.method = "GET",
		.path = "/",
		.query = "Action=ListUsers&Version=2010-05-08",
		.headers = h,
		.nheaders = LS_COUNT(h),
		.payload_hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b93"
				"4ca495991b7852b855",
		.region = "us-east-1",
		.service = "iam",
		.amz_date = "20150830T123600Z",
		.cred = { "AKIDEXAMPLE",
		    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL },
	};
	struct ls_buf b = LS_BUF_INIT(1024);
	struct ls_err e = { 0 };

	CHECK_OK(ls_sigv4_sign(&in, &b, &e));
	CHECK_STR(ls_buf_str(&b),
	    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/"
	    "aws4_request, SignedHeaders=content-type;host;x-amz-date, "
	    "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924"
	    "a6f2b5d7");
	ls_buf_free(&b);
}
