/* main.c -- the program: process-wide settings and dispatch.
 *
 * What belongs to a process and not to a library is set here, before any
 * thread starts: SQLite's threading and caches, SIGPIPE, names of environment
 * variables, the first log sink.
 */
#include "app.h"
#include "base/file.h"
#include "cli.h"
#include "cmd.h"
#include "logsink.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static void
usage(void)
{
	(void)printf("%s replicates SQLite databases to object storage.\n\n"
		     "Usage:\n\n\t%s <command> [arguments]\n\n"
		     "The commands are:\n\n",
	    cli_prog, cli_prog);
	for (const struct cmd *c = cmds; c->name != NULL; c++)
		if (c->summary != NULL)
			(void)printf("\t%-12s %s\n", c->name, c->summary);
	(void)printf("\n\"%s <command> -h\" shows the arguments of a "
		     "command.\n\n",
	    cli_prog);
}

static bool
is_help(const char *w)
{
	static const char *const words[] = { "help", "-h", "-help", "--help" };

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(w, words[i]) == 0)
			return true;
	return false;
}

/* Names of our own for the credentials; the others win. */
static void
alias_environment(void)
{
	static const char *const names[][2] = {
		{ "LITESTREAM_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID" },
		{ "LITESTREAM_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY" },
	};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		const char *v = getenv(names[i][0]);

		if (v != NULL)
			(void)setenv(names[i][1], v, 0);
	}
}

/* One thread a connection, so the library needs no mutex in it; and no page
 * cache allocated ahead, since thousands of connections come and go. */
static bool
configure_sqlite(void)
{
	return sqlite3_config(SQLITE_CONFIG_MULTITHREAD) == SQLITE_OK &&
	       sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0) ==
		   SQLITE_OK &&
	       sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) == SQLITE_OK;
}

/* Keys lie in memory: in the environment, in settings, in what libcurl sends. So
 * no core file is written, and other processes of this user can read neither
 * memory nor environment. What we start (-exec) is not concerned: an exec sets
 * this back. (test: integration.leaks) */
static void
keep_memory_to_ourselves(void)
{
	const char *core = getenv("LITESTREAMD_COREDUMP");

	if (core == NULL || strcmp(core, "1") != 0)
		(void)prctl(PR_SET_DUMPABLE, 0);
}

static int
dispatch(int argc, char **argv)
{
	for (const struct cmd *c = cmds; c->name != NULL; c++)
		if (strcmp(argv[1], c->name) == 0)
			return c->run(argc - 1, argv + 1);
	if (is_help(argv[1])) {
		usage();
		return 0;
	}
	if (argv[1][0] == '\0' || argv[1][0] == '-') {
		usage();
		return 1;
	}
	return cli_error(NULL, "%s %s: unknown command", cli_prog, argv[1]);
}

int
main(int argc, char **argv)
{
	int rc;

	if (argc > 0 && argv[0][0] != '\0')
		cli_prog = ls_basename(argv[0]);
	(void)signal(SIGPIPE, SIG_IGN);
	keep_memory_to_ourselves();
	alias_environment();
	/* Lists go to stdout, so records do not; replicate and restore, whose
	 * output is their log, move it. */
	logsink_set(stderr, LS_LOG_TEXT, NULL, false);
	if (!configure_sqlite())
		return cli_error(NULL, "cannot configure SQLite");
	if (argc < 2) {
		usage();
		return 1;
	}
	rc = dispatch(argc, argv);
	if (fflush(stdout) != 0 && rc == 0)
		rc = cli_error(NULL, "cannot write to stdout");
	return rc;
}
