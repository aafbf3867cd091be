/* maint.c -- compact, snapshot and retain over one memory of what is stored.
 *
 * (1) NOTHING TO DO COSTS NOTHING: a level whose source has nothing new, a
 *     snapshot of a database without new TXIDs, a retention before its time are
 *     answered without a request. (test: idle_costs_no_request)
 * (2) MEMORY OF THE STORE IS DROPPED AFTER EVERY ERROR, so the next call looks.
 */
#include "replica/maint.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "base/units.h"
#include "replica/inputs.h"

struct ls_maint {
	struct ls_replica *r;
	struct ls_maint_conf conf;
	struct ls_steady clock;
	struct ls_level_state state[LS_LEVELS]; /* [0]: only max_txid */
	int64_t retain_ns;
};

enum ls_rc
ls_maint_new(struct ls_replica *r, const struct ls_maint_conf *conf,
    struct ls_maint **out, struct ls_err *e)
{
	struct ls_maint *m = ls_zalloc(sizeof *m);

	if (m == NULL)
		return ls_err_nomem(e);
	m->r = r;
	m->conf = *conf;
	m->retain_ns = 1; /* what a former life left is looked at once */
	*out = m;
	return LS_OK;
}

void
ls_maint_free(struct ls_maint *m)
{
	ls_free(m);
}

void
ls_maint_forget(struct ls_maint *m)
{
	memset(m->state, 0, sizeof m->state);
	m->retain_ns = 1;
}

void
ls_maint_wrote(struct ls_maint *m, int level, const struct ls_ltx_header *h)
{
	ls_level_wrote(&m->state[level], h);
	if (level == LS_SNAPSHOT_LEVEL)
		m->retain_ns = 1;
}

static struct ls_compact_opts
opts_of(const struct ls_maint *m, uint64_t newest)
{
	return (struct ls_compact_opts){ .newest = newest,
		.verify = m->conf.verify_compaction,
		.par = m->conf.par,
		.parallelism = m->conf.parallelism,
		.newest_now = m->conf.newest_now,
		.newest_arg = m->conf.newest_arg,
		.local = m->conf.local,
		.local_arg = m->conf.local_arg,
		.codec = m->conf.codec };
}

enum ls_rc
ls_maint_check(struct ls_maint *m, uint64_t newest, const struct ls_call *c,
    struct ls_err *e)
{
	uint64_t from[LS_LEVELS] = { newest };
	struct ls_files all = { 0 };
	enum ls_rc rc;

	/* A level's files follow one another; level 9 is short. */
	for (int l = 1; l < LS_SNAPSHOT_LEVEL; l++)
		from[l] = m->state[l].known ? m->state[l].max_txid : 0;
	rc = ls_replica_list_from(m->r, m->conf.par, from, &all, c, e);
	if (rc == LS_OK)
		rc = ls_files_fenced(m->r, &all, newest, m->conf.newest_now,
		    m->conf.newest_arg, e);
	ls_files_fini(&all);
	return rc;
}

/* ---- compaction ------------------------------------------------------------*/

static uint64_t
source_end(const struct ls_maint *m, int level, uint64_t newest, bool *known)
{
	*known = level == 1 || m->state[level - 1].known;
	return level == 1 ? newest : m->state[level - 1].max_txid;
}

bool
ls_maint_compact_due(const struct ls_maint *m, int level, uint64_t newest)
{
	bool known;
	uint64_t end = source_end(m, level, newest, &known);

	if (!known || !m->state[level].known)
		return newest > 1;
	/* TXID 1 alone is a full copy, which does not go up. */
	return end > LS_MAX(m->state[level].max_txid, 1);
}

enum ls_rc
ls_maint_compact(struct ls_maint *m, int level, uint64_t newest,
    struct ls_compacted *out, const struct ls_call *c, struct ls_err *e)
{
	struct ls_compact_opts o = opts_of(m, newest);
	int64_t at;
	enum ls_rc rc;

	*out = (struct ls_compacted){ .files_out = 0 };
	if (!ls_maint_compact_due(m, level, newest))
		return LS_OK;
	m->state[0] =
	    (struct ls_level_state){ .known = true, .max_txid = newest };
	rc = ls_compact(m->r, level, &o, m->state, out, c, e);
	if (rc == LS_OK && level == 1 && out->files_out > 0 &&
	    m->conf.l0_retention_ns > 0) {
		at = ls_steady_now(&m->clock) + m->conf.l0_retention_ns;
		if (m->retain_ns == 0 || at < m->retain_ns)
			m->retain_ns = at;
	}
	return rc;
}

/* ---- a turn of the levels --------------------------------------------------*/

void
ls_maint_again_at(struct ls_maint_turn *t, int64_t wall_ns)
{
	if (wall_ns != 0 && (t->next_ns == 0 || wall_ns < t->next_ns))
		t->next_ns = wall_ns;
}

enum ls_rc
ls_maint_prove(struct ls_maint *m, struct ls_maint_turn *t,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;

	if (t->proved)
		return LS_OK;
	rc = ls_maint_check(m, t->newest, c, e);
	t->proved = rc == LS_OK;
	return rc;
}

/* The first boundary of interval behind a time. */
static int64_t
boundary(int64_t at, int64_t interval)
{
	return at - at % interval + interval;
}

static enum ls_rc
first_due(struct ls_maint *m, const struct ls_maint_turn *t, int level,
    int64_t *due, const struct ls_call *c, struct ls_err *e)
{
	struct ls_level_state *s = &m->state[level];
	int64_t every = t->every_ns[level - 1];
	enum ls_rc rc = LS_OK;

	*due = boundary(t->now_ns, every);
	if (!t->by_file || (rc = ls_level_know(m->r, level, s, c, e)) != LS_OK)
		return rc;
	*due = LS_MIN(*due, boundary(s->timestamp_ms * 1000000, every));
	return LS_OK;
}

static enum ls_rc
turn_of(struct ls_maint *m, struct ls_maint_turn *t, int level,
    const struct ls_call *c, struct ls_err *e)
{
	int64_t *due = &t->due_ns[level - 1];
	struct ls_compacted got = { 0 };
	enum ls_rc rc;

	if (!ls_maint_compact_due(m, level, t->newest))
		return LS_OK;
	if (*due == 0 && (rc = first_due(m, t, level, due, c, e)) != LS_OK)
		return rc;
	if (*due <= t->now_ns) {
		if ((rc = ls_maint_prove(m, t, c, e)) != LS_OK ||
		    (rc = ls_maint_compact(m, level, t->newest, &got, c, e)) !=
			LS_OK)
			return rc;
		if (got.files_out > 0 && t->made != NULL)
			t->made(t->arg, level, &got);
		*due = boundary(t->now_ns, t->every_ns[level - 1]);
	}
	if (ls_maint_compact_due(m, level, t->newest)) {
		ls_maint_again_at(t, *due);
		t->levels = true;
	} else {
		*due = 0;
	}
	return LS_OK;
}

enum ls_rc
ls_maint_levels(struct ls_maint *m, struct ls_maint_turn *t,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	/* What one makes the next may take along. */
	for (int l = 1; l <= m->conf.n_levels && rc == LS_OK; l++)
		rc = turn_of(m, t, l, c, e);
	return rc;
}

/* ---- snapshots ------------------------------------------------------------*/

/* Header of the base at level 0, when level 9 is empty. */
static enum ls_rc
know_base(struct ls_maint *m, struct ls_level_state *base,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_file f = { .level = 0, .min_txid = 1, .max_txid = 1 };
	struct ls_ltx_header h;
	enum ls_rc rc;

	*base = m->state[LS_SNAPSHOT_LEVEL];
	if (base->max_txid != 0)
		return LS_OK;
	rc = ls_replica_header(m->r, &f, &h, c, e);
	if (rc == LS_OK)
		ls_level_wrote(base, &h);
	return rc == LS_ENOTFOUND ? LS_OK : rc;
}

enum ls_rc
ls_maint_snapshot_due(struct ls_maint *m, uint64_t newest, bool *due,
    int64_t *next_ns, const struct ls_call *c, struct ls_err *e)
{
	int64_t every = m->conf.snapshot_interval_ns, at;
	struct ls_level_state base;
	enum ls_rc rc;

	*due = false;
	*next_ns = 0;
	if (newest == 0)
		return LS_OK;
	rc = ls_level_know(
	    m->r, LS_SNAPSHOT_LEVEL, &m->state[LS_SNAPSHOT_LEVEL], c, e);
	if (rc != LS_OK || (rc = know_base(m, &base, c, e)) != LS_OK)
		return rc;
	if (base.max_txid >= newest && m->state[LS_SNAPSHOT_LEVEL].max_txid)
		return LS_OK;
	at = base.timestamp_ms * 1000000;
	if (base.max_txid != 0 && every > 0)
		at = at / every * every + every;
	*due = ls_steady_now(&m->clock) >= at;
	if (!*due)
		*next_ns = at;
	return LS_OK;
}

enum ls_rc
ls_maint_snapshot(struct ls_maint *m, uint64_t newest, bool *done,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_file f = { .level = 0, .min_txid = 1, .max_txid = newest };
	struct ls_ltx_header h;
	enum ls_rc rc;

	*done = false;
	if (newest != 1 || m->conf.codec.zstd) /* level 0 is LZ4 */
		return LS_OK;
	if ((rc = ls_replica_header(m->r, &f, &h, c, e)) == LS_OK)
		rc = ls_file_to_level(m->r, &f, LS_SNAPSHOT_LEVEL, c, e);
	if (rc == LS_EUNSUPPORTED || rc == LS_ENOTFOUND)
		return LS_OK;
	if (rc == LS_OK) {
		ls_maint_wrote(m, LS_SNAPSHOT_LEVEL, &h);
		*done = true;
	}
	return rc;
}

enum ls_rc
ls_maint_base(struct ls_maint *m, uint64_t newest, const struct ls_call *c,
    struct ls_err *e)
{
	const struct ls_compact_opts o = opts_of(m, newest);
	uint64_t made = 0;
	enum ls_rc rc;

	if (newest == 0)
		return LS_OK;
	rc = ls_base_make(m->r, 0, &o, m->state, &made, c, e);
	if (rc == LS_OK)
		m->retain_ns = 1;
	return rc;
}

/* ---- retention ------------------------------------------------------------*/

int64_t
ls_maint_retain_next(const struct ls_maint *m)
{
	return m->conf.retention_enabled ? m->retain_ns : 0;
}

void
ls_maint_retain_at(struct ls_maint *m, int64_t wall_ns)
{
	m->retain_ns = wall_ns;
}

enum ls_rc
ls_maint_retain(struct ls_maint *m, uint64_t newest, struct ls_retained *out,
    const struct ls_call *c, struct ls_err *e)
{
	const struct ls_retain_opts o = {
		.now_ns = ls_steady_now(&m->clock),
		.retention_ns = m->conf.snapshot_retention_ns,
		.l0_retention_ns = m->conf.l0_retention_ns,
		.newest = newest,
		.newest_now = m->conf.newest_now,
		.newest_arg = m->conf.newest_arg,
		.par = m->conf.par,
	};
	/* Not a listing for every single file that comes of age. */
	int64_t pause = LS_MAX(m->conf.l0_retention_ns / 4, (int64_t)LS_SEC);
	enum ls_rc rc;

	*out = (struct ls_retained){ .promoted = false };
	if (!m->conf.retention_enabled)
		return LS_OK;
	rc = ls_retain(m->r, &o, m->state, out, c, e);
	m->retain_ns = rc != LS_OK ? o.now_ns + pause
		       : out->next_ns == 0
			   ? 0
			   : LS_MAX(out->next_ns, o.now_ns + pause);
	return rc;
}
