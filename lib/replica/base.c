/* base.c -- a level-9 file out of stored ones: where there is no live database
 * to read (the VFS), and for the first file of a new page size.
 *
 * (1) IT IS THE PLAN'S STATE, merged as every merge is: inputs verified, the
 *     result complete from page 1 on (the writer refuses a gap), streamed.
 *     (test: base_from_stored_files)
 * (2) FILES BELOW A CHANGE OF PAGE SIZE ARE NOT PART OF THE STATE; the first
 *     of the new size must hold every page, else the writer refuses.
 *     (test: page_size_change_is_not_crossed)
 * (3) ONE FILE THAT IS THE STATE ALREADY is copied on the server, byte for
 *     byte. (test: base_of_one_file_is_the_same_file)
 */
#include "replica/inputs.h"

#include "base/bytes.h"
#include "base/sys.h"

/* The files of the plan that are the state: behind the last change of size. */
static size_t
first_of_size(const struct ls_inputs *in)
{
	size_t i = in->n - 1;

	while (i > 0 && in->v[i - 1].h.page_size == in->v[i].h.page_size)
		i--;
	return i;
}

static enum ls_rc
check_lineage(
    const struct ls_inputs *in, size_t first, uint64_t *id, struct ls_err *e)
{
	*id = 0;
	for (size_t i = first; i < in->n; i++) {
		uint64_t x = in->v[i].h.node_id;

		if (x != 0 && *id != 0 && x != *id)
			return ls_err_set(e, LS_EGAP,
			    "%s belongs to another history (lineage %016llx, "
			    "not %016llx)",
			    in->v[i].key, (unsigned long long)x,
			    (unsigned long long)*id);
		if (x != 0)
			*id = x;
	}
	return LS_OK;
}

/* Leave out most of what first_of_size would, without opening it. */
static enum ls_rc
drop_other_sizes(struct ls_replica *r, struct ls_file **v, size_t *n,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_file *last = &(*v)[*n - 1];
	size_t keep = 1;
	enum ls_rc rc;

	if ((rc = ls_replica_header(r, last, NULL, c, e)) != LS_OK ||
	    (rc = ls_replica_header(r, &(*v)[0], NULL, c, e)) != LS_OK ||
	    (*v)[0].page_size == last->page_size)
		return rc;
	for (; keep < *n; keep++) {
		struct ls_file *f = last - keep;

		if ((rc = ls_replica_header(r, f, NULL, c, e)) != LS_OK)
			return rc;
		if (f->page_size != last->page_size)
			break;
	}
	*v += *n - keep;
	*n = keep;
	return LS_OK;
}

static enum ls_rc
make(struct ls_replica *r, struct ls_file *v, size_t n,
    const struct ls_compact_opts *o, struct ls_stored *s,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_inputs in = { .n = 0 };
	struct ls_merge_opts m = { .from_one = true };
	size_t first;
	enum ls_rc rc;

	if ((rc = drop_other_sizes(r, &v, &n, c, e)) != LS_OK)
		return rc;
	if (n > ls_inputs_limit(v[n - 1].page_size))
		return ls_err_set(e, LS_ERANGE,
		    "%zu files make TXID %016llx, too many to merge at once", n,
		    (unsigned long long)v[n - 1].max_txid);
	if ((rc = ls_inputs_open(&in, r, v, n, o, c, e)) == LS_OK) {
		first = first_of_size(&in);
		if ((rc = check_lineage(&in, first, &m.node_id, e)) == LS_OK)
			rc = ls_inputs_store(
			    &in, first, n - first, &m, LS_SNAPSHOT_LEVEL, s, e);
	}
	ls_inputs_close(&in);
	return rc;
}

enum ls_rc
ls_base_make(struct ls_replica *r, uint64_t txid,
    const struct ls_compact_opts *o, struct ls_level_state *state,
    uint64_t *made, const struct ls_call *c, struct ls_err *e)
{
	struct ls_files all = { 0 };
	struct ls_plan p = { 0 };
	const struct ls_target t = { .txid = txid };
	struct ls_stored s = { 0 };
	struct ls_file *last;
	size_t n;
	enum ls_rc rc;

	if ((rc = ls_replica_list_all(r, o->par, &all, c, e)) != LS_OK ||
	    (rc = ls_plan_make(r, &all, &t, &p, c, e)) != LS_OK)
		goto out;
	n = p.files.n;
	last = &p.files.v[n - 1];
	if (n == 1 && last->level == LS_SNAPSHOT_LEVEL) {
		*made = last->max_txid; /* it is there */
		goto out;
	}
	if ((rc = ls_replica_header(r, last, NULL, c, e)) != LS_OK)
		goto out;
	if (txid == 0)
		n = LS_MIN(n, ls_inputs_limit(last->page_size));
	rc = make(r, p.files.v, n, o, &s, c, e);
	if (rc == LS_OK) {
		*made = s.h.max_txid;
		if (state[LS_SNAPSHOT_LEVEL].known &&
		    state[LS_SNAPSHOT_LEVEL].max_txid < s.h.max_txid)
			ls_level_wrote(&state[LS_SNAPSHOT_LEVEL], &s.h);
	}
out:
	if (rc != LS_OK)
		state[LS_SNAPSHOT_LEVEL] =
		    (struct ls_level_state){ .known = false };
	ls_files_fini(&all);
	ls_plan_fini(&p);
	return ls_err_wrap(e, rc, "make a snapshot of stored files");
}
