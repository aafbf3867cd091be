/* duty.h -- what a writer owes others: the lease, where it is asked for, and
 * the upkeep of the replica. Between own.h and lease.h, keeper.h. */
#ifndef LS_VFS_DUTY_H
#define LS_VFS_DUTY_H

#include "vfs/opts.h"
#include "vfs/own.h"

struct ls_duty;
/* A connection wants to write: makes *d if it is NULL, and takes the lease if o
 * wants it and nobody did. LS_ELOCKED names who has it. Keeps r. One thread at
 * a time. */
enum ls_rc ls_duty_join(struct ls_duty **d, struct ls_replica *r,
    const struct ls_vfs_opts *o, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
struct ls_own_hooks ls_duty_hooks(struct ls_duty *d);
/* Why upkeep failed last; msg "" when it did not. */
void ls_duty_error(struct ls_duty *d, struct ls_err *out);
void ls_duty_free(struct ls_duty *d); /* NULL is fine */

#endif
