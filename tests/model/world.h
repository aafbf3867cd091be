/* world.h -- a small world: one database in WAL mode, one application, one
 * daemon, in a struct that can be copied, hashed and compared.
 *
 * wal.c (SQLite 3.40.1) is the source of what SQLite does here, lib/capture of
 * what the daemon does. A step of the model is a piece that nobody else can
 * look into: it ends where a lock changes hands or shared memory is written.
 */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stdint.h>

enum { PAGES = 3, SLOTS = 5, NOBODY = 0xff };

struct frame { /* in the WAL file; salt 0 and size != 0: SQLite's bug */
	uint32_t sum;
	uint16_t salt;			 /* salt-1 << 8 | salt-2 */
	uint8_t page, size, val, pad[3]; /* size: 0 = no commit */
};

struct wal {
	struct frame f[SLOTS]; /* zeros behind n */
	uint16_t salt;	       /* of the file's header, 0 = none there */
	uint8_t n, pad;	       /* frames that fit into the file's size */
};

struct header { /* of the wal-index, one copy */
	uint32_t sum;
	uint16_t salt;
	uint8_t mx, pad;
};

struct state { /* of a database: what a reader sees; 0 above size */
	uint8_t val[PAGES], size;
};

struct pos { /* struct ls_posrec */
	uint32_t sum;
	uint16_t salt;
	uint8_t n, filed;
};

struct spool { /* the published state, and the newest file that led to it */
	uint32_t sum; /* running checksum at `to` */
	struct state img;
	uint16_t salt;
	uint8_t from, to;
	uint8_t win[PAGES]; /* its pages, 0 = not in it */
	bool fits;	    /* the record on disk is of this very file */
	bool sums;	    /* the header says `sum` */
	uint8_t pad[3];
};

enum writer { W_IDLE, W_BEGUN, W_WRITTEN, W_HALF };
enum lock { FREE, APP, DAEMON };
enum daemon {
	D_OFF,	   /* parked, stopped, killed */
	D_FIRM,	   /* guard taken, ground to be found */
	D_PROVE,   /* proof without the write lock */
	D_HOT,	   /* between steps */
	D_CAPTURE, /* header read, frames not yet */
	D_LABEL,   /* checkpoint: pinned */
	D_PASSIVE, /* ... captured to the pin and synced */
	D_RESTART, /* ... phase two */
	D_FLUSH,   /* ... tail not synced */
};

struct world {
	struct wal wal, disk; /* as processes see it; after a power failure */
	struct header idx[2]; /* [1] is written first */
	struct state db;      /* the database file */
	uint8_t backfilled, reader /* its mark or NOBODY */, lock, guard;
	/* the writer */
	uint32_t w_sum;
	uint16_t w_salt;
	uint8_t w, w_mx, w_kind, w_left, w_mine /* restarted by itself */,
	    salts_drawn;
	/* the daemon */
	struct spool live, synced;
	struct pos pos, rec;
	struct header h;   /* as it was read */
	struct state seen; /* what a reader would have seen just then */
	uint8_t rec_size, has_rec, d, due, may_restart, pin, park, quiet;
	uint8_t db_written; /* since the record */
	uint8_t rec_ahead;  /* the record names the next file's TXID */
	/* what may still happen */
	uint8_t commits, crashes, powers, kills, app_ckpts, ckpts, closes,
	    limits, bugs;
};

/* How much of what may happen; and the rules, by mutation name. */
struct bounds {
	const char *name;
	uint8_t commits, crashes, powers, kills, app_ckpts, ckpts, closes,
	    limits, bugs; /* bugs: unsummed frames */
	bool reader, redraw, pairs, resize;
	bool atomic; /* a transaction is one step; the last page is idle */
	uint8_t slots, pages;
};
extern const struct bounds *bounds;

#define RULES(X)                                    \
	X(ckpt_lock, "ckpt-lock")                   \
	X(locked_not_busy, "locked-not-busy")       \
	X(tail_in_hook, "tail-capture-in-hook")     \
	X(header_in_hook, "header-check-in-hook")   \
	X(mxframe, "mxframe-not-scan")              \
	X(zero_salts, "zero-salts-are-commits")     \
	X(shrink, "drop-above-a-shrink")            \
	X(pin, "pin-in-phase-one")                  \
	X(below, "index-below-position")            \
	X(frame_n, "proof-frame-n")                 \
	X(next_frame, "proof2-frame-check")         \
	X(next_older, "proof2-next-frame-is-older") \
	X(next_salt, "proof2-salt-plus-one")        \
	X(unwritten, "proof2-database-unwritten")   \
	X(filed, "proof-n0-header-in-file")         \
	X(file_sum, "file-names-its-checksum")      \
	X(wake_lock, "write-lock-while-unpinned")   \
	X(sync_first, "sync-before-position")       \
	X(record_names, "record-names-its-file")    \
	X(no_truncate, "restart-not-truncate-when-parking")
struct rules {
#define X(id, text) bool id;
	RULES(X)
#undef X
};
extern struct rules rules; /* all true, but for a mutation */

/* search.c: a successor; and what must not be. */
void emit(const struct world *next, const char *step);
void violation(const char *what);

/* sqlite.c */
bool torn(const struct world *w);
uint32_t chain(uint32_t sum, const struct frame *f, uint16_t salt);
uint32_t first_sum(uint16_t salt);
struct state overlay(
    struct state s, const struct wal *wal, unsigned from, unsigned to);
struct state logical(const struct world *w, const struct header *h);
void recover(struct world *w);
/* Up to mxFrame, or as far as readers let it. */
void backfill(struct world *w);
uint16_t next_salt(struct world *w, uint16_t salt);
void empty_wal(struct world *w);
bool pinned_mark(const struct world *w); /* anybody on a mark above 0 */
void application(const struct world *w);

/* daemon.c */
void daemon_steps(const struct world *w);
/* The daemon's side of a power failure; unsynced files survive or not. */
void daemon_power(struct world *w, bool survives);
void check(const struct world *w);

#endif
