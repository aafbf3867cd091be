/* launch.c -- bin/litestreamd of the tarball: starts the program with the C
 * library and loader that lie beside it, so that it runs on any Linux of the
 * same architecture, whatever C library that has, or none. Linked statically.
 *
 * It needs neither /proc nor the environment: the kernel says by which path it
 * was run, and ../lib/litestreamd from there is where everything is. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define LOADER "ld.so" /* bundle.sh names it so */

int
main(int argc, char **argv)
{
	const char *self = (const char *)getauxval(AT_EXECFN);
	static char path[4096], lib[4096 + 32], loader[4096 + 64],
	    program[4096 + 64];
	char *fixed[] = { loader, "--inhibit-cache", "--library-path", lib,
		"--argv0", argc > 0 ? argv[0] : program, program };
	const size_t n = sizeof fixed / sizeof fixed[0];
	char **all = calloc(n + (size_t)argc + 1, sizeof *all);

	if (self == NULL || all == NULL || realpath(self, path) == NULL) {
		(void)fputs("litestreamd: cannot find its own files\n", stderr);
		return 127;
	}
	(void)snprintf(
	    lib, sizeof lib, "%s/lib/litestreamd", dirname(dirname(path)));
	(void)snprintf(loader, sizeof loader, "%s/" LOADER, lib);
	(void)snprintf(program, sizeof program, "%s/litestreamd", lib);
	memcpy(all, fixed, sizeof fixed);
	for (int i = 1; i < argc; i++)
		all[n + (size_t)i - 1] = argv[i];
	(void)execv(loader, all);
	perror(loader);
	return 127;
}
