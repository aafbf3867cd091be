/* guest.c -- manners in somebody else's process. See guest.h.
 *
 * (1) OUR THREADS TAKE NO SIGNALS: a signal for the process would run the
 *     host's handler on a stack of ours, and a wait of the host would not end.
 *     The mask is inherited, so it is set around the creation of threads.
 * (2) NO SIGPIPE: libcurl is told not to touch signals, so a write to a broken
 *     TLS connection raises it. Blocked and taken back, it is seen by nobody;
 *     one that was pending before is not ours and stays.
 */
#include "vfs/guest.h"

#include "base/sys.h"

#include <time.h>

enum { STACK = 512 << 10 };

bool
ls_guest_thread(pthread_t *t, void *(*run)(void *), void *arg)
{
	pthread_attr_t a;
	sigset_t all, old;
	bool ok;

	if (pthread_attr_init(&a) != 0)
		return false;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	ok = pthread_attr_setstacksize(&a, STACK) == 0 &&
	     pthread_create(t, &a, run, arg) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&a);
	return ok;
}

void
ls_guest_cond(pthread_cond_t *c)
{
	pthread_condattr_t a;

	(void)pthread_condattr_init(&a);
	(void)pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	(void)pthread_cond_init(c, &a);
	(void)pthread_condattr_destroy(&a);
}

/* The condition's clock is the real one, until_ns one of the seam's. */
void
ls_guest_wait(pthread_cond_t *c, pthread_mutex_t *mu, uint64_t until_ns)
{
	uint64_t now = ls_sys->mono_ns();
	uint64_t at = ls_sys_real.mono_ns();
	struct timespec ts;

	at += until_ns > now ? until_ns - now : 0;
	ts = (struct timespec){ (time_t)(at / LS_SEC), (long)(at % LS_SEC) };
	(void)pthread_cond_timedwait(c, mu, &ts);
}

void
ls_quiet_begin(struct ls_quiet *q)
{
	sigset_t pipe, pending;

	(void)sigemptyset(&pipe);
	(void)sigaddset(&pipe, SIGPIPE);
	q->pending =
	    sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
	(void)pthread_sigmask(SIG_BLOCK, &pipe, &q->old);
}

void
ls_quiet_end(struct ls_quiet *q)
{
	static const struct timespec now;
	sigset_t pipe;

	(void)sigemptyset(&pipe);
	(void)sigaddset(&pipe, SIGPIPE);
	while (!q->pending && sigtimedwait(&pipe, NULL, &now) == SIGPIPE)
		;
	(void)pthread_sigmask(SIG_SETMASK, &q->old, NULL);
}

struct shift {
	pthread_t owner;
	void (*job)(void *arg, size_t i);
	void *arg;
};

/* The caller's own thread works too: with its own mask, less SIGPIPE. */
static void
shift_job(void *v, size_t i)
{
	struct shift *s = v;
	bool own = pthread_equal(s->owner, pthread_self()) != 0;
	struct ls_quiet q;

	if (own)
		ls_quiet_begin(&q);
	s->job(s->arg, i);
	if (own)
		ls_quiet_end(&q);
}

static void
guest_run(const struct ls_par *p, size_t n, unsigned k,
    void (*job)(void *arg, size_t i), void *arg)
{
	struct shift s = { .owner = pthread_self(), .job = job, .arg = arg };

	(void)p;
	ls_par_threads.run(&ls_par_threads, n, k, shift_job, &s);
}

const struct ls_par ls_guest_par = { guest_run };
