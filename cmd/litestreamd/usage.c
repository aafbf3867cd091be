/* usage.c -- the text of -h from a command's table. See cli.h.
 *
 * In a file of its own, because cmd/docs links the commands with another
 * cli_usage, which makes manual pages and completions of the same tables.
 */
#include "cli.h"

#include <string.h>

static void
lines(FILE *f, const char *indent, const char *text)
{
	while (*text != '\0') {
		size_t n = strcspn(text, "\n");

		(void)fprintf(f, "%s%.*s\n", n ? indent : "", (int)n, text);
		text += n + (text[n] == '\n');
	}
}

void
cli_usage(const struct cli_spec *s, FILE *f)
{
	lines(f, "", s->intro);
	(void)fputs("\nUsage:\n", f);
	for (size_t i = 0; s->args[i] != NULL; i++)
		(void)fprintf(f, "\n\t%s %s [arguments]%s%s\n", cli_prog,
		    s->name, s->args[i][0] ? " " : "", s->args[i]);
	if (s->n_flags > 0)
		(void)fputs("\nArguments:\n", f);
	for (size_t i = 0; i < s->n_flags; i++) {
		const struct cli_flag *o = &s->flags[i];

		(void)fprintf(f, "\n\t-%s%s%s\n", o->name, o->arg ? " " : "",
		    o->arg ? o->arg : "");
		lines(f, "\t    ", o->help);
	}
	if (s->outro != NULL) {
		(void)fputc('\n', f);
		lines(f, "", s->outro);
	}
	if (s->examples != NULL)
		(void)fputs("\nExamples:\n\n", f);
	for (size_t i = 0; s->examples && s->examples[i] != NULL; i++)
		(void)fprintf(f, "\t$ %s %s\n", cli_prog, s->examples[i]);
	(void)fputc('\n', f);
}
