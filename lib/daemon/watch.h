/* watch.h -- inotify: says when to look, never what happened.
 *
 * One watch a folder for files that come and go, and a one-shot watch on a
 * -wal file for its next write (mmap stores to -shm raise no event; WAL frames
 * are written, so they do). When the user's watches are used up
 * (fs.inotify.max_user_watches), the folder's watch tells of writes too.
 * Everything is a hint: where watches are refused (network file systems, not
 * even a folder's to be had) the caller looks by the clock. One thread at a
 * time. */
#ifndef LS_WATCH_H
#define LS_WATCH_H

#include "base/err.h"

struct ls_watch;
struct ls_watch_fns {
	/* owner: whom an event concerns. */
	void (*db)(void *arg, void *owner);
	/* Something happened to name in a watched tree's folder; NULL: to the
	 * folder itself, or events were lost: look at all of it. */
	void (*dir)(void *arg, void *node, const char *name, uint32_t mask);
	void *arg;
};

enum ls_rc ls_watch_new(struct ls_watch **out, struct ls_err *e) LS_MUST_CHECK;
void ls_watch_free(struct ls_watch *w);
int ls_watch_fd(const struct ls_watch *w);
/* Watch the folder of db_path for the database and its -wal appearing,
 * going or being replaced. LS_ENOSPC: the quota is used up. LS_EUNSUPPORTED: a
 * file system that is written from elsewhere. */
enum ls_rc ls_watch_db(struct ls_watch *w, const char *db_path, void *owner,
    struct ls_err *e) LS_MUST_CHECK;
/* Watch a folder of a tree; errors as above. */
enum ls_rc ls_watch_dir(struct ls_watch *w, const char *dir, void *node,
    struct ls_err *e) LS_MUST_CHECK;
/* Owner or node: it is not told of anything any more. */
void ls_watch_forget(struct ls_watch *w, void *owner);
/* Arm (again) the one-shot watch for the next write to db_path's -wal. False:
 * there is no such file or watch; the folder's watch or the sweep will tell. */
bool ls_watch_arm(struct ls_watch *w, const char *db_path, void *owner);
/* The quota of watches was reached: true once. */
bool ls_watch_full(struct ls_watch *w);
/* Read what is there and call for each owner and node concerned. */
void ls_watch_read(struct ls_watch *w, const struct ls_watch_fns *fns);

#endif
