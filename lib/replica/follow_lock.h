/* follow_lock.h -- SQLite's locks on a database file, taken from outside.
 * Inside lib/replica only.
 * Source: os_unix.c and https://sqlite.org/lockingv3.html. Open-file-description
 * locks are used: they conflict with SQLite's own, but do not vanish when
 * another descriptor of the file is closed in this process. */
#ifndef LS_FOLLOW_LOCK_H
#define LS_FOLLOW_LOCK_H

#include "base/call.h"

/* SHARED and RESERVED: readers go on, nobody else may write. LS_EBUSY after
 * ten seconds. Closing fd lets go of all. */
enum ls_rc ls_lock_reserve(
    int fd, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* And EXCLUSIVE: all readers are out. LS_EBUSY after ten seconds; RESERVED is
 * still held then, and new readers may come in. */
enum ls_rc ls_lock_exclusive(
    int fd, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

#endif
