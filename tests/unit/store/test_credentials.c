/* test_credentials.c -- the chain, and the shared files. */
#include "credsfix.h"

#include <sys/wait.h>

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
	ls_creds_fini(&c);
	CHECK(setenv("AWS_PROFILE", "two", 1) == 0);
	CHECK_OK(ask(&p, &c, &e));
	CHECK_STR(c.key_id, "id2");
	CHECK_STR(c.token, "t2");
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

TEST(credentials_none)
{
	struct ls_creds c;
	struct ls_err e = { 0 };

	clean_env();
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "no credentials") != NULL);
	CHECK(strstr(e.hint, "AWS_ACCESS_KEY_ID") != NULL);
	CHECK(setenv("AWS_ACCESS_KEY_ID", "x", 1) == 0);
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "AWS_SECRET_ACCESS_KEY is not") != NULL);
	clean_env();
}

/* "type a code", "use a browser": nobody is there. */
TEST(credentials_that_need_a_person)
{
	static const struct {
		const char *config, *want;
	} rows[] = {
		{ "[default]\nsso_session = x\n", "sso_session" },
		{ "[default]\nsso_start_url = x\n", "sso_start_url" },
		{ "[default]\nlogin_session = x\n", "login_session" },
		{ "[default]\nrole_arn = r\nmfa_serial = m\n"
		  "aws_access_key_id=i\naws_secret_access_key=s\n",
		    "mfa_serial" },
	};

	clean_env();
	for (size_t i = 0; i < LS_COUNT(rows); i++) {
		struct ls_creds c;
		struct ls_err e = { 0 };

		put_file("config", rows[i].config);
		CHECK_RC(ask(NULL, &c, &e), LS_EUNSUPPORTED);
		CHECK(strstr(e.msg, rows[i].want) != NULL);
		CHECK(strstr(e.msg, "credentials (profile)") != NULL);
		CHECK(e.hint[0] != '\0');
	}
	clean_env();
}

TEST(credentials_process)
{
	struct ls_creds c;
	struct ls_err e = { 0 };

	clean_env();
	put_file("config",
	    "[default]\ncredential_process = printf '%s' '{\"Version\": 1,"
	    "\"AccessKeyId\": \"pk\", \"SecretAccessKey\": \"ps\","
	    "\"SessionToken\": \"pt\","
	    "\"Expiration\": \"2100-01-01T00:00:00Z\"}'\n");
	CHECK_OK(ask(NULL, &c, &e));
	CHECK_STR(c.key_id, "pk");
	CHECK_STR(c.secret, "ps");
	CHECK_STR(c.token, "pt");
	CHECK_STR(c.source, "credential_process");
	CHECK_EQ(c.expires_ns, 4102444800ll * 1000000000);
	ls_creds_fini(&c);
	put_file("config", "[default]\ncredential_process = exit 7\n");
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "credential_process: the program ended with "
			    "status 7") != NULL);
	CHECK(e.hint[0] != '\0');
	put_file("config", "[default]\ncredential_process = echo "
			   "'{\"SecretAccessKey\": \"hush\"}'\n");
	CHECK_RC(ask(NULL, &c, &e), LS_EDENIED);
	CHECK(strstr(e.msg, "no keys") != NULL);
	CHECK(strstr(e.msg, "hush") == NULL);
	clean_env();
}

/* The shell and what it started are gone afterwards. */
TEST(credentials_process_that_hangs)
{
	struct ls_net *net = NULL;
	struct ls_place p;
	struct ls_creds c = { 0 };
	struct ls_err e = { 0 };
	struct ls_call call = { .deadline_ns =
				    ls_sys->mono_ns() + 200 * LS_MS };
	int fds;

	clean_env();
	put_file(
	    "config", "[default]\ncredential_process = sleep 1000; true\n");
	ls_place_init(&p);
	CHECK_OK(ls_net_new(&net, &e));
	fds = test_open_fds();
	CHECK_RC(
	    ls_creds_get(ls_net_creds(net), &p, &call, &c, &e), LS_ETIMEOUT);
	CHECK_EQ(test_open_fds(), fds);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	ls_net_free(net);
	clean_env();
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

		CHECK_OK(ls_creds_get(ls_net_creds(f.net), &f.st->place, NULL,
		    &c, &e)); /* it is cached now */
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
