/* watch.h -- inotify: says when to look, never what happened.
 *
 * One watch a folder for files that come and go, and a one-shot watch on a
 * -wal file for its next write (mmap stores to -shm raise no event; WAL frames
 * are written, so they do). Everything is a hint: a sweep backs it up where
 * watches are refused (network file systems, quota). One thread. */
#ifndef LS_WATCH_H
#define LS_WATCH_H

#include "base/err.h"

struct ls_watch;
/* owner: whom an event concerns. Called from ls_watch_read. */
typedef void ls_watch_fn(void *arg, void *owner);

enum ls_rc ls_watch_new(struct ls_watch **out, struct ls_err *e) LS_MUST_CHECK;
void ls_watch_free(struct ls_watch *w);
int ls_watch_fd(const struct ls_watch *w);
/* Watch the folder of db_path for the database and its -wal appearing,
 * going or being replaced. LS_ENOSPC: the quota is used up. */
enum ls_rc ls_watch_db(struct ls_watch *w, const char *db_path, void *owner,
    struct ls_err *e) LS_MUST_CHECK;
void ls_watch_forget(struct ls_watch *w, const char *db_path, void *owner);
/* Arm (again) the one-shot watch for the next write to db_path's -wal. False:
 * there is no such file or watch; the folder's watch or the sweep will tell. */
bool ls_watch_arm(struct ls_watch *w, const char *db_path, void *owner);
/* Read what is there and call fn for each owner concerned. */
void ls_watch_read(struct ls_watch *w, ls_watch_fn *fn, void *arg);

#endif
