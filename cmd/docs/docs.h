/* docs.h -- manual pages and completions, made of the tables that `-h` uses.
 *
 * The program links every command of cmd/litestreamd, but with a cli_usage of
 * its own: a command that is run with -h hands its table to a writer here
 * instead of printing it. So nothing is said twice. Runs while building. */
#ifndef LS_DOCS_H
#define LS_DOCS_H

#include "cli.h"

/* One command: its table, alive during the call, and its summary. */
typedef void docs_fn(const struct cli_spec *s, const char *summary, FILE *f);
/* fn for each command that is listed, or for the one named only. */
void docs_each(const char *only, docs_fn *fn, FILE *f);

/* ---- man.c ---------------------------------------------------------------*/

void man_program(FILE *f); /* litestreamd.1 */
docs_fn man_command;	   /* litestreamd-COMMAND.1 */
void man_config(FILE *f);  /* litestream.yml.5 */

/* ---- completion.c --------------------------------------------------------*/

void complete_bash(FILE *f);
void complete_zsh(FILE *f);
void complete_fish(FILE *f);

#endif
