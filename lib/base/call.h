/* call.h -- cancelling, deadlines, and running jobs side by side. */
#ifndef LS_CALL_H
#define LS_CALL_H

#include "base/err.h"

#include <pthread.h>
#include <stdatomic.h>

/* Set once, seen by every call that was given it. fd becomes readable then
 * (an eventfd), so that a poll can wait for it; -1 when there is none. */
struct ls_cancel {
	atomic_int set;
	int fd;
};

#define LS_CANCEL_INIT \
	{              \
		0, -1  \
	}

enum ls_rc ls_cancel_init(struct ls_cancel *c, struct ls_err *e) LS_MUST_CHECK;
void ls_cancel_fini(struct ls_cancel *c);
void ls_cancel_set(struct ls_cancel *c); /* safe in a signal handler */

/* What a blocking call may take. A NULL pointer means no limit. */
struct ls_call {
	struct ls_cancel *cancel; /* borrowed, or NULL */
	uint64_t deadline_ns;	  /* of ls_sys->mono_ns; 0 = none */
};

/* LS_OK, LS_ECANCELED or LS_ETIMEOUT. */
enum ls_rc ls_call_check(
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* ns that are left, at most max. */
uint64_t ls_call_left(const struct ls_call *c, uint64_t max_ns);
/* Sleep, ended early by cancel; LS_OK when the time passed. */
enum ls_rc ls_call_sleep(
    const struct ls_call *c, uint64_t ns, struct ls_err *e) LS_MUST_CHECK;

/* Run job(arg, i) for i in 0..n-1, at most k at once, and return when all are
 * done. Libraries that want parallel work are given one of these; threads are
 * made only here. They take no signals. */
struct ls_par {
	void (*run)(const struct ls_par *p, size_t n, unsigned k,
	    void (*job)(void *arg, size_t i), void *arg);
};
extern const struct ls_par ls_par_threads; /* a pthread each, up to k */
extern const struct ls_par ls_par_serial;  /* one after the other */

/* One job beside the caller's work. When no thread can be had, the caller does
 * it at once. Born zeroed; wait before it is started again or goes. */
struct ls_task {
	pthread_t thread;
	bool running;
	void (*job)(void *arg);
	void *arg;
};
void ls_task_start(struct ls_task *t, void (*job)(void *arg), void *arg);
void ls_task_wait(struct ls_task *t); /* one that does not run: at once */

#endif
