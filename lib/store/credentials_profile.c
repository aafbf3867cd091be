/* credentials_profile.c -- what a profile means: keys of its own, a program,
 * a role to assume with the keys of another source. See credentials_impl.h.
 *
 * (1) THE ORDER INSIDE A PROFILE is upstream's (AWS SDK for Go): source_profile,
 *     its own keys, credential_source, web identity, credential_process; then
 *     the role, if there is one, is assumed with what that gave.
 *     (test: credentials_profile_roles)
 * (2) WHAT NEEDS A PERSON IS REFUSED BY NAME: a code to type (mfa_serial), a
 *     browser (sso_*, login_session). (test: credentials_that_need_a_person)
 */
#include "store/credentials_impl.h"

#include "base/bytes.h"

enum { CHAIN_MAX = 5 };

static const char *const source = "profile";

static enum ls_rc
refused(const struct ls_profile *p, const char *name, struct ls_err *e)
{
	static const enum ls_profile_key keys[] = { LS_P_SSO_SESSION,
		LS_P_SSO_URL, LS_P_LOGIN };
	static const char *const words[] = { "sso_session", "sso_start_url",
		"login_session" };

	if (p->v[LS_P_MFA] != NULL && p->v[LS_P_ROLE_ARN] != NULL)
		return ls_err_hint(e,
		    ls_err_set(e, LS_EUNSUPPORTED,
			"profile \"%s\" uses mfa_serial: nobody is there to "
			"type a code",
			name),
		    "use a role that needs no MFA, or an access key");
	for (size_t i = 0; i < LS_COUNT(keys); i++)
		if (p->v[keys[i]] != NULL)
			return ls_err_hint(e,
			    ls_err_set(e, LS_EUNSUPPORTED,
				"profile \"%s\" uses %s, which needs a browser",
				name, words[i]),
			    "in another profile: credential_process = aws "
			    "configure export-credentials --profile %s",
			    name);
	return LS_OK;
}

static enum ls_rc
from_source(struct ls_creds *out, const struct ls_creds_ask *a,
    const char *name, const char *word, struct ls_err *e)
{
	enum ls_rc rc;

	if (strcmp(word, "Environment") == 0)
		rc = ls_creds_from_env(out, a, e);
	else if (strcmp(word, "EcsContainer") == 0)
		rc = ls_creds_from_container(out, a, e);
	else if (strcmp(word, "Ec2InstanceMetadata") == 0)
		rc = ls_creds_from_instance(out, a, e);
	else
		return ls_err_hint(e,
		    ls_err_set(e, LS_EINVALID,
			"profile \"%s\": credential_source is \"%s\"", name,
			word),
		    "Environment, EcsContainer or Ec2InstanceMetadata");
	if (rc == LS_ENOTFOUND)
		rc = ls_err_hint(e,
		    ls_err_set(e, LS_EDENIED,
			"profile \"%s\": credential_source %s has none", name,
			word),
		    "set up that source, or take credential_source out");
	return rc;
}

static enum ls_rc from_profile(struct ls_creds *out,
    const struct ls_creds_ask *a, const char *name, unsigned depth,
    struct ls_err *e);

/* The keys before any role. LS_ENOTFOUND when the profile has none. */
static enum ls_rc
base_keys(struct ls_creds *out, const struct ls_creds_ask *a, const char *name,
    const struct ls_profile *p, unsigned depth, struct ls_err *e)
{
	const char *const *v = (const char *const *)p->v;
	enum ls_rc rc;

	if (v[LS_P_ROLE_ARN] != NULL && v[LS_P_SOURCE_PROFILE] != NULL &&
	    strcmp(v[LS_P_SOURCE_PROFILE], name) != 0)
		return from_profile(
		    out, a, v[LS_P_SOURCE_PROFILE], depth + 1, e);
	if (v[LS_P_KEY_ID] != NULL && v[LS_P_SECRET] != NULL) {
		rc = ls_creds_fill(out, v[LS_P_KEY_ID], v[LS_P_SECRET],
		    v[LS_P_TOKEN], source, e);
		out->in_file = rc == LS_OK;
		return rc;
	}
	if (v[LS_P_ROLE_ARN] != NULL && v[LS_P_CREDENTIAL_SOURCE] != NULL)
		return from_source(out, a, name, v[LS_P_CREDENTIAL_SOURCE], e);
	if ((rc = refused(p, name, e)) != LS_OK)
		return rc;
	if (v[LS_P_PROCESS] != NULL)
		return ls_creds_from_process(out, a, v[LS_P_PROCESS], e);
	return LS_ENOTFOUND;
}

static enum ls_rc
with_role(struct ls_creds *out, const struct ls_creds_ask *a, const char *name,
    const struct ls_profile *p, unsigned depth, struct ls_err *e)
{
	struct ls_creds base = { 0 };
	struct ls_creds_role role = {
		.arn = p->v[LS_P_ROLE_ARN],
		.session = p->v[LS_P_SESSION_NAME],
		.external_id = p->v[LS_P_EXTERNAL_ID],
		.duration = p->v[LS_P_DURATION],
		.region = p->v[LS_P_REGION],
	};
	enum ls_rc rc;

	if ((rc = refused(p, name, e)) != LS_OK)
		return rc;
	if (p->v[LS_P_TOKEN_FILE] != NULL) {
		role.token_file = p->v[LS_P_TOKEN_FILE];
		return ls_creds_assume(out, a, &role, e);
	}
	rc = base_keys(&base, a, name, p, depth, e);
	if (rc == LS_ENOTFOUND)
		return ls_err_hint(e,
		    ls_err_set(e, LS_EINVALID,
			"profile \"%s\" has role_arn, but no keys to assume it "
			"with",
			name),
		    "add source_profile, credential_source or "
		    "web_identity_token_file");
	if (rc != LS_OK)
		return rc;
	role.with = &base;
	rc = ls_creds_assume(out, a, &role, e);
	ls_creds_fini(&base);
	return rc;
}

static enum ls_rc
from_profile(struct ls_creds *out, const struct ls_creds_ask *a,
    const char *name, unsigned depth, struct ls_err *e)
{
	struct ls_profile p;
	enum ls_rc rc;

	if (depth == CHAIN_MAX)
		return ls_err_hint(e,
		    ls_err_set(e, LS_EINVALID,
			"profile \"%s\": source_profile goes in a circle",
			name),
		    "end the chain at a profile with keys of its own");
	if ((rc = ls_profile_read(name, &p, e)) == LS_OK) {
		if (p.v[LS_P_ROLE_ARN] != NULL)
			rc = with_role(out, a, name, &p, depth, e);
		else
			rc = base_keys(out, a, name, &p, depth, e);
	}
	if (rc == LS_ENOTFOUND && depth > 0)
		rc = ls_err_hint(e,
		    ls_err_set(e, LS_EDENIED,
			"source_profile names \"%s\", which has no keys", name),
		    "give that profile an access key");
	else if (rc == LS_ENOTFOUND && !p.found && p.denied != NULL &&
		 strcmp(name, "default") != 0)
		rc = ls_err_hint(e,
		    ls_err_set(e, LS_EDENIED, "%s may not be read", p.denied),
		    "let this user read it, or name another file in "
		    "AWS_SHARED_CREDENTIALS_FILE");
	else if (rc == LS_ENOTFOUND && !p.found && strcmp(name, "default") != 0)
		rc = ls_err_hint(e,
		    ls_err_set(e, LS_EDENIED,
			"AWS_PROFILE names \"%s\", which is in no file", name),
		    "unset AWS_PROFILE, or add the profile to "
		    "~/.aws/credentials");
	ls_profile_fini(&p);
	return rc;
}

enum ls_rc
ls_creds_from_profile(
    struct ls_creds *out, const struct ls_creds_ask *a, struct ls_err *e)
{
	return from_profile(out, a, ls_profile_name(), 0, e);
}
