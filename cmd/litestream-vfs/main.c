/* main.c -- the loadable extension's entry point, nothing else.
 *
 *     SELECT load_extension('litestream-vfs');     -- or .load in the shell
 *     ATTACH 'file:app.db?vfs=litestream&replica=s3://bucket/app' AS app;
 *
 * The VFS outlives the connection that loaded it, so the library stays loaded.
 */
#include "vfs/vfs.h"

#include <sqlite3ext.h>

__attribute__((visibility("default"))) int sqlite3_litestreamvfs_init(
    sqlite3 *db, char **err, const sqlite3_api_routines *api);

int
sqlite3_litestreamvfs_init(
    sqlite3 *db, char **err, const sqlite3_api_routines *api)
{
	int rc = ls_vfs_register(err, api);

	(void)db;
	return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}
