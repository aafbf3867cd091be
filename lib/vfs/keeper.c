/* keeper.c -- upkeep of a replica that has no daemon. See keeper.h.
 *
 * (1) ONLY THE WRITER KEEPS: the thread begins with our first push, and every
 *     turn begins with the proof that nobody is newer, as for uploads (our own
 *     acknowledgement while it is young, else a listing). A reader writes and
 *     deletes nothing. (test: keeper_of_a_reader_does_nothing)
 * (2) NOTHING IDLE: a turn is due after a push, at a boundary of a level that
 *     has something to merge, and when a file comes of age. A replica that is
 *     not written costs no request. (test: idle_costs_no_request of maint.c)
 * (3) SHORT LIVES KEEP TOO. Many processes that open, write and close would
 *     never live to see a boundary. So a level is due by the time of its newest
 *     file, and a life that ends without a turn makes one up if its TXIDs
 *     crossed a multiple of 64: that bounds what 64 lives leave behind, and
 *     costs the others nothing. (test: keeper_of_short_lives)
 * (4) BESIDE THE UPLOADS: they go on during a turn, so what may be ours is
 *     asked after each listing (newest_now).
 * (5) A GAP IN A LEVEL IS MENDED by a base out of the stored files.
 * Not here: which files (lib/replica: maint, compact, base, retain).
 */
#include "vfs/keeper.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/units.h"
#include "vfs/guest.h"

#include <string.h>

enum { CALL_SECONDS = 3600, LAST_SECONDS = 20, RETRY_SECONDS = 30 };
enum { CROSSED = 64, PARALLEL = 4 };

struct ls_keeper {
	struct ls_replica *r;
	struct ls_keep_conf conf;
	struct ls_maint *maint; /* of one turn at a time */
	int64_t due_ns[LS_SNAPSHOT_LEVEL - 1];
	struct ls_cancel cancel;
	pthread_mutex_t mu;
	pthread_cond_t wake;
	/* Under mu: */
	uint64_t first, acked, ours; /* first: of this life */
	uint64_t acked_ns;	     /* of boot_ns */
	uint64_t at_ns;		     /* mono: of the next turn; 0: none */
	uint64_t turns;		     /* finished well */
	struct ls_err err;
	bool running, stop, fenced;
	pthread_t thread;
	struct ls_log_limit said;
};

/* ---- configuration --------------------------------------------------------*/

void
ls_keep_conf_init(struct ls_keep_conf *k)
{
	*k = (struct ls_keep_conf){ .n_levels = 3,
		.level_ns = { 30 * (int64_t)LS_SEC, 300 * (int64_t)LS_SEC,
		    3600 * (int64_t)LS_SEC },
		.snapshot_interval_ns = 24 * 3600 * (int64_t)LS_SEC,
		.snapshot_retention_ns = 24 * 3600 * (int64_t)LS_SEC,
		.l0_retention_ns = 20 * 60 * (int64_t)LS_SEC };
}

static enum ls_rc
add_level(struct ls_keep_conf *k, const char *word, size_t n, struct ls_err *e)
{
	char text[40];
	int64_t ns = 0;
	enum ls_rc rc;

	if (n >= sizeof text)
		return ls_err_set(e, LS_EINVALID, "not a duration");
	memcpy(text, word, n);
	text[n] = '\0';
	if ((rc = ls_dur_parse(text, &ns, e)) != LS_OK)
		return rc;
	if (k->n_levels == LS_SNAPSHOT_LEVEL - 1)
		return ls_err_set(e, LS_EINVALID, "more than 8 levels");
	if (ns <= 0 || (k->n_levels > 0 && ns <= k->level_ns[k->n_levels - 1]))
		return ls_err_set(
		    e, LS_EINVALID, "the intervals of the levels must rise");
	k->level_ns[k->n_levels++] = ns;
	return LS_OK;
}

enum ls_rc
ls_keep_levels(struct ls_keep_conf *k, const char *text, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	k->n_levels = 0;
	for (const char *p = text; rc == LS_OK && *p != '\0';) {
		size_t n = strcspn(p, ",");

		rc = add_level(k, p, n, e);
		p += n + (p[n] == ',');
	}
	return rc;
}

/* ---- a turn ---------------------------------------------------------------*/

/* (4) */
static uint64_t
newest_now(void *arg)
{
	struct ls_keeper *k = arg;
	uint64_t txid;

	(void)pthread_mutex_lock(&k->mu);
	txid = LS_MAX(k->acked, k->ours);
	(void)pthread_mutex_unlock(&k->mu);
	return txid;
}

static void
made(void *arg, int level, const struct ls_compacted *got)
{
	const struct ls_keeper *k = arg;

	ls_info("compaction complete",
	    LS_ATTRS(LS_S("replica", ls_store_text(ls_replica_store(k->r))),
		LS_I("level", level), LS_T("txid.min", got->min_txid),
		LS_T("txid.max", got->max_txid), LS_U("size", got->bytes_out)));
}

static enum ls_rc
base(struct ls_keeper *k, struct ls_maint_turn *t, bool must,
    const struct ls_call *c, struct ls_err *e)
{
	bool due = must, done = false;
	int64_t next = 0;
	enum ls_rc rc = LS_OK;

	if (!must)
		rc = ls_maint_snapshot_due(
		    k->maint, t->newest, &due, &next, c, e);
	if (rc != LS_OK || !due) {
		ls_maint_again_at(t, next);
		return rc;
	}
	if ((rc = ls_maint_prove(k->maint, t, c, e)) == LS_OK &&
	    (rc = ls_maint_snapshot(k->maint, t->newest, &done, c, e)) ==
		LS_OK &&
	    !done)
		rc = ls_maint_base(k->maint, t->newest, c, e);
	if (rc == LS_OK)
		ls_info("snapshot complete",
		    LS_ATTRS(
			LS_S("replica", ls_store_text(ls_replica_store(k->r))),
			LS_T("txid", t->newest)));
	return rc;
}

static enum ls_rc
retain(struct ls_keeper *k, struct ls_maint_turn *t, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_retained got;
	int64_t next = ls_maint_retain_next(k->maint);
	enum ls_rc rc = LS_OK;

	if (next != 0 && next <= t->now_ns)
		rc = ls_maint_retain(k->maint, t->newest, &got, c, e);
	ls_maint_again_at(t, ls_maint_retain_next(k->maint));
	return rc;
}

static enum ls_rc
turn(struct ls_keeper *k, struct ls_maint_turn *t, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc = ls_maint_levels(k->maint, t, c, e);
	bool gap = rc == LS_EGAP;

	if (gap) /* (5) */
		ls_warn(
		    "a level has a gap, making a snapshot", LS_ATTRS(LS_E(e)));
	else if (rc != LS_OK)
		return rc;
	if ((rc = base(k, t, gap, c, e)) != LS_OK)
		return rc;
	return retain(k, t, c, e);
}

static enum ls_rc
open_maint(struct ls_keeper *k, struct ls_err *e)
{
	const struct ls_maint_conf conf = {
		.n_levels = k->conf.n_levels,
		.snapshot_interval_ns = k->conf.snapshot_interval_ns,
		.snapshot_retention_ns = k->conf.snapshot_retention_ns,
		.l0_retention_ns = k->conf.l0_retention_ns,
		.retention_enabled = true,
		.par = &ls_guest_par,
		.parallelism = PARALLEL,
		.newest_now = newest_now,
		.newest_arg = k,
	};

	return k->maint != NULL ? LS_OK
				: ls_maint_new(k->r, &conf, &k->maint, e);
}

/* Run a turn; *next: mono time of the next, 0 = after a push. */
static enum ls_rc
run_turn(struct ls_keeper *k, const struct ls_call *c, uint64_t *next)
{
	struct ls_maint_turn t = { .every_ns = k->conf.level_ns,
		.due_ns = k->due_ns,
		.now_ns = ls_sys->wall_ns(),
		.by_file = true,
		.made = made,
		.arg = k };
	uint64_t now = ls_sys->mono_ns();
	struct ls_err e = { 0 };
	enum ls_rc rc;
	bool say;

	(void)pthread_mutex_lock(&k->mu);
	t.newest = k->acked;
	t.proved = ls_sys->boot_ns() - k->acked_ns <
		   (uint64_t)k->conf.l0_retention_ns / 2;
	(void)pthread_mutex_unlock(&k->mu);
	if ((rc = open_maint(k, &e)) == LS_OK)
		rc = turn(k, &t, c, &e);
	*next = t.next_ns == 0 ? 0
			       : now + (uint64_t)LS_MAX(t.next_ns - t.now_ns,
					   (int64_t)LS_MS);
	if (rc != LS_OK)
		*next = now + RETRY_SECONDS * LS_SEC;
	(void)pthread_mutex_lock(&k->mu);
	k->turns += rc == LS_OK;
	k->fenced = k->fenced || rc == LS_EFENCED;
	if (rc != LS_ECANCELED)
		k->err = e;
	say = rc != LS_OK && rc != LS_ECANCELED &&
	      ls_log_due(&k->said, 30 * LS_SEC);
	(void)pthread_mutex_unlock(&k->mu);
	if (say)
		ls_warn("upkeep of the replica failed",
		    LS_ATTRS(
			LS_S("replica", ls_store_text(ls_replica_store(k->r))),
			LS_E(&e)));
	return rc;
}

/* ---- the thread -----------------------------------------------------------*/

static void *
keep(void *arg)
{
	struct ls_keeper *k = arg;
	uint64_t next = 0, never = ls_sys->mono_ns() + 10000 * 86400 * LS_SEC;

	for (;;) {
		struct ls_call c = { &k->cancel, 0 };

		(void)pthread_mutex_lock(&k->mu);
		if (next != 0 && (k->at_ns == 0 || next < k->at_ns))
			k->at_ns = next;
		while (!k->stop && !k->fenced &&
		       (k->at_ns == 0 || ls_sys->mono_ns() < k->at_ns))
			ls_guest_wait(
			    &k->wake, &k->mu, k->at_ns ? k->at_ns : never);
		if (k->stop || k->fenced) {
			(void)pthread_mutex_unlock(&k->mu);
			return NULL;
		}
		k->at_ns = 0;
		(void)pthread_mutex_unlock(&k->mu);
		c.deadline_ns = ls_sys->mono_ns() + CALL_SECONDS * LS_SEC;
		(void)run_turn(k, &c, &next);
	}
}

enum ls_rc
ls_keeper_new(struct ls_replica *r, const struct ls_keep_conf *conf,
    struct ls_keeper **out, struct ls_err *e)
{
	struct ls_keeper *k = ls_zalloc(sizeof *k);
	enum ls_rc rc;

	if (k == NULL)
		return ls_err_nomem(e);
	k->r = r;
	k->conf = *conf;
	k->cancel.fd = -1;
	if ((rc = ls_cancel_init(&k->cancel, e)) != LS_OK) {
		ls_free(k);
		return rc;
	}
	(void)pthread_mutex_init(&k->mu, NULL);
	ls_guest_cond(&k->wake);
	*out = k;
	return LS_OK;
}

void
ls_keeper_pushing(struct ls_keeper *k, uint64_t txid)
{
	(void)pthread_mutex_lock(&k->mu);
	k->ours = LS_MAX(k->ours, txid);
	(void)pthread_mutex_unlock(&k->mu);
}

/* Something new is stored: a turn, at once the first time (it tells when the
 * next is due), then when the lowest level comes round. */
void
ls_keeper_pushed(struct ls_keeper *k, uint64_t txid)
{
	int64_t wait = k->conf.n_levels ? k->conf.level_ns[0]
					: k->conf.snapshot_interval_ns;
	uint64_t at;

	(void)pthread_mutex_lock(&k->mu);
	if (k->first == 0)
		k->first = txid;
	k->acked = txid;
	k->acked_ns = ls_sys->boot_ns();
	at = ls_sys->mono_ns() + (k->turns > 0 ? (uint64_t)wait : 0);
	if (k->at_ns == 0 || at < k->at_ns)
		k->at_ns = at;
	if (!k->running && !k->conf.off)
		k->running = ls_guest_thread(&k->thread, keep, k);
	(void)pthread_cond_broadcast(&k->wake);
	(void)pthread_mutex_unlock(&k->mu);
}

void
ls_keeper_error(struct ls_keeper *k, struct ls_err *out)
{
	(void)pthread_mutex_lock(&k->mu);
	*out = k->err;
	(void)pthread_mutex_unlock(&k->mu);
}

void
ls_keeper_free(struct ls_keeper *k)
{
	struct ls_call c = { NULL, 0 };
	uint64_t next;

	if (k == NULL)
		return;
	(void)pthread_mutex_lock(&k->mu);
	k->stop = true;
	(void)pthread_cond_broadcast(&k->wake);
	(void)pthread_mutex_unlock(&k->mu);
	ls_cancel_set(&k->cancel);
	if (k->running)
		(void)pthread_join(k->thread, NULL);
	if (k->turns == 0 && !k->fenced && !k->conf.off && k->first != 0 &&
	    (k->first - 1) / CROSSED != k->acked / CROSSED) { /* (3) */
		c.deadline_ns = ls_sys->mono_ns() + LAST_SECONDS * LS_SEC;
		(void)run_turn(k, &c, &next);
	}
	ls_maint_free(k->maint);
	ls_cancel_fini(&k->cancel);
	(void)pthread_mutex_destroy(&k->mu);
	(void)pthread_cond_destroy(&k->wake);
	ls_free(k);
}
