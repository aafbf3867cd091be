/* speedtest.c -- SQLite's speedtest1 with an extension loaded first, since it
 * can name a VFS but not load one. Compiled by test_speedtest.py together with
 * speedtest1.c, whose main() is speedtest1_main() then.
 *
 *     speedtest EXTENSION|- [speedtest1's options and database] */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

int speedtest1_main(int argc, char **argv);

static int
load(const char *path)
{
	sqlite3 *db = NULL;
	char *err = NULL;
	int rc = sqlite3_open(":memory:", &db);

	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(
		    db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_load_extension(
		    db, path, "sqlite3_litestreamvfs_init", &err);
	if (rc != SQLITE_OK)
		(void)fprintf(stderr, "%s: %s\n", path, err ? err : "no");
	(void)sqlite3_close(db);
	return rc;
}

int
main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "-") != 0 && load(argv[1]) != SQLITE_OK)
		return 1;
	argv[1] = argv[0];
	return speedtest1_main(argc - 1, argv + 1);
}
