/* tally.h -- what happened to one database, for metrics and the status page.
 *
 * Counters and gauges are atomics: steps write them without d->mu, metrics.c
 * reads them. The lag is kept under d->mu. */
#ifndef LS_TALLY_H
#define LS_TALLY_H

#include "capture/capture.h"

#include <stdatomic.h>

enum ls_l0_status { LS_L0_ELIGIBLE, LS_L0_NOT_COMPACTED, LS_L0_TOO_RECENT };

struct ls_tally {
	/* counters */
	_Atomic uint64_t syncs, sync_errors, sync_ns;
	_Atomic uint64_t wal_read; /* bytes of the WAL that were captured */
	_Atomic uint64_t resyncs, resync_pages;
	_Atomic uint64_t upload_errors, compact_errors;
	_Atomic uint64_t validation_errors;
	/* by enum ls_ckpt */
	_Atomic uint64_t ckpts[LS_CKPT_TRUNCATE + 1],
	    ckpt_errors[LS_CKPT_TRUNCATE + 1], ckpt_ns[LS_CKPT_TRUNCATE + 1];
	/* gauges */
	_Atomic uint64_t db_bytes, wal_bytes, wal_done, spool_bytes;
	_Atomic uint64_t blocked_by, disk_full;
	_Atomic uint64_t l0[LS_L0_TOO_RECENT + 1], l0_known;
	_Atomic uint64_t durable_ms, verified_ns; /* wall; 0 = never */
};

static inline void
ls_tally_add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static inline void
ls_tally_set(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(to, n, memory_order_relaxed);
}

static inline uint64_t
ls_tally_get(const _Atomic uint64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

/* ---- lag ------------------------------------------------------------------ */

/* Since when the oldest commit waits that is not durable. Each mark says: what
 * is up to this TXID, and behind the mark before, was first seen then. When
 * marks (or memory for them) run out the two newest become one with the older
 * time, so the lag is never told too small. All but the first are on the heap
 * while something waits. Zeroed: nothing does. */
enum { LS_LAG_MARKS = 8 };
struct ls_lag {
	unsigned n;
	struct ls_lag_mark {
		uint64_t txid, since_ns;
	} first, *more; /* LS_LAG_MARKS - 1 of them, or NULL */
};
void ls_lag_fini(struct ls_lag *l);
/* newest was captured; what is new in it was committed at since_ns or later. A
 * newest that went back (pending files were merged) is fine. */
void ls_lag_captured(struct ls_lag *l, uint64_t newest, uint64_t since_ns);
/* All up to txid is durable. */
void ls_lag_durable(struct ls_lag *l, uint64_t txid);
/* 0: nothing waits. */
uint64_t ls_lag_since(const struct ls_lag *l);

#endif
