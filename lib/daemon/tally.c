/* tally.c -- since when the oldest commit waits. See tally.h. */
#include "daemon/tally.h"

#include "base/bytes.h"
#include "base/sys.h"

static struct ls_lag_mark *
mark(struct ls_lag *l, unsigned i)
{
	return i == 0 ? &l->first : &l->more[i - 1];
}

void
ls_lag_fini(struct ls_lag *l)
{
	ls_free(l->more);
	*l = (struct ls_lag){ 0 };
}

/* Is there room for one more? */
static bool
room(struct ls_lag *l)
{
	if (l->n > 0 && l->more == NULL)
		l->more = ls_alloc((LS_LAG_MARKS - 1) * sizeof *l->more);
	return l->n == 0 || (l->more != NULL && l->n < LS_LAG_MARKS);
}

void
ls_lag_captured(struct ls_lag *l, uint64_t newest, uint64_t since_ns)
{
	/* Merged files: their marks become one, of the first one's time. */
	while (l->n > 0 && mark(l, l->n - 1)->txid >= newest) {
		since_ns = LS_MIN(since_ns, mark(l, l->n - 1)->since_ns);
		l->n--;
	}
	if (room(l))
		*mark(l, l->n++) = (struct ls_lag_mark){ newest, since_ns };
	else
		mark(l, l->n - 1)->txid = newest;
}

void
ls_lag_durable(struct ls_lag *l, uint64_t txid)
{
	unsigned gone = 0;

	while (gone < l->n && mark(l, gone)->txid <= txid)
		gone++;
	if (gone == l->n) {
		ls_lag_fini(l);
		return;
	}
	l->n -= gone;
	for (unsigned i = 0; gone > 0 && i < l->n; i++)
		*mark(l, i) = *mark(l, i + gone);
}

uint64_t
ls_lag_since(const struct ls_lag *l)
{
	return l->n > 0 ? l->first.since_ns : 0;
}
