/* model_world.c -- one of the two worlds: connections, answers, content. */
#include "model.h"

#include "vfs/vfs.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- chance -----------------------------------------------------------------*/

uint64_t
chance(struct chance *c)
{
	uint64_t z = (c->s += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* ---- rnd(seed, n): n bytes that the seed decides --------------------------*/

static void
fill(uint64_t seed, unsigned char *p, size_t n)
{
	struct chance c = { seed };

	for (size_t i = 0; i < n; i++) /* half of it repeats: as data does */
		p[i] =
		    i % 64 < 32 ? (unsigned char)chance(&c) : (unsigned char)i;
}

static void
fn_rnd(sqlite3_context *ctx, int argc, sqlite3_value **v)
{
	sqlite3_int64 n = sqlite3_value_int64(v[1]);
	unsigned char *p = sqlite3_malloc64((sqlite3_uint64)n + 1);

	(void)argc;
	if (p == NULL) {
		sqlite3_result_error_nomem(ctx);
		return;
	}
	fill((uint64_t)sqlite3_value_int64(v[0]), p, (size_t)n);
	sqlite3_result_blob64(ctx, p, (sqlite3_uint64)n, sqlite3_free);
}

/* ---- connections -----------------------------------------------------------*/

static int
init_vfs(sqlite3 *db, char **err, const struct sqlite3_api_routines *api)
{
	(void)db;
	return ls_vfs_register(err, api);
}

/* An automatic extension is how a program gets at the API table without
 * loading a file. */
void
register_vfs(void)
{
	void (*init)(void) = (void (*)(void))init_vfs;
	sqlite3 *db;

	if (sqlite3_auto_extension(init) != SQLITE_OK ||
	    sqlite3_open(":memory:", &db) != SQLITE_OK ||
	    sqlite3_vfs_find("litestream") == NULL)
		model_fail("cannot register the VFS");
	(void)sqlite3_cancel_auto_extension(init);
	(void)sqlite3_close(db);
}

void
must(sqlite3 *db, const char *sql)
{
	char *err = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &err) != SQLITE_OK)
		model_fail("%s: %s", sql, err ? err : "no memory");
}

sqlite3_int64
number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st = NULL;
	sqlite3_int64 n = 0;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		model_fail("%s: %s", sql, sqlite3_errmsg(db));
	n = sqlite3_column_int64(st, 0);
	(void)sqlite3_finalize(st);
	return n;
}

void
world_open(struct world *w, int i)
{
	int flags =
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI;
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(w->uri, &db, flags, NULL) != SQLITE_OK)
		model_fail("%s: open %s: %s", w->name, w->uri,
		    db ? sqlite3_errmsg(db) : "no memory");
	(void)sqlite3_extended_result_codes(db, 1);
	if (sqlite3_create_function(db, "rnd", 2,
		SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
		fn_rnd, NULL, NULL) != SQLITE_OK)
		model_fail("%s", sqlite3_errmsg(db));
	must(db, "PRAGMA foreign_keys=1");
	w->db[i] = db;
}

void
world_close(struct world *w, int i)
{
	(void)sqlite3_finalize(w->cursor[i]);
	w->cursor[i] = NULL;
	if (sqlite3_close(w->db[i]) != SQLITE_OK)
		model_fail("%s: close: %s", w->name, sqlite3_errmsg(w->db[i]));
	w->db[i] = NULL;
}

/* ---- answers ---------------------------------------------------------------*/

static uint64_t
mix(uint64_t h, const void *p, size_t n)
{
	const unsigned char *b = p;

	for (; n >= 8; n -= 8, b += 8) {
		uint64_t x;

		memcpy(&x, b, 8);
		h = (h ^ x) * 0x9fb21c651e98df25u;
		h ^= h >> 32;
	}
	for (; n > 0; n--, b++)
		h = (h ^ *b) * 0x100000001b3u;
	return h ^ (h >> 29);
}

static uint64_t
mix_row(uint64_t h, sqlite3_stmt *st)
{
	for (int i = 0; i < sqlite3_column_count(st); i++) {
		int type = sqlite3_column_type(st, i);
		const void *p =
		    type == SQLITE_NULL ? NULL : sqlite3_column_blob(st, i);
		size_t n = (size_t)sqlite3_column_bytes(st, i);

		h = mix(h, &type, sizeof type);
		h = mix(h, &n, sizeof n);
		if (p != NULL)
			h = mix(h, p, n);
	}
	return h;
}

static void
note(struct answer *a, sqlite3 *db, int rc)
{
	a->rc = rc & 0xff;
	if (a->rc != SQLITE_OK && a->rc != SQLITE_DONE && a->rc != SQLITE_ROW)
		(void)snprintf(a->err, sizeof a->err, "%s (%d)",
		    sqlite3_errmsg(db), sqlite3_extended_errcode(db));
	a->rowid = sqlite3_last_insert_rowid(db);
	a->changes = sqlite3_total_changes(db);
}

void
world_run(struct world *w, int i, const char *sql, struct answer *a)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(w->db[i], sql, -1, &st, NULL);

	*a = (struct answer){ 0 };
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
			a->hash = mix_row(a->hash, st);
			a->rows++;
		}
	note(a, w->db[i], rc);
	(void)sqlite3_finalize(st);
}

void
world_cursor(struct world *w, int i, const char *sql, struct answer *a)
{
	int rc;

	*a = (struct answer){ 0 };
	(void)sqlite3_finalize(w->cursor[i]);
	w->cursor[i] = NULL;
	rc = sqlite3_prepare_v2(w->db[i], sql, -1, &w->cursor[i], NULL);
	note(a, w->db[i], rc);
}

void
world_fetch(struct world *w, int i, int n, struct answer *a)
{
	int rc = SQLITE_DONE;

	*a = (struct answer){ 0 };
	while (n-- > 0 && (rc = sqlite3_step(w->cursor[i])) == SQLITE_ROW) {
		a->hash = mix_row(a->hash, w->cursor[i]);
		a->rows++;
	}
	note(a, w->db[i], rc);
	if (rc != SQLITE_ROW) {
		(void)sqlite3_finalize(w->cursor[i]);
		w->cursor[i] = NULL;
	}
}

void
world_blob(struct world *w, int i, const char *table, sqlite3_int64 id,
    unsigned seed, struct answer *a)
{
	unsigned char buf[3000];
	sqlite3_blob *b = NULL;
	int rc, n, end;

	*a = (struct answer){ 0 };
	rc = sqlite3_blob_open(w->db[i], "main", table, "b", id, 1, &b);
	if (rc == SQLITE_OK) {
		n = sqlite3_blob_bytes(b);
		a->rows = n;
		n = n < (int)sizeof buf ? n : (int)sizeof buf;
		fill(seed, buf, sizeof buf);
		rc = sqlite3_blob_write(b, buf, n, 0);
		end = sqlite3_blob_close(b); /* commits: the error is here */
		rc = rc == SQLITE_OK ? end : rc;
	}
	note(a, w->db[i], rc);
}

/* ---- content ---------------------------------------------------------------*/

static uint64_t
hash_of(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st = NULL;
	uint64_t h = 7;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(st)) == SQLITE_ROW)
			h = mix_row(h, st);
	if (rc != SQLITE_DONE)
		model_fail("%s: %s", sql, sqlite3_errmsg(db));
	(void)sqlite3_finalize(st);
	return h;
}

uint64_t
content(sqlite3 *db)
{
	sqlite3_stmt *st = NULL;
	uint64_t h;
	bool own = sqlite3_get_autocommit(db) != 0;
	char *sql;

	if (own)
		must(db, "BEGIN");
	h = hash_of(db, "SELECT * FROM sqlite_schema");
	if (sqlite3_prepare_v2(db,
		"SELECT name FROM sqlite_schema WHERE type='table' AND "
		"rootpage>0 ORDER BY name",
		-1, &st, NULL) != SQLITE_OK)
		model_fail("%s", sqlite3_errmsg(db));
	while (sqlite3_step(st) == SQLITE_ROW) {
		sql = sqlite3_mprintf(
		    "SELECT * FROM \"%w\"", sqlite3_column_text(st, 0));
		h = h * 31 + hash_of(db, sql);
		sqlite3_free(sql);
	}
	(void)sqlite3_finalize(st);
	h = h * 31 + (uint64_t)number(db, "PRAGMA user_version");
	h = h * 31 + (uint64_t)number(db, "PRAGMA application_id");
	if (own)
		must(db, "COMMIT");
	return h;
}

void
must_be_whole(sqlite3 *db, const char *what)
{
	sqlite3_stmt *st = NULL;

	if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL) !=
		SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		model_fail("%s: integrity_check: %s", what, sqlite3_errmsg(db));
	if (strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
		model_fail("%s: %s", what, sqlite3_column_text(st, 0));
	(void)sqlite3_finalize(st);
}
