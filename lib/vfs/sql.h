/* sql.h -- PRAGMAs and SQL functions, and where errors go. Inside lib/vfs. */
#ifndef LS_VFS_SQL_H
#define LS_VFS_SQL_H

#include "vfs/reader.h"

#include <sqlite3ext.h>

/* Answer a PRAGMA (SQLITE_FCNTL_PRAGMA). SQLITE_NOTFOUND: not one of ours. */
int ls_sql_pragma(struct ls_reader *r, char **arg);
/* The reader behind a schema of a connection; NULL when it is another VFS's. */
struct ls_reader *ls_vfs_reader_of(sqlite3 *db, const char *schema);
/* Add the functions to a connection whose main database is ours; say why it
 * could not be opened. The shape of an automatic extension. */
int ls_sql_auto(
    sqlite3 *db, char **err, const struct sqlite3_api_routines *api);
/* SQLite's code for an error, after its text went to sqlite3_log. */
int ls_sql_code(
    const char *what, enum ls_rc rc, const struct ls_err *e, int otherwise);
/* What a user is told of an error; of sqlite3_mprintf, NULL: no memory. */
char *ls_sql_text(const struct ls_err *e);
/* Records of lib/ to sqlite3_log, or LITESTREAM_LOG_FILE. */
void ls_sql_log_start(void);

#endif
