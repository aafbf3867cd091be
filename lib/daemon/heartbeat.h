/* heartbeat.h -- a URL is asked for as long as all databases are in sync, so
 * that somebody else notices when they are not, or nobody asks any more. */
#ifndef LS_HEARTBEAT_H
#define LS_HEARTBEAT_H

#include "daemon/daemon.h"

struct ls_heartbeat;
/* A thread of its own. Keeps d and net, copies url, which is a secret (it has a
 * key in it, usually): only its host is ever logged. */
enum ls_rc ls_heartbeat_start(struct ls_daemon *d, struct ls_net *net,
    const char *url, int64_t interval_ns, struct ls_heartbeat **out,
    struct ls_err *e) LS_MUST_CHECK;
/* Cancels a request under way; NULL is fine. */
void ls_heartbeat_stop(struct ls_heartbeat *h);

#endif
