/* credentials.c -- the chain of sources, and the cache before it. See
 * credentials.h; the sources are listed in credentials_impl.h.
 *
 * (1) ONE ASKS, ALL USE IT. While one thread asks the chain, others use what is
 *     still valid, and wait only when nothing is. Whoever waited shares the
 *     answer, also a refusal, so that n threads cost one request.
 *     (test: credentials_many_threads_ask_once)
 * (2) NEVER THE LAST MINUTE. They are renewed 5 minutes before they expire, or
 *     at half of a short life. A renewal that fails is said, tried again in 30
 *     s, and what is still valid is used meanwhile.
 *     (test: credentials_are_renewed_before_they_expire)
 * (3) A CLOCK THAT IS AHEAD makes everything look expired: what was just given
 *     is used for a minute all the same, and the server decides.
 */
#include "store/credentials_impl.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define RENEW_BEFORE ((int64_t)(300 * LS_SEC))
#define ASK_AGAIN    ((int64_t)(30 * LS_SEC)) /* after a failed renewal */
#define AT_LEAST     ((int64_t)(60 * LS_SEC)) /* between two questions */
#define WAIT_STEP    (20 * LS_MS)

struct ls_creds_cache {
	struct ls_http *http;
	pthread_mutex_t mu; /* guards the rest */
	bool known, asking;
	struct ls_creds c;
	int64_t renew_ns, end_ns; /* wall clock; 0 = never */
	uint64_t answers;	  /* of the chain, so far */
	enum ls_rc rc;		  /* of the last answer, with why */
	struct ls_err why;
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
	*c = (struct ls_creds){ 0 };
}

void
ls_creds_wipe(struct ls_buf *b)
{
	if (b->p != NULL)
		explicit_bzero(b->p, b->cap);
	ls_buf_free(b);
}

static bool
dup_into(char **to, const char *s)
{
	return s == NULL || s[0] == '\0' || (*to = ls_strdup(s)) != NULL;
}

enum ls_rc
ls_creds_fill(struct ls_creds *out, const char *id, const char *secret,
    const char *token, const char *source, struct ls_err *e)
{
	struct ls_creds n = { .source = source };

	if (!dup_into(&n.key_id, id) || !dup_into(&n.secret, secret) ||
	    !dup_into(&n.token, token)) {
		ls_creds_fini(&n);
		return ls_err_nomem(e);
	}
	*out = n;
	return LS_OK;
}

/* ---- the chain -------------------------------------------------------------*/

const char *
ls_creds_env(const char *name, const char *alias)
{
	const char *v = getenv(name);

	if ((v == NULL || v[0] == '\0') && alias != NULL)
		v = getenv(alias);
	return v != NULL && v[0] != '\0' ? v : NULL;
}

enum ls_rc
ls_creds_from_env(
    struct ls_creds *out, const struct ls_creds_ask *a, struct ls_err *e)
{
	const char *id =
	    ls_creds_env("AWS_ACCESS_KEY_ID", "LITESTREAM_ACCESS_KEY_ID");
	const char *secret = ls_creds_env(
	    "AWS_SECRET_ACCESS_KEY", "LITESTREAM_SECRET_ACCESS_KEY");

	(void)a;
	if (id == NULL || secret == NULL)
		return LS_ENOTFOUND;
	return ls_creds_fill(out, id, secret,
	    ls_creds_env("AWS_SESSION_TOKEN", NULL), "environment", e);
}

static const struct source {
	const char *name;
	enum ls_rc (*get)(struct ls_creds *out, const struct ls_creds_ask *a,
	    struct ls_err *e);
} sources[] = {
	{ "environment", ls_creds_from_env },
	{ "web identity", ls_creds_from_web_identity },
	{ "profile", ls_creds_from_profile },
	{ "container", ls_creds_from_container },
	{ "instance role", ls_creds_from_instance },
};

/* One of the two names, with the other missing, is the likeliest mistake; then
 * a file that this user may not read. */
static enum ls_rc
nothing(struct ls_err *e)
{
	bool id = ls_creds_env(
		      "AWS_ACCESS_KEY_ID", "LITESTREAM_ACCESS_KEY_ID") != NULL;
	bool secret = ls_creds_env("AWS_SECRET_ACCESS_KEY",
			  "LITESTREAM_SECRET_ACCESS_KEY") != NULL;
	struct ls_profile p;
	enum ls_rc rc = LS_EDENIED;

	if (id != secret)
		return ls_err_hint(e,
		    ls_err_set(e, rc,
			"no credentials for s3: AWS_%s is set, AWS_%s is not",
			id ? "ACCESS_KEY_ID" : "SECRET_ACCESS_KEY",
			id ? "SECRET_ACCESS_KEY" : "ACCESS_KEY_ID"),
		    "set both, or neither");
	(void)!ls_profile_read(ls_profile_name(), &p, NULL);
	(void)ls_err_set(e, rc, "no credentials for s3%s%s%s",
	    p.denied ? " (" : "", p.denied ? p.denied : "",
	    p.denied ? " may not be read by this user)" : "");
	ls_profile_fini(&p);
	return ls_err_hint(e, rc,
	    "set access-key-id and secret-access-key, or AWS_ACCESS_KEY_ID and "
	    "AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials, or "
	    "give the machine a role");
}

static enum ls_rc
ask_chain(struct ls_creds *out, const struct ls_creds_ask *a, struct ls_err *e)
{
	for (size_t i = 0; i < LS_COUNT(sources); i++) {
		struct ls_creds c = { 0 };
		enum ls_rc rc = sources[i].get(&c, a, e);

		if (rc == LS_OK)
			*out = c;
		else
			ls_creds_fini(&c);
		if (rc != LS_ENOTFOUND)
			return ls_err_wrap(
			    e, rc, "credentials (%s)", sources[i].name);
	}
	return nothing(e);
}

/* ---- cache -----------------------------------------------------------------*/

enum ls_rc
ls_creds_cache_new(
    struct ls_http *http, struct ls_creds_cache **out, struct ls_err *e)
{
	struct ls_creds_cache *k = ls_zalloc(sizeof *k);

	if (k == NULL)
		return ls_err_nomem(e);
	(void)pthread_mutex_init(&k->mu, NULL);
	k->http = http;
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

/* (2) and (3). Takes c. */
static void
keep(struct ls_creds_cache *k, struct ls_creds *c, int64_t now)
{
	int64_t life = c->expires_ns - now;

	ls_creds_fini(&k->c);
	k->c = *c;
	k->c.gen = k->answers;
	k->known = true;
	k->renew_ns = k->end_ns = 0;
	if (c->expires_ns != 0) {
		k->renew_ns = LS_MAX(now + AT_LEAST,
		    c->expires_ns - LS_MIN(RENEW_BEFORE, life / 2));
		k->end_ns = LS_MAX(k->renew_ns, c->expires_ns);
	} else if (c->in_file) {
		k->renew_ns = now + AT_LEAST;
	}
}

/* Ask, with mu held before and after but not meanwhile. */
static void
renew(struct ls_creds_cache *k, const struct ls_place *p,
    const struct ls_call *call)
{
	const struct ls_creds_ask a = { k->http,
		p->endpoint == NULL ? p->region : NULL, call };
	struct ls_creds c = { 0 };
	struct ls_err why = { 0 };
	int64_t now;
	enum ls_rc rc;

	k->asking = true;
	(void)pthread_mutex_unlock(&k->mu);
	rc = ask_chain(&c, &a, &why);
	now = ls_sys->wall_ns();
	(void)pthread_mutex_lock(&k->mu);
	k->asking = false;
	k->answers++;
	k->rc = rc, k->why = why;
	if (rc == LS_OK) {
		keep(k, &c, now);
	} else if (k->known && (k->end_ns == 0 || now < k->end_ns)) {
		ls_warn("cannot renew credentials, using those that are left",
		    LS_ATTRS(LS_E(&why)));
		k->renew_ns = now + ASK_AGAIN;
		k->rc = LS_OK;
	} else {
		k->known = false;
	}
}

static bool
usable(const struct ls_creds_cache *k, int64_t now)
{
	return k->known && (k->end_ns == 0 || now < k->end_ns);
}

/* Until the thread that asks has its answer; mu is held before and after. */
static enum ls_rc
wait_for_answer(
    struct ls_creds_cache *k, const struct ls_call *call, struct ls_err *e)
{
	uint64_t before = k->answers;
	enum ls_rc rc = LS_OK;

	while (rc == LS_OK && k->answers == before) {
		(void)pthread_mutex_unlock(&k->mu);
		rc = ls_call_sleep(call, WAIT_STEP, e);
		(void)pthread_mutex_lock(&k->mu);
	}
	/* The other's own deadline is not ours. */
	if (rc != LS_OK || k->rc == LS_OK || k->rc == LS_ECANCELED ||
	    k->rc == LS_ETIMEOUT)
		return rc;
	if (e != NULL)
		*e = k->why;
	return k->rc;
}

enum ls_rc
ls_creds_get(struct ls_creds_cache *k, const struct ls_place *p,
    const struct ls_call *call, struct ls_creds *out, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	int64_t now;

	/* Upstream: static keys only when both are there. */
	if (p->access_key_id != NULL && p->access_key_id[0] != '\0' &&
	    p->secret_access_key != NULL && p->secret_access_key[0] != '\0')
		return ls_creds_fill(out, p->access_key_id,
		    p->secret_access_key, p->session_token, "configuration", e);
	(void)pthread_mutex_lock(&k->mu);
	for (;;) {
		now = ls_sys->wall_ns();
		if (usable(k, now) &&
		    (k->asking || k->renew_ns == 0 || now < k->renew_ns))
			break;
		if (k->asking) {
			if ((rc = wait_for_answer(k, call, e)) != LS_OK)
				break;
			continue;
		}
		renew(k, p, call);
		if ((rc = k->rc) != LS_OK && e != NULL)
			*e = k->why;
		break;
	}
	if (rc == LS_OK)
		rc = ls_creds_fill(
		    out, k->c.key_id, k->c.secret, k->c.token, k->c.source, e);
	if (rc == LS_OK) {
		out->gen = k->c.gen;
		out->expires_ns = k->c.expires_ns;
	}
	(void)pthread_mutex_unlock(&k->mu);
	return rc;
}

bool
ls_creds_forget(struct ls_creds_cache *k, uint64_t gen)
{
	if (gen == 0)
		return false;
	(void)pthread_mutex_lock(&k->mu);
	if (k->known && k->c.gen == gen) /* else another was faster */
		k->known = false;
	(void)pthread_mutex_unlock(&k->mu);
	return true;
}

char *
ls_creds_region(void)
{
	const char *v = ls_creds_env("AWS_REGION", "AWS_DEFAULT_REGION");
	struct ls_profile p;
	char *r = NULL;

	if (v != NULL)
		return ls_strdup(v);
	if (ls_profile_read(ls_profile_name(), &p, NULL) == LS_OK &&
	    p.v[LS_P_REGION] != NULL)
		r = ls_strdup(p.v[LS_P_REGION]);
	ls_profile_fini(&p);
	return r;
}
