/* when.h -- points in time as people write them. Pure. */
#ifndef LS_VFS_WHEN_H
#define LS_VFS_WHEN_H

#include "base/err.h"

/* RFC 3339; "2026-11-22" and "2026-11-22 10:00[:05]" (UTC); now, today,
 * yesterday; "5 minutes ago", "an hour ago", "1 day 2 hours ago", "90s ago",
 * "-15m". All relative to now_ns, UTC. LS_EINVALID with upstream's words. */
enum ls_rc ls_when_parse(const char *s, int64_t now_ns, int64_t *unix_ns,
    struct ls_err *e) LS_MUST_CHECK;

#endif
