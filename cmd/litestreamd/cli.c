/* cli.c -- command lines, usage, errors. See cli.h. */
#include "cli.h"

#include "base/units.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

const char *cli_prog = "litestreamd";

int
cli_error(const char *hint, const char *fmt, ...)
{
	va_list ap;

	(void)fflush(stdout);
	(void)fputs("Error: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	if (hint != NULL && hint[0] != '\0')
		(void)fprintf(stderr, "Try: %s\n", hint);
	return 1;
}

int
cli_fail(const struct ls_err *e)
{
	return cli_error(e->hint, "%s", e->msg);
}

int
cli_at_most(int n_rest, int max)
{
	return n_rest > max ? cli_error(NULL, "too many arguments") : CLI_GO;
}

/* ---- flags -----------------------------------------------------------------*/

/* As Go: the reason alone on stderr, usage, then the error again. */
static int
bad_flag(const struct cli_spec *s, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "%s\n", text);
	cli_usage(s, stdout);
	return cli_error(NULL, "%s", text);
}

static bool
parse_bool(const char *v, bool *out)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE",
		"True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE",
		"False" };

	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		if (strcmp(v, yes[i]) == 0 || strcmp(v, no[i]) == 0) {
			*out = strcmp(v, yes[i]) == 0;
			return true;
		}
	return false;
}

static const char *
parse_int(const char *v, int *out)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(v, &end, 0);
	if (end == v || *end != '\0' || strchr(" \t\n", v[0]) != NULL)
		return "parse error";
	if (errno == ERANGE || n > INT_MAX || n < INT_MIN)
		return "value out of range";
	*out = (int)n;
	return NULL;
}

static int
set_flag(const struct cli_spec *s, const struct cli_flag *o, const char *v)
{
	struct ls_err e;
	const char *bad = NULL;

	switch (o->type) {
	case CLI_BOOL:
		if (!parse_bool(v, o->dst))
			return bad_flag(s,
			    "invalid boolean value \"%s\" for -%s: parse "
			    "error",
			    v, o->name);
		return CLI_GO;
	case CLI_STR: *(const char **)o->dst = v; return CLI_GO;
	case CLI_INT: bad = parse_int(v, o->dst); break;
	case CLI_DUR:
		if (ls_dur_parse(v, o->dst, &e) != LS_OK)
			bad = "parse error";
		break;
	case CLI_FN: bad = o->parse(v, o->dst); break;
	}
	if (bad != NULL)
		return bad_flag(s, "invalid value \"%s\" for flag -%s: %s", v,
		    o->name, bad);
	return CLI_GO;
}

static const struct cli_flag *
find_flag(const struct cli_spec *s, const char *name, size_t n)
{
	for (size_t i = 0; i < s->n_flags; i++)
		if (strlen(s->flags[i].name) == n &&
		    memcmp(s->flags[i].name, name, n) == 0)
			return &s->flags[i];
	return NULL;
}

/* One flag, argv[*i] without its dashes; moves *i past a value. */
static int
one_flag(
    const struct cli_spec *s, const char *word, int argc, char **argv, int *i)
{
	size_t n = strcspn(word, "=");
	const struct cli_flag *o = find_flag(s, word, n);

	if (n == 0 || word[0] == '-')
		return bad_flag(s, "bad flag syntax: %s", argv[*i]);
	if (o == NULL && ((n == 1 && word[0] == 'h') ||
			     (n == 4 && memcmp(word, "help", 4) == 0))) {
		cli_usage(s, stdout);
		return 0;
	}
	if (o == NULL)
		return bad_flag(
		    s, "flag provided but not defined: -%.*s", (int)n, word);
	if (word[n] == '=')
		return set_flag(s, o, word + n + 1);
	if (o->type == CLI_BOOL)
		return set_flag(s, o, "true");
	if (*i + 1 >= argc)
		return bad_flag(s, "flag needs an argument: -%s", o->name);
	return set_flag(s, o, argv[++*i]);
}

int
cli_parse(
    const struct cli_spec *s, int argc, char **argv, char ***rest, int *n_rest)
{
	int i = 1;

	for (; i < argc; i++) {
		const char *w = argv[i];
		int rc;

		if (w[0] != '-' || w[1] == '\0')
			break;
		w += w[1] == '-' ? 2 : 1;
		if (*w == '\0') { /* "--" */
			i++;
			break;
		}
		if ((rc = one_flag(s, w, argc, argv, &i)) != CLI_GO)
			return rc;
	}
	*rest = argv + i;
	*n_rest = argc - i;
	return CLI_GO;
}
