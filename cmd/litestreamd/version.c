/* version.c -- `version`. */
#include "app.h"
#include "cli.h"
#include "cmd.h"

#include <sqlite3.h>
#include <sys/utsname.h>

int
cmd_version(int argc, char **argv)
{
	static const char *const args[] = { "", NULL };
	bool verbose = false;
	const struct cli_flag flags[] = { { "verbose", CLI_BOOL, &verbose, NULL,
	    "Print details of the build too.", NULL } };
	const struct cli_spec spec = { .name = "version",
		.intro = "Prints the version.",
		.args = args,
		CLI_FLAGS(flags) };
	struct utsname u;
	char **rest;
	int n, rc;

	if ((rc = cli_parse(&spec, argc, argv, &rest, &n)) != CLI_GO)
		return rc;
	if (!verbose) {
		(void)puts(LS_VERSION);
		return 0;
	}
	(void)printf("Version:     %s\n", LS_VERSION);
	(void)printf("Compiler:    %s\n", __VERSION__);
	(void)printf("SQLite:      %s\n", sqlite3_libversion());
	(void)printf("Libraries:   %s\n", ls_net_library());
	if (uname(&u) == 0)
		(void)printf("OS/Arch:     %s/%s\n", u.sysname, u.machine);
	return 0;
}
