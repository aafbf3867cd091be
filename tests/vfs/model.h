/* model.h -- the writable VFS and a plain local database, given the very same
 * statements; inside tests/vfs. model.c says what is compared. */
#ifndef VFS_MODEL_H
#define VFS_MODEL_H

#include "base/err.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* ---- chance ---------------------------------------------------------------*/

struct chance {
	uint64_t s;
};
uint64_t chance(struct chance *c);
/* 0 .. n - 1 */
static inline unsigned
pick(struct chance *c, unsigned n)
{
	return (unsigned)(chance(c) % n);
}

/* ---- what to do next -------------------------------------------------------*/

enum { SQL_MAX = 700, CONNS_MAX = 4, PATH_MAX_LEN = 400 };

struct gen_state { /* of the connection that is next */
	bool in_tx, big;
	int savepoints;
};
/* One statement of any kind. */
void gen_sql(
    struct chance *c, const struct gen_state *s, char sql[static SQL_MAX]);
/* The tables, indexes, triggers, ... that a run begins with. */
extern const char *const gen_schema[];

/* ---- two worlds ------------------------------------------------------------*/

struct answer { /* of one statement */
	int rc; /* without its extension */
	uint64_t hash;
	int rows;
	sqlite3_int64 rowid, changes;
	char err[300];
};

struct world {
	const char *name;
	char uri[2 * PATH_MAX_LEN];
	int n;
	sqlite3 *db[CONNS_MAX];
	sqlite3_stmt *cursor[CONNS_MAX];
};
/* Register the VFS that this program is linked with; once. */
void register_vfs(void);
/* Says what is wrong, with the seed and the step, and ends the program. */
_Noreturn void model_fail(const char *fmt, ...) LS_PRINTF(1, 2);
void world_open(struct world *w, int i);
void world_close(struct world *w, int i);
/* Run it all; hash of all values of all rows. */
void world_run(struct world *w, int i, const char *sql, struct answer *a);
/* Open a statement that stays open, or take up to n rows of it. */
void world_cursor(struct world *w, int i, const char *sql, struct answer *a);
void world_fetch(struct world *w, int i, int n, struct answer *a);
/* Write into a blob by sqlite3_blob_write. */
void world_blob(struct world *w, int i, const char *table, sqlite3_int64 id,
    unsigned seed, struct answer *a);
/* Run on one connection; anything but SQLITE_OK fails. */
void must(sqlite3 *db, const char *sql);
sqlite3_int64 number(sqlite3 *db, const char *sql);
/* Of every table's content, in one transaction. */
uint64_t content(sqlite3 *db);
void must_be_whole(sqlite3 *db, const char *what);

#endif
