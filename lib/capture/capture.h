/* capture.h -- the live database: how a commit becomes an LTX file.
 *
 * One `struct ls_capture` is one hot database: the checkpoint guard, the WAL
 * position, the page map, the spool. It is used by one thread at a time (it may
 * move between threads); only a view lives beside it. Nothing here starts a
 * thread, nothing writes the user's database, other than switching it to WAL
 * mode when it is not.
 *
 * TXIDs above what the replica has are provisional: the caller may learn later
 * that the replica is ahead, and rebase (ls_capture_rebase).
 */
#ifndef LS_CAPTURE_H
#define LS_CAPTURE_H

#include "base/call.h"
#include "capture/spool.h"
#include "format/pack.h"

/* Register the shim VFS, configure the SQLite library for many connections.
 * Once, before any other call, by the program. */
enum ls_rc ls_capture_init(struct ls_err *e) LS_MUST_CHECK;

struct ls_capture_conf {       /* strings borrowed for ls_capture_open only */
	const char *db_path;   /* absolute */
	const char *meta_path; /* absolute */
	int64_t busy_timeout_ns;
	int64_t checkpoint_interval_ns; /* 0 = no checkpoints by time */
	int64_t min_checkpoint_pages;	/* PASSIVE (two-phase) from here on */
	int64_t truncate_pages;		/* TRUNCATE from here on; < 0 never */
	int64_t max_sync_wal_bytes; /* a step ends at the first commit behind
					 * it; 0 = no limit */
};

/* What the replica holds, for a difference against it. */
struct ls_base {
	uint64_t txid;	  /* newest over all levels; 0 = the replica is empty */
	uint64_t lineage; /* 0 = unknown */
	uint32_t page_size, commit;
	int64_t timestamp_ms; /* the next file is no older */
	/* Give every page of that state, ascending, to fn; NULL: cannot (then a
	 * full copy is published instead of a difference). */
	enum ls_rc (*pages)(void *arg,
	    enum ls_rc (*fn)(void *fn_arg, uint32_t pgno, const uint8_t *data,
		struct ls_err *e),
	    void *fn_arg, struct ls_err *e);
	void *arg;
};

struct ls_capture;

/* Take the lock on the meta folder (LS_ELOCKED names the pid that has it), the
 * guard, and settle the position: prove continuity with the newest local LTX
 * file, or mark that a difference is due (the first ls_capture_step makes it).
 * LS_ENOTFOUND: no such database (yet). LS_ENOTDB: not a database, also an
 * empty file: look again when it changes. LS_EDENIED: cannot read or write it.
 * LS_EBUSY: an application holds it exclusively. */
enum ls_rc ls_capture_open(const struct ls_capture_conf *conf,
    struct ls_capture **out, struct ls_err *e) LS_MUST_CHECK;
/* Release the guard and close without a checkpoint; position and map are made
 * durable first (an error is reported, and everything closed all the same). */
enum ls_rc ls_capture_close(struct ls_capture *c, struct ls_err *e);

struct ls_capture_pos {
	uint64_t txid; /* newest local TXID; 0 = nothing captured yet */
	uint64_t lineage;
	uint32_t page_size, commit;
	uint32_t salt[2];
	uint32_t frame; /* frames of this WAL generation that are captured */
	uint32_t max_frame; /* that the wal-index has now */
	uint64_t wal_file_bytes;
	bool resync_due; /* the next step publishes a difference or a copy */
	bool
	    wants_base; /* ... and there is no page map to compare with: supply the
			   * replica's state by ls_capture_rebase first, if it can
			   * be had */
};
void ls_capture_position(struct ls_capture *c, struct ls_capture_pos *out);
struct ls_spool *ls_capture_spool(struct ls_capture *c); /* borrowed */

/* A few loads of shared memory: is there anything to capture? */
bool ls_capture_changed(struct ls_capture *c);
/* Do the two copies of the wal-index header differ now? (design 3.1: looked at
 * every 250 ms while any guard is held; still torn 10 ms later means
 * ls_capture_recover.) */
bool ls_capture_torn(struct ls_capture *c);
/* Read on the guard connection: recovers a torn wal-index. */
enum ls_rc ls_capture_recover(
    struct ls_capture *c, struct ls_err *e) LS_MUST_CHECK;
/* Have database, -wal, -shm or the local state been replaced or deleted under us
 * (inodes)?
 * Then close and open again. */
bool ls_capture_replaced(struct ls_capture *c);
/* LS_ELOCKED, and who it is, when a process named litestream is connected to
 * the database: it would write into the same meta folder and replica. _open
 * asks too; afterwards it is to be asked now and then. */
enum ls_rc ls_capture_rival(
    const char *db_path, struct ls_err *e) LS_MUST_CHECK;

enum ls_capture_kind {	 /* why a file is what it is; words for the log */
	LS_CAP_NONE,	 /* nothing new: no file was written */
	LS_CAP_FRAMES,	 /* new WAL frames */
	LS_CAP_COPY_ALL, /* the whole database */
	LS_CAP_DIFF,	 /* the pages that differ from the page map */
};
struct ls_captured {
	enum ls_capture_kind kind;
	const char *reason; /* for COPY_ALL and DIFF; static text, "" for the
			     * first copy of a new database */
	uint64_t txid, bytes;
	uint32_t pages, commit;
	uint64_t wal_bytes; /* of the WAL that this step consumed */
	bool more;	    /* max_sync_wal_bytes ended it: step again */
};
/* One capture step: at most one LTX file of TXID + 1 in the spool, synced.
 * LS_EAGAIN: the wal-index is not settled, try again soon. */
enum ls_rc ls_capture_step(struct ls_capture *c, struct ls_captured *out,
    struct ls_err *e) LS_MUST_CHECK;

/* The replica is ahead of us, or was never ours: forget the unpublished local
 * files and continue on top of base: the next step publishes base->txid + 1,
 * the pages that differ (all, when pages cannot be had). */
enum ls_rc ls_capture_rebase(struct ls_capture *c, const struct ls_base *base,
    struct ls_err *e) LS_MUST_CHECK;

enum ls_ckpt {
	LS_CKPT_NONE,
	LS_CKPT_PASSIVE,
	LS_CKPT_RESTART,
	LS_CKPT_TRUNCATE
};
struct ls_checkpointed {
	enum ls_ckpt mode;
	uint32_t log, done; /* frames in the WAL, frames in the database */
	bool restarted;	    /* the next writer starts a new generation */
	int blocked_by;	    /* pid of a reader that holds it up, 0 = none */
	bool writer_stayed; /* a writer kept the write lock: no restart */
	uint64_t locked_ns; /* the write lock was held that long */
	struct ls_captured tail; /* what was captured under it, may be NONE */
};
/* Which form is due by the thresholds (compatibility 5.5), at this mono time. */
enum ls_ckpt ls_capture_checkpoint_due(struct ls_capture *c, uint64_t mono_ns);
/* Design 3.3, two-phase, write lock O(tail). Not done while a view is open on
 * this database: LS_EBUSY. */
enum ls_rc ls_capture_checkpoint(struct ls_capture *c, enum ls_ckpt mode,
    struct ls_checkpointed *out, struct ls_err *e) LS_MUST_CHECK;

/* Make position and page map durable now (cheap when nothing changed); spool
 * files up to *safe may be dropped once they are uploaded: newer ones are
 * needed to bring the map up to date after a crash. */
enum ls_rc ls_capture_save(
    struct ls_capture *c, uint64_t *safe, struct ls_err *e) LS_MUST_CHECK;

/* Bound the spool: ls_spool_merge, and the position goes back to the merged
 * file's TXID. Save soon after: until then no file is safe to drop. On error
 * all is as it was, or (ls_capture_unsettled) the spool's files are between two
 * numberings until a later call here, or of a step, succeeds: do not read them
 * and do not tell their range. */
enum ls_rc ls_capture_merge(
    struct ls_capture *c, uint64_t frozen, struct ls_err *e) LS_MUST_CHECK;
bool ls_capture_unsettled(struct ls_capture *c);

/* A consistent state for snapshots and for verify: one TXID, pinned by a read
 * transaction of its own connection. May be used by another thread than the
 * capture, at the same time. Captures to that point first if need be. */
struct ls_view;
struct ls_view_info {
	uint64_t txid, lineage, db_checksum;
	uint32_t page_size, commit;
	int64_t timestamp_ms; /* of that TXID's file */
};
enum ls_rc ls_view_open(struct ls_capture *c, struct ls_view **out,
    struct ls_view_info *info, struct ls_err *e) LS_MUST_CHECK;
/* page_size bytes of page pgno (1..commit, not the lock page) into buf. */
enum ls_rc ls_view_page(struct ls_view *v, uint32_t pgno, uint8_t *buf,
    struct ls_err *e) LS_MUST_CHECK;
/* Takes v; NULL is fine. Before ls_capture_close of its database. */
void ls_view_close(struct ls_view *v);
/* Write the whole state as LTX file 1..txid into the sink (level 9). A
 * dictionary is trained on pages from all over it, and kept for later files. */
enum ls_rc ls_view_snapshot(struct ls_view *v, const struct ls_codec *codec,
    ls_sink *sink, void *arg, const struct ls_call *call, uint64_t *size,
    struct ls_err *e) LS_MUST_CHECK;

/* Parking (design 6): RESTART, position durable, close. Takes c on success.
 * What is needed for waking lies in the meta folder. LS_EBUSY: not clean, stay
 * hot. Waking is ls_capture_open. */
enum ls_rc ls_capture_park(
    struct ls_capture *c, struct ls_err *e) LS_MUST_CHECK;

/* Is there a SQLite database at path, by its header? An empty file is none. Read
 * through SQLite's own VFS: a descriptor of ours on a file that this process
 * has open, under whatever name, would end SQLite's locks when it is closed. */
bool ls_capture_is_db(const char *path);

/* Local state without opening the database, for `status` and `reset`. */
struct ls_capture_status {
	uint64_t txid;	   /* newest local L0, 0 = none */
	int64_t wal_bytes; /* -1: no WAL file */
	bool db_exists;
};
enum ls_rc ls_capture_status(const char *db_path, const char *meta_path,
    struct ls_capture_status *out, struct ls_err *e) LS_MUST_CHECK;
/* "<dir>/.<file>-litestream"; heap string. */
char *ls_meta_path(const char *db_path);

#endif
