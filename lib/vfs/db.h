/* db.h -- the state that all connections of a process to one replica share:
 * versions, page cache, poller, fetches, hydration. */
#ifndef LS_VFS_DB_H
#define LS_VFS_DB_H

#include "vfs/fetch.h"
#include "vfs/opts.h"

struct ls_vdb;
struct ls_hydrate;

/* Find the state of o->url or make it; no request is made. Every close undoes
 * one open; the last one waits for all threads. */
enum ls_rc ls_vdb_open(const struct ls_vfs_opts *o, struct ls_vdb **out,
    struct ls_err *e) LS_MUST_CHECK;
void ls_vdb_close(struct ls_vdb *d);
/* Load the newest state if that was not done, and follow it from now on. While
 * nothing is stored, waits (*waits is set meanwhile for the log). */
enum ls_rc ls_vdb_follow(
    struct ls_vdb *d, uint64_t poll_ns, struct ls_err *e) LS_MUST_CHECK;
/* Look for something newer now, unless that was done less than a second ago. */
void ls_vdb_look(struct ls_vdb *d);
/* The newest state, with a reference; NULL before ls_vdb_follow. */
struct ls_ver *ls_vdb_newest(struct ls_vdb *d);
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
/* Time since the newest state was last known to be the newest; -1: never. */
int64_t ls_vdb_lag_ns(struct ls_vdb *d);
/* The last error of the poller, "" when the last poll went well. */
void ls_vdb_last_error(struct ls_vdb *d, struct ls_err *out);

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
