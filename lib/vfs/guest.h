/* guest.h -- manners in somebody else's process: threads that take no signals,
 * requests that raise none. */
#ifndef LS_VFS_GUEST_H
#define LS_VFS_GUEST_H

#include "base/call.h"

#include <pthread.h>
#include <signal.h>

/* A thread with a small stack that blocks every signal. false: none. */
bool ls_guest_thread(pthread_t *t, void *(*run)(void *), void *arg);

/* A condition on the monotonic clock, and a wait until a time of it. */
void ls_guest_cond(pthread_cond_t *c);
void ls_guest_wait(pthread_cond_t *c, pthread_mutex_t *mu, uint64_t until_ns);

/* Around requests in the caller's thread: a connection that breaks raises
 * SIGPIPE, whose default ends the process. One that came is swallowed. */
struct ls_quiet {
	sigset_t old;
	bool pending;
};
void ls_quiet_begin(struct ls_quiet *q);
void ls_quiet_end(struct ls_quiet *q);

/* As ls_par_threads, quiet in the caller's thread too. */
extern const struct ls_par ls_guest_par;

#endif
