/* cli.h -- command lines as Go's flag package reads them: -x v, --x v, -x=v;
 * a bool is -b or -b=false; the first word that is no flag, or "--", ends
 * them. One table a command gives parser and help.
 *
 * Usage text goes to stdout, "Error: ..." and "Try: ..." to stderr. */
#ifndef LS_CLI_H
#define LS_CLI_H

#include "base/err.h"

#include <stdio.h>

enum cli_type {
	CLI_BOOL, /* bool */
	CLI_STR,  /* const char *, borrowed from argv */
	CLI_INT,  /* int */
	CLI_DUR,  /* int64_t ns */
	CLI_FN,	  /* parse: NULL, or what is wrong with the text (borrowed) */
};
struct cli_flag {
	const char *name;
	enum cli_type type;
	void *dst;
	const char *arg;  /* "PATH", "a|b" (the words); NULL for bools */
	const char *help; /* lines */
	const char *(*parse)(const char *text, void *dst);
};
struct cli_spec { /* lists end with NULL; "%s" is nowhere special */
	const char *name;
	const char *intro;	 /* lines */
	const char *const *args; /* forms behind the flags: "DB_PATH", ... */
	const struct cli_flag *flags;
	size_t n_flags;
	const char *outro;	     /* lines, or NULL */
	const char *const *examples; /* without the program's name, or NULL */
};
#define CLI_FLAGS(a) .flags = (a), .n_flags = sizeof(a) / sizeof(a)[0]

/* The flags that commands share. */
#define CLI_CONFIG(var)                                                       \
	{                                                                     \
		"config", CLI_STR, &(var), "PATH",                            \
		    "The configuration file; default $LITESTREAM_CONFIG or\n" \
		    "/etc/litestream.yml.",                                   \
		    NULL                                                      \
	}
#define CLI_NO_EXPAND(var)                                                  \
	{                                                                   \
		"no-expand-env", CLI_BOOL, &(var), NULL,                    \
		    "Leave $NAME in the configuration file as it is.", NULL \
	}
#define CLI_JSON(var)                                                          \
	{                                                                      \
		"json", CLI_BOOL, &(var), NULL, "Print JSON instead of text.", \
		    NULL                                                       \
	}

/* Basename of argv[0]: what usage and hints call the program. */
extern const char *cli_prog;

enum { CLI_GO = -1 };
/* Parse argv[1..]. CLI_GO: go on, *rest is the first of *n_rest words that are
 * no flags. Else the exit code; everything was printed. */
int cli_parse(
    const struct cli_spec *s, int argc, char **argv, char ***rest, int *n_rest);
void cli_usage(const struct cli_spec *s, FILE *f);
/* "Error: <text>" and, if hint is not NULL, "Try: <hint>"; returns 1. */
int cli_error(const char *hint, const char *fmt, ...) LS_PRINTF(2, 3);
/* The same from a record; returns 1. */
int cli_fail(const struct ls_err *e);
/* `too many arguments` when there are more than max; else CLI_GO. */
int cli_at_most(int n_rest, int max);

#endif
