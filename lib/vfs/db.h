/* db.h -- the state that all connections of a process to one replica share:
 * versions, page cache, poller, fetches, hydration. */
#ifndef LS_VFS_DB_H
#define LS_VFS_DB_H

#include "vfs/fetch.h"
#include "vfs/opts.h"

struct ls_vdb;
struct ls_hydrate;
struct ls_own;

/* Find the state of o->url or make it; no request is made. Every close undoes
 * one open; the last one waits for all threads. */
enum ls_rc ls_vdb_open(const struct ls_vfs_opts *o, struct ls_vdb **out,
    struct ls_err *e) LS_MUST_CHECK;
void ls_vdb_close(struct ls_vdb *d);
/* Load the newest state if that was not done, and follow it from now on. While
 * nothing is stored, waits, or with create shows an empty database. */
enum ls_rc ls_vdb_follow(struct ls_vdb *d, uint64_t poll_ns, bool create,
    struct ls_err *e) LS_MUST_CHECK;
/* Look for something newer now, unless that was done less than a second ago. */
void ls_vdb_look(struct ls_vdb *d);
void ls_vdb_look_now(struct ls_vdb *d);
/* The newest state, with what was committed here on top; and the newest that
 * is stored. With a reference; NULL before ls_vdb_follow. */
struct ls_ver *ls_vdb_newest(struct ls_vdb *d);
struct ls_ver *ls_vdb_stored(struct ls_vdb *d);
/* A past state, with a reference. Errors name the nearest points. */
enum ls_rc ls_vdb_at(struct ls_vdb *d, const struct ls_target *t,
    struct ls_ver **out, struct ls_err *e) LS_MUST_CHECK;
/* Files of v are gone: the same state out of files that are there. Gives *out;
 * LS_ENOTFOUND when it cannot be rebuilt. */
enum ls_rc ls_vdb_replan(struct ls_vdb *d, const struct ls_ver *v,
    struct ls_ver **out, struct ls_err *e) LS_MUST_CHECK;
struct ls_fetch *ls_vdb_fetch(struct ls_vdb *d);
struct ls_hydrate *ls_vdb_hydrate(struct ls_vdb *d); /* NULL: off */
/* Begin to hydrate, if nobody did. path NULL: a temporary file. */
enum ls_rc ls_vdb_hydrate_start(
    struct ls_vdb *d, const char *path, struct ls_err *e) LS_MUST_CHECK;
struct ls_replica *ls_vdb_replica(struct ls_vdb *d);
struct ls_vfiles *ls_vdb_files(struct ls_vdb *d);
/* Why upkeep failed last, msg "" when it did not. For a connection that
 * writes. */
void ls_vdb_upkeep_error(struct ls_vdb *d, struct ls_err *out);
/* Time since the newest state was last known to be the newest; -1: never. */
int64_t ls_vdb_lag_ns(struct ls_vdb *d);
/* What is stored here was the newest at that time: a push said so. */
void ls_vdb_known(struct ls_vdb *d, uint64_t mono_ns);
/* The last error of the poller, "" when the last poll went well. */
void ls_vdb_last_error(struct ls_vdb *d, struct ls_err *out);

/* ---- writing (own.h) ------------------------------------------------------*/

/* Begin to write, or join. After ls_vdb_follow. */
enum ls_rc ls_vdb_write(struct ls_vdb *d, const struct ls_vfs_opts *o,
    struct ls_err *e) LS_MUST_CHECK;
struct ls_own *ls_vdb_own(struct ls_vdb *d); /* NULL: nobody writes */
/* The version lock: guards what is newest and stored, and all of ls_own. Held
 * for disks, never for the network. */
void ls_vdb_lock(struct ls_vdb *d);
void ls_vdb_unlock(struct ls_vdb *d);
/* Wait with it on a condition of ls_guest_cond. */
void ls_vdb_wait(struct ls_vdb *d, pthread_cond_t *c, uint64_t until_ns);
/* With it: these are stored and newest from now on. Adds references. */
void ls_vdb_swap(
    struct ls_vdb *d, struct ls_ver *stored, struct ls_ver *newest);
/* A name for pages that nobody saw yet. */
uint64_t ls_vdb_content(struct ls_vdb *d);
/* The state before the first transaction: no page. Gives *out. */
enum ls_rc ls_vdb_empty(struct ls_vdb *d, uint32_t page_size,
    struct ls_ver **out, struct ls_err *e) LS_MUST_CHECK;

/* A transaction is under way on this version. Linked in while it is. */
struct ls_pin {
	struct ls_ver *v; /* a reference */
	struct ls_pin *prev, *next;
};
/* Pin the newest version, or v. */
void ls_pin_begin(struct ls_vdb *d, struct ls_pin *p, struct ls_ver *v);
void ls_pin_end(struct ls_vdb *d, struct ls_pin *p);
/* Is a transaction under way on a state older than v? */
bool ls_vdb_older_readers(struct ls_vdb *d, const struct ls_ver *v);

#endif
