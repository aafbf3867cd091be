/* pack.c -- pages become an LTX file in the wanted codec. See pack.h.
 *
 *  (1) FRAMES ARE COPIED ONLY FROM FILES MADE THE SAME WAY: LZ4 blocks to LZ4,
 *      zstd frames where the dictionary is the very same one. Anything else is
 *      made again from the page. (tests: pack_copies_what_fits,
 *      pack_recodes_the_rest)
 *  (2) MEMORY IS BOUNDED: pages wait up to LS_ZSAMPLE bytes, then a dictionary
 *      is chosen with what there is. (test: pack_waits_for_a_sample)
 * Not here: what a dictionary is worth (zdict.c). */
#include "format/pack.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <pthread.h>

struct ls_zkeep {
	pthread_mutex_t mu;
	struct ls_zdict *z;
};

enum ls_rc
ls_zkeep_new(struct ls_zkeep **out, struct ls_err *e)
{
	struct ls_zkeep *k = ls_zalloc(sizeof *k);

	if (k == NULL)
		return ls_err_nomem(e);
	(void)pthread_mutex_init(&k->mu, NULL);
	*out = k;
	return LS_OK;
}

void
ls_zkeep_free(struct ls_zkeep *k)
{
	if (k == NULL)
		return;
	ls_zdict_unref(k->z);
	(void)pthread_mutex_destroy(&k->mu);
	ls_free(k);
}

struct ls_zdict *
ls_zkeep_get(struct ls_zkeep *k)
{
	struct ls_zdict *z = NULL;

	(void)pthread_mutex_lock(&k->mu);
	if (k->z != NULL)
		z = ls_zdict_ref(k->z);
	(void)pthread_mutex_unlock(&k->mu);
	return z;
}

void
ls_zkeep_set(struct ls_zkeep *k, struct ls_zdict *z)
{
	struct ls_zdict *old;

	if (ls_zdict_bytes(z).n == 0)
		return;
	(void)pthread_mutex_lock(&k->mu);
	old = k->z;
	k->z = ls_zdict_ref(z);
	(void)pthread_mutex_unlock(&k->mu);
	ls_zdict_unref(old);
}

struct ls_packer {
	struct ls_ltx_writer *w;
	struct ls_ltx_header h;
	const struct ls_codec *c;
	bool begun;	    /* the codec is settled, pages go out */
	struct ls_zdict *z; /* then: of the output; NULL: LZ4 */
	uint32_t *pgnos;    /* of the pages that wait */
	struct ls_buf wait;
};

enum ls_rc
ls_packer_new(
    ls_sink *sink, void *arg, struct ls_packer **out, struct ls_err *e)
{
	struct ls_packer *p = ls_zalloc(sizeof *p);
	enum ls_rc rc;

	if (p == NULL)
		return ls_err_nomem(e);
	ls_buf_init(&p->wait, LS_ZSAMPLE);
	if ((rc = ls_ltx_writer_new(sink, arg, &p->w, e)) != LS_OK) {
		ls_free(p);
		return rc;
	}
	*out = p;
	return LS_OK;
}

void
ls_packer_free(struct ls_packer *p)
{
	if (p == NULL)
		return;
	ls_ltx_writer_free(p->w);
	ls_zdict_unref(p->z);
	ls_buf_free(&p->wait);
	ls_free(p->pgnos);
	ls_free(p);
}

enum ls_rc
ls_packer_begin(struct ls_packer *p, const struct ls_ltx_header *h,
    const struct ls_codec *c, struct ls_zdict *adopt, struct ls_err *e)
{
	p->h = *h;
	p->c = c;
	if (c->zstd && adopt == NULL) {
		p->pgnos =
		    ls_alloc(LS_ZSAMPLE / h->page_size * sizeof *p->pgnos);
		return p->pgnos != NULL ? LS_OK : ls_err_nomem(e);
	}
	p->begun = true;
	if (c->zstd)
		p->z = ls_zdict_ref(adopt);
	return ls_ltx_writer_begin(p->w, h, p->z, e);
}

static enum ls_rc
choose(struct ls_packer *p, struct ls_err *e)
{
	struct ls_zkeep *keep = p->c->keep;
	struct ls_zdict *known = keep ? ls_zkeep_get(keep) : NULL;
	enum ls_rc rc = ls_zdict_choose(
	    ls_buf_span(&p->wait), p->h.page_size, p->wait.n, known, &p->z, e);

	if (rc == LS_OK && keep != NULL && p->z != known)
		ls_zkeep_set(keep, p->z);
	ls_zdict_unref(known);
	return rc;
}

/* Settle the codec and let the waiting pages out. */
static enum ls_rc
begin_late(struct ls_packer *p, struct ls_err *e)
{
	size_t n = p->wait.n / p->h.page_size;
	enum ls_rc rc;

	p->begun = true;
	if ((rc = choose(p, e)) == LS_OK)
		rc = ls_ltx_writer_begin(p->w, &p->h, p->z, e);
	for (size_t i = 0; i < n && rc == LS_OK; i++)
		rc = ls_ltx_writer_page(
		    p->w, p->pgnos[i], p->wait.p + i * p->h.page_size, e);
	ls_buf_free(&p->wait);
	return rc;
}

/* (1) */
static bool
fits(const struct ls_packer *p, const struct ls_ltx_page *pg,
    const struct ls_zdict *from)
{
	return from == p->z && pg->flags != 0;
}

enum ls_rc
ls_packer_add(struct ls_packer *p, const struct ls_ltx_page *pg,
    const struct ls_zdict *from, struct ls_err *e)
{
	size_t ps = p->h.page_size;
	enum ls_rc rc;

	if (!p->begun) {
		p->pgnos[p->wait.n / ps] = pg->pgno;
		rc = ls_buf_add(&p->wait, pg->data, ps, e);
		if (rc != LS_OK || p->wait.n + ps <= LS_ZSAMPLE)
			return rc;
		return begin_late(p, e);
	}
	if (fits(p, pg, from))
		return ls_ltx_writer_frame(
		    p->w, pg->pgno, pg->frame, pg->data, e);
	return ls_ltx_writer_page(p->w, pg->pgno, pg->data, e);
}

enum ls_rc
ls_packer_end(struct ls_packer *p, uint64_t *size, struct ls_err *e)
{
	enum ls_rc rc;

	if (!p->begun && (rc = begin_late(p, e)) != LS_OK)
		return rc;
	return ls_ltx_writer_end(p->w, size, e);
}
