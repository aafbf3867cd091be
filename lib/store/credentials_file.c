/* credentials_file.c -- the shared credentials and config files of the AWS
 * tools: ~/.aws/credentials ("[name]") and ~/.aws/config ("[profile name]",
 * "[default]"), or AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE. See
 * credentials_impl.h. Format: "Configuration and credential file settings" of
 * the AWS SDK reference.
 *
 * Not here: what the settings mean (credentials_profile.c).
 */
#include "base/bytes.h"
#include "base/file.h"
#include "store/credentials_impl.h"

#include <stdlib.h>

enum { FILE_MAX = 1 << 20 };

static const char *const names[] = {
#define X(id, name) name,
	LS_PROFILE_KEYS(X)
#undef X
};

struct reader {
	const char *name;
	bool config; /* sections are "profile NAME" */
	bool inside;
	struct ls_profile *out;
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
section(struct reader *r, char *s)
{
	char *end = strchr(s, ']');

	r->inside = false;
	if (end == NULL)
		return;
	*end = '\0';
	s = trim(s + 1);
	if (r->config && strcmp(s, "default") != 0) {
		if (strncmp(s, "profile", 7) != 0 || !strchr(" \t", s[7]))
			return;
		s = trim(s + 7);
	}
	r->inside = strcmp(s, r->name) == 0;
	r->out->found |= r->inside;
}

static void
setting(struct reader *r, const char *key, const char *v)
{
	for (size_t i = 0; i < LS_COUNT(names); i++) {
		char **to = &r->out->v[i];

		if (strcmp(key, names[i]) != 0)
			continue;
		if (*to == NULL && v[0] != '\0' && /* the first file wins */
		    (*to = ls_strdup(v)) == NULL)
			r->nomem = true;
	}
}

static void
one_line(struct reader *r, char *line)
{
	/* Indented lines are sub-settings ("s3 =" blocks): not ours. */
	bool nested = line[0] == ' ' || line[0] == '\t';
	char *s = trim(line), *eq;

	if (s[0] == '#' || s[0] == ';' || s[0] == '\0')
		return;
	if (s[0] == '[') {
		section(r, s);
		return;
	}
	if (!r->inside || nested || (eq = strchr(s, '=')) == NULL)
		return;
	*eq = '\0';
	setting(r, trim(s), trim(eq + 1));
}

static enum ls_rc
one_file(struct reader *r, const char *path, bool config, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(FILE_MAX + 1);
	char *text, *line;
	enum ls_rc rc;

	r->config = config, r->inside = false;
	rc = ls_read_file(path, FILE_MAX, &b, e);
	if (rc == LS_EDENIED && r->out->denied == NULL)
		r->nomem |= (r->out->denied = ls_strdup(path)) == NULL;
	if (rc == LS_ENOTFOUND || rc == LS_EDENIED)
		rc = LS_OK; /* not ours to read: there may be others */
	else if (rc == LS_OK) {
		(void)ls_buf_str(&b);
		text = (char *)b.p;
		while (text != NULL && (line = strsep(&text, "\n")) != NULL)
			one_line(r, line);
	}
	ls_creds_wipe(&b);
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

const char *
ls_profile_name(void)
{
	const char *name = ls_creds_env("AWS_PROFILE", "AWS_DEFAULT_PROFILE");

	return name != NULL ? name : "default";
}

enum ls_rc
ls_profile_read(const char *name, struct ls_profile *out, struct ls_err *e)
{
	struct reader r = { .name = name, .out = out };
	char *cred = file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials");
	char *conf = file_path("AWS_CONFIG_FILE", "config");
	enum ls_rc rc = LS_OK;

	*out = (struct ls_profile){ 0 };
	if (cred != NULL)
		rc = one_file(&r, cred, false, e);
	if (rc == LS_OK && conf != NULL)
		rc = one_file(&r, conf, true, e);
	if (rc == LS_OK && r.nomem)
		rc = ls_err_nomem(e);
	ls_free(cred);
	ls_free(conf);
	return rc;
}

void
ls_profile_fini(struct ls_profile *p)
{
	for (size_t i = 0; i < LS_P_COUNT; i++) {
		if (p->v[i] != NULL)
			explicit_bzero(p->v[i], strlen(p->v[i]));
		ls_free(p->v[i]);
	}
	ls_free(p->denied);
	*p = (struct ls_profile){ 0 };
}
