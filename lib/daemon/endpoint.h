/* endpoint.h -- steps that talk to a store wait here for their turn, so that a
 * server that is away holds up its own databases only. All with d->mu held. */
#ifndef LS_ENDPOINT_H
#define LS_ENDPOINT_H

#include "daemon/pool.h"

#include "store/store.h"

enum { LS_REMOTE_WORKERS = 24 };

struct ls_daemon;
struct ls_db;
struct ls_endpoint; /* a server; there until the daemon is freed */

/* Gives a borrowed pointer. */
enum ls_rc ls_endpoint_of(struct ls_daemon *d, const struct ls_place *place,
    struct ls_endpoint **out, struct ls_err *e) LS_MUST_CHECK;
void ls_endpoints_free(struct ls_daemon *d);
/* Run w on the remote lane when it is its turn. Its end calls _done. */
void ls_endpoint_push(struct ls_db *db, struct ls_work *w);
/* If it waits, it runs now: it has nothing to send. */
void ls_endpoint_hurry(struct ls_db *db, struct ls_work *w);
/* answered: the server did; rc, e: how the step ended. */
void ls_endpoint_done(
    struct ls_db *db, bool answered, enum ls_rc rc, const struct ls_err *e);
/* Is its server not answering? *why (may be NULL): the last error, borrowed. */
bool ls_endpoint_away(const struct ls_db *db, const char **why);

void ls_endpoints_turn(struct ls_daemon *d, uint64_t now);
/* ns until a pause is over. */
uint64_t ls_endpoints_due(const struct ls_daemon *d, uint64_t now);
/* No pause is waited for any more. */
void ls_endpoints_hurry(struct ls_daemon *d);

#endif
