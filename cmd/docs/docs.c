/* docs.c -- `litestreamd-docs FOLDER` writes the manual pages and completions
 * of litestreamd into a folder. See docs.h. */
#include "docs.h"

#include "cmd.h"

#include <stdlib.h>
#include <string.h>

/* ---- the tables ------------------------------------------------------------*/

static struct {
	docs_fn *fn;
	const char *summary;
	FILE *f;
} now;

/* Instead of cmd/litestreamd/usage.c. */
void
cli_usage(const struct cli_spec *s, FILE *f)
{
	(void)f;
	now.fn(s, now.summary, now.f);
}

void
docs_each(const char *only, docs_fn *fn, FILE *f)
{
	for (const struct cmd *c = cmds; c->name != NULL; c++) {
		char name[32], help[] = "-h";
		char *argv[] = { name, help, NULL };

		if (c->summary == NULL ||
		    (only != NULL && strcmp(only, c->name) != 0))
			continue;
		(void)snprintf(name, sizeof name, "%s", c->name);
		now.fn = fn;
		now.summary = c->summary;
		now.f = f;
		(void)c->run(2, argv);
	}
}

/* ---- files -----------------------------------------------------------------*/

static FILE *
create(const char *dir, const char *name)
{
	char path[4096];
	FILE *f;

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	if ((f = fopen(path, "w")) == NULL) {
		perror(path);
		exit(1);
	}
	return f;
}

static void
finish(FILE *f)
{
	if (ferror(f) != 0 || fclose(f) != 0) {
		perror("write");
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(FILE *f);
	} files[] = {
		{ "litestreamd.1", man_program },
		{ "litestream.yml.5", man_config },
		{ "litestreamd.bash", complete_bash },
		{ "_litestreamd", complete_zsh },
		{ "litestreamd.fish", complete_fish },
	};

	if (argc != 2) {
		(void)fputs("usage: litestreamd-docs FOLDER\n", stderr);
		return 1;
	}
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		FILE *f = create(argv[1], files[i].name);

		files[i].fn(f);
		finish(f);
	}
	for (const struct cmd *c = cmds; c->name != NULL; c++) {
		char name[64];
		FILE *f;

		if (c->summary == NULL)
			continue;
		(void)snprintf(name, sizeof name, "litestreamd-%s.1", c->name);
		f = create(argv[1], name);
		docs_each(c->name, man_command, f);
		finish(f);
	}
	return 0;
}
