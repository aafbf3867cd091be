/* shim.h -- a thin VFS ("ls-guard") over SQLite's own unix VFS.
 *
 * It changes three things for the connections of ours, and passes all else on:
 * the guard connection's WAL_CKPT_LOCK is sticky, its WAL_WRITE_LOCK can be
 * hooked during our own RESTART, and a reader tells which read mark and which
 * wal-index header its transaction got. Locking bytes, order and the meaning of
 * the slots: SQLite's wal.c (walformat.html, "locking"). */
#ifndef LS_SHIM_H
#define LS_SHIM_H

#include "base/err.h"
#include "format/wal.h"

#include <sqlite3.h>
#include <stdatomic.h>

enum ls_shim_role {
	LS_SHIM_GUARD,	/* CKPT lock sticky; the only one that recovers */
	LS_SHIM_READER, /* never recovers: SQLITE_LOCKED at once instead */
};

enum ls_shim_hook {   /* what the hook answers, under the write lock */
	LS_HOOK_GO,   /* all is captured: let SQLite go on */
	LS_HOOK_STOP, /* release the lock, make the checkpoint fail */
};

/* One connection's state. The owner of the connection owns it; it is attached
 * right after sqlite3_open_v2 and must outlive the connection. */
struct ls_shim {
	enum ls_shim_role role;
	/* First region of the mapped wal-index; NULL when not mapped. It may be
	 * read from any thread until the guard is closed. */
	_Atomic(volatile uint32_t *) index;
	bool held; /* the guard's CKPT lock */
	/* Reader: what its last BEGIN got. */
	int read_mark;
	uint8_t read_header[LS_WAL_INDEX_HEADER];
	/* Guard, only during its RESTART or TRUNCATE. */
	enum ls_shim_hook (*on_write)(void *arg);
	void *arg;
	uint64_t write_since; /* mono ns; 0 = not held under the hook */
	uint64_t write_held_ns;
};

enum ls_rc ls_shim_register(struct ls_err *e) LS_MUST_CHECK;
extern const char ls_shim_vfs[];

/* Borrow path; open read-write, no create, no mutex, no checkpoint on close,
 * no automatic checkpoint, no busy handler; shim attached. On error *db is
 * NULL. */
int ls_shim_open(const char *path, struct ls_shim *s, sqlite3 **db);
/* SQLite's handle of the database file, borrowed. */
sqlite3_file *ls_shim_file(sqlite3 *db);

/* Locks taken on the guard's connection past SQLite (SQLITE_OK, SQLITE_BUSY). */
int ls_shim_take_ckpt(sqlite3_file *f);
int ls_shim_take_write(sqlite3_file *f);
void ls_shim_give_write(sqlite3_file *f);

#endif
