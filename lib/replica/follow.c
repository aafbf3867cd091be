/* follow.c -- a copy that follows its replica. See follow.h.
 *
 * (1) THE MARK IS NEVER AHEAD. "<output>-txid" is written after the pages are
 *     durable, so a crash in between makes the same files come once more,
 *     which changes nothing. A first restore writes it before the database
 *     has its name, so there is no database without it. (tests:
 *     follow_resumes, test_kills_beside_readers)
 * (2) WHAT COMES IN IS PROVED FIRST: files are merged into one nameless
 *     temporary file, which verifies each one's checksum, name and
 *     completeness, before the copy is touched. (test:
 *     follow_refuses_damage)
 * (3) IT NEVER STALLS IN SILENCE. When nothing stored continues the copy (files
 *     expired while we were away, another history, a replica that was made
 *     anew, a copy that somebody wrote to) the newest state is restored beside
 *     it and applied as a difference, said in the log; what fails is logged
 *     and tried again. A saved TXID ahead of the newest snapshot is nothing
 *     special. (tests: follow_pruned, follow_another_history)
 * (4) POLLING IS CHEAP: one listing of level 0 behind our TXID. All levels are
 *     listed when that one does not continue, at the start, after a pause, and
 *     every tenth time that it is empty: an idle writer's last level-0 files
 *     may have been merged and expired unseen. (test: follow_finds_merged)
 * (5) MEMORY is bounded by FILES_AT_ONCE blocks of files.
 * (6) WHO WRITES WHILE WE ARE AWAY IS NOTICED. The mark has the modification
 *     time of the copy as we left it; its content is upstream's and has no room
 *     for more. Another time means a writer, or a crash of ours before the mark
 *     was made: the copy is then compared with the newest state as in (3).
 *     (tests: follow_notices_a_stranger_while_away, follow_resumes)
 * Not here: the writing (follow_apply.c), the first restore (restore.c).
 */
#include "replica/follow.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/units.h"
#include "replica/files.h"
#include "replica/follow_apply.h"
#include "replica/object.h"
#include "replica/output.h"

#include <errno.h>
#include <fcntl.h>

enum {
	FILES_AT_ONCE = 64,
	BLOCKS_ALL = 32 << 20, /* of all inputs together */
	BLOCK_LEAST = 32 << 10,
	BLOCK_MOST = 4 << 20,
	IDLE_POLLS = 10, /* empty level-0 listings between full ones */
};

static const uint64_t pause_ns = 60 * LS_SEC; /* full listing after it */
static const uint64_t slowest_ns = 300 * LS_SEC;

struct ls_follower {
	struct ls_replica *r;
	const struct ls_follow_opts *o;
	const char *output;
	char *mark_path; /* "<output>-txid" */
	uint64_t txid;
	uint64_t lineage; /* 0: not known yet */
	struct ls_apply_mark mark;
	bool touched;	    /* the copy is not as we left it (6) */
	unsigned idle;	    /* empty listings of level 0 in a row */
	uint64_t looked_ns; /* boot_ns of the last listing; 0: none */
};

/* ---- the mark -------------------------------------------------------------*/

/* (6) Give the mark the time of the copy. Best effort: without it the copy is
 * compared once more than it need be. */
static void
stamp(const struct ls_follower *f, const char *copy)
{
	struct timespec ts[2];
	struct stat st;
	int fd = -1;

	if (ls_sys->stat(copy, &st) != 0 ||
	    ls_open(f->mark_path, O_RDONLY, 0, &fd, NULL) != LS_OK)
		return;
	ts[0] = ts[1] = st.st_mtim;
	(void)ls_sys->futimens(fd, ts);
	(void)ls_sys->close(fd);
}

/* copy: what lies at, or will become, the output. */
static enum ls_rc
save_mark(
    struct ls_follower *f, const char *copy, uint64_t txid, struct ls_err *e)
{
	char text[LS_TXID_TEXT + 1];
	enum ls_rc rc;

	ls_txid_text(txid, text);
	memcpy(text + 16, "\n", 2);
	rc = ls_publish(f->mark_path, LS_SPAN(text, 17), 0644, e);
	if (rc == LS_OK) {
		f->txid = txid;
		stamp(f, copy);
	}
	return rc;
}

static bool
is_touched(const struct ls_follower *f)
{
	struct stat a, b;

	return ls_sys->stat(f->output, &a) != 0 ||
	       ls_sys->stat(f->mark_path, &b) != 0 ||
	       a.st_mtim.tv_sec != b.st_mtim.tv_sec ||
	       a.st_mtim.tv_nsec != b.st_mtim.tv_nsec;
}

static enum ls_rc
load_mark(struct ls_follower *f, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(256);
	enum ls_rc rc = ls_read_file(f->mark_path, 255, &b, e);

	if (rc == LS_ENOTFOUND)
		return ls_err_set(e, LS_EEXISTS,
		    "cannot resume follow mode: database exists but no -txid "
		    "file found; delete the database to re-restore: %s",
		    f->output);
	while (rc == LS_OK && b.n > 0 && b.p[b.n - 1] <= ' ')
		b.n--;
	if (rc == LS_OK &&
	    ls_txid_parse(ls_buf_str(&b), &f->txid, NULL) != LS_OK)
		rc = ls_err_set(e, LS_EINVALID,
		    "%s holds no TXID; delete the database to re-restore",
		    f->mark_path);
	ls_buf_free(&b);
	return rc;
}

/* ---- a whole state --------------------------------------------------------*/

/* The newest state as a file of its own; gives its path's heap string. */
static enum ls_rc
restore_beside(struct ls_follower *f, const struct ls_plan *plan, char **path,
    struct ls_restored *got, const struct ls_call *c, struct ls_err *e)
{
	struct ls_restore_opts o = *f->o->restore;
	char *beside = ls_asprintf("%s.restored", f->output);
	enum ls_rc rc;

	if (beside == NULL)
		return ls_err_nomem(e);
	o.output = beside;
	if ((rc = ls_remove_tree(beside, e)) == LS_OK &&
	    (rc = ls_restore(f->r, plan, &o, got, c, e)) == LS_OK) {
		*path = beside;
		return LS_OK;
	}
	ls_free(beside);
	return rc;
}

struct file_src {
	int fd;
	uint32_t page_size, commit;
	uint8_t *page;
};

static enum ls_rc
file_each(void *arg, const uint8_t *want, ls_page_fn *fn, void *fn_arg,
    struct ls_err *e)
{
	struct file_src *s = arg;
	uint32_t lock = ls_lock_pgno(s->page_size);
	enum ls_rc rc;

	for (uint32_t p = 1; p <= s->commit && p != 0; p++) {
		if (p == lock || (want && !(want[p / 8] & 1 << p % 8)))
			continue;
		rc = ls_pread_all(s->fd, s->page, s->page_size,
		    (uint64_t)(p - 1) * s->page_size, e);
		if (rc != LS_OK || (rc = fn(fn_arg, p, s->page, e)) != LS_OK)
			return rc;
	}
	return LS_OK;
}

static enum ls_rc
apply_file(struct ls_follower *f, const char *path,
    const struct ls_restored *got, const struct ls_call *c, struct ls_err *e)
{
	struct file_src s = { -1, got->page_size, got->commit, NULL };
	struct ls_apply_src src = { file_each, &s, got->page_size, got->commit,
		true };
	enum ls_rc rc = ls_open(path, O_RDONLY, 0, &s.fd, e);

	if (rc != LS_OK)
		return rc;
	if ((s.page = ls_alloc(s.page_size)) == NULL)
		rc = ls_err_nomem(e);
	else
		rc = ls_follow_apply(f->output, &src, &f->mark, c, e);
	ls_free(s.page);
	(void)ls_sys->close(s.fd);
	return rc;
}

/* The history that a plan ends in; not known when its header cannot be read,
 * then the next file says it. */
static void
adopt_lineage(
    struct ls_follower *f, struct ls_plan *plan, const struct ls_call *c)
{
	struct ls_ltx_header h = { 0 };

	f->lineage = 0;
	if (ls_replica_header(
		f->r, &plan->files.v[plan->files.n - 1], &h, c, NULL) == LS_OK)
		f->lineage = h.node_id;
}

/* Until readers let it: the restored state is not thrown away for them. */
static enum ls_rc
apply_file_beside_readers(struct ls_follower *f, const char *path,
    const struct ls_restored *got, const struct ls_call *c, struct ls_err *e)
{
	bool told = false;
	enum ls_rc rc;

	while ((rc = apply_file(f, path, got, c, e)) == LS_EBUSY) {
		if (!told)
			ls_warn("follow: waiting for readers of the copy",
			    LS_ATTRS(LS_S("output", f->output),
				LS_T("txid", f->txid)));
		told = true;
		if ((rc = ls_call_sleep(c, LS_SEC, e)) != LS_OK)
			break;
	}
	return rc;
}

/* The copy becomes the newest state, by what differs. */
static enum ls_rc
begin_anew(struct ls_follower *f, const struct ls_files *all,
    const struct ls_err *why, const struct ls_call *c, struct ls_err *e)
{
	struct ls_plan plan = { 0 };
	struct ls_restored got;
	char *path = NULL;
	enum ls_rc rc = ls_plan_make(f->r, all, NULL, &plan, c, e);

	if (rc != LS_OK)
		return ls_err_wrap(e, rc, "%s", why->msg);
	ls_warn(f->touched
		    ? "follow: the copy is not as it was left, comparing "
		      "it with the newest state"
		    : "follow: nothing stored continues the copy, "
		      "restoring the newest state",
	    LS_ATTRS(LS_T("txid", f->txid), LS_T("newest", plan.txid),
		LS_S("output", f->output), LS_S("reason", why->msg)));
	rc = restore_beside(f, &plan, &path, &got, c, e);
	if (rc == LS_OK) {
		rc = apply_file_beside_readers(f, path, &got, c, e);
		if (rc == LS_OK &&
		    (rc = save_mark(f, f->output, got.txid, e)) == LS_OK) {
			f->touched = false;
			adopt_lineage(f, &plan, c);
		}
		(void)ls_sys->unlink(path);
	}
	ls_free(path);
	ls_plan_fini(&plan);
	return rc;
}

/* ---- some files -----------------------------------------------------------*/

struct spool {
	int fd;
	uint64_t at;
};

static enum ls_rc
spool_sink(void *arg, struct ls_span bytes, struct ls_err *e)
{
	struct spool *s = arg;
	enum ls_rc rc = ls_pwrite_all(s->fd, bytes.p, bytes.n, s->at, e);

	s->at += bytes.n;
	return rc;
}

static enum ls_rc
spool_source(void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct spool *s = arg;
	ssize_t k;

	do
		k = ls_sys->pread(s->fd, buf, n, (off_t)s->at);
	while (k < 0 && errno == EINTR);
	if (k < 0)
		return ls_err_sys(e, errno, "read the merged files");
	*got = (size_t)k;
	s->at += *got;
	return LS_OK;
}

static enum ls_rc
spool_each(void *arg, const uint8_t *want, ls_page_fn *fn, void *fn_arg,
    struct ls_err *e)
{
	struct spool *s = arg;
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_page pg;
	enum ls_rc rc;

	(void)want; /* they are few */
	s->at = 0;
	if ((rc = ls_ltx_reader_open(spool_source, s, &r, e)) != LS_OK)
		return rc;
	while ((rc = ls_ltx_reader_next(r, &pg, e)) == LS_OK)
		if ((rc = fn(fn_arg, pg.pgno, pg.data, e)) != LS_OK)
			break;
	if (rc == LS_ENOTFOUND && ls_ltx_reader_at_end(r))
		rc = ls_ltx_reader_finish(r, e);
	ls_ltx_reader_free(r);
	return rc;
}

static enum ls_rc
spool_open(struct ls_follower *f, struct spool *s, struct ls_err *e)
{
	char *path = ls_asprintf("%s-ltx.tmp", f->output);
	enum ls_rc rc;

	if (path == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_output_create(path, &s->fd, e)) == LS_OK)
		(void)ls_sys->unlink(path);
	ls_free(path);
	return rc;
}

/* Every input is the file of its name, and of the history that we follow. */
static enum ls_rc
check_input(struct ls_follower *f, const struct ls_file *file,
    const struct ls_object_reader *o, uint64_t *lineage, struct ls_err *e)
{
	struct ls_ltx_header h;
	enum ls_rc rc;

	rc = ls_ltx_header_decode(LS_SPAN(o->head, o->head_n), &h, e);
	if (rc != LS_OK || (rc = ls_file_matches(file, &h, o->key, e)) != LS_OK)
		return rc;
	if (*lineage != 0 && h.node_id != 0 && h.node_id != *lineage)
		return ls_err_set(e, LS_EGAP,
		    "%s belongs to another history than the copy %s", o->key,
		    f->output);
	if (h.node_id != 0)
		*lineage = h.node_id;
	return LS_OK;
}

static enum ls_rc
merge_files(struct ls_follower *f, const struct ls_file *v, size_t n,
    struct spool *to, struct ls_ltx_header *h, uint64_t *lineage,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_store *st = ls_replica_store(f->r);
	size_t block =
	    LS_MIN(LS_MAX((size_t)BLOCKS_ALL / n, (size_t)BLOCK_LEAST),
		(size_t)BLOCK_MOST);
	struct ls_object_reader *o = ls_zalloc(n * sizeof *o);
	struct ls_merge_input in[FILES_AT_ONCE];
	struct ls_merge_opts mo = { .prev_commit_known = true };
	uint32_t ps;
	enum ls_rc rc;

	if (o == NULL)
		return ls_err_nomem(e);
	for (size_t i = 0; i < n; i++) {
		char key[LS_KEY_MAX];

		ls_ltx_key(ls_store_layout(st), v[i].level, v[i].min_txid,
		    v[i].max_txid, key);
		ls_object_init(&o[i], st, key, v[i].size, block, c);
		in[i] = (struct ls_merge_input){ ls_object_source, &o[i] };
	}
	rc = ls_follow_shape(f->output, &ps, &mo.prev_commit, e);
	if (rc == LS_OK)
		rc = ls_merge(in, n, &mo, spool_sink, to, h, NULL, e);
	for (size_t i = 0; i < n; i++) {
		if (rc == LS_OK)
			rc = check_input(f, &v[i], &o[i], lineage, e);
		ls_object_fini(&o[i]);
	}
	ls_free(o);
	return rc;
}

/* At most FILES_AT_ONCE files that continue the copy, as one commit. */
static enum ls_rc
apply_some(struct ls_follower *f, const struct ls_file *v, size_t n,
    const struct ls_call *c, struct ls_err *e)
{
	struct spool s = { .fd = -1 };
	struct ls_apply_src src = { .each = spool_each, .arg = &s };
	struct ls_ltx_header h;
	uint64_t lineage = f->lineage;
	enum ls_rc rc;

	if ((rc = ls_follow_recover(f->output, e)) != LS_OK ||
	    (rc = spool_open(f, &s, e)) != LS_OK)
		return rc;
	rc = merge_files(f, v, n, &s, &h, &lineage, c, e);
	if (rc == LS_OK) {
		src.page_size = h.page_size;
		src.commit = h.commit;
		rc = ls_follow_apply(f->output, &src, &f->mark, c, e);
	}
	(void)ls_sys->close(s.fd);
	if (rc != LS_OK ||
	    (rc = save_mark(f, f->output, h.max_txid, e)) != LS_OK)
		return rc;
	f->lineage = lineage;
	ls_debug("follow: applied",
	    LS_ATTRS(LS_T("txid", f->txid), LS_U("files", n),
		LS_U("pages", h.commit), LS_S("output", f->output)));
	return LS_OK;
}

/* ---- what is new ----------------------------------------------------------*/

/* A plan that goes on from the copy: it stands in the listing as a base. */
static enum ls_rc
plan_on(struct ls_follower *f, const struct ls_files *all, struct ls_plan *plan,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_file base = {
		.level = LS_SNAPSHOT_LEVEL, .min_txid = 1, .max_txid = f->txid
	};
	struct ls_files on = { 0 };
	enum ls_rc rc = ls_files_add(&on, &base, e);

	for (size_t i = 0; rc == LS_OK && i < all->n; i++)
		if (all->v[i].level != LS_SNAPSHOT_LEVEL &&
		    all->v[i].max_txid > f->txid)
			rc = ls_files_add(&on, &all->v[i], e);
	if (rc == LS_OK)
		rc = ls_plan_make(f->r, &on, NULL, plan, c, e);
	ls_files_fini(&on);
	return rc;
}

/* Does the plan lead to what is stored? LS_EGAP says why not. */
static enum ls_rc
judge(const struct ls_follower *f, const struct ls_files *all,
    const struct ls_plan *plan, struct ls_err *e)
{
	const struct ls_file *newest = ls_files_newest(all);
	char txid[LS_TXID_TEXT];

	if (newest == NULL)
		return ls_err_set(e, LS_ENOTFOUND, "the replica is empty");
	ls_txid_text(newest->max_txid, txid);
	if (newest->max_txid < f->txid)
		return ls_err_set(e, LS_EGAP,
		    "the replica ends at %s, before the copy", txid);
	if (newest->max_txid > plan->txid)
		return ls_err_set(
		    e, LS_EGAP, "no file leads from the copy to %s", txid);
	return LS_OK;
}

/* The quick look: level 0 goes on from the copy. */
static enum ls_rc
look_at_level0(struct ls_follower *f, struct ls_plan *plan, bool *settled,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_files l0 = { 0 };
	uint64_t now = ls_sys->boot_ns();
	enum ls_rc rc;

	*settled = false;
	if (f->looked_ns == 0 || now - f->looked_ns > pause_ns)
		return LS_OK;
	rc = ls_replica_list(f->r, 0, f->txid + 1, &l0, c, e);
	if (rc == LS_OK && l0.n == 0)
		*settled = ++f->idle % IDLE_POLLS != 0;
	else if (rc == LS_OK && l0.n <= IDLE_POLLS &&
		 plan_on(f, &l0, plan, c, NULL) == LS_OK)
		*settled = plan->txid > f->txid;
	if (rc == LS_OK && *settled)
		f->looked_ns = now;
	ls_files_fini(&l0);
	return rc;
}

/* The whole look: a plan, or LS_EGAP with why nothing leads on; all is what is
 * stored. What does not fit is listed twice: levels are not listed at one
 * moment, and a merge may have come in between. */
static enum ls_rc
look_at_all(struct ls_follower *f, struct ls_plan *plan, struct ls_files *all,
    const struct ls_call *c, struct ls_err *e)
{
	enum { TRIES = 2 };
	enum ls_rc rc = LS_OK;

	for (int i = 0; i < TRIES; i++) {
		ls_plan_fini(plan);
		all->n = 0;
		rc = ls_replica_list_all(f->r, f->o->restore->par, all, c, e);
		if (rc != LS_OK)
			return rc;
		rc = plan_on(f, all, plan, c, e);
		if (rc == LS_OK)
			rc = judge(f, all, plan, e);
		if (rc != LS_EGAP)
			break;
	}
	if (rc == LS_OK)
		f->looked_ns = ls_sys->boot_ns();
	return rc;
}

/* Could a newer base help? Not against the disk, the network or a reader. */
static bool
needs_base(enum ls_rc rc)
{
	return rc == LS_EGAP || rc == LS_ECORRUPT || rc == LS_ESHORT ||
	       rc == LS_EUNSUPPORTED;
}

/* Files of a plan behind its base, FILES_AT_ONCE at a time. */
static enum ls_rc
apply_plan(struct ls_follower *f, const struct ls_plan *plan,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 1; rc == LS_OK && i < plan->files.n;
	     i += FILES_AT_ONCE) {
		size_t n = LS_MIN(plan->files.n - i, (size_t)FILES_AT_ONCE);

		if ((rc = apply_some(f, &plan->files.v[i], n, c, e)) == LS_OK)
			f->idle = 0;
	}
	return rc;
}

enum ls_rc
ls_follow_step(struct ls_follower *f, const struct ls_call *c, struct ls_err *e)
{
	struct ls_plan plan = { 0 };
	struct ls_files all = { 0 };
	struct ls_err why = { 0 };
	bool settled;
	enum ls_rc rc = look_at_level0(f, &plan, &settled, c, e);

	if (rc == LS_OK && settled)
		rc = apply_plan(f, &plan, c, &why);
	/* A file that went away under us, or does not fit: look at all. */
	if (rc == LS_ENOTFOUND || rc == LS_ECHANGED || needs_base(rc) ||
	    (rc == LS_OK && !settled)) {
		rc = look_at_all(f, &plan, &all, c, &why);
		if (rc == LS_OK && f->touched)
			rc = ls_err_set(&why, LS_EGAP,
			    "%s was written to since it was marked", f->output);
		else if (rc == LS_OK)
			rc = apply_plan(f, &plan, c, &why);
		if (needs_base(rc)) {
			struct ls_err reason = why;

			rc = begin_anew(f, &all, &reason, c, &why);
		}
	}
	if (rc != LS_OK) {
		f->looked_ns = 0; /* the next look is a whole one */
		if (e != NULL && why.msg[0] != '\0')
			*e = why;
	}
	ls_plan_fini(&plan);
	ls_files_fini(&all);
	return rc;
}

/* ---- the first restore, or going on ---------------------------------------*/

static enum ls_rc
drop_beside(const char *path, struct ls_err *e)
{
	static const char *const suffix[] = { "-wal", "-shm", "-journal" };
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < LS_COUNT(suffix); i++) {
		char *p = ls_asprintf("%s%s", path, suffix[i]);

		rc = p != NULL ? ls_remove_tree(p, e) : ls_err_nomem(e);
		ls_free(p);
	}
	return rc;
}

static enum ls_rc
restore_first(struct ls_follower *f, const struct ls_call *c, struct ls_err *e)
{
	struct ls_files all = { 0 };
	struct ls_plan plan = { 0 };
	struct ls_restored got;
	char *path = NULL;
	enum ls_rc rc;

	rc = ls_replica_list_all(f->r, f->o->restore->par, &all, c, e);
	if (rc != LS_OK ||
	    (rc = ls_plan_make(f->r, &all, NULL, &plan, c, e)) != LS_OK ||
	    (rc = restore_beside(f, &plan, &path, &got, c, e)) != LS_OK)
		goto out;
	if ((rc = drop_beside(f->output, e)) == LS_OK &&
	    (rc = ls_follow_settle(path, &f->mark, e)) == LS_OK &&
	    (rc = save_mark(f, path, got.txid, e)) == LS_OK)
		rc = ls_output_publish(path, f->output, e);
	if (rc != LS_OK)
		(void)ls_sys->unlink(path);
	else
		adopt_lineage(f, &plan, c);
out:
	ls_free(path);
	ls_plan_fini(&plan);
	ls_files_fini(&all);
	return rc;
}

static enum ls_rc
go_on(struct ls_follower *f, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = load_mark(f, e)) != LS_OK)
		return rc;
	f->touched = is_touched(f);
	if ((rc = ls_follow_recover(f->output, e)) != LS_OK)
		return rc;
	ls_info("resuming follow mode from crash recovery",
	    LS_ATTRS(LS_S("replica", ls_store_type(ls_replica_store(f->r))),
		LS_T("txid", f->txid), LS_S("output", f->output)));
	return LS_OK;
}

enum ls_rc
ls_follow_open(struct ls_replica *r, const struct ls_follow_opts *o,
    struct ls_follower **out, const struct ls_call *c, struct ls_err *e)
{
	struct ls_follower *f = ls_zalloc(sizeof *f);
	enum ls_rc rc;

	if (f == NULL)
		return ls_err_nomem(e);
	f->r = r;
	f->o = o;
	f->output = o->restore->output;
	if ((f->mark_path = ls_asprintf("%s-txid", f->output)) == NULL)
		rc = ls_err_nomem(e);
	else if (ls_exists(f->output))
		rc = go_on(f, e);
	else
		rc = restore_first(f, c, e);
	if (rc == LS_OK)
		*out = f;
	else
		ls_follow_free(f);
	return rc;
}

uint64_t
ls_follow_txid(const struct ls_follower *f)
{
	return f->txid;
}

void
ls_follow_free(struct ls_follower *f)
{
	if (f == NULL)
		return;
	ls_free(f->mark_path);
	ls_free(f);
}

/* ---- the loop -------------------------------------------------------------*/

/* Once for readers that stay, else once a minute. */
static void
complain(struct ls_follower *f, enum ls_rc rc, const struct ls_err *err,
    bool first, struct ls_log_limit *limit)
{
	if (rc == LS_EBUSY && first)
		ls_warn("follow: waiting for readers of the copy",
		    LS_ATTRS(LS_S("output", f->output), LS_T("txid", f->txid),
			LS_E(err)));
	else if (rc != LS_EBUSY && ls_log_due(limit, 60 * LS_SEC))
		ls_error("follow: error applying updates",
		    LS_ATTRS(LS_S("output", f->output), LS_T("txid", f->txid),
			LS_E(err)));
}

enum ls_rc
ls_follow_run(struct ls_follower *f, const struct ls_call *c, struct ls_err *e)
{
	const char *type = ls_store_type(ls_replica_store(f->r));
	uint64_t every = f->o->interval_ns ? f->o->interval_ns : LS_SEC;
	uint64_t wait = every;
	struct ls_log_limit limit = { 0, 0 };
	enum ls_rc rc, last = LS_OK;

	ls_info("entering follow mode",
	    LS_ATTRS(LS_S("replica", type), LS_S("output", f->output),
		LS_T("txid", f->txid), LS_D("interval", every)));
	do {
		struct ls_err err = { 0 };

		rc = ls_follow_step(f, c, &err);
		if (rc == LS_OK || rc == LS_EBUSY)
			wait = every;
		else
			wait = LS_MAX(every, LS_MIN(2 * wait, slowest_ns));
		if (rc != LS_OK && rc != LS_ECANCELED)
			complain(f, rc, &err, last != rc, &limit);
		else if (rc == LS_OK && last != LS_OK)
			ls_info("follow: the copy moves on again",
			    LS_ATTRS(LS_S("output", f->output),
				LS_T("txid", f->txid)));
		last = rc;
	} while (
	    rc != LS_ECANCELED && (rc = ls_call_sleep(c, wait, e)) == LS_OK);
	if (rc != LS_ECANCELED)
		return rc;
	ls_info("follow mode stopped", LS_ATTRS(LS_S("replica", type)));
	return LS_OK;
}
