/* stop.h -- the end: final sync of every database, within its deadline. */
#ifndef LS_STOP_H
#define LS_STOP_H

#include "daemon/db.h"

/* Give one database the goal to stop. mu held. */
void ls_stop_db(struct ls_db *db);
/* One look while stopping: true when all are closed, or waiting any longer is
 * in vain. mu held. */
bool ls_stop_turn(struct ls_daemon *d, uint64_t now);
/* Another daemon has every one of our databases: there is nothing to do here,
 * and whoever started us must know. mu held. */
bool ls_stop_if_locked(struct ls_daemon *d);
/* After the loop: LS_OK, or what is missing (each was logged). */
enum ls_rc ls_stop_verdict(struct ls_daemon *d, struct ls_err *e) LS_MUST_CHECK;

#endif
