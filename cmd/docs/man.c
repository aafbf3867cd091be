/* man.c -- manual pages, with the man(7) macros. See docs.h. */
#include "docs.h"

#include "config/config.h"

#include <string.h>

/* ---- text ------------------------------------------------------------------*/

/* Text as it is: roff's own characters lose their meaning. */
static void
put(FILE *f, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((i == 0 || text[i - 1] == '\n') &&
		    (text[i] == '.' || text[i] == '\''))
			(void)fputs("\\&", f);
		if (text[i] == '-')
			(void)fputs("\\-", f);
		else if (text[i] == '\\')
			(void)fputs("\\e", f);
		else
			(void)fputc(text[i], f);
	}
}

static void
puts_(FILE *f, const char *text)
{
	put(f, text, strlen(text));
}

/* Lines; an empty one begins a paragraph. */
static void
paragraphs(FILE *f, const char *text)
{
	while (*text != '\0') {
		size_t n = strcspn(text, "\n");

		if (n == 0)
			(void)fputs(".PP", f);
		put(f, text, n);
		(void)fputc('\n', f);
		text += n + (text[n] == '\n');
	}
}

static void
title(FILE *f, const char *name, int section)
{
	(void)fprintf(f,
	    ".\\\" Made by cmd/docs; do not edit.\n"
	    ".TH \"%s\" %d \"\" \"litestreamd %s\" \"litestreamd\"\n",
	    name, section, LS_VERSION);
}

/* ---- one command -----------------------------------------------------------*/

static void
synopsis(FILE *f, const struct cli_spec *s)
{
	(void)fputs(".SH SYNOPSIS\n", f);
	for (size_t i = 0; s->args[i] != NULL; i++) {
		(void)fprintf(f, "%s.B litestreamd %s\n[arguments] ",
		    i ? ".br\n" : "", s->name);
		puts_(f, s->args[i]);
		(void)fputc('\n', f);
	}
}

static void
flag(FILE *f, const struct cli_flag *o)
{
	(void)fputs(".TP\n.BI \"\\-", f);
	puts_(f, o->name);
	if (o->arg != NULL) {
		(void)fputs(" \" \"", f);
		puts_(f, o->arg);
	}
	(void)fputs("\"\n", f);
	paragraphs(f, o->help);
}

void
man_command(const struct cli_spec *s, const char *summary, FILE *f)
{
	char name[64];

	(void)snprintf(name, sizeof name, "litestreamd-%s", s->name);
	title(f, name, 1);
	(void)fputs(".SH NAME\n", f);
	puts_(f, name);
	(void)fprintf(f, " \\- ");
	puts_(f, summary);
	(void)fputc('\n', f);
	synopsis(f, s);
	(void)fputs(".SH DESCRIPTION\n", f);
	paragraphs(f, s->intro);
	if (s->n_flags > 0)
		(void)fputs(".SH OPTIONS\n", f);
	for (size_t i = 0; i < s->n_flags; i++)
		flag(f, &s->flags[i]);
	if (s->outro != NULL) {
		(void)fputs(".SH NOTES\n", f);
		paragraphs(f, s->outro);
	}
	if (s->examples != NULL)
		(void)fputs(".SH EXAMPLES\n.nf\n", f);
	for (size_t i = 0; s->examples != NULL && s->examples[i]; i++) {
		(void)fputs("$ litestreamd ", f);
		puts_(f, s->examples[i]);
		(void)fputc('\n', f);
	}
	if (s->examples != NULL)
		(void)fputs(".fi\n", f);
	(void)fputs(".SH EXIT STATUS\n"
		    "0 when all is well, 1 after an error.\n"
		    ".SH SEE ALSO\n"
		    ".BR litestreamd (1),\n"
		    ".BR litestream.yml (5)\n",
	    f);
}

/* ---- the program -----------------------------------------------------------*/

struct entry {
	const char *name, *text;
};

static void
entries(FILE *f, const char *heading, const struct entry *e, size_t n)
{
	(void)fprintf(f, ".SH %s\n", heading);
	for (size_t i = 0; i < n; i++) {
		(void)fputs(".TP\n.B \"", f);
		puts_(f, e[i].name);
		(void)fputs("\"\n", f);
		paragraphs(f, e[i].text);
	}
}

static void
list_command(const struct cli_spec *s, const char *summary, FILE *f)
{
	(void)fprintf(f, ".TP\n.BR litestreamd\\-%s (1)\n", s->name);
	puts_(f, summary);
	(void)fputc('\n', f);
}

static const struct entry environment[] = {
	{ "LITESTREAM_CONFIG", "The configuration file." },
	{ "AWS_ACCESS_KEY_ID, LITESTREAM_ACCESS_KEY_ID",
	    "The access key for S3; the first one wins." },
	{ "AWS_SECRET_ACCESS_KEY, LITESTREAM_SECRET_ACCESS_KEY",
	    "The secret that belongs to it." },
	{ "AWS_PROFILE, AWS_REGION, AWS_ROLE_ARN, ...",
	    "As the AWS tools use them: profiles and their files, roles,\n"
	    "web identities, containers." },
	{ "AWS_CA_BUNDLE, SSL_CERT_FILE, CURL_CA_BUNDLE",
	    "A file of certificates that servers are checked against; the\n"
	    "first that is set wins. Without, the system's own." },
	{ "LOG_LEVEL", "Wins over logging.level of the configuration." },
	{ "NO_COLOR", "No colours in pretty logs." },
	{ "NOTIFY_SOCKET, WATCHDOG_USEC", "As systemd sets them." },
};

static const struct entry signals[] = {
	{ "SIGTERM, SIGINT",
	    "Store what is committed, then end. A second one: end at once." },
	{ "SIGHUP", "Read the configuration file again." },
	{ "SIGTSTP", "Let go of every database, then stop." },
	{ "SIGCONT", "Take them again." },
};

static const struct entry files[] = {
	{ "/etc/litestream.yml", "The configuration." },
	{ ".NAME-litestream", "Local state, beside each database." },
	{ "/var/run/litestream.sock", "The control socket." },
};

void
man_program(FILE *f)
{
	title(f, "litestreamd", 1);
	(void)fputs(".SH NAME\n"
		    "litestreamd \\- replicate SQLite databases to object "
		    "storage\n"
		    ".SH SYNOPSIS\n"
		    ".B litestreamd\n"
		    ".I command\n"
		    "[arguments]\n"
		    ".SH DESCRIPTION\n"
		    "Follows the write\\-ahead log of SQLite databases, "
		    "stores what each commit\n"
		    "changed in S3 or in a folder, and rebuilds the database "
		    "from there at any\n"
		    "point that is kept. Files, configuration and commands "
		    "are those of\n"
		    "Litestream 0.5; a link to the program that is named "
		    "litestream behaves\n"
		    "as one.\n"
		    ".SH COMMANDS\n",
	    f);
	docs_each(NULL, list_command, f);
	entries(f, "ENVIRONMENT", environment,
	    sizeof environment / sizeof environment[0]);
	entries(f, "SIGNALS", signals, sizeof signals / sizeof signals[0]);
	entries(f, "FILES", files, sizeof files / sizeof files[0]);
	(void)fputs(".SH EXIT STATUS\n"
		    "0 when all is well, 1 after an error, which is one line "
		    "on stderr;\n"
		    ".B replicate\n"
		    "with a child program ends with the status of the child.\n"
		    ".SH SEE ALSO\n"
		    ".BR litestream.yml (5)\n",
	    f);
}

/* ---- the configuration -----------------------------------------------------*/

void
man_config(FILE *f)
{
	struct ls_option_doc o;

	title(f, "litestream.yml", 5);
	(void)fputs(".SH NAME\n"
		    "litestream.yml \\- configuration of litestreamd\n"
		    ".SH DESCRIPTION\n"
		    "YAML, with anchors and merge keys. Durations carry a "
		    "unit (500ms, 1s, 5m,\n"
		    "24h), sizes may (5MB, 16MiB). $NAME, ${NAME} and $PID "
		    "are replaced.\n"
		    "Unknown keys are errors. Keys of a replica that are "
		    "marked with * may\n"
		    "stand at top level, for every replica that does not say "
		    "otherwise.\n"
		    ".SH KEYS\n",
	    f);
	for (size_t i = 0; ls_config_option(i, &o); i++) {
		(void)fputs(".TP\n.B \"", f);
		puts_(f, o.key);
		(void)fprintf(f, "%s\" \\fR(%s", o.inherit ? " *" : "", o.type);
		if (o.def[0] != '\0') {
			(void)fputs(", default ", f);
			puts_(f, o.def);
		}
		(void)fputs(")\n", f);
		paragraphs(f, o.doc);
	}
	(void)fputs(".SH EXAMPLES\n"
		    ".nf\n"
		    "dbs:\n"
		    "  \\- path: /var/lib/app/app.db\n"
		    "    replica:\n"
		    "      url: s3://my\\-bucket/app\n"
		    ".fi\n"
		    ".SH SEE ALSO\n"
		    ".BR litestreamd (1)\n",
	    f);
}
