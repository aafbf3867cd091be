/* internal.h -- what the files of lib/capture share. Not for other folders. */
#ifndef LS_CAPTURE_INTERNAL_H
#define LS_CAPTURE_INTERNAL_H

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "capture/capture.h"
#include "capture/guard.h"
#include "capture/pagemap.h"
#include "capture/posfile.h"

#include <stdatomic.h>

enum {
	LS_TAIL_MAX = 200, /* frames captured under the write lock, at first */
	LS_TAIL_MOST = 1000, /* ... when writers are faster than phase one */
	/* ... and when the WAL is at the emergency threshold: a writer of 250
	 * MB/s leaves 3,000 to 10,000 frames a round. */
	LS_TAIL_EMERGENCY = 16000,
	LS_WAKE_MAX = 1000, /* ... and when waking */
};

/* ---- WAL frames, scanned ------------------------------------------------ */

struct ls_winner { /* the newest frame of a page in a window of the WAL */
	uint32_t pgno, frame;
	uint64_t sum; /* ls_page_checksum */
};

struct ls_window { /* what to scan: frames from + 1 .. to */
	int fd;
	const struct ls_wal_header *wal;
	uint32_t from, to;
	uint32_t sum[2];     /* running checksum at from */
	uint32_t end_sum[2]; /* at to, by the wal-index */
	bool has_end_sum;
	uint32_t commit;    /* database size at from */
	uint64_t max_bytes; /* stop at the first commit behind it; 0 = none */
	bool collect;	    /* fill v */
};

struct ls_frames {	     /* the result; ls_frames_fini */
	struct ls_winner *v; /* pgno ascending, one a page, none above commit */
	size_t n, cap;
	uint8_t *buf; /* frames buf_first .. of the WAL, as last read */
	size_t buf_size;
	uint32_t buf_first, buf_n;
	uint32_t page_size;
	uint32_t frame; /* the last one taken: a commit */
	uint32_t sum[2];
	uint32_t commit, lowest; /* final and smallest size on the way */
	uint32_t unsummed;	 /* frames with zero salts and checksums */
};

/* LS_EGAP: the frames are not what was promised (or not there). */
enum ls_rc ls_frames_scan(struct ls_frames *f, const struct ls_window *w,
    struct ls_err *e) LS_MUST_CHECK;
/* The page of a frame, borrowed until the next call. */
enum ls_rc ls_frames_page(struct ls_frames *f, int fd, uint32_t frame,
    const uint8_t **page, struct ls_err *e) LS_MUST_CHECK;
void ls_frames_fini(struct ls_frames *f);
/* v must be of ascending pages: is every page of (lowest, commit] there? */
bool ls_winners_complete(const struct ls_winner *v, size_t n, uint32_t lowest,
    uint32_t commit, uint32_t page_size);
/* The WAL file's header. LS_EAGAIN: no whole and valid one there. */
enum ls_rc ls_wal_read_header(
    int fd, struct ls_wal_header *h, struct ls_err *e) LS_MUST_CHECK;
/* Header of a frame; LS_ESHORT past the end. */
enum ls_rc ls_wal_read_frame(int fd, uint32_t page_size, uint32_t frame,
    struct ls_wal_frame *f, struct ls_err *e) LS_MUST_CHECK;

/* ---- the capture --------------------------------------------------------- */

enum ls_due { LS_DUE_NONE, LS_DUE_DIFF, LS_DUE_COPY };

struct ls_inode {
	dev_t dev;
	ino_t ino;
	bool there;
};

/* holder.c: another process that holds up restarts by a read lock, and one
 * named litestream that is connected to the database; 0 none. */
int ls_shm_reader(const struct ls_inode *shm);
int ls_shm_rival(const struct ls_inode *shm);

struct ls_capture {
	struct ls_capture_conf conf; /* its strings are the ones below */
	char *db_path, *wal_path, *shm_path, *meta_path;
	int lock_fd;
	int wal_fd;
	struct ls_guard guard;
	struct ls_inode db_id, wal_id, shm_id;
	struct ls_spool *spool;
	struct ls_pagemap *map;
	struct ls_posrec pos; /* the live position */
	bool dirty;	      /* pos or map are newer than their files */
	bool lazy;	      /* sync later: repeated rounds of a checkpoint */
	bool unsynced;	      /* the newest spool file is not synced */
	bool saved;	      /* the record on disk is usable */
	bool relabelled; /* the saved map's TXID is of files that are gone */
	enum ls_due due;
	const char *reason; /* of due, static text */
	bool wants_base;
	bool map_due; /* the position is proven, the map is missing */
	/* A checkpoint may have backfilled all up to pos.frame: the next writer
	 * may begin a new generation. Otherwise a new salt is a surprise. */
	bool may_restart;
	bool unsummed; /* zero-salt frames lie in the WAL: empty it */
	atomic_int views;
	/* Modification time of the database file as we left it: nobody else may
	 * checkpoint. in_vain: another time, and no page differed. */
	int64_t db_mtime_ns;
	unsigned in_vain;
	/* checkpoints */
	bool captured_since; /* ... the last checkpoint */
	uint64_t last_ckpt_ns;
	uint32_t reset_salt[2]; /* restarted up to here: nothing is in the */
	uint32_t reset_frame;	/* WAL as long as pos is still this */
	bool reset;
	uint64_t retry_ns; /* not before, after readers blocked it */
	unsigned blocked;
	struct ls_log_limit unsummed_log;
};

void ls_due_set(struct ls_capture *c, enum ls_due due, const char *reason);
/* Capture up to a header (NULL: the index as it is now). Under the write lock:
 * at most `tail` frames (LS_ERANGE beyond), header read once, file unsynced;
 * 0: not locked, no such limit. LS_EAGAIN, LS_EGAP (the caller marks it). */
enum ls_rc ls_step_frames(struct ls_capture *c, const struct ls_wal_index *upto,
    uint32_t tail, struct ls_captured *out, struct ls_err *e) LS_MUST_CHECK;
/* Make the due difference or copy. */
enum ls_rc ls_resync(struct ls_capture *c, struct ls_captured *out,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_map_rebuild(struct ls_capture *c, struct ls_err *e) LS_MUST_CHECK;
/* Settle the position at open: position.c. */
enum ls_rc ls_settle(struct ls_capture *c, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_capture_flush(struct ls_capture *c,
    struct ls_err *e) LS_MUST_CHECK; /* sync the spool if need be */

/* Carry out a merge that was decided: before a TXID is taken or told. */
enum ls_rc ls_capture_settle_merge(
    struct ls_capture *c, struct ls_err *e) LS_MUST_CHECK;

/* One L0 file of pos.txid + 1: pages come from page(arg, i). On success pos
 * and map are as `next` and v say; on error nothing has changed. */
struct ls_l0 {
	struct ls_posrec next; /* txid, db_checksum are filled here */
	int64_t wal_offset, wal_size;
	struct ls_winner *v;
	size_t n;
	enum ls_rc (*page)(void *arg, const struct ls_winner *w,
	    const uint8_t **page, struct ls_err *e);
	void *arg;
	bool sync;
};
enum ls_rc ls_l0_write(struct ls_capture *c, struct ls_l0 *f, uint64_t *bytes,
    struct ls_err *e) LS_MUST_CHECK;
/* Header of the next L0 file, as `next` has it. */
void ls_l0_header(
    struct ls_capture *c, const struct ls_l0 *f, struct ls_ltx_header *h);
uint64_t ls_random64(void); /* never 0 */
int64_t ls_mtime_ns(const char *path);

/* ---- views ---------------------------------------------------------------- */

struct ls_view {
	struct ls_capture *c; /* for the count only, once open */
	struct ls_shim shim;
	sqlite3 *db;
	sqlite3_file *file;
	int wal_fd;
	bool counted;
	struct ls_wal_index h; /* exactly what the transaction sees */
	int mark;
	uint64_t *frames; /* pgno << 32 | frame, ascending; mark > 0 */
	size_t nframes;
	uint32_t page_size, commit;
	struct ls_view_info info;
	uint8_t *block; /* pages of the file: block_first .. */
	uint32_t block_pages, block_first, block_n, last;
};

/* Begin a transaction (recovering when needed), without a label. v: zeroed
 * but for nothing; fini also after an error. */
enum ls_rc ls_view_begin(
    struct ls_view *v, struct ls_capture *c, struct ls_err *e) LS_MUST_CHECK;
/* Capture up to the view's header; fills info. LS_EAGAIN: cannot be now. */
enum ls_rc ls_view_label(
    struct ls_view *v, struct ls_capture *c, struct ls_err *e) LS_MUST_CHECK;
/* Find the pages: needed before ls_view_ref. */
enum ls_rc ls_view_map(struct ls_view *v, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_view_ref(struct ls_view *v, uint32_t pgno, const uint8_t **page,
    struct ls_err *e) LS_MUST_CHECK;
void ls_view_fini(struct ls_view *v);
/* Is this header exactly the captured position? */
bool ls_at_position(const struct ls_capture *c, const struct ls_wal_index *h);

#endif
