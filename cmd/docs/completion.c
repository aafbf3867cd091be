/* completion.c -- what shells offer after `litestreamd`. See docs.h.
 *
 * A flag's argument says what is offered: "a|b" the words, PATH files, anything
 * else nothing. Words that are no flags are files (databases). */
#include "docs.h"

#include <string.h>

static void
summary_text(FILE *f, const char *text, const char *escape)
{
	for (; *text != '\0'; text++) {
		if (strchr(escape, *text) != NULL)
			(void)fputc('\\', f);
		(void)fputc(*text == '\n' ? ' ' : *text, f);
	}
}

/* The words of "a|b" with spaces between them; nothing when it is none. */
static void
words(FILE *f, const char *arg)
{
	if (arg == NULL || strchr(arg, '|') == NULL)
		return;
	for (; *arg != '\0'; arg++)
		(void)fputc(*arg == '|' ? ' ' : *arg, f);
}

static bool
is_path(const struct cli_flag *o)
{
	return o->arg != NULL && strcmp(o->arg, "PATH") == 0;
}

static void
name_only(const struct cli_spec *s, const char *summary, FILE *f)
{
	(void)summary;
	(void)fprintf(f, " %s", s->name);
}

/* ---- bash ------------------------------------------------------------------*/

/* "command:-flag) what follows it" for flags that take a value. */
static void
bash_values(const struct cli_spec *s, const char *summary, FILE *f)
{
	(void)summary;
	for (size_t i = 0; i < s->n_flags; i++) {
		const struct cli_flag *o = &s->flags[i];

		if (o->arg == NULL)
			continue;
		(void)fprintf(f, "\t%s:-%s) ", s->name, o->name);
		if (is_path(o)) {
			(void)fputs("files=1 ;;\n", f);
			continue;
		}
		(void)fputs("words=\"", f);
		words(f, o->arg);
		(void)fputs("\" ;;\n", f);
	}
}

static void
bash_flags(const struct cli_spec *s, const char *summary, FILE *f)
{
	(void)summary;
	(void)fprintf(f, "\t%s:-*) words=\"-h", s->name);
	for (size_t i = 0; i < s->n_flags; i++)
		(void)fprintf(f, " -%s", s->flags[i].name);
	(void)fputs("\" ;;\n", f);
}

void
complete_bash(FILE *f)
{
	(void)fputs("# bash completion of litestreamd; made by cmd/docs\n"
		    "_litestreamd() {\n"
		    "\tlocal cur=${COMP_WORDS[COMP_CWORD]} words='' files=''\n"
		    "\tlocal prev=${COMP_WORDS[COMP_CWORD - 1]} cmd="
		    "${COMP_WORDS[1]}\n"
		    "\tCOMPREPLY=()\n"
		    "\tif [ \"$COMP_CWORD\" = 1 ]; then\n"
		    "\t\twords=\"help",
	    f);
	docs_each(NULL, name_only, f);
	(void)fputs("\"\n"
		    "\telse\n"
		    "\tcase $cmd:$prev in\n",
	    f);
	docs_each(NULL, bash_values, f);
	(void)fputs("\t*) case $cmd:$cur in\n", f);
	docs_each(NULL, bash_flags, f);
	(void)fputs("\t*) files=1 ;;\n"
		    "\tesac ;;\n"
		    "\tesac\n"
		    "\tfi\n"
		    "\tif [ -n \"$files\" ]; then\n"
		    "\t\tcompopt -o filenames 2>/dev/null\n"
		    "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
		    "\telse\n"
		    "\t\tmapfile -t COMPREPLY < "
		    "<(compgen -W \"$words\" -- \"$cur\")\n"
		    "\tfi\n"
		    "}\n"
		    "complete -F _litestreamd litestreamd\n",
	    f);
}

/* ---- zsh -------------------------------------------------------------------*/

static void
zsh_name(const struct cli_spec *s, const char *summary, FILE *f)
{
	(void)fprintf(f, "\t\t'%s:", s->name);
	summary_text(f, summary, ":");
	(void)fputs("'\n", f);
}

static void
zsh_command(const struct cli_spec *s, const char *summary, FILE *f)
{
	(void)summary;
	(void)fprintf(f, "\t%s) _arguments \\\n", s->name);
	for (size_t i = 0; i < s->n_flags; i++) {
		const struct cli_flag *o = &s->flags[i];

		(void)fprintf(f, "\t\t\"-%s[", o->name);
		summary_text(f, o->help, "\"[]$`:\\");
		(void)fputc(']', f);
		if (is_path(o))
			(void)fputs(":path:_files", f);
		else if (o->arg != NULL && strchr(o->arg, '|') != NULL) {
			(void)fputs(":word:(", f);
			words(f, o->arg);
			(void)fputc(')', f);
		} else if (o->arg != NULL)
			(void)fprintf(f, ":%s:", o->arg);
		(void)fputs("\" \\\n", f);
	}
	(void)fputs("\t\t'*:database:_files' ;;\n", f);
}

void
complete_zsh(FILE *f)
{
	(void)fputs("#compdef litestreamd\n"
		    "# zsh completion of litestreamd; made by cmd/docs\n"
		    "local -a names\n"
		    "if ((CURRENT == 2)); then\n"
		    "\tnames=(\n",
	    f);
	docs_each(NULL, zsh_name, f);
	(void)fputs("\t)\n"
		    "\t_describe command names\n"
		    "\treturn\n"
		    "fi\n"
		    "shift words\n"
		    "((CURRENT--))\n"
		    "case $words[1] in\n",
	    f);
	docs_each(NULL, zsh_command, f);
	(void)fputs("esac\n", f);
}

/* ---- fish ------------------------------------------------------------------*/

static void
fish_command(const struct cli_spec *s, const char *summary, FILE *f)
{
	(void)fprintf(f,
	    "complete -c litestreamd -n __fish_use_subcommand -f -a %s -d '",
	    s->name);
	summary_text(f, summary, "'\\");
	(void)fputs("'\n", f);
	for (size_t i = 0; i < s->n_flags; i++) {
		const struct cli_flag *o = &s->flags[i];

		(void)fprintf(f,
		    "complete -c litestreamd -n "
		    "'__fish_seen_subcommand_from %s' -o %s ",
		    s->name, o->name);
		if (is_path(o))
			(void)fputs("-r -F ", f);
		else if (o->arg != NULL) {
			(void)fputs("-x ", f);
			if (strchr(o->arg, '|') != NULL) {
				(void)fputs("-a '", f);
				words(f, o->arg);
				(void)fputs("' ", f);
			}
		}
		(void)fputs("-d '", f);
		summary_text(f, o->help, "'\\");
		(void)fputs("'\n", f);
	}
}

void
complete_fish(FILE *f)
{
	(void)fputs("# fish completion of litestreamd; made by cmd/docs\n", f);
	docs_each(NULL, fish_command, f);
}
