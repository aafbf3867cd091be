/* test_credentials.c -- the chain, and the shared files. */
#include "s3fix.h"

static const char *const names[] = { "AWS_ACCESS_KEY_ID",
	"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
	"LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY",
	"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
	"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" };

/* No variable set, both files in the test's folder. */
static void
clean_env(void)
{
	for (size_t i = 0; i < LS_COUNT(names); i++)
		CHECK(unsetenv(names[i]) == 0);
	CHECK(setenv("AWS_SHARED_CREDENTIALS_FILE", T("credentials"), 1) == 0);
	CHECK(setenv("AWS_CONFIG_FILE", T("config"), 1) == 0);
}

static void
put_file(const char *name, const char *text)
{
	test_write_file(T(name), text, strlen(text));
}

static enum ls_rc
ask(const struct ls_place *p, struct ls_creds *out, struct ls_err *e)
{
	struct ls_creds_cache *k = NULL;
	enum ls_rc rc;

	*out = (struct ls_creds){ 0 };
	CHECK(ls_creds_cache_new(&k, e) == LS_OK);
	rc = ls_creds_get(k, p, out, e);
	ls_creds_cache_free(k);
	return rc;
}

TEST(credentials_configuration_wins)
{
	struct ls_place p;
	struct ls_creds c;
	struct ls_err e = { 0 };

	clean_env();
	ls_place_init(&p);
	p.access_key_id = ls_strdup("mine");
	CHECK(setenv("AWS_ACCESS_KEY_ID", "env", 1) == 0);
	CHECK(setenv("AWS_SECRET_ACCESS_KEY", "envs", 1) == 0);
	CHECK_OK(ask(&p, &c, &e)); /* both keys, or the chain */
	CHECK_STR(c.key_id, "env");
	ls_creds_fini(&c);
	p.secret_access_key = ls_strdup("mines");
	CHECK_OK(ask(&p, &c, &e));
	CHECK_STR(c.key_id, "mine");
	CHECK_STR(c.secret, "mines");
	ls_creds_fini(&c);
	ls_place_fini(&p);
	clean_env();
}

TEST(credentials_environment_and_aliases)
{
	struct ls_place p;
	struct ls_creds c;
	struct ls_err e = { 0 };

	clean_env();
	ls_place_init(&p);
	CHECK(setenv("LITESTREAM_ACCESS_KEY_ID", "ls", 1) == 0);
	CHECK(setenv("LITESTREAM_SECRET_ACCESS_KEY", "lss", 1) == 0);
	CHECK_OK(ask(&p, &c, &e));
	CHECK_STR(c.key_id, "ls");
	CHECK(c.token == NULL);
	ls_creds_fini(&c);
	CHECK(setenv("AWS_ACCESS_KEY_ID", "aws", 1) == 0);
	CHECK(setenv("AWS_SESSION_TOKEN", "tok", 1) == 0);
	CHECK_OK(ask(&p, &c, &e));
	CHECK_STR(c.key_id, "aws");
	CHECK_STR(c.secret, "lss");
	CHECK_STR(c.token, "tok");
	ls_creds_fini(&c);
	clean_env();
}

TEST(credentials_from_files)
{
	struct ls_place p;
	struct ls_creds c;
	struct ls_err e = { 0 };
	char *r;

	clean_env();
	ls_place_init(&p);
	put_file("credentials",
	    "# comment\n[other]\naws_access_key_id = no\n\n[default]\r\n"
	    "aws_access_key_id = id\r\naws_secret_access_key=se=cret/+ \n"
	    "[two]\naws_access_key_id=id2\naws_secret_access_key=s2\n"
	    "aws_session_token=t2\n");
	put_file("config",
	    "[default]\nregion = eu-west-3\ns3 =\n  region = nested\n"
	    "[profile two]\nregion=eu-west-2\naws_access_key_id=late\n");
	CHECK_OK(ask(&p, &c, &e));
	CHECK_STR(c.key_id, "id");
	CHECK_STR(c.secret, "se=cret/+");
	CHECK(c.token == NULL);
	CHECK_STR(c.region, "eu-west-3");
	ls_creds_fini(&c);
	CHECK(setenv("AWS_PROFILE", "two", 1) == 0);
	CHECK_OK(ask(&p, &c, &e));
	CHECK_STR(c.key_id, "id2");
	CHECK_STR(c.token, "t2");
	CHECK_STR(c.region, "eu-west-2");
	ls_creds_fini(&c);
	r = ls_creds_region();
	CHECK_STR(r, "eu-west-2");
	ls_free(r);
	CHECK(setenv("AWS_REGION", "env-1", 1) == 0);
	r = ls_creds_region();
	CHECK_STR(r, "env-1");
	ls_free(r);
	CHECK(setenv("AWS_PROFILE", "three", 1) == 0);
	CHECK_RC(ask(&p, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "\"three\"") != NULL);
	clean_env();
}

TEST(credentials_that_need_more_are_named)
{
	struct ls_place p;
	struct ls_creds c;
	struct ls_err e = { 0 };

	clean_env();
	ls_place_init(&p);
	put_file("config", "[default]\ncredential_process = /bin/x\n");
	CHECK_RC(ask(&p, &c, &e), LS_EUNSUPPORTED);
	CHECK(strstr(e.msg, "credential_process") != NULL);
	put_file("config", "");
	CHECK(setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/x", 1) == 0);
	CHECK_RC(ask(&p, &c, &e), LS_EUNSUPPORTED);
	CHECK(strstr(e.msg, "AWS_WEB_IDENTITY_TOKEN_FILE") != NULL);
	clean_env();
	CHECK_RC(ask(&p, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "no credentials") != NULL);
	CHECK(strstr(e.hint, "AWS_ACCESS_KEY_ID") != NULL);
}

TEST(credentials_are_refreshed_once_when_expired)
{
	static const struct httpd_step steps[] = {
		{ "PUT", "/bkt/db/0000/k", "x-amz-security-token: old",
		    .status = 400, .reply = ERR("ExpiredToken") },
		{ "PUT", "/bkt/db/0000/k", "x-amz-security-token: new",
		    .status = 400, .reply = ERR("ExpiredToken") },
	};
	struct fix f = start(steps, 2);
	struct ls_err e = { 0 };

	clean_env();
	ls_free(f.st->place.access_key_id); /* the chain, not configuration */
	f.st->place.access_key_id = NULL;
	put_file("credentials", "[default]\naws_access_key_id=i\n"
				"aws_secret_access_key=s\n"
				"aws_session_token=old\n");
	{
		struct ls_creds c = { 0 };

		CHECK_OK(ls_creds_get(ls_net_creds(f.net), &f.st->place, &c,
		    &e)); /* it is cached now */
		ls_creds_fini(&c);
	}
	put_file("credentials", "[default]\naws_access_key_id=i\n"
				"aws_secret_access_key=s\n"
				"aws_session_token=new\n");
	CHECK_RC(put_abc(&f, NULL, NULL, &e), LS_EDENIED);
	CHECK(strstr(e.hint, "expired") != NULL);
	CHECK(strstr(httpd_header(f.h, "authorization"),
		  "x-amz-security-token,") != NULL); /* it is signed */
	finish(&f);
	clean_env();
}
