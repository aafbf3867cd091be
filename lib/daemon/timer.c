/* timer.c -- a due-time heap. See timer.h. */
#include "daemon/timer.h"

#include "base/sys.h"

void
ls_timers_fini(struct ls_timers *h)
{
	ls_free(h->v);
	*h = (struct ls_timers){ 0 };
}

enum ls_rc
ls_timers_reserve(struct ls_timers *h, size_t n, struct ls_err *e)
{
	struct ls_timer **v;

	if (n <= h->cap)
		return LS_OK;
	n = n < 16 ? 16 : n * 2;
	if ((v = ls_realloc(h->v, n * sizeof(*v))) == NULL)
		return ls_err_nomem(e);
	h->v = v;
	h->cap = n;
	return LS_OK;
}

static void
put(struct ls_timers *h, size_t i, struct ls_timer *t)
{
	h->v[i] = t;
	t->at = i + 1;
}

static void
up(struct ls_timers *h, size_t i)
{
	struct ls_timer *t = h->v[i];

	for (; i > 0 && h->v[(i - 1) / 2]->due_ns > t->due_ns; i = (i - 1) / 2)
		put(h, i, h->v[(i - 1) / 2]);
	put(h, i, t);
}

static void
down(struct ls_timers *h, size_t i)
{
	struct ls_timer *t = h->v[i];
	size_t kid;

	for (; (kid = 2 * i + 1) < h->n; i = kid) {
		if (kid + 1 < h->n && h->v[kid + 1]->due_ns < h->v[kid]->due_ns)
			kid++;
		if (h->v[kid]->due_ns >= t->due_ns)
			break;
		put(h, i, h->v[kid]);
	}
	put(h, i, t);
}

void
ls_timer_set(struct ls_timers *h, struct ls_timer *t, uint64_t due_ns)
{
	t->due_ns = due_ns;
	if (t->at == 0)
		put(h, h->n++, t);
	up(h, t->at - 1);
	down(h, t->at - 1);
}

void
ls_timer_sooner(struct ls_timers *h, struct ls_timer *t, uint64_t due_ns)
{
	if (t->at == 0 || due_ns < t->due_ns)
		ls_timer_set(h, t, due_ns);
}

void
ls_timer_clear(struct ls_timers *h, struct ls_timer *t)
{
	size_t i = t->at;

	if (i == 0)
		return;
	t->at = 0;
	if (--h->n == i - 1)
		return;
	put(h, i - 1, h->v[h->n]);
	up(h, i - 1);
	down(h, h->v[i - 1]->at - 1);
}

struct ls_timer *
ls_timers_first(const struct ls_timers *h)
{
	return h->n ? h->v[0] : NULL;
}
