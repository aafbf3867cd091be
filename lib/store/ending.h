/* ending.h -- the program may end while threads of ours ask a server.
 *
 * exit() lets libcrypto free what it has, whoever still uses it: an extension's
 * thread that signs a request then brings down a host that was about to end
 * well. So whoever calls libcrypto or libcurl enters and leaves; at exit()
 * nobody gets in any more, those inside are told to come out, and the exit
 * waits for them, two seconds at most. Threads go on and get LS_ECANCELED, so
 * that they can still be joined by a destructor that closes a connection. */
#ifndef LS_ENDING_H
#define LS_ENDING_H

#include "base/err.h"

/* Watch for exit() from now on; what was watched before is called later than
 * we are. Once, after libcrypto was initialised. */
void ls_ending_watch(void);
/* LS_ECANCELED: the program ends. May be nested. */
enum ls_rc ls_ending_enter(struct ls_err *e) LS_MUST_CHECK;
void ls_ending_leave(void);
/* To be asked now and then by what stays inside for long. */
bool ls_ending(void);

#endif
