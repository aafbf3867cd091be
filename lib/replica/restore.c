/* restore.c -- a plan becomes a database file, or a stream of pages.
 *
 * (1) WHOLE OR NOTHING. The file is built as "<output>.tmp", checked, synced,
 *     and only then renamed; the integrity check runs before the rename too,
 *     so the final name never shows a file that did not pass. On any error
 *     both names are as if nothing had happened; a file that was there under
 *     the final name is never touched. (test: restore_leaves_nothing_on_fault)
 * (2) NO ZEROS ARE MADE UP. The file is allocated at its full size first (disk
 *     full shows at once), and chain.c and decode.c prove that each page but
 *     the lock page was written.
 *
 * Not here: what becomes of -wal, -shm or -journal files beside the output
 * (the command's business), which files to use (plan.c).
 */
#include "replica/decode.h"
#include "replica/output.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"
#include "format/crc64.h"
#include "format/merge.h"

#include <errno.h>
#include <fcntl.h>

/* ---- the output file ------------------------------------------------------*/

enum ls_rc
ls_output_parents(const char *output, struct ls_err *e)
{
	char *dir = ls_dirname(output);
	enum ls_rc rc;

	if (dir == NULL)
		return ls_err_nomem(e);
	rc = ls_mkdirs(dir, 0700, e);
	ls_free(dir);
	return rc;
}

/* A leftover of a killed restore is replaced. */
enum ls_rc
ls_output_create(const char *tmp, int *fd, struct ls_err *e)
{
	if (ls_sys->unlink(tmp) != 0 && errno != ENOENT)
		return ls_err_sys(e, errno, "remove %s", tmp);
	return ls_open(tmp, O_RDWR | O_CREAT | O_EXCL, 0666, fd, e);
}

static enum ls_rc
allocate(int fd, const char *tmp, uint64_t size, struct ls_err *e)
{
	int err;

	if (size == 0)
		return LS_OK;
	if (size > INT64_MAX)
		return ls_err_set(e, LS_ERANGE, "%s: database too large", tmp);
	err = ls_sys->fallocate(fd, 0, (off_t)size);
	if (err == EOPNOTSUPP || err == EINVAL || err == ENOSYS)
		err = ls_sys->ftruncate(fd, (off_t)size) == 0 ? 0 : errno;
	if (err != 0)
		return ls_err_sys(e, err, "allocate %llu bytes for %s",
		    (unsigned long long)size, tmp);
	return LS_OK;
}

static enum ls_rc
fill(struct ls_chain *ch, const char *tmp, const struct ls_restore_opts *o,
    bool *proved, struct ls_err *e)
{
	uint64_t size = (uint64_t)ch->commit * ch->page_size;
	int fd = -1;
	enum ls_rc rc;

	if ((rc = ls_output_create(tmp, &fd, e)) != LS_OK)
		return rc;
	if ((rc = allocate(fd, tmp, size, e)) == LS_OK &&
	    (rc = ls_decode_chain(ch, fd, o, proved, e)) == LS_OK)
		rc = ls_fsync(fd, tmp, e);
	if (ls_sys->close(fd) != 0 && rc == LS_OK)
		rc = ls_err_sys(e, errno, "close %s", tmp);
	if (rc == LS_OK)
		rc = ls_check_database(tmp, o->integrity, e);
	return rc;
}

/* Give the final name; when its folder cannot be synced, take it back. */
enum ls_rc
ls_output_publish(const char *tmp, const char *output, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_rename(tmp, output, e)) != LS_OK)
		return rc;
	if ((rc = ls_fsync_dir_of(output, e)) != LS_OK)
		(void)ls_sys->unlink(output);
	return rc;
}

static void
report(const struct ls_chain *ch, bool proved, struct ls_restored *out)
{
	*out = (struct ls_restored){
		.txid = ch->v[ch->n - 1].f.max_txid,
		.bytes = (uint64_t)ch->commit * ch->page_size,
		.page_size = ch->page_size,
		.commit = ch->commit,
		.files = ch->n - ch->first,
		.checksum_proved = proved,
	};
}

enum ls_rc
ls_restore(struct ls_replica *r, const struct ls_plan *plan,
    const struct ls_restore_opts *o, struct ls_restored *out,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_chain ch = { 0 };
	char *tmp = NULL;
	bool proved = false;
	enum ls_rc rc;

	if (o->output == NULL || o->output[0] == '\0')
		return ls_err_set(e, LS_EINVALID, "output path required");
	if (ls_exists(o->output))
		return ls_err_set(e, LS_EEXISTS,
		    "cannot restore, output path already exists: %s",
		    o->output);
	if ((tmp = ls_asprintf("%s.tmp", o->output)) == NULL)
		return ls_err_nomem(e);
	if ((rc = ls_chain_settle(
		 &ch, r, plan, o->par, o->parallelism, c, e)) != LS_OK ||
	    (rc = ls_output_parents(o->output, e)) != LS_OK)
		goto out;
	if ((rc = fill(&ch, tmp, o, &proved, e)) == LS_OK)
		rc = ls_output_publish(tmp, o->output, e);
	if (rc != LS_OK)
		(void)ls_sys->unlink(tmp); /* else the next restore does */
	else if (out != NULL)
		report(&ch, proved, out);
out:
	ls_chain_close(&ch);
	ls_free(tmp);
	return rc;
}

/* ---- pages ----------------------------------------------------------------*/

struct pages {
	enum ls_rc (*fn)(
	    void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e);
	void *arg;
	const struct ls_chain *ch;
	uint32_t next; /* page that must come */
	uint32_t lock;
	uint64_t sum;
};

static enum ls_rc
on_page(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	struct pages *p = arg;
	enum ls_rc rc;

	if (p->next == p->lock)
		p->next++;
	if (pgno != p->next)
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u is in no file of the chain", p->next);
	if ((rc = ls_call_check(p->ch->c, e)) != LS_OK)
		return rc;
	p->next++;
	p->sum ^= ls_page_checksum(pgno, LS_SPAN(data, p->ch->page_size));
	return p->fn(p->arg, pgno, data, e);
}

static enum ls_rc
pages_end(
    const struct pages *p, const struct ls_ltx_header *h, struct ls_err *e)
{
	uint32_t next = p->next + (p->next == p->lock);

	if (next <= h->commit)
		return ls_err_set(
		    e, LS_ECORRUPT, "page %u is in no file of the chain", next);
	if (h->has_db_checksum &&
	    (p->sum | LS_CHECKSUM_FLAG) != (h->db_checksum | LS_CHECKSUM_FLAG))
		return ls_err_set(e, LS_ECORRUPT,
		    "restored state does not have the database checksum");
	return LS_OK;
}

/* Blocks of a bounded total over all files. */
static size_t
block_for(size_t files)
{
	enum { ALL = 32 << 20, LEAST = 32 << 10, MOST = 4 << 20 };
	size_t n = ALL / files;

	return n < LEAST ? LEAST : n > MOST ? MOST : n;
}

static enum ls_rc
merge_chain(struct ls_chain *ch, struct pages *p, struct ls_ltx_header *h,
    struct ls_err *e)
{
	size_t n = ch->n - ch->first;
	struct ls_ranged *s = ls_zalloc(n * sizeof *s);
	struct ls_merge_input *in = ls_alloc(n * sizeof *in);
	enum ls_rc rc;

	if (s == NULL || in == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	for (size_t i = 0; i < n; i++) {
		ls_ranged_init(&s[i], ch, &ch->v[ch->first + i], block_for(n));
		in[i] = (struct ls_merge_input){ ls_ranged_source, &s[i] };
	}
	rc = ls_merge_pages(in, n, on_page, p, h, e);
	for (size_t i = 0; i < n; i++)
		ls_ranged_fini(&s[i]);
out:
	ls_free(s);
	ls_free(in);
	return rc;
}

enum ls_rc
ls_restore_pages(struct ls_replica *r, const struct ls_plan *plan,
    enum ls_rc (*fn)(
	void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e),
    void *arg, struct ls_ltx_header *out_header, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_chain ch = { 0 };
	struct pages p = { .fn = fn, .arg = arg, .ch = &ch, .next = 1 };
	struct ls_ltx_header h = { 0 };
	enum ls_rc rc;

	if ((rc = ls_chain_settle(&ch, r, plan, NULL, 1, c, e)) != LS_OK)
		goto out;
	for (size_t i = 0; i < ch.n; i++)
		ls_ltx_index_fini(&ch.v[i].idx);
	p.lock = ls_lock_pgno(ch.page_size);
	if ((rc = merge_chain(&ch, &p, &h, e)) == LS_OK)
		rc = pages_end(&p, &h, e);
	if (rc == LS_OK && out_header != NULL)
		*out_header = h;
out:
	ls_chain_close(&ch);
	return rc;
}
