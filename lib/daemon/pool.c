/* pool.c -- two lanes of worker threads. See pool.h. */
#include "daemon/pool.h"

#include "base/sys.h"

#include <pthread.h>

enum { STACK = 512 * 1024, MOST = 256 };

struct lane {
	struct ls_pool *pool;
	pthread_cond_t more;
	struct ls_work *head, **tail;
	unsigned max, started, idle;
	unsigned queued; /* an idle thread may be promised one already */
	pthread_t thread[MOST];
};

struct ls_pool {
	pthread_mutex_t mu;
	bool stop;
	struct lane lane[LS_LANES];
};

static void *
worker(void *v)
{
	struct lane *l = v;
	struct ls_pool *p = l->pool;

	(void)pthread_mutex_lock(&p->mu);
	while (!p->stop) {
		struct ls_work *w = l->head;

		if (w == NULL) {
			l->idle++;
			(void)pthread_cond_wait(&l->more, &p->mu);
			l->idle--;
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
	(void)pthread_mutex_unlock(&p->mu);
	return NULL;
}

/* Called with the lock held. */
static bool
start_one(struct lane *l)
{
	pthread_attr_t attr;
	bool ok;

	if (l->started >= l->max || pthread_attr_init(&attr) != 0)
		return false;
	(void)pthread_attr_setstacksize(&attr, STACK);
	ok = pthread_create(&l->thread[l->started], &attr, worker, l) == 0;
	(void)pthread_attr_destroy(&attr);
	l->started += ok;
	return ok;
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
	for (int i = 0; i < LS_LANES; i++) {
		struct lane *l = &p->lane[i];

		l->pool = p;
		l->max = max[i] > MOST ? MOST : max[i];
		l->tail = &l->head;
		(void)pthread_cond_init(&l->more, NULL);
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
		for (unsigned t = 0; t < p->lane[i].started; t++)
			(void)pthread_join(p->lane[i].thread[t], NULL);
		(void)pthread_cond_destroy(&p->lane[i].more);
	}
	(void)pthread_mutex_destroy(&p->mu);
	ls_free(p);
}
