/* compact.c -- merge the files of one level into the next. See compact.h.
 *
 * (1) WHAT IS WRITTEN CONTINUES THE LEVEL, exactly: it begins at the TXID behind
 *     the level's newest file. Where that TXID is missing in the source, it may
 *     begin later only if a full copy (min_txid 1) reaches up to there, so that
 *     everything behind can be restored. (test: gap_needs_a_full_copy)
 * (2) A FULL COPY NEVER GOES UP. The first one (TXID 1) is passed over; the
 *     chain continues behind it. One that begins a new page size is made a
 *     level-9 file first. Nothing is merged across either.
 *     (tests: base_stays_below, page_size_change_is_not_crossed)
 * (3) ONE HISTORY A FILE: a merge ends before the first file of another
 *     lineage, and one that does not continue the level's own is an error.
 *     (test: lineages_are_not_mixed)
 * (4) STATE IS WHAT THE STORE SAID. After any error the level is forgotten and
 *     listed next time, since an answer may have been lost.
 *     (test: failed_upload_leaves_nothing)
 * (5) A DAMAGED FILE IS NO END, nor is one of another lineage. What lies before
 *     it is merged; the level goes on behind a full copy that reaches it, and
 *     until there is one its error stays. (test: damaged_input_is_passed_over)
 *
 * Not here: reading and putting (inputs.c), when (the daemon), deleting the
 * sources (retain.c).
 */
#include "replica/inputs.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"

/* What comes before the file that would be next. page_size 0: the state right
 * before it is not stored. */
struct before {
	uint64_t max_txid, lineage;
	uint32_t page_size, commit;
};

struct job {
	struct ls_replica *r;
	int dst;
	const struct ls_compact_opts *o;
	struct ls_level_state *state; /* LS_LEVELS */
	struct ls_compacted *out;
	const struct ls_call *c;
	struct ls_files src;  /* in TXID order */
	size_t at;	      /* next of src */
	struct ls_files full; /* full copies: level 9, and those passed over */
	bool full_known;
};

/* ---- levels ---------------------------------------------------------------*/

void
ls_level_wrote(struct ls_level_state *state, const struct ls_ltx_header *h)
{
	*state = (struct ls_level_state){
		.known = true,
		.max_txid = h->max_txid,
		.page_size = h->page_size,
		.commit = h->commit,
		.lineage = h->node_id,
		.timestamp_ms = h->timestamp_ms,
	};
}

enum ls_rc
ls_level_know(struct ls_replica *r, int level, struct ls_level_state *state,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_files files = { 0 };
	struct ls_ltx_header h;
	struct ls_file *last;
	enum ls_rc rc;

	if (state->known)
		return LS_OK;
	if ((rc = ls_replica_list(r, level, 0, &files, c, e)) != LS_OK)
		return rc;
	last = ls_files_newest(&files);
	if (last == NULL)
		*state = (struct ls_level_state){ .known = true };
	else if ((rc = ls_replica_header(r, last, &h, c, e)) == LS_OK)
		ls_level_wrote(state, &h);
	ls_files_fini(&files);
	return rc;
}

static const char *
key_of(struct ls_replica *r, const struct ls_file *f, char key[LS_KEY_MAX])
{
	return ls_ltx_key(ls_store_layout(ls_replica_store(r)), f->level,
	    f->min_txid, f->max_txid, key);
}

/* List the source level behind dst. A file that straddles the end of dst is
 * found by listing all; upstream's daemon can leave one. */
static enum ls_rc
list_source(struct job *j, struct ls_err *e)
{
	uint64_t behind = j->state[j->dst].max_txid;
	enum ls_rc rc;
	size_t kept = 0;

	rc = ls_replica_list(j->r, j->dst - 1, behind + 1, &j->src, j->c, e);
	if (rc != LS_OK || j->src.n == 0 ||
	    j->src.v[0].min_txid == behind + 1 || behind == 0)
		return rc;
	j->src.n = 0;
	rc = ls_replica_list(j->r, j->dst - 1, 0, &j->src, j->c, e);
	for (size_t i = 0; rc == LS_OK && i < j->src.n; i++)
		if (j->src.v[i].max_txid > behind)
			j->src.v[kept++] = j->src.v[i];
	j->src.n = kept;
	return rc;
}

/* ---- full copies ----------------------------------------------------------*/

/* Level 9, and the base at level 0. */
static enum ls_rc
know_full(struct job *j, struct ls_err *e)
{
	struct ls_file base = { .level = 0, .min_txid = 1, .max_txid = 1 };
	enum ls_rc rc;

	if (j->full_known)
		return LS_OK;
	rc = ls_replica_list(j->r, LS_SNAPSHOT_LEVEL, 0, &j->full, j->c, e);
	if (rc != LS_OK)
		return rc;
	rc = ls_replica_header(j->r, &base, NULL, j->c, e);
	if (rc == LS_OK)
		rc = ls_files_add(&j->full, &base, e);
	else if (rc == LS_ENOTFOUND)
		rc = LS_OK;
	j->full_known = rc == LS_OK;
	return rc;
}

/* The full copy that ends soonest at txid or behind; NULL: none. */
static struct ls_file *
full_reaching(struct job *j, uint64_t txid)
{
	struct ls_file *best = NULL;

	for (size_t i = 0; i < j->full.n; i++) {
		struct ls_file *f = &j->full.v[i];

		if (f->min_txid == 1 && f->max_txid >= txid &&
		    (best == NULL || f->max_txid < best->max_txid))
			best = f;
	}
	return best;
}

/* (1): what lies before f, a file that does not follow the level's end. */
static enum ls_rc
bridge(
    struct job *j, const struct ls_file *f, struct before *b, struct ls_err *e)
{
	struct ls_file *full;
	char key[LS_KEY_MAX];
	enum ls_rc rc;

	full = full_reaching(j, f->min_txid - 1);
	if (full == NULL || full->max_txid != f->min_txid - 1) {
		if ((rc = know_full(j, e)) != LS_OK)
			return rc;
		full = full_reaching(j, f->min_txid - 1);
	}
	if (full == NULL) {
		(void)ls_err_set(e, LS_EGAP,
		    "level %d ends at %016llx, but %s is next", j->dst,
		    (unsigned long long)j->state[j->dst].max_txid,
		    key_of(j->r, f, key));
		return ls_err_hint(
		    e, LS_EGAP, "a new snapshot makes what follows restorable");
	}
	rc = ls_replica_header(j->r, full, NULL, j->c, e);
	if (rc == LS_OK)
		*b = (struct before){ full->max_txid, full->lineage,
			full->page_size, full->commit };
	if (full->max_txid != f->min_txid - 1)
		b->page_size = 0;
	return rc;
}

/* What the next file of src is merged on top of. Passes over full copies (2).
 * src may be at its end afterwards. */
static enum ls_rc
next_first(struct job *j, struct before *b, struct ls_err *e)
{
	const struct ls_level_state *s = &j->state[j->dst];
	enum ls_rc rc;

	for (; j->at < j->src.n; j->at++) {
		const struct ls_file *f = &j->src.v[j->at];

		if (f->max_txid <= s->max_txid)
			continue;
		if (f->min_txid == 1) {
			if ((rc = ls_files_add(&j->full, f, e)) != LS_OK)
				return rc;
			continue;
		}
		if (s->max_txid != 0 && f->min_txid - 1 <= s->max_txid) {
			*b = (struct before){ s->max_txid, s->lineage,
				s->page_size, s->commit };
			return LS_OK;
		}
		return bridge(j, f, b, e);
	}
	return LS_OK;
}

/* f begins a new page size: see that level 9 has a copy, and go on behind. */
static enum ls_rc
pass_base(struct job *j, const struct ls_file *f, struct ls_err *e)
{
	struct ls_file *full;
	uint64_t made;
	enum ls_rc rc;

	if ((rc = know_full(j, e)) != LS_OK)
		return rc;
	full = full_reaching(j, f->max_txid);
	if (full == NULL || full->max_txid != f->max_txid) {
		rc = ls_base_make(
		    j->r, f->max_txid, j->o, j->state, &made, j->c, e);
		if (rc != LS_OK)
			return ls_err_wrap(
			    e, rc, "copy the first file of a new page size");
		j->out->base = f->max_txid;
		j->full.n = 0;
		j->full_known = false;
		if ((rc = know_full(j, e)) != LS_OK)
			return rc;
	}
	j->at++;
	return LS_OK;
}

/* ---- one output -----------------------------------------------------------*/

/* How many files from src.at follow one another, at most limit. Files that
 * bring nothing new are left out of src. */
static size_t
contiguous(struct job *j, size_t limit)
{
	struct ls_file *v = j->src.v;
	size_t n = 1, w = j->at + 1;

	for (size_t i = j->at + 1; i < j->src.n; i++)
		if (v[i].max_txid > v[w - 1].max_txid)
			v[w++] = v[i];
	j->src.n = w;
	while (n < limit && j->at + n < j->src.n &&
	       v[j->at + n].min_txid - 1 <= v[j->at + n - 1].max_txid)
		n++;
	return n;
}

/* (2) and (3): how many of the inputs go together. */
static size_t
same_kind(const struct ls_inputs *in, uint64_t *lineage)
{
	size_t n = 0;

	for (; n < in->n; n++) {
		const struct ls_ltx_header *h = &in->v[n].h;

		if (h->page_size != in->v[0].h.page_size ||
		    (h->node_id != 0 && *lineage != 0 &&
			h->node_id != *lineage))
			break;
		if (*lineage == 0)
			*lineage = h->node_id;
	}
	return n;
}

static void
report(struct job *j, const struct ls_stored *s, size_t n, uint64_t fetched)
{
	struct ls_compacted *out = j->out;

	if (out->files_out++ == 0)
		out->min_txid = s->h.min_txid;
	out->max_txid = s->h.max_txid;
	out->files_in += n;
	out->bytes_out += s->size;
	out->copied += s->copied;
	out->fetched += fetched;
	ls_level_wrote(&j->state[j->dst], &s->h);
	j->at += n;
}

/* *is_base: the first file begins a new page size; nothing is written. */
static enum ls_rc
write_one(struct job *j, const struct before *b, size_t n,
    const struct ls_compact_opts *o, bool *is_base, struct ls_err *e)
{
	struct ls_inputs in;
	struct ls_merge_opts m = { .node_id = b->lineage };
	struct ls_stored s;
	char key[LS_KEY_MAX];
	const struct ls_file *f = &j->src.v[j->at];
	enum ls_rc rc;

	if ((rc = ls_inputs_open(&in, j->r, f, n, o, j->c, e)) != LS_OK)
		goto out;
	*is_base = b->page_size != 0 && in.v[0].h.page_size != b->page_size;
	if (*is_base)
		goto out;
	n = same_kind(&in, &m.node_id);
	if (n == 0) {
		rc = ls_err_set(e, LS_EGAP,
		    "%s belongs to another history (lineage %016llx, not "
		    "%016llx)",
		    key_of(j->r, f, key), (unsigned long long)in.v[0].h.node_id,
		    (unsigned long long)b->lineage);
		goto out;
	}
	m.prev_commit_known = b->max_txid == f->min_txid - 1;
	m.prev_commit = b->commit;
	rc = ls_inputs_store(&in, 0, n, &m, j->dst, &s, e);
	if (rc == LS_OK)
		report(j, &s, n, atomic_load(&in.fetched));
out:
	ls_inputs_close(&in);
	return rc;
}

/* A local copy may be damaged where the stored file is not. At most limit files.
 */
static enum ls_rc
write_settled(struct job *j, const struct before *b, size_t limit,
    bool *is_base, struct ls_err *e)
{
	size_t n = contiguous(
	    j, LS_MIN(limit,
		   ls_inputs_limit(b->page_size ? b->page_size : LS_PAGE_MAX)));
	struct ls_compact_opts plain = *j->o;
	struct ls_err first = { 0 };
	enum ls_rc rc = write_one(j, b, n, j->o, is_base, &first);

	plain.local = NULL;
	if (ls_rc_damaged(rc) && j->o->local != NULL)
		return write_one(j, b, n, &plain, is_base, e);
	if (rc != LS_OK && e != NULL)
		*e = first;
	return rc;
}

/* (5): go on behind the full copy that has what f should have. */
static enum ls_rc
pass_damaged(
    struct job *j, const struct ls_file *f, enum ls_rc rc, struct ls_err *e)
{
	struct ls_ltx_header h;
	struct ls_file *full;
	enum ls_rc rc2;

	j->full.n = 0;
	j->full_known = false;
	if ((rc2 = know_full(j, NULL)) != LS_OK)
		return ls_err_wrap(e, rc, "a damaged file");
	full = full_reaching(j, f->max_txid);
	if (full == NULL)
		return rc;
	ls_warn(
	    "a stored file is damaged, the next level goes on behind a full "
	    "copy",
	    LS_ATTRS(
		LS_I("level", j->dst), LS_T("txid", full->max_txid), LS_E(e)));
	while (j->at < j->src.n && j->src.v[j->at].max_txid <= full->max_txid)
		j->at++;
	/* With nothing behind it yet: it is not read again and again. */
	if (j->at == j->src.n && full->max_txid > j->state[j->dst].max_txid &&
	    ls_replica_header(j->r, full, &h, j->c, NULL) == LS_OK)
		ls_level_wrote(&j->state[j->dst], &h);
	return LS_OK;
}

/* Files up to a damaged one go together, then it is passed over. */
static enum ls_rc
write_around(
    struct job *j, const struct before *b, bool *is_base, struct ls_err *e)
{
	struct ls_file f = j->src.v[j->at];
	struct ls_err why = { 0 };
	size_t limit = SIZE_MAX;
	enum ls_rc rc = write_settled(j, b, limit, is_base, &why);

	if (ls_rc_damaged(rc))
		limit = j->src.n - j->at;
	while (ls_rc_damaged(rc) && limit > 1) {
		limit /= 2;
		rc = write_settled(j, b, limit, is_base, &why);
	}
	if (ls_rc_damaged(rc) || rc == LS_EGAP)
		rc = pass_damaged(j, &f, rc, &why);
	if (rc != LS_OK && e != NULL)
		*e = why;
	return rc;
}

static enum ls_rc
run(struct job *j, struct ls_err *e)
{
	struct before b = { 0 };
	enum ls_rc rc;

	while ((rc = next_first(j, &b, e)) == LS_OK && j->at < j->src.n) {
		struct ls_file f = j->src.v[j->at];
		bool is_base = false;

		if ((rc = ls_call_check(j->c, e)) != LS_OK ||
		    (rc = write_around(j, &b, &is_base, e)) != LS_OK ||
		    (is_base && (rc = pass_base(j, &f, e)) != LS_OK))
			break;
	}
	return rc;
}

/* ---- afterwards -----------------------------------------------------------*/

static enum ls_rc
check_shape(struct job *j, struct ls_err *e)
{
	struct ls_files v = { 0 };
	enum ls_rc rc = ls_replica_list(j->r, j->dst, 0, &v, j->c, e);

	for (size_t i = 1; rc == LS_OK && i < v.n; i++) {
		uint64_t end = v.v[i - 1].max_txid, min = v.v[i].min_txid;
		struct ls_file *full = NULL;

		if (min > end && min - end > 1) {
			if ((rc = know_full(j, e)) != LS_OK)
				break;
			full = full_reaching(j, min - 1);
		}
		if (min - 1 == end ||
		    (full != NULL && full->max_txid == min - 1))
			continue;
		j->out->bad_shape = true;
		ls_warn("post-compaction verification failed",
		    LS_ATTRS(LS_I("level", j->dst),
			LS_S("type", min > end ? "gap" : "overlap"),
			LS_T("previous", end), LS_T("next", min)));
	}
	ls_files_fini(&v);
	return rc;
}

enum ls_rc
ls_compact(struct ls_replica *r, int dst, const struct ls_compact_opts *o,
    struct ls_level_state *state, struct ls_compacted *out,
    const struct ls_call *c, struct ls_err *e)
{
	struct job j = {
		.r = r, .dst = dst, .o = o, .state = state, .out = out, .c = c
	};
	enum ls_rc rc;

	*out = (struct ls_compacted){ .files_out = 0 };
	if (dst < 1 || dst >= LS_SNAPSHOT_LEVEL)
		return ls_err_set(
		    e, LS_EINVALID, "level %d is not compacted to", dst);
	if ((rc = ls_level_know(r, dst, &state[dst], c, e)) != LS_OK)
		goto out;
	if (state[dst - 1].known &&
	    state[dst - 1].max_txid <= state[dst].max_txid)
		goto out;
	if ((rc = list_source(&j, e)) == LS_OK)
		rc = ls_files_fenced(
		    r, &j.src, o->newest, o->newest_now, o->newest_arg, e);
	while (o->newest != 0 && j.src.n > 0 &&
	       j.src.v[j.src.n - 1].max_txid > o->newest)
		j.src.n--; /* not acknowledged yet */
	if (rc == LS_OK)
		rc = run(&j, e);
	if (rc == LS_OK && o->verify && out->files_out > 0)
		rc = check_shape(&j, e);
out:
	if (rc != LS_OK)
		state[dst] = (struct ls_level_state){ .known = false };
	ls_files_fini(&j.src);
	ls_files_fini(&j.full);
	return ls_err_wrap(e, rc, "compact to level %d", dst);
}
