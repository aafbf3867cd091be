/* expand.c -- what stands for something else: $NAME in the file, ~ and
 * relative paths, words for levels. See config.h.
 *
 * Environment variables are replaced in the whole text, comments included, by
 * the rules of Go's os.Expand, since that is what upstream's users rely on.
 */
#include "config/schema.h"

#include "base/bytes.h"
#include "base/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

/* One character that is a name by itself: $1, $$, $? ... (never set here). */
static bool
special(uint8_t c)
{
	return isdigit(c) || (c != 0 && strchr("*#$@!?-", c) != NULL);
}

/* The name behind a '$' at s (n > 0 bytes); *used: bytes to skip. An empty
 * name with *used > 0 is bad syntax and vanishes. */
static struct ls_span
name_at(const uint8_t *s, size_t n, size_t *used)
{
	size_t i = 0;

	if (s[0] == '{') {
		if (n > 2 && special(s[1]) && s[2] == '}') {
			*used = 3;
			return LS_SPAN(s + 1, 1);
		}
		for (i = 1; i < n && s[i] != '}'; i++)
			;
		*used = i == n ? 1 : i + 1;
		return LS_SPAN(s + 1, i == n ? 0 : i - 1);
	}
	if (special(s[0])) {
		*used = 1;
		return LS_SPAN(s, 1);
	}
	while (i < n && (isalnum(s[i]) || s[i] == '_'))
		i++;
	*used = i;
	return LS_SPAN(s, i);
}

static enum ls_rc
add_variable(struct ls_span name, struct ls_buf *out, struct ls_err *e)
{
	char buf[256];
	const char *v;

	if (name.n >= sizeof buf)
		return LS_OK; /* nobody has such a variable: empty */
	memcpy(buf, name.p, name.n);
	buf[name.n] = '\0';
	if (strcmp(buf, "PID") == 0)
		return ls_buf_addf(out, e, "%ld", (long)getpid());
	v = getenv(buf);
	return v ? ls_buf_adds(out, v, e) : LS_OK;
}

enum ls_rc
ls_expand_env(struct ls_span text, struct ls_buf *out, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	size_t from = 0;

	for (size_t i = 0; rc == LS_OK && i + 1 < text.n;) {
		struct ls_span name;
		size_t used;

		if (text.p[i] != '$') {
			i++;
			continue;
		}
		rc = ls_buf_add(out, text.p + from, i - from, e);
		name = name_at(text.p + i + 1, text.n - i - 1, &used);
		if (rc == LS_OK && used == 0)
			rc = ls_buf_add(out, "$", 1, e);
		else if (rc == LS_OK && name.n > 0)
			rc = add_variable(name, out, e);
		i += 1 + used;
		from = i;
	}
	if (rc == LS_OK && from < text.n)
		rc = ls_buf_add(out, text.p + from, text.n - from, e);
	return rc;
}

char *
ls_config_expand_path(const char *path)
{
	static const char *const schemes[] = { "sqlite://", "sqlite3://" };

	for (size_t i = 0; i < LS_COUNT(schemes); i++)
		if (strncmp(path, schemes[i], strlen(schemes[i])) == 0) {
			path += strlen(schemes[i]);
			break;
		}
	return ls_abspath(path);
}

enum ls_level
ls_level_parse(const char *word)
{
	static const struct {
		const char *word;
		enum ls_level level;
	} words[] = { { "trace", LS_TRACE }, { "debug", LS_DEBUG },
		{ "warn", LS_WARN }, { "warning", LS_WARN },
		{ "error", LS_ERROR } };

	for (size_t i = 0; i < LS_COUNT(words); i++)
		if (strcasecmp(word, words[i].word) == 0)
			return words[i].level;
	return LS_INFO;
}

const char *
ls_config_default_path(void)
{
	const char *v = getenv("LITESTREAM_CONFIG");

	return v != NULL && v[0] != '\0' ? v : LS_CONFIG_PATH;
}
