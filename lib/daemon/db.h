/* db.h -- one database of the daemon: a record, two parts, two steps.
 *
 * THE LOCAL PART (cap) belongs to whoever runs the local step, THE REMOTE PART
 * (store, replica, up) to whoever runs the remote step. Each is lent to one
 * worker at a time (local_lent, remote_lent), so neither needs a lock and each
 * step reads top to bottom. Everything below the line "under d->mu" is what
 * the steps tell each other and the outside.
 */
#ifndef LS_DB_H
#define LS_DB_H

#include "base/log.h"
#include "base/sys.h"
#include "capture/capture.h"
#include "daemon/daemon.h"
#include "daemon/endpoint.h"
#include "daemon/pool.h"
#include "daemon/tally.h"
#include "daemon/timer.h"
#include "daemon/tree.h"
#include "daemon/watch.h"
#include "replica/maint.h"
#include "replica/replica.h"
#include "store/stats.h"

#include <pthread.h>
#include <sys/stat.h>

/* To be told whether a file was written since. */
struct ls_file_mark {
	int64_t mtime_ns; /* 0: there was none */
	int64_t size;
};

/* index.c: a record's place in the table of one of its names. */
struct ls_key {
	struct ls_key *next;
	uint32_t hash;
	int kind;
};
enum { LS_KEYS = 3 };
struct ls_index {
	struct ls_key **head;
	size_t slots, n;
};
enum { LS_CLAIMS = 512 };

/* Who asked for it: a reload touches only what the file named before. */
enum ls_origin { LS_FROM_CONFIG, LS_FROM_DIR, LS_FROM_API };

enum ls_timer_kind { LS_T_LOCAL, LS_T_REMOTE, LS_T_MAINT };
enum ls_goal { LS_GOAL_RUN, LS_GOAL_STOP };

struct ls_db {
	struct ls_daemon *d;
	struct ls_db_config conf;
	uint64_t number;  /* in d->db ascending, never used again */
	const char *name; /* base name of the database, for the log */
	struct ls_file_mark parked_wal; /* of the -wal when it was parked; the
					 * local part's while that is lent */
	char *file; /* what a link at conf.path leads to: -wal and -shm lie
		     * there; NULL: it is no link. Set under d->mu */

	/* the local part */
	struct ls_capture *cap;
	struct ls_work local_work;
	struct ls_log_limit local_limit;
	uint64_t safe; /* the saved page map holds the files up to it */
	_Atomic uint64_t local_failures; /* in a row; the other step reads it */
	uint64_t save_ns;		 /* mono time of the last save */
	bool looked;			 /* the first open was tried */
	bool first_logged;		 /* "no database found" was said */

	/* The remote part. These, and maint, are not there before the first use,
	 * nor while it rests (ls_db_forget_remote); whoever is lent a part
	 * makes them by ls_db_open_remote, and has them until it is back. */
	struct ls_store *store;
	struct ls_replica *replica;
	struct ls_uploader *up;
	struct ls_uploader_memo memo;	   /* of the uploader that was */
	struct ls_ltx_header *remote_head; /* of the replica's newest file,
					    * to be compared; or NULL */
	struct ls_work remote_work;
	struct ls_log_limit remote_limit;
	_Atomic uint64_t remote_failures;

	/* the upkeep part: whoever runs the upkeep step */
	struct ls_maint *maint;
	struct ls_zkeep *zkeep; /* NULL: LZ4 */
	struct ls_work maint_work;
	struct ls_log_limit maint_limit;
	int64_t level_due_ns[LS_CONFIG_LEVELS]; /* wall clock; 0 = none */
	uint64_t mend_ns; /* mono: no snapshot for a gap's sake before */
	uint64_t mend_wait_ns;
	int64_t retain_ns;    /* of the maint that was: ls_maint_retain_at */
	int64_t valid_due_ns; /* validation; wall clock, 0 = not known */
	/* Ends upkeep and snapshots when the database is to stop. */
	struct ls_cancel upkeep;

	/* a snapshot under way: view and its connection are the snapshot's */
	struct ls_view *view;
	struct ls_view_info view_info;
	struct ls_work snap_work;
	struct ls_log_limit snap_limit;
	struct ls_cancel snap_cancel; /* ends it */

	struct ls_endpoint *endpoint;
	struct ls_tally tally;	      /* has rules of its own */
	struct ls_req_stats requests; /* the store's, which outlives it */

	/* ---- under d->mu ----------------------------------------------- */
	struct ls_timer local_timer, remote_timer, maint_timer;
	bool local_lent, remote_lent, snap_lent, maint_lent;
	/* The timer is set for a level's boundary, or sooner: an upload need
	 * not set it. (Else it may be set for what is hours away.) */
	bool maint_comes;
	bool maint_forget;	    /* the replica's state was numbered anew */
	struct ls_view_info wrote;  /* a snapshot that upkeep must learn of */
	bool local_net, remote_net; /* by way of the endpoint: may talk to it */
	bool local_again, remote_again, maint_again; /* due while lent */
	bool upload_after;	  /* an upload waits for a capture */
	uint64_t remote_since_ns; /* lent since; mono */
	struct ls_log_limit slow_limit;
	bool watched, polled; /* its folder is; cannot be: by the clock */
	bool armed;	      /* the one-shot watch is, and unspent */
	bool returned;	      /* in d->returned: its watch is to be armed */
	struct ls_db *next_returned;
	bool hot;     /* cap is open: guard held */
	bool slot;    /* slots.c: may be open */
	bool evict;   /* ... and is to make room for another */
	bool crowded; /* in d->crowd: waits for a slot */
	struct ls_db *next_crowd;
	struct ls_db *hotter, *colder; /* in d->hot */
	uint64_t evict_after_ns;       /* mono: it could not be, before */
	bool stirred;		       /* an event came: look at inodes too */
	uint64_t rival_ns; /* when to look for another daemon again */
	uint64_t torn_ns;  /* the two header copies differ since then; 0 = no */
	bool recover;	   /* ... for too long: read on the guard */
	enum ls_goal goal;
	bool local_done,
	    remote_done;	    /* with LS_GOAL_STOP: final step is over */
	bool closed;		    /* ... and cap is closed */
	bool gave_up;		    /* ... though not all is at the replica */
	bool parked, fenced, stuck; /* stuck: an error only a person mends */
	bool exists;		/* the database was there when last looked */
	bool resync_wants_base; /* the next step needs the replica's pages */
	bool rebase;		/* local state must be put on top of base */
	bool snapshot;		/* a level-9 snapshot is due */
	bool snap_failed;	/* the last one did */
	bool snap_must;	 /* ... and a stop waits for it: it is asked for, or the
			 * chain has no beginning without it */
	bool snap_waits; /* pinned: its upload begins with its TXID's ack */
	bool snap_stale; /* pinned, and the TXIDs were numbered anew since */
	uint64_t snap_after_ns; /* mono: the last one failed, not before */
	/* With LS_GOAL_STOP: retention is to run when all is sent; it does
	 * now; it failed. */
	bool retain_wanted, retain_due, retain_failed;
	bool local_known;	 /* oldest, newest, lineage are true */
	bool remote_known;	 /* acked is true */
	uint64_t oldest, newest; /* TXIDs in the spool */
	uint64_t lineage;
	uint64_t acked; /* newest TXID that the replica has */
	/* db_spool.c: the newest TXID that may have been sent; frozen: with
	 * merging, the files behind it are being merged and must not be. */
	uint64_t sent, frozen;
	bool sent_known, listed, merging;
	/* mono time of an upload that showed that we are newest; 0 = none */
	uint64_t proved_ns;
	bool gone; /* what was acknowledged is not at the replica any more */
	bool
	    compare; /* remote_head is to be compared with our file of that TXID */
	bool diverged; /* ... and is another one */
	uint64_t remote_lineage;
	uint64_t local_gen;			/* local steps begun */
	int64_t local_began_ns, local_ended_ns; /* of the last; wall; 0 = not */
	uint64_t local_ended;	  /* gen of the last one that came to its end */
	uint64_t last_capture_ns; /* mono */
	uint64_t last_upload_ns;  /* mono time of the newest capture in it */
	uint64_t quiet_ns;	  /* mono time of the last captured change */
	int64_t last_sync_ns;	  /* wall */
	/* For the lag (tally.c), mono times. A change was seen that no step has
	 * begun to capture; that one does; it is not known since then whether
	 * all is at the replica. 0 = none. */
	uint64_t seen_ns, taking_ns, doubt_ns;
	struct ls_lag lag;
	uint64_t wal_bytes;
	struct ls_err *err; /* of the last failed step; NULL = none */
	bool err_heap;
	unsigned waiters; /* control requests that look at it */
	/* index.c */
	struct ls_key key[LS_KEYS];
	struct ls_db *next_claim;
	dev_t dev; /* of the file that is open */
	ino_t ino;
	bool claims;
	/* leave.c */
	enum ls_origin origin;
	struct ls_tree *tree; /* of the dir entry that it belongs to, or NULL */
	bool leaving;	      /* its record is to go */
	bool again;	      /* ... and its path to be looked at then */
	struct ls_db_config *successor; /* ... or begun with these settings */
	struct ls_db *next_leaving;
	uint64_t leave_deadline_ns;
};

struct ls_daemon {
	struct ls_config cfg; /* without databases */
	struct ls_daemon_opts opts;
	struct ls_pool *pool;
	struct ls_watch *watch;
	struct ls_net *net;
	struct ls_cancel cancel; /* ends every transfer */
	int wake_fd;
	int poll_fd;
	void (*poll_ready)(void *);
	void *poll_arg;
	void (*ready)(void *);
	void *ready_arg;
	void (*quiet)(void *);
	void *quiet_arg;
	int64_t started_ns;

	pthread_mutex_t mu;
	pthread_cond_t changed; /* any database's record changed */
	struct ls_timers timers;
	struct ls_db **db; /* ascending by number: ls_daemon_walk */
	size_t n, cap;
	uint64_t numbers; /* given so far */
	size_t hot_n;
	/* slots.c */
	size_t slots, slots_max; /* databases that are open, or may become so */
	size_t unlooked;	 /* that had no turn at opening yet */
	struct ls_db *hottest, *coldest;
	struct ls_db *crowd, **crowd_tail; /* who waits, in order */
	size_t crowd_n, evicting;
	struct ls_endpoint *endpoints;
	size_t endpoints_n;
	bool gave_up; /* the stop's deadline has passed */
	struct ls_index index;
	struct ls_db *claim[LS_CLAIMS];
	struct ls_db *leaving;
	uint64_t leave_look_ns;
	/* tree.c */
	struct ls_tree *trees;
	struct ls_look *looks, **looks_tail;
	size_t looks_n;
	uint64_t looks_due_ns;
	struct ls_work tree_work;
	bool tree_lent;
	size_t polled_n;
	bool poll_said;
	uint64_t poll_ns, sweep_ns; /* when those without a watch, and all that
				     * are parked, are looked at */
	struct ls_db *returned;	    /* records that workers gave back */
	size_t parkings;	    /* since quiet was called */
	uint64_t tick_ns;	    /* when the guards are looked at next */
	uint64_t tick_step_ns;	    /* ... and how long after that again */
	uint64_t slow_ns;	    /* when slow replicas are looked for next */
	uint64_t dog_ns;	    /* when the watchdog is told next */
	size_t remote_n;	    /* remote steps under way */
	bool suspending;
	bool stopping;
	uint64_t stop_ns, stop_deadline_ns, stop_turn_ns;
	int stop_calls;
	bool was_ready;
	bool over; /* the loop has ended: nothing changes any more */
};

/* ---- daemon.c ---- */
void ls_daemon_wake(struct ls_daemon *d);
/* Takes *conf; tree: it is one of its. mu held, or before the daemon runs.
 * LS_EEXISTS: it would share something with another. */
enum ls_rc ls_daemon_add(struct ls_daemon *d, struct ls_db_config *conf,
    struct ls_tree *tree, enum ls_origin from, struct ls_err *e) LS_MUST_CHECK;
/* Frees the record, which is closed, not lent and not looked at. mu held. */
void ls_daemon_remove(struct ls_db *db);
/* Is any part of it lent? mu held. */
bool ls_db_is_lent(const struct ls_db *db);

/* ---- index.c; mu held ---- */
void ls_index_fini(struct ls_index *x);
struct ls_db *ls_daemon_find(struct ls_daemon *d, const char *path);
enum ls_rc ls_index_add(
    struct ls_daemon *d, struct ls_db *db, struct ls_err *e) LS_MUST_CHECK;
/* Who has what these settings would need, or NULL. */
struct ls_db *ls_index_taken(
    struct ls_daemon *d, const struct ls_db_config *conf);
void ls_index_remove(struct ls_daemon *d, struct ls_db *db);
/* NULL: the file is db's to open, until ls_unclaim. Else who has it open. */
struct ls_db *ls_claim(struct ls_db *db, const struct stat *st);
void ls_unclaim(struct ls_db *db);

/* ---- leave.c; mu held ---- */
/* Stop replicating it and forget it, after its final sync. */
void ls_db_leave(struct ls_db *db);
void ls_leave_turn(struct ls_daemon *d, uint64_t now);

/* Call with d->mu held. Now or at due_ns, whichever is sooner. */
/* The record came back: its watch is to be armed again. mu held. */
void ls_db_returned(struct ls_db *db);
/* Frames were written whose commit is not in the wal-index yet: it comes without
 * an event, so look soon, then less and less often. mu held. */
void ls_daemon_look_often(struct ls_daemon *d);
/* Call fn for the databases behind number *after, at most max of them, in the
 * order of their numbers, and move *after on. False: there are no more. d->mu is
 * held while fn runs, and free between two calls, so that a long walk stops
 * nobody; a database that comes or goes meanwhile is met once or not at all. */
bool ls_daemon_walk(struct ls_daemon *d, uint64_t *after, size_t max,
    void (*fn)(void *arg, struct ls_db *db), void *arg);
void ls_db_due_local(struct ls_db *db, uint64_t due_ns);
void ls_db_due_remote(struct ls_db *db, uint64_t due_ns);
void ls_db_due_maint(struct ls_db *db, uint64_t due_ns);

/* ---- db.c ---- */
enum ls_rc ls_db_new(struct ls_daemon *d, struct ls_db_config *conf,
    struct ls_db **out, struct ls_err *e) LS_MUST_CHECK; /* takes *conf */
void ls_db_free(struct ls_db *db);
/* How levels 1 to 9 are written. */
struct ls_codec ls_db_codec(const struct ls_db *db);
const char *ls_db_file(const struct ls_db *db);
/* A step came to its end and the other side is well too: what failed before is
 * over, but for what the end has to tell. mu held. */
void ls_db_well(struct ls_db *db);
void ls_db_forget_error(struct ls_db *db); /* mu held */
/* Records an error of a step, logs it at most every 30 s; mu not held. */
void ls_db_failed(struct ls_db *db, struct ls_log_limit *l, const char *what,
    const struct ls_err *e);
const char *ls_db_state(const struct ls_db *db); /* mu held */
/* Why it is in error, or ""; borrowed, mu held. */
const char *ls_db_why(const struct ls_db *db);
/* For how long the oldest commit waits that is not at the replica; 0: none
 * does. mu held. */
uint64_t ls_db_lag_ns(struct ls_db *db, uint64_t now);
/* 1 s, 2 s, 4 s ... of base, at most 15 s. */
uint64_t ls_db_backoff(uint64_t base_ns, uint64_t failures);
/* Make store, replica and uploader when they are not there; no request is made.
 */
enum ls_rc ls_db_open_remote(struct ls_db *db, struct ls_err *e) LS_MUST_CHECK;
/* Free them and the upkeep's memory of the replica, if the database rests and
 * no level waits for its time. mu held. */
bool ls_db_forget_remote(struct ls_db *db);

/* ---- slots.c: how many databases are open at once; mu held ---- */
void ls_slots_init(struct ls_daemon *d, size_t files);
/* May db's local step begin? False: it waits for its turn, and is started by
 * ls_slots_turn. */
bool ls_slot_take(struct ls_db *db);
/* Its local step is over: without an open database the slot is another's. */
void ls_slot_settle(struct ls_db *db);
/* It is open (again: something was captured). */
void ls_slot_hot(struct ls_db *db);
void ls_slot_cold(struct ls_db *db); /* it is closed */
void ls_slot_forget(struct ls_db *db);
/* Give free slots to those who wait, and make room for the others. */
void ls_slots_turn(struct ls_daemon *d, uint64_t now);
/* daemon.c */
void ls_daemon_start_local(struct ls_daemon *d, struct ls_db *db);

/* ---- the steps ---- */
void ls_db_local_step(struct ls_work *w);  /* db_local.c */
void ls_db_remote_step(struct ls_work *w); /* db_remote.c */
void ls_db_maint_step(struct ls_work *w);  /* db_maint.c */
enum ls_rc ls_db_rebase(struct ls_db *db,
    struct ls_err *e) LS_MUST_CHECK; /* db_rebase.c: in a local step */
/* db_rebase.c: with both sides known, must the local state be put on top of
 * the replica's? mu held; *why: static text. */
bool ls_db_must_rebase(const struct ls_db *db, const char **why);
/* Is all that was captured at the replica, and the replica ours? mu held. */
bool ls_db_is_stored(const struct ls_db *db);
/* Would its remote step send nothing? mu held. */
bool ls_db_nothing_to_send(const struct ls_db *db);
/* In a remote step, when compare is set. */
enum ls_rc ls_db_compare(struct ls_db *db, struct ls_err *e) LS_MUST_CHECK;
/* db_snapshot.c: pin a state (in a local step); its upload is a step of its own
 * on the remote lane, so that capture goes on meanwhile. */
enum ls_rc ls_db_snapshot_begin(
    struct ls_db *db, struct ls_err *e) LS_MUST_CHECK;
void ls_db_snapshot_step(struct ls_work *w);
/* Start the upload of a pinned state when it need not wait any longer. Call it
 * after each change of what it waits for. mu held. */
void ls_db_snapshot_go(struct ls_db *db);
/* The capture is to be closed: end the snapshot that reads through it. False:
 * there is none, and none begins before the caller's step is over. */
bool ls_db_snapshot_end(struct ls_db *db);
/* db_local.c: tell the record what the capture holds now. mu held. */
void ls_db_publish(struct ls_db *db);
/* Parked, stored and heard of no write since: its end needs no open. mu held.
 */
bool ls_db_sleeps(const struct ls_db *db);
/* Was the -wal written since the parking? Blocks for a stat. mu held. */
bool ls_db_woke(const struct ls_db *db);
/* db_spool.c, in a local step. Merge pending files when they are too many. */
enum ls_rc ls_db_bound_spool(struct ls_db *db, struct ls_err *e) LS_MUST_CHECK;
/* May another file be written? LS_ENOSPC: the disk's reserve is reached. */
enum ls_rc ls_db_room(struct ls_db *db, struct ls_err *e) LS_MUST_CHECK;

#endif
