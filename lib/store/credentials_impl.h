/* credentials_impl.h -- the sources of credentials, for their own files.
 *
 *   credentials.c          the chain, the cache, the environment
 *   credentials_file.c     reads a profile
 *   credentials_profile.c  what a profile means: keys, roles, other sources
 *   credentials_sts.c      web identity, assumed roles
 *   credentials_http.c     the container's endpoint, the instance's role
 *   credentials_process.c  a program of the user's
 *
 * A source fills *out, or answers LS_ENOTFOUND ("not me, ask the next"). Any
 * other error ends the chain, so that a broken setting is named and not
 * skipped over; its hint says the way out. */
#ifndef LS_CREDENTIALS_IMPL_H
#define LS_CREDENTIALS_IMPL_H

#include "store/credentials.h"

struct ls_creds_ask {
	struct ls_http *http;	    /* borrowed */
	const char *region;	    /* of the replica, at AWS; or NULL */
	const struct ls_call *call; /* borrowed, or NULL */
};

/* The first of two variables that is not empty, or NULL; alias may be NULL. */
const char *ls_creds_env(const char *name, const char *alias);
/* Copies of the strings; empty ones count as NULL. */
enum ls_rc ls_creds_fill(struct ls_creds *out, const char *id,
    const char *secret, const char *token, const char *source,
    struct ls_err *e) LS_MUST_CHECK;
/* Zeroed before it is freed. */
void ls_creds_wipe(struct ls_buf *b);

enum ls_rc ls_creds_from_env(struct ls_creds *out, const struct ls_creds_ask *a,
    struct ls_err *e) LS_MUST_CHECK;

/* ---- JSON that carries credentials ----------------------------------------*/

/* "AccessKeyId", "SecretAccessKey", "Expiration" and token_name of a flat
 * object: what containers, instances and programs answer. LS_ESERVER when it
 * is something else; its "message" is shown, never its secrets. */
enum ls_rc ls_creds_json(struct ls_creds *out, struct ls_span doc,
    const char *token_name, const char *source, struct ls_err *e) LS_MUST_CHECK;

/* ---- HTTP (credentials_http.c) --------------------------------------------*/

struct ls_creds_req {
	const char *method, *url, *body; /* body: NULL for none */
	const char *headers[6];		 /* up to a NULL */
	uint64_t within_ns;
	bool direct; /* past any proxy: it is on this machine's link */
};
/* One request; the body of any answer replaces out's. LS_OK for 2xx; LS_EDENIED
 * for other 4xx, LS_ESERVER for 5xx and 429; LS_ENET, LS_ETIMEOUT, ... */
enum ls_rc ls_creds_http(const struct ls_creds_ask *a,
    const struct ls_creds_req *q, struct ls_buf *out, int *status,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_creds_from_container(struct ls_creds *out,
    const struct ls_creds_ask *a, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_creds_from_instance(struct ls_creds *out,
    const struct ls_creds_ask *a, struct ls_err *e) LS_MUST_CHECK;

/* ---- STS (credentials_sts.c) ----------------------------------------------*/

struct ls_creds_role {
	const char *arn, *session, *external_id, *duration; /* NULL: none */
	const char *token_file;	     /* web identity, or ... */
	const struct ls_creds *with; /* ... signed with these */
	const char *region;	     /* of STS, or NULL */
};
enum ls_rc ls_creds_assume(struct ls_creds *out, const struct ls_creds_ask *a,
    const struct ls_creds_role *r, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_creds_from_web_identity(struct ls_creds *out,
    const struct ls_creds_ask *a, struct ls_err *e) LS_MUST_CHECK;

/* ---- profiles --------------------------------------------------------------*/

/* Settings that are read. */
#define LS_PROFILE_KEYS(X)                        \
	X(KEY_ID, "aws_access_key_id")            \
	X(SECRET, "aws_secret_access_key")        \
	X(TOKEN, "aws_session_token")             \
	X(REGION, "region")                       \
	X(ROLE_ARN, "role_arn")                   \
	X(SOURCE_PROFILE, "source_profile")       \
	X(CREDENTIAL_SOURCE, "credential_source") \
	X(EXTERNAL_ID, "external_id")             \
	X(SESSION_NAME, "role_session_name")      \
	X(DURATION, "duration_seconds")           \
	X(TOKEN_FILE, "web_identity_token_file")  \
	X(PROCESS, "credential_process")          \
	X(MFA, "mfa_serial")                      \
	X(SSO_SESSION, "sso_session")             \
	X(SSO_URL, "sso_start_url")               \
	X(LOGIN, "login_session")

enum ls_profile_key {
#define X(id, name) LS_P_##id,
	LS_PROFILE_KEYS(X)
#undef X
	    LS_P_COUNT
};
struct ls_profile {
	char *v[LS_P_COUNT]; /* heap, NULL when unset */
	bool found;	     /* some file has the section */
	char *denied;	     /* a file that exists and may not be read */
};
/* The name that AWS_PROFILE gives, else "default". */
const char *ls_profile_name(void);
/* *out needs no initialisation; ls_profile_fini, also after an error. */
enum ls_rc ls_profile_read(
    const char *name, struct ls_profile *out, struct ls_err *e) LS_MUST_CHECK;
void ls_profile_fini(struct ls_profile *p);
enum ls_rc ls_creds_from_profile(struct ls_creds *out,
    const struct ls_creds_ask *a, struct ls_err *e) LS_MUST_CHECK;
/* Run command by /bin/sh and read what it prints. */
enum ls_rc ls_creds_from_process(struct ls_creds *out,
    const struct ls_creds_ask *a, const char *command,
    struct ls_err *e) LS_MUST_CHECK;

#endif
