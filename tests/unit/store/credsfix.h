/* credsfix.h -- an environment without credentials, and the chain asked in it.
 */
#ifndef LS_TEST_CREDSFIX_H
#define LS_TEST_CREDSFIX_H

#include "s3fix.h"

#include "store/credentials_impl.h"

/* No variable set, both files in the test's folder, no instance. */
static inline void
clean_env(void)
{
	static const char *const names[] = { "AWS_ACCESS_KEY_ID",
		"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY",
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION",
		"AWS_DEFAULT_REGION", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_ENDPOINT_URL",
		"AWS_ENDPOINT_URL_STS", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "http_proxy" };

	for (size_t i = 0; i < LS_COUNT(names); i++)
		CHECK(unsetenv(names[i]) == 0);
	CHECK(setenv("AWS_SHARED_CREDENTIALS_FILE", T("credentials"), 1) == 0);
	CHECK(setenv("AWS_CONFIG_FILE", T("config"), 1) == 0);
	CHECK(setenv("AWS_EC2_METADATA_DISABLED", "true", 1) == 0);
	test_write_file(T("credentials"), "", 0);
	test_write_file(T("config"), "", 0);
}

static inline void
put_file(const char *name, const char *text)
{
	test_write_file(T(name), text, strlen(text));
}

/* A chain of its own, asked once. p: NULL for a place without keys. */
static inline enum ls_rc
ask(const struct ls_place *p, struct ls_creds *out, struct ls_err *e)
{
	struct ls_net *net = NULL;
	struct ls_place none;
	enum ls_rc rc;

	ls_place_init(&none);
	*out = (struct ls_creds){ 0 };
	CHECK(ls_net_new(&net, e) == LS_OK);
	rc = ls_creds_get(ls_net_creds(net), p ? p : &none, NULL, out, e);
	ls_net_free(net);
	return rc;
}

#endif
