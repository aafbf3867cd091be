/* tally.c -- since when the oldest commit waits. See tally.h. */
#include "daemon/tally.h"

#include "base/bytes.h"

#include <string.h>

void
ls_lag_captured(struct ls_lag *l, uint64_t newest, uint64_t since_ns)
{
	/* Merged files: their marks become one, of the first one's time. */
	while (l->n > 0 && l->mark[l->n - 1].txid >= newest) {
		since_ns = LS_MIN(since_ns, l->mark[l->n - 1].since_ns);
		l->n--;
	}
	if (l->n == LS_LAG_MARKS)
		l->mark[l->n - 1].txid = newest;
	else
		l->mark[l->n++] = (struct ls_lag_mark){ newest, since_ns };
}

void
ls_lag_durable(struct ls_lag *l, uint64_t txid)
{
	unsigned gone = 0;

	while (gone < l->n && l->mark[gone].txid <= txid)
		gone++;
	l->n -= gone;
	memmove(l->mark, l->mark + gone, l->n * sizeof l->mark[0]);
}

uint64_t
ls_lag_since(const struct ls_lag *l)
{
	return l->n > 0 ? l->mark[0].since_ns : 0;
}
