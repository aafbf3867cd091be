/* test_credentials_net.c -- credentials that come by network: STS, containers,
 * instances; and the cache before them. */
#include "credsfix.h"

#include <pthread.h>

#define FORM "content-type: application/x-www-form-urlencoded\n"
#define STS_OK(id)                                                          \
	"<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts\">"         \
	"<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>" id    \
	"</AccessKeyId><SecretAccessKey>ss</SecretAccessKey><SessionToken>" \
	"st</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>"    \
	"</Credentials></AssumeRoleWithWebIdentityResult>"                  \
	"</AssumeRoleWithWebIdentityResponse>"
#define JSON_OK(id, end)                                       \
	"{\"Code\": \"Success\", \"AccessKeyId\": \"" id       \
	"\", \"SecretAccessKey\": \"js\", \"Token\": \"jt\", " \
	"\"Expiration\": \"" end "\"}"
#define FAR "2100-01-01T00:00:00Z"

static struct httpd *
serve(const char *variable, const char *path, const struct httpd_step *s,
    size_t n)
{
	struct httpd *h = httpd_start(s, n);
	char url[200];

	clean_env();
	(void)snprintf(url, sizeof url, "%s%s", httpd_url(h), path);
	CHECK(setenv(variable, url, 1) == 0);
	return h;
}

static void
done(struct httpd *h)
{
	CHECK_STR(httpd_stop(h), "");
	clean_env();
}

/* ---- STS -------------------------------------------------------------------*/

TEST(credentials_web_identity)
{
	static const struct httpd_step steps[] = {
		{ "POST", "/", FORM "!authorization",
		    "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
		    "&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"
		    "&RoleSessionName=me&WebIdentityToken=one",
		    .reply = STS_OK("w1") },
		{ "POST", "/", FORM,
		    "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
		    "&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"
		    "&RoleSessionName=me&WebIdentityToken=two",
		    .reply = STS_OK("w2") },
	};
	struct httpd *h = serve("AWS_ENDPOINT_URL_STS", "", steps, 2);
	struct ls_creds c;
	struct ls_err e = { 0 };

	put_file("token", "one\n");
	CHECK(setenv("AWS_WEB_IDENTITY_TOKEN_FILE", T("token"), 1) == 0);
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "AWS_ROLE_ARN is not") != NULL);
	CHECK(setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1) == 0);
	CHECK(setenv("AWS_ROLE_SESSION_NAME", "me", 1) == 0);
	CHECK_OK(ask(NULL, &c, &e));
	CHECK_STR(c.key_id, "w1");
	CHECK_STR(c.secret, "ss");
	CHECK_STR(c.token, "st");
	CHECK_EQ(c.expires_ns, 4102444800ll * 1000000000);
	ls_creds_fini(&c);
	put_file("token", "two");
	CHECK_OK(ask(NULL, &c, &e));
	CHECK_STR(c.key_id, "w2");
	ls_creds_fini(&c);
	done(h);
}

TEST(credentials_web_identity_refusals)
{
	static const struct httpd_step steps[] = {
		{ "POST", "/", .status = 403,
		    .reply = "<ErrorResponse><Error><Code>AccessDenied</Code>"
			     "<Message>Not authorized</Message></Error>"
			     "</ErrorResponse>" },
		{ "POST", "/", .status = 400,
		    .reply = "<ErrorResponse><Error><Code>ExpiredTokenException"
			     "</Code><Message>old</Message></Error>"
			     "</ErrorResponse>" },
		{ "POST", "/", .reply = "<html/>" },
		{ "POST", "/", .status = 503, .reply = "busy" },
	};
	struct httpd *h = serve("AWS_ENDPOINT_URL_STS", "/", steps, 4);
	struct ls_creds c;
	struct ls_err e = { 0 };

	CHECK(setenv("AWS_WEB_IDENTITY_TOKEN_FILE", T("none"), 1) == 0);
	CHECK(setenv("AWS_ROLE_ARN", "arn:r", 1) == 0);
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "credentials (web identity): token file") != NULL);
	put_file("none", "t");
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "AccessDenied: Not authorized") != NULL);
	CHECK(strstr(e.hint, "trust policy of arn:r") != NULL);
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "ExpiredTokenException") != NULL);
	CHECK(strstr(e.hint, "is renewed") != NULL);
	CHECK_RC(ask(NULL, &c, &e), LS_ESERVER);
	CHECK_RC(ask(NULL, &c, &e), LS_ESERVER);
	CHECK(strstr(e.msg, "503") != NULL);
	done(h);
}

/* A role over keys, over a source_profile, over the environment. */
TEST(credentials_profile_roles)
{
	static const struct httpd_step steps[] = {
		{ "POST", "/",
		    FORM "authorization\nx-amz-date\n"
			 "!x-amz-security-token",
		    "Action=AssumeRole&Version=2011-06-15&RoleArn=arn1"
		    "&RoleSessionName=s1&ExternalId=x%2F1&DurationSeconds=900",
		    .reply = STS_OK("r1") },
		{ "POST", "/", "x-amz-security-token: tok",
		    "Action=AssumeRole&Version=2011-06-15&RoleArn=arn2"
		    "&RoleSessionName=s2",
		    .reply = STS_OK("r2") },
	};
	struct httpd *h = serve("AWS_ENDPOINT_URL", "", steps, 2);
	struct ls_creds c;
	struct ls_err e = { 0 };

	put_file("credentials", "[keys]\naws_access_key_id=kk\n"
				"aws_secret_access_key=ks\n");
	put_file("config",
	    "[profile a]\nrole_arn=arn1\nsource_profile=keys\n"
	    "external_id=x/1\nduration_seconds=900\nrole_session_name=s1\n"
	    "region=eu-west-9\n"
	    "[profile b]\nrole_arn=arn2\ncredential_source=Environment\n"
	    "role_session_name=s2\n"
	    "[profile c]\nrole_arn=x\nsource_profile=d\n"
	    "[profile d]\nrole_arn=x\nsource_profile=c\n"
	    "[profile f]\nrole_arn=x\n"
	    "[profile g]\nrole_arn=x\nsource_profile=nobody\n");
	CHECK(setenv("AWS_PROFILE", "a", 1) == 0);
	CHECK_OK(ask(NULL, &c, &e));
	CHECK_STR(c.key_id, "r1");
	CHECK_STR(c.source, "role of a profile");
	ls_creds_fini(&c);
	CHECK(
	    strstr(httpd_header(h, "authorization"), "Credential=kk/") != NULL);
	CHECK(strstr(httpd_header(h, "authorization"),
		  "/eu-west-9/sts/aws4_request, "
		  "SignedHeaders=host;x-amz-date,") != NULL);
	CHECK(setenv("AWS_PROFILE", "c", 1) == 0);
	CHECK_RC(ask(NULL, &c, &e), LS_EINVALID);
	CHECK(strstr(e.msg, "goes in a circle") != NULL);
	CHECK(setenv("AWS_PROFILE", "f", 1) == 0);
	CHECK_RC(ask(NULL, &c, &e), LS_EINVALID);
	CHECK(strstr(e.hint, "source_profile") != NULL);
	CHECK(setenv("AWS_PROFILE", "g", 1) == 0);
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "\"nobody\"") != NULL);
	CHECK(setenv("AWS_PROFILE", "b", 1) == 0);
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "credential_source Environment") != NULL);
	{ /* the environment itself wins over a profile: ask this source only */
		const struct ls_creds base = { "ek", "es", "tok", "x", 0, 0,
			0 };
		const struct ls_creds_role r = {
			.arn = "arn2", .session = "s2", .with = &base
		};
		struct ls_net *net = NULL;
		struct ls_creds_ask a = { .region = NULL };

		CHECK_OK(ls_net_new(&net, &e));
		a.http = ls_net_http(net);
		CHECK_OK(ls_creds_assume(&c, &a, &r, &e));
		CHECK_STR(c.key_id, "r2");
		ls_creds_fini(&c);
		ls_net_free(net);
	}
	CHECK(strstr(httpd_header(h, "authorization"),
		  "/us-east-1/sts/aws4_request") != NULL);
	done(h);
}

/* ---- container -------------------------------------------------------------*/

TEST(credentials_container)
{
	static const struct httpd_step steps[] = {
		{ "GET", "/v1/c?x=1", "!authorization",
		    .reply = JSON_OK("c1", FAR) },
		{ "GET", "/v1/c?x=1", "authorization: plain",
		    .reply = JSON_OK("c2", FAR) },
		{ "GET", "/v1/c?x=1", "authorization: from file",
		    .reply = JSON_OK("c3", FAR) },
		{ "GET", "/v1/c?x=1", .status = 404,
		    .reply =
			"{\"code\": \"c\", \"message\": \"no such task\"}" },
		{ "GET", "/v1/c?x=1", .reply = "[]" },
	};
	struct httpd *h =
	    serve("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/v1/c?x=1", steps, 5);
	struct ls_creds c;
	struct ls_err e = { 0 };

	CHECK(setenv("http_proxy", "http://127.0.0.1:1", 1) == 0);
	CHECK_OK(ask(NULL, &c, &e)); /* past the proxy */
	CHECK_STR(c.key_id, "c1");
	CHECK_STR(c.token, "jt");
	CHECK_STR(c.source, "container");
	ls_creds_fini(&c);
	CHECK(setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "plain", 1) == 0);
	CHECK_OK(ask(NULL, &c, &e));
	ls_creds_fini(&c);
	put_file("auth", "from file\n");
	CHECK(setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", T("auth"), 1) ==
	      0);
	CHECK_OK(ask(NULL, &c, &e));
	CHECK_STR(c.key_id, "c3");
	ls_creds_fini(&c);
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "credentials (container)") != NULL);
	CHECK(strstr(e.msg, "HTTP 404") != NULL);
	CHECK(strstr(e.msg, "no such task") != NULL);
	CHECK(strstr(e.msg, "x=1") == NULL); /* queries may be secrets */
	CHECK(e.hint[0] != '\0');
	CHECK_RC(ask(NULL, &c, &e), LS_ESERVER);
	put_file("auth", "two\nlines");
	CHECK_RC(ask(NULL, &c, &e), LS_EINVALID);
	done(h);
}

TEST(credentials_container_plain_http)
{
	static const char *const bad[] = { "http://example.com/x",
		"http://169.254.170.3/", "http://127.0.0.1.example.com/",
		"http://localhost@example.com/", "ftp://localhost/" };
	struct ls_creds c;
	struct ls_err e = { 0 };

	clean_env();
	for (size_t i = 0; i < LS_COUNT(bad); i++) {
		CHECK(setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", bad[i], 1) ==
		      0);
		CHECK_RC(ask(NULL, &c, &e), LS_EINVALID);
		CHECK(strstr(e.msg, "neither https") != NULL);
	}
	clean_env();
}

/* ---- instance --------------------------------------------------------------*/

#define TOKEN_STEP                                                  \
	{                                                           \
		"PUT", "/latest/api/token",                         \
		    "x-aws-ec2-metadata-token-ttl-seconds: 21600\n" \
		    "content-length: 0",                            \
		    .reply = "TOK"                                  \
	}
#define ROLE_STEP                                                         \
	{                                                                 \
		"GET", "/latest/meta-data/iam/security-credentials/",     \
		    "x-aws-ec2-metadata-token: TOK", .reply = "my-role\n" \
	}
#define KEYS_STEP(id, end)                                                     \
	{                                                                      \
		"GET", "/latest/meta-data/iam/security-credentials/my-role",   \
		    "x-aws-ec2-metadata-token: TOK", .reply = JSON_OK(id, end) \
	}

static struct httpd *
instance(const struct httpd_step *s, size_t n)
{
	struct httpd *h = serve("AWS_EC2_METADATA_SERVICE_ENDPOINT", "/", s, n);

	CHECK(unsetenv("AWS_EC2_METADATA_DISABLED") == 0);
	return h;
}

TEST(credentials_instance_role)
{
	static const struct httpd_step steps[] = { TOKEN_STEP, ROLE_STEP,
		KEYS_STEP("i1", FAR), TOKEN_STEP,
		{ "GET", "/latest/meta-data/iam/security-credentials/",
		    .status = 404 },
		TOKEN_STEP, ROLE_STEP,
		{ "GET", "/latest/meta-data/iam/security-credentials/my-role",
		    .reply = "{\"Code\": \"AssumeRoleUnauthorizedAccess\"}" },
		{ "PUT", "/latest/api/token", .status = 403 } };
	struct httpd *h = instance(steps, LS_COUNT(steps));
	struct ls_creds c;
	struct ls_err e = { 0 };

	CHECK_OK(ask(NULL, &c, &e));
	CHECK_STR(c.key_id, "i1");
	CHECK_STR(c.source, "instance role");
	ls_creds_fini(&c);
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "this instance has no role") != NULL);
	CHECK(strstr(e.hint, "instance profile") != NULL);
	CHECK_RC(ask(NULL, &c, &e), LS_ESERVER);
	CHECK(strstr(e.msg, "AssumeRoleUnauthorizedAccess") != NULL);
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED); /* switched off there */
	CHECK(strstr(e.msg, "no credentials for s3") != NULL);
	done(h);
}

/* Something listens there and never answers: given up, said plainly. */
TEST(credentials_no_instance_answers)
{
	static const struct httpd_step steps[] = { { "PUT", "/latest/api/token",
	    .act = HTTPD_STALL } };
	struct httpd *h = instance(steps, 1);
	struct ls_creds c;
	struct ls_err e = { 0 };

	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "no credentials for s3") != NULL);
	done(h);
}

/* ---- the cache -------------------------------------------------------------*/

enum { THREADS = 8 };

static void *
one_thread(void *arg)
{
	struct ls_place p;
	struct ls_creds c = { 0 };
	struct ls_err e = { 0 };
	bool ok;

	ls_place_init(&p);
	ok = ls_creds_get(arg, &p, NULL, &c, &e) == LS_OK &&
	     strcmp(c.key_id, "i1") == 0;
	ls_creds_fini(&c);
	return ok ? arg : NULL;
}

/* The server would say that a second round was not scripted. */
TEST(credentials_many_threads_ask_once)
{
	static const struct httpd_step steps[] = { TOKEN_STEP, ROLE_STEP,
		KEYS_STEP("i1", FAR) };
	struct httpd *h = instance(steps, LS_COUNT(steps));
	struct ls_net *net = NULL;
	struct ls_err e = { 0 };
	pthread_t t[THREADS];
	void *ok;

	CHECK_OK(ls_net_new(&net, &e));
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(
			  &t[i], NULL, one_thread, ls_net_creds(net)) == 0);
	for (int i = 0; i < THREADS; i++) {
		CHECK(pthread_join(t[i], &ok) == 0);
		CHECK(ok != NULL);
	}
	ls_net_free(net);
	done(h);
}

static void
check_key(struct ls_net *net, const char *want)
{
	struct ls_place p;
	struct ls_creds c = { 0 };
	struct ls_err e = { 0 };

	ls_place_init(&p);
	CHECK_OK(ls_creds_get(ls_net_creds(net), &p, NULL, &c, &e));
	CHECK_STR(c.key_id, want);
	ls_creds_fini(&c);
}

/* 2101-01-01 less what is said, as a shift of the clock. */
static void
clock_at(int64_t before_s)
{
	fault_clock(0);
	fault_clock((4133980800ll - before_s) * 1000000000 - ls_sys->wall_ns());
}

TEST(credentials_are_renewed_before_they_expire)
{
	static const struct httpd_step steps[] = { TOKEN_STEP, ROLE_STEP,
		KEYS_STEP("k1", "2101-01-01T00:00:00Z"), TOKEN_STEP, ROLE_STEP,
		KEYS_STEP("k2", "2101-01-01T06:00:00Z"),
		/* a renewal that fails: the old ones go on */
		{ "PUT", "/latest/api/token", .status = 500 },
		{ "PUT", "/latest/api/token", .status = 500 },
		/* and when they are over, that is an error */
		{ "PUT", "/latest/api/token", .status = 500 } };
	struct httpd *h = instance(steps, LS_COUNT(steps));
	struct ls_net *net = NULL;
	struct ls_place p;
	struct ls_creds c = { 0 };
	struct ls_err e = { 0 };

	CHECK_OK(ls_net_new(&net, &e));
	clock_at(3600);
	check_key(net, "k1");
	clock_at(301);
	check_key(net, "k1");
	clock_at(299);
	check_key(net, "k2");
	clock_at(-6 * 3600 + 299);
	check_key(net, "k2"); /* refused, said */
	check_key(net, "k2"); /* not asked again at once */
	clock_at(-6 * 3600 + 200);
	check_key(net, "k2");
	clock_at(-6 * 3600 - 1);
	ls_place_init(&p);
	CHECK_RC(ls_creds_get(ls_net_creds(net), &p, NULL, &c, &e), LS_ESERVER);
	CHECK(strstr(e.msg, "credentials (instance role)") != NULL);
	ls_net_free(net);
	fault_disarm();
	done(h);
}

/* Keys in a file are read again when they are a minute old, or refused. */
TEST(credentials_in_files_are_read_again)
{
	struct ls_net *net = NULL;
	struct ls_place p;
	struct ls_creds c = { 0 };
	struct ls_err e = { 0 };

	clean_env();
	CHECK_OK(ls_net_new(&net, &e));
	fault_clock(0);
	put_file("credentials",
	    "[default]\naws_access_key_id=a\naws_secret_access_key=s\n");
	check_key(net, "a");
	put_file("credentials",
	    "[default]\naws_access_key_id=b\naws_secret_access_key=s\n");
	check_key(net, "a");
	fault_clock(61 * (int64_t)LS_SEC);
	check_key(net, "b");
	put_file("credentials",
	    "[default]\naws_access_key_id=c\naws_secret_access_key=s\n");
	ls_place_init(&p);
	CHECK_OK(ls_creds_get(ls_net_creds(net), &p, NULL, &c, &e));
	CHECK(ls_creds_forget(ls_net_creds(net), c.gen));
	ls_creds_fini(&c);
	check_key(net, "c");
	CHECK(!ls_creds_forget(ls_net_creds(net), 0)); /* configuration's */
	ls_net_free(net);
	fault_disarm();
	clean_env();
}
