/* pool.c -- two lanes of worker threads. See pool.h.
 *
 *  (1) AN IDLE THREAD ENDS: with it goes what malloc keeps for it, some hundred
 *      small blocks that each hold a page after a burst (measured: 6 of 17 MB of
 *      a daemon with 3,000 parked databases), and its stack.
 *      (test: idle_threads_end_and_come_back)
 */
#include "daemon/pool.h"

#include "base/sys.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

enum { STACK = 512 * 1024, MOST = 256, IDLE_SEC = 10 };

struct seat {
	struct lane *lane;
	pthread_t thread;
	enum { FREE, TAKEN, LEFT } state; /* LEFT: to be joined */
};

struct lane {
	struct ls_pool *pool;
	pthread_cond_t more;
	struct ls_work *head, **tail;
	unsigned max, running, idle;
	unsigned queued; /* an idle thread may be promised one already */
	struct seat seat[MOST];
};

struct ls_pool {
	pthread_mutex_t mu;
	bool stop;
	uint64_t idle_ns;
	struct lane lane[LS_LANES];
};

/* Wait for work; false: there was none for so long that the thread may end. The
 * last one of a lane stays, and costs no wake-up. Called with the lock held. */
static bool
wait_for_work(struct lane *l)
{
	uint64_t until = ls_sys_real.mono_ns() + l->pool->idle_ns;
	const struct timespec limit = { (time_t)(until / LS_SEC),
		(long)(until % LS_SEC) };
	int over = 0;

	l->idle++;
	if (l->running == 1)
		(void)pthread_cond_wait(&l->more, &l->pool->mu);
	else
		over = pthread_cond_timedwait(&l->more, &l->pool->mu, &limit);
	l->idle--;
	return over != ETIMEDOUT || l->head != NULL || l->running == 1;
}

static void *
worker(void *v)
{
	struct seat *s = v;
	struct lane *l = s->lane;
	struct ls_pool *p = l->pool;

	(void)pthread_mutex_lock(&p->mu);
	while (!p->stop) {
		struct ls_work *w = l->head;

		if (w == NULL) {
			if (!wait_for_work(l))
				break;
			continue;
		}
		l->head = w->next;
		if (l->head == NULL)
			l->tail = &l->head;
		l->queued--;
		(void)pthread_mutex_unlock(&p->mu);
		w->run(w);
		(void)pthread_mutex_lock(&p->mu);
	}
	l->running--;
	if (!p->stop) /* else ls_pool_free waits for it, without the lock */
		s->state = LEFT;
	(void)pthread_mutex_unlock(&p->mu);
	return NULL;
}

/* Called with the lock held: a thread that has left needs it no more. */
static bool
start_one(struct lane *l)
{
	pthread_attr_t attr;
	struct seat *s = l->seat;
	bool ok;

	if (l->running >= l->max || pthread_attr_init(&attr) != 0)
		return false;
	while (s->state == TAKEN)
		s++;
	if (s->state == LEFT)
		(void)pthread_join(s->thread, NULL);
	s->lane = l;
	(void)pthread_attr_setstacksize(&attr, STACK);
	ok = pthread_create(&s->thread, &attr, worker, s) == 0;
	(void)pthread_attr_destroy(&attr);
	s->state = ok ? TAKEN : FREE;
	l->running += ok;
	return ok;
}

static void
make_cond(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(c, &attr);
	(void)pthread_condattr_destroy(&attr);
}

enum ls_rc
ls_pool_new(
    unsigned local, unsigned remote, struct ls_pool **out, struct ls_err *e)
{
	struct ls_pool *p = ls_zalloc(sizeof *p);
	const unsigned max[LS_LANES] = { local, remote };

	if (p == NULL)
		return ls_err_nomem(e);
	(void)pthread_mutex_init(&p->mu, NULL);
	p->idle_ns = IDLE_SEC * LS_SEC;
	for (int i = 0; i < LS_LANES; i++) {
		struct lane *l = &p->lane[i];

		l->pool = p;
		l->max = max[i] > MOST ? MOST : max[i];
		l->tail = &l->head;
		make_cond(&l->more);
		/* One thread a lane is there from the start: later ones may
		 * fail to start, and work must still be done. */
		(void)pthread_mutex_lock(&p->mu);
		bool ok = start_one(l);
		(void)pthread_mutex_unlock(&p->mu);
		if (!ok) {
			ls_pool_free(p);
			return ls_err_set(
			    e, LS_EAGAIN, "cannot start a worker thread");
		}
	}
	*out = p;
	return LS_OK;
}

void
ls_pool_set_idle(struct ls_pool *p, uint64_t ns)
{
	(void)pthread_mutex_lock(&p->mu);
	p->idle_ns = ns;
	(void)pthread_mutex_unlock(&p->mu);
}

unsigned
ls_pool_threads(struct ls_pool *p)
{
	unsigned n = 0;

	(void)pthread_mutex_lock(&p->mu);
	for (int i = 0; i < LS_LANES; i++)
		n += p->lane[i].running;
	(void)pthread_mutex_unlock(&p->mu);
	return n;
}

void
ls_pool_push(struct ls_pool *p, enum ls_lane lane, struct ls_work *w)
{
	struct lane *l = &p->lane[lane];

	(void)pthread_mutex_lock(&p->mu);
	w->next = NULL;
	*l->tail = w;
	l->tail = &w->next;
	if (++l->queued > l->idle)
		(void)start_one(l);
	(void)pthread_cond_signal(&l->more);
	(void)pthread_mutex_unlock(&p->mu);
}

void
ls_pool_free(struct ls_pool *p)
{
	if (p == NULL)
		return;
	(void)pthread_mutex_lock(&p->mu);
	p->stop = true;
	for (int i = 0; i < LS_LANES; i++)
		(void)pthread_cond_broadcast(&p->lane[i].more);
	(void)pthread_mutex_unlock(&p->mu);
	for (int i = 0; i < LS_LANES; i++) {
		for (struct seat *s = p->lane[i].seat;
		     s < p->lane[i].seat + p->lane[i].max; s++)
			if (s->state != FREE)
				(void)pthread_join(s->thread, NULL);
		(void)pthread_cond_destroy(&p->lane[i].more);
	}
	(void)pthread_mutex_destroy(&p->mu);
	ls_free(p);
}
