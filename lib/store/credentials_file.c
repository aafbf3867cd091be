/* credentials_file.c -- the shared credentials and config files of the AWS
 * tools: ~/.aws/credentials ("[name]") and ~/.aws/config ("[profile name]",
 * "[default]"), or AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE. See
 * credentials.h. Format: "Configuration and credential file settings" of the
 * AWS SDK reference.
 *
 * Not here: settings that name another source (role_arn, sso_session, ...).
 * A profile that needs one is an error that names it.
 */
#include "base/bytes.h"
#include "base/file.h"
#include "store/credentials.h"

#include <stdlib.h>

enum { FILE_MAX = 1 << 20 };

struct profile {
	const char *name;
	bool config; /* sections are "profile NAME" */
	bool found;  /* the section is there */
	bool inside;
	const char *needs; /* a setting that we cannot follow; static */
	struct ls_creds *out;
	bool nomem;
};

static char *
trim(char *s)
{
	size_t n;

	s += strspn(s, " \t\r");
	for (n = strlen(s); n > 0 && strchr(" \t\r", s[n - 1]); n--)
		s[n - 1] = '\0';
	return s;
}

/* "[default]", "[name]" or, in a config file, "[profile name]". */
static void
section(struct profile *p, char *s)
{
	char *end = strchr(s, ']');

	p->inside = false;
	if (end == NULL)
		return;
	*end = '\0';
	s = trim(s + 1);
	if (p->config && strcmp(s, "default") != 0) {
		if (strncmp(s, "profile", 7) != 0 || !strchr(" \t", s[7]))
			return;
		s = trim(s + 7);
	}
	p->inside = strcmp(s, p->name) == 0;
	p->found |= p->inside;
}

static void
set(struct profile *p, char **to, const char *v)
{
	char *s;

	if (*to != NULL || v[0] == '\0') /* the first file wins */
		return;
	if ((s = ls_strdup(v)) == NULL)
		p->nomem = true;
	*to = s;
}

static void
setting(struct profile *p, const char *key, const char *v)
{
	static const char *const foreign[] = { "credential_process", "role_arn",
		"sso_session", "sso_start_url", "web_identity_token_file",
		"credential_source", "login_session" };

	if (strcmp(key, "aws_access_key_id") == 0)
		set(p, &p->out->key_id, v);
	else if (strcmp(key, "aws_secret_access_key") == 0)
		set(p, &p->out->secret, v);
	else if (strcmp(key, "aws_session_token") == 0)
		set(p, &p->out->token, v);
	else if (strcmp(key, "region") == 0)
		set(p, &p->out->region, v);
	for (size_t i = 0; i < LS_COUNT(foreign); i++)
		if (strcmp(key, foreign[i]) == 0)
			p->needs = foreign[i];
}

static void
one_line(struct profile *p, char *line)
{
	/* Indented lines are sub-settings ("s3 =" blocks): not ours. */
	bool nested = line[0] == ' ' || line[0] == '\t';
	char *s = trim(line), *eq;

	if (s[0] == '#' || s[0] == ';' || s[0] == '\0')
		return;
	if (s[0] == '[') {
		section(p, s);
		return;
	}
	if (!p->inside || nested || (eq = strchr(s, '=')) == NULL)
		return;
	*eq = '\0';
	setting(p, trim(s), trim(eq + 1));
}

static enum ls_rc
one_file(struct profile *p, const char *path, bool config, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(FILE_MAX + 1);
	char *text, *line;
	enum ls_rc rc;

	p->config = config, p->inside = false;
	rc = ls_read_file(path, FILE_MAX, &b, e);
	if (rc == LS_ENOTFOUND || rc == LS_EDENIED)
		rc = LS_OK; /* not ours to read: there may be others */
	else if (rc == LS_OK) {
		(void)ls_buf_str(&b);
		text = (char *)b.p;
		while (text != NULL && (line = strsep(&text, "\n")) != NULL)
			one_line(p, line);
	}
	if (b.p != NULL)
		explicit_bzero(b.p, b.cap);
	ls_buf_free(&b);
	return rc;
}

static char *
file_path(const char *variable, const char *name)
{
	const char *v = getenv(variable);
	char *s, *abs;

	if (v != NULL && v[0] != '\0')
		return ls_abspath(v);
	if (getenv("HOME") == NULL ||
	    (s = ls_asprintf("~/.aws/%s", name)) == NULL)
		return NULL;
	abs = ls_abspath(s);
	ls_free(s);
	return abs;
}

static enum ls_rc
read_both(struct profile *p, struct ls_err *e)
{
	char *cred = file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials");
	char *conf = file_path("AWS_CONFIG_FILE", "config");
	enum ls_rc rc = LS_OK;

	if (cred != NULL)
		rc = one_file(p, cred, false, e);
	if (rc == LS_OK && conf != NULL)
		rc = one_file(p, conf, true, e);
	if (rc == LS_OK && p->nomem)
		rc = ls_err_nomem(e);
	ls_free(cred);
	ls_free(conf);
	return rc;
}

enum ls_rc
ls_creds_from_files(struct ls_creds *out, struct ls_err *e)
{
	const char *name = getenv("AWS_PROFILE");
	bool asked = name != NULL && name[0] != '\0';
	struct profile p = { .name = asked ? name : "default", .out = out };
	enum ls_rc rc;

	out->source = "shared files";
	if ((rc = read_both(&p, e)) != LS_OK)
		return rc;
	if (out->key_id != NULL && out->secret != NULL)
		return LS_OK;
	if (p.needs != NULL)
		return ls_err_hint(e,
		    ls_err_set(e, LS_EUNSUPPORTED,
			"profile \"%s\" uses %s, which is not supported yet",
			p.name, p.needs),
		    "give the profile an access key, or set AWS_ACCESS_KEY_ID");
	if (asked && !p.found)
		return ls_err_set(e, LS_EDENIED,
		    "AWS_PROFILE names \"%s\", which is in no file", p.name);
	return LS_ENOTFOUND;
}
