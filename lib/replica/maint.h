/* maint.h -- what the daemon does with one replica besides uploading: compact,
 * snapshot, retain. One handle a database, one thread at a time; it remembers
 * what is stored, so that an idle or busy database is listed only at start,
 * after an error, and to delete. About 600 bytes. When to call: the caller's.
 *
 * Every call takes `newest`: the largest TXID that can be there by our own doing
 * (what was acknowledged, or is being put). Above it: LS_EFENCED, and the
 * caller stops as after a fenced put. */
#ifndef LS_MAINT_H
#define LS_MAINT_H

#include "replica/retain.h"

struct ls_maint_conf {
	int n_levels; /* L1..Ln */
	int64_t snapshot_interval_ns, snapshot_retention_ns;
	int64_t l0_retention_ns;
	bool retention_enabled; /* false: nothing is deleted */
	bool verify_compaction;
	const struct ls_par *par; /* kept; NULL: serial */
	unsigned parallelism;
	ls_local_fn *local; /* see compact.h; or NULL */
	void *local_arg;
	ls_newest_fn *newest_now; /* see compact.h; NULL: nothing is uploaded
				   * while a call runs */
	void *newest_arg;
	struct ls_codec codec; /* of levels 1 to 9 */
};

struct ls_maint;
/* Keeps r, copies conf. No request is made. */
enum ls_rc ls_maint_new(struct ls_replica *r, const struct ls_maint_conf *conf,
    struct ls_maint **out, struct ls_err *e) LS_MUST_CHECK;
void ls_maint_free(struct ls_maint *m);
/* Forget what is stored: after a fence was lifted, or a rebase. */
void ls_maint_forget(struct ls_maint *m);

/* The fencing check where no recent acknowledgement proves that we are newest
 * (ls_uploader_proved): list all levels behind what is known. Before compacting
 * or a snapshot; ls_maint_retain does it itself. */
enum ls_rc ls_maint_check(struct ls_maint *m, uint64_t newest,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

/* Would ls_maint_compact(level) have something to do? No request; true when it
 * is not known. */
bool ls_maint_compact_due(const struct ls_maint *m, int level, uint64_t newest);
/* ls_compact to a level 1..n_levels. newest is what level 0 has, durable. */
enum ls_rc ls_maint_compact(struct ls_maint *m, int level, uint64_t newest,
    struct ls_compacted *out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

/* One turn of the levels, lowest first: those whose boundary has passed are
 * compacted. A boundary is a multiple of the interval since the epoch, as
 * upstream's. */
struct ls_maint_turn {
	const int64_t *every_ns; /* of L1..Ln */
	int64_t *due_ns;	 /* kept between turns; wall clock, 0 = none */
	uint64_t newest;
	int64_t now_ns; /* wall clock */
	bool proved;	/* nobody is newer; ls_maint_check makes it so */
	/* A level is due by its newest file's time, not by when we first looked:
	 * for those who rarely live to see a boundary. Lists it, the first time. */
	bool by_file;
	int64_t next_ns; /* out: when to come again, 0 = never */
	bool levels;	 /* out: a level waits for its boundary */
	void (*made)(void *arg, int level, const struct ls_compacted *got);
	void *arg;
};
void ls_maint_again_at(struct ls_maint_turn *t, int64_t wall_ns);
enum ls_rc ls_maint_levels(struct ls_maint *m, struct ls_maint_turn *t,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* ls_maint_check, unless t->proved. */
enum ls_rc ls_maint_prove(struct ls_maint *m, struct ls_maint_turn *t,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

/* Is a level-9 file due: something was stored since the newest full copy, and
 * a boundary of the interval (upstream's: multiples of it since the epoch) has
 * passed since? *next_ns: when to ask again (wall clock); 0: after the next
 * upload. Lists level 9 when it is not known. */
enum ls_rc ls_maint_snapshot_due(struct ls_maint *m, uint64_t newest, bool *due,
    int64_t *next_ns, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* When the newest state is one stored file, copy it to level 9 on the server
 * (*done); else the caller streams a view of the live database to level 9 and
 * calls ls_maint_wrote. */
enum ls_rc ls_maint_snapshot(struct ls_maint *m, uint64_t newest, bool *done,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* Where there is no live database: level 9 out of stored files (ls_base_make),
 * perhaps not up to newest. */
enum ls_rc ls_maint_base(struct ls_maint *m, uint64_t newest,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* The caller put a file with this header at a level (9). */
void ls_maint_wrote(
    struct ls_maint *m, int level, const struct ls_ltx_header *h);

/* Wall-clock time at which ls_maint_retain may find something; 0: nothing to
 * do before something is written (compaction sets it). */
int64_t ls_maint_retain_next(const struct ls_maint *m);
/* ... as an earlier handle of this replica said. */
void ls_maint_retain_at(struct ls_maint *m, int64_t wall_ns);
/* ls_retain; nothing when retention is not enabled. Lists all levels. */
enum ls_rc ls_maint_retain(struct ls_maint *m, uint64_t newest,
    struct ls_retained *out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

#endif
