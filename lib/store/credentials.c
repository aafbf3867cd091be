/* credentials.c -- the chain of credential providers. See credentials.h.
 *
 * A provider is one row of the table below: it fills *out, or answers
 * LS_ENOTFOUND ("not me, ask the next"). Any other error ends the chain, so
 * that a broken setting is named and not skipped over.
 */
#include "store/credentials.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <pthread.h>
#include <stdlib.h>

struct ls_creds_cache {
	pthread_mutex_t mu;
	bool known;
	struct ls_creds c;
};

void
ls_creds_fini(struct ls_creds *c)
{
	if (c->secret != NULL)
		explicit_bzero(c->secret, strlen(c->secret));
	if (c->token != NULL)
		explicit_bzero(c->token, strlen(c->token));
	ls_free(c->key_id);
	ls_free(c->secret);
	ls_free(c->token);
	ls_free(c->region);
	*c = (struct ls_creds){ 0 };
}

static bool
dup_into(char **to, const char *s)
{
	return s == NULL || s[0] == '\0' || (*to = ls_strdup(s)) != NULL;
}

static enum ls_rc
fill(struct ls_creds *out, const char *id, const char *secret,
    const char *token, const char *region, const char *source, struct ls_err *e)
{
	struct ls_creds n = { .source = source };

	if (!dup_into(&n.key_id, id) || !dup_into(&n.secret, secret) ||
	    !dup_into(&n.token, token) || !dup_into(&n.region, region)) {
		ls_creds_fini(&n);
		return ls_err_nomem(e);
	}
	*out = n;
	return LS_OK;
}

/* ---- providers -------------------------------------------------------------*/

/* The first of two variables that is not empty, or NULL. */
static const char *
env(const char *name, const char *alias)
{
	const char *v = getenv(name);

	if ((v == NULL || v[0] == '\0') && alias != NULL)
		v = getenv(alias);
	return v != NULL && v[0] != '\0' ? v : NULL;
}

static enum ls_rc
from_env(struct ls_creds *out, struct ls_err *e)
{
	const char *id = env("AWS_ACCESS_KEY_ID", "LITESTREAM_ACCESS_KEY_ID");
	const char *secret =
	    env("AWS_SECRET_ACCESS_KEY", "LITESTREAM_SECRET_ACCESS_KEY");

	if (id == NULL || secret == NULL)
		return LS_ENOTFOUND;
	return fill(out, id, secret, env("AWS_SESSION_TOKEN", NULL), NULL,
	    "environment", e);
}

/* Web identity, ECS and EC2 are further rows, each with its own file. Until
 * then a machine that is set up for one gets a name, not a riddle. */
static enum ls_rc
from_web_identity(struct ls_creds *out, struct ls_err *e)
{
	(void)out;
	if (env("AWS_WEB_IDENTITY_TOKEN_FILE", NULL) == NULL)
		return LS_ENOTFOUND;
	return ls_err_set(e, LS_EUNSUPPORTED,
	    "AWS_WEB_IDENTITY_TOKEN_FILE is set, but web identity is not "
	    "supported yet");
}

static enum ls_rc
from_container(struct ls_creds *out, struct ls_err *e)
{
	(void)out;
	if (env("AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") == NULL)
		return LS_ENOTFOUND;
	return ls_err_set(e, LS_EUNSUPPORTED,
	    "AWS_CONTAINER_CREDENTIALS_* is set, but container credentials "
	    "are not supported yet");
}

static const struct provider {
	const char *name;
	enum ls_rc (*get)(struct ls_creds *out, struct ls_err *e);
} providers[] = {
	{ "environment", from_env },
	{ "web identity", from_web_identity },
	{ "shared files", ls_creds_from_files },
	{ "container", from_container },
};

static enum ls_rc
ask_chain(struct ls_creds *out, struct ls_err *e)
{
	for (size_t i = 0; i < LS_COUNT(providers); i++) {
		struct ls_creds c = { 0 };
		enum ls_rc rc = providers[i].get(&c, e);

		if (rc == LS_OK)
			*out = c;
		else
			ls_creds_fini(&c);
		if (rc != LS_ENOTFOUND)
			return ls_err_wrap(
			    e, rc, "credentials (%s)", providers[i].name);
	}
	return ls_err_hint(e,
	    ls_err_set(e, LS_EDENIED, "no credentials for s3"),
	    "set access-key-id and secret-access-key, or AWS_ACCESS_KEY_ID "
	    "and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials");
}

/* ---- cache -----------------------------------------------------------------*/

enum ls_rc
ls_creds_cache_new(struct ls_creds_cache **out, struct ls_err *e)
{
	struct ls_creds_cache *k = ls_zalloc(sizeof *k);

	if (k == NULL)
		return ls_err_nomem(e);
	(void)pthread_mutex_init(&k->mu, NULL);
	*out = k;
	return LS_OK;
}

void
ls_creds_cache_free(struct ls_creds_cache *k)
{
	if (k == NULL)
		return;
	ls_creds_fini(&k->c);
	(void)pthread_mutex_destroy(&k->mu);
	ls_free(k);
}

enum ls_rc
ls_creds_get(struct ls_creds_cache *k, const struct ls_place *p,
    struct ls_creds *out, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	/* Upstream: static keys only when both are there. */
	if (p->access_key_id != NULL && p->access_key_id[0] != '\0' &&
	    p->secret_access_key != NULL && p->secret_access_key[0] != '\0')
		return fill(out, p->access_key_id, p->secret_access_key,
		    p->session_token, NULL, "configuration", e);
	(void)pthread_mutex_lock(&k->mu);
	if (!k->known)
		rc = ask_chain(&k->c, e);
	k->known = rc == LS_OK;
	if (rc == LS_OK)
		rc = fill(out, k->c.key_id, k->c.secret, k->c.token,
		    k->c.region, k->c.source, e);
	(void)pthread_mutex_unlock(&k->mu);
	return rc;
}

void
ls_creds_forget(struct ls_creds_cache *k)
{
	(void)pthread_mutex_lock(&k->mu);
	ls_creds_fini(&k->c);
	k->known = false;
	(void)pthread_mutex_unlock(&k->mu);
}

char *
ls_creds_region(void)
{
	const char *v = env("AWS_REGION", "AWS_DEFAULT_REGION");
	struct ls_creds c = { 0 };
	char *r;

	if (v != NULL)
		return ls_strdup(v);
	(void)!ls_creds_from_files(&c, NULL);
	r = c.region;
	c.region = NULL;
	ls_creds_fini(&c);
	return r;
}
