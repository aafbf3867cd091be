/* refused.h -- a database that could not be opened, until SQLite was told why.
 * Inside lib/vfs. */
#ifndef LS_VFS_REFUSED_H
#define LS_VFS_REFUSED_H

#include <sqlite3ext.h>

/* Make f a file that can only be closed. Takes why, a text of sqlite3_mprintf;
 * NULL: no memory. Gives what xOpen returns. f has room for two pointers more
 * than sqlite3_file. */
int ls_refused_open(sqlite3_file *f, char *why);
/* Why the main database of db is such a file; NULL when it is none. Lives as
 * long as the file. */
const char *ls_refused_why(sqlite3 *db);

#endif
