/* pool.h -- two lanes of worker threads.
 *
 * LOCAL steps touch only this machine (capture, checkpoint); REMOTE steps wait
 * for a store. Each lane has threads of its own, so capture to disk goes on
 * while the network is down. Threads start when work waits and none is idle,
 * up to the lane's limit; all but one end when there was none for a while. */
#ifndef LS_POOL_H
#define LS_POOL_H

#include "base/err.h"

enum ls_lane { LS_LANE_LOCAL, LS_LANE_REMOTE, LS_LANES };

/* A piece of work, embedded in its owner; queued at most once at a time. */
struct ls_work {
	void (*run)(struct ls_work *w);
	struct ls_work *next;
};

struct ls_pool;
enum ls_rc ls_pool_new(unsigned local, unsigned remote, struct ls_pool **out,
    struct ls_err *e) LS_MUST_CHECK;
void ls_pool_push(struct ls_pool *p, enum ls_lane lane, struct ls_work *w);
/* How long a thread waits for work, and how many there are: for tests. */
void ls_pool_set_idle(struct ls_pool *p, uint64_t ns);
unsigned ls_pool_threads(struct ls_pool *p);
/* Waits for running work, drops what is queued, ends the threads. */
void ls_pool_free(struct ls_pool *p);

#endif
