/* call.c -- cancelling, deadlines, jobs side by side. See call.h. */
#include "base/call.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum ls_rc
ls_cancel_init(struct ls_cancel *c, struct ls_err *e)
{
	atomic_store(&c->set, 0);
	if ((c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		return ls_err_sys(e, errno, "eventfd");
	return LS_OK;
}

void
ls_cancel_fini(struct ls_cancel *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
}

void
ls_cancel_set(struct ls_cancel *c)
{
	static const uint64_t one = 1;

	atomic_store(&c->set, 1);
	if (c->fd >= 0 && write(c->fd, &one, sizeof one) < 0)
		return; /* full counter: already readable */
}

enum ls_rc
ls_call_check(const struct ls_call *c, struct ls_err *e)
{
	if (c == NULL)
		return LS_OK;
	if (c->cancel != NULL && atomic_load(&c->cancel->set))
		return ls_err_set(e, LS_ECANCELED, "canceled");
	if (c->deadline_ns != 0 && ls_sys->mono_ns() >= c->deadline_ns)
		return ls_err_set(e, LS_ETIMEOUT, "deadline exceeded");
	return LS_OK;
}

uint64_t
ls_call_left(const struct ls_call *c, uint64_t max_ns)
{
	uint64_t now;

	if (c == NULL || c->deadline_ns == 0)
		return max_ns;
	now = ls_sys->mono_ns();
	return now >= c->deadline_ns ? 0 : LS_MIN(max_ns, c->deadline_ns - now);
}

enum ls_rc
ls_call_sleep(const struct ls_call *c, uint64_t ns, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_call_check(c, e)) != LS_OK)
		return rc;
	if (ls_call_left(c, ns) < ns)
		return ls_err_set(e, LS_ETIMEOUT, "deadline exceeded");
	if (c == NULL || c->cancel == NULL || c->cancel->fd < 0) {
		ls_sys->sleep_ns(ns);
		return ls_call_check(c, e);
	}
	if (ls_sys != &ls_sys_real &&
	    ls_sys->sleep_ns != ls_sys_real.sleep_ns) {
		ls_sys->sleep_ns(ns); /* a virtual clock */
	} else {
		struct pollfd p = { c->cancel->fd, POLLIN, 0 };
		(void)poll(&p, 1, (int)((ns + 999999) / 1000000));
	}
	return ls_call_check(c, e);
}

/* A signal is for the threads of the program, none of which is made here. */
static bool
spawn(pthread_t *t, void *(*run)(void *arg), void *arg)
{
	sigset_t all, old;
	bool ok;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	ok = pthread_create(t, NULL, run, arg) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok;
}

struct gang {
	pthread_mutex_t mu;
	size_t next, n;
	void (*job)(void *arg, size_t i);
	void *arg;
};

static void *
gang_work(void *v)
{
	struct gang *g = v;

	for (;;) {
		size_t i;

		(void)pthread_mutex_lock(&g->mu);
		i = g->next < g->n ? g->next++ : g->n;
		(void)pthread_mutex_unlock(&g->mu);
		if (i == g->n)
			return NULL;
		g->job(g->arg, i);
	}
}

static bool
gang_left(struct gang *g)
{
	bool left;

	(void)pthread_mutex_lock(&g->mu);
	left = g->next < g->n;
	(void)pthread_mutex_unlock(&g->mu);
	return left;
}

static void
threads_run(const struct ls_par *p, size_t n, unsigned k,
    void (*job)(void *arg, size_t i), void *arg)
{
	enum { MOST = 64 };
	struct gang g = { PTHREAD_MUTEX_INITIALIZER, 0, n, job, arg };
	pthread_t t[MOST];
	size_t started = 0, want = LS_MIN(LS_MIN((size_t)k, n), (size_t)MOST);

	(void)p;
	/* Quick jobs may be done before there is a thread for each. */
	for (; started + 1 < want && gang_left(&g); started++)
		if (!spawn(&t[started], gang_work, &g))
			break; /* fewer at once: slower, still right */
	(void)gang_work(&g);
	while (started > 0)
		(void)pthread_join(t[--started], NULL);
	(void)pthread_mutex_destroy(&g.mu);
}

const struct ls_par ls_par_threads = { threads_run };

static void
serial_run(const struct ls_par *p, size_t n, unsigned k,
    void (*job)(void *arg, size_t i), void *arg)
{
	(void)p, (void)k;
	for (size_t i = 0; i < n; i++)
		job(arg, i);
}

const struct ls_par ls_par_serial = { serial_run };

static void *
task_work(void *v)
{
	struct ls_task *t = v;

	t->job(t->arg);
	return NULL;
}

void
ls_task_start(struct ls_task *t, void (*job)(void *arg), void *arg)
{
	t->job = job, t->arg = arg;
	t->running = spawn(&t->thread, task_work, t);
	if (!t->running)
		job(arg);
}

void
ls_task_wait(struct ls_task *t)
{
	if (t->running)
		(void)pthread_join(t->thread, NULL);
	t->running = false;
}
