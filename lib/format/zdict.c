/* zdict.c -- pages as zstd frames, and the dictionary of a file. See zdict.h.
 *
 *  (1) A PAGE IS WHOLE: exactly page_size bytes come out of a frame, or it is
 *      LS_ECORRUPT; zstd never writes behind them. (test: zstd_frame_damage)
 *  (2) A DICTIONARY IS BELIEVED ONLY WITH ITS CHECKSUM, and only in zstd's own
 *      format: any bytes would do as a raw one, and give other pages.
 *      (test: zstd_block_damage)
 *  (3) BOUNDED: dictionaries have a ceiling, equal ones exist once (a plan may
 *      have a thousand files), and at most IDLE contexts wait for use, each
 *      with a copy of one. (test: zstd_dictionaries_are_shared)
 *  (4) A DICTIONARY MUST EARN ITS PLACE: it is kept when it saves more on a
 *      part of the sample, counted up, than it takes. (test:
 *      zstd_small_files_have_none)
 * Level 6 is the first whose search is lazy: on pages it stores 5 to 10 % less
 * than level 3, and above it little is left to gain (tests/bench). Literals are
 * stored as they are: a Huffman table for each page of 4 KiB saves 2 to 6 % of
 * LZ4's bytes and takes nearly half of the time of decoding. */
#include "format/zdict.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "format/crc64.h"
#include "format/ltx.h"
#include "format/zstd_lazy.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum {
	LEVEL = 6,
	IDLE = 8,
	TRIALS = 128, /* pages on which a dictionary is tried */
	SHARE = 32,   /* of the sample: more would learn it by heart */
};

static const uint8_t tag[4] = { 'L', 'S', 'Z', '1' };
static const uint8_t dict_magic[4] = { 0x37, 0xa4, 0x30, 0xec };

struct ls_zdict {
	struct ls_zdict *next;
	size_t refs; /* guarded by mu */
	uint64_t id; /* never used again */
	uint64_t crc;
	size_t n;
	uint8_t bytes[];
};

/* ---- dictionaries ---------------------------------------------------------*/

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct ls_zdict *all;
static uint64_t last_id; /* guarded by mu */

/* With mu: one more reference of the one with these bytes, or NULL. */
static struct ls_zdict *
find(struct ls_span dict, uint64_t crc)
{
	struct ls_zdict *z = all;

	while (z != NULL &&
	       (z->crc != crc || z->n != dict.n ||
		   (dict.n > 0 && memcmp(z->bytes, dict.p, dict.n) != 0)))
		z = z->next;
	if (z != NULL)
		z->refs++;
	return z;
}

static enum ls_rc
bad_dictionary(struct ls_err *e)
{
	return ls_err_set(e, LS_ECORRUPT, "zstd dictionary is damaged");
}

static enum ls_rc
make(struct ls_span dict, uint64_t crc, struct ls_zdict **out, struct ls_err *e)
{
	struct ls_zdict *z = ls_zalloc(sizeof *z + dict.n);

	if (z == NULL)
		return ls_err_nomem(e);
	z->refs = 1;
	z->crc = crc;
	if ((z->n = dict.n) > 0) {
		ZSTD_DDict *d = ls_zstd.f_ZSTD_createDDict(dict.p, dict.n);

		if (d ==
		    NULL) { /* or no memory: it cannot be used either way */
			ls_free(z);
			return bad_dictionary(e);
		}
		(void)ls_zstd.f_ZSTD_freeDDict(d);
		memcpy(z->bytes, dict.p, dict.n);
	}
	z->id = ++last_id;
	z->next = all;
	*out = all = z;
	return LS_OK;
}

enum ls_rc
ls_zdict_new(struct ls_span dict, struct ls_zdict **out, struct ls_err *e)
{
	uint64_t crc = ls_crc64(0, dict.p, dict.n);
	struct ls_zdict *z;
	enum ls_rc rc;

	if ((rc = ls_zstd_load(e)) != LS_OK)
		return rc;
	if (dict.n > LS_ZDICT_MAX ||
	    (dict.n > 0 && (dict.n < sizeof dict_magic ||
			       memcmp(dict.p, dict_magic, 4) != 0)))
		return bad_dictionary(e);
	(void)pthread_mutex_lock(&mu);
	if ((z = find(dict, crc)) == NULL)
		rc = make(dict, crc, &z, e);
	(void)pthread_mutex_unlock(&mu);
	if (rc == LS_OK)
		*out = z;
	return rc;
}

struct ls_zdict *
ls_zdict_ref(struct ls_zdict *z)
{
	(void)pthread_mutex_lock(&mu);
	z->refs++;
	(void)pthread_mutex_unlock(&mu);
	return z;
}

void
ls_zdict_unref(struct ls_zdict *z)
{
	struct ls_zdict **p = &all;
	size_t left;

	if (z == NULL)
		return;
	(void)pthread_mutex_lock(&mu);
	if ((left = --z->refs) == 0) {
		while (*p != z)
			p = &(*p)->next;
		*p = z->next;
	}
	(void)pthread_mutex_unlock(&mu);
	if (left != 0)
		return;
	ls_free(z);
}

struct ls_span
ls_zdict_bytes(const struct ls_zdict *z)
{
	return LS_SPAN(z->bytes, z->n);
}

/* ---- the block ------------------------------------------------------------*/

void
ls_zblock_head(const struct ls_zdict *z, uint8_t out[static LS_ZBLOCK_HEAD])
{
	memcpy(out, tag, sizeof tag);
	ls_put_be32(out + 4, (uint32_t)z->n);
	ls_put_be64(out + 8, ls_crc64(ls_crc64(0, out, 8), z->bytes, z->n));
}

enum ls_rc
ls_zblock_extent(const uint8_t *head, size_t *bytes, struct ls_err *e)
{
	uint32_t n = ls_be32(head + 4);

	if (memcmp(head, tag, sizeof tag) != 0) {
		(void)ls_err_set(e, LS_EUNSUPPORTED,
		    "LTX file with zstd pages of an unknown layout");
		return ls_err_hint(e, LS_EUNSUPPORTED,
		    "use the version that wrote it, or a newer one");
	}
	if (n > LS_ZDICT_MAX)
		return ls_err_set(
		    e, LS_ECORRUPT, "zstd dictionary of impossible size %u", n);
	*bytes = LS_ZBLOCK_HEAD + (size_t)n;
	return LS_OK;
}

enum ls_rc
ls_zblock_decode(struct ls_span block, struct ls_zdict **out, struct ls_err *e)
{
	struct ls_span dict =
	    LS_SPAN(block.p + LS_ZBLOCK_HEAD, block.n - LS_ZBLOCK_HEAD);
	uint64_t crc = ls_crc64(ls_crc64(0, block.p, 8), dict.p, dict.n);

	if (crc != ls_be64(block.p + 8))
		return bad_dictionary(e);
	return ls_zdict_new(dict, out, e);
}

/* ---- decoding -------------------------------------------------------------*/

/* With a dictionary a page comes out right behind a copy of it: there zstd takes
 * matches in the dictionary for matches in the page, which are copied faster (a
 * third of the time, on pages that have many), and the place stays in the
 * processor's nearest cache. */
struct ctx {
	ZSTD_DCtx *x;
	ZSTD_DDict *d; /* of the copy, by reference; NULL: none yet */
	uint64_t id;   /* whose copy */
	size_t n;
	uint8_t *room; /* n bytes of dictionary, a page */
};

static _Atomic(struct ctx *) idle[IDLE];

static void
context_free(struct ctx *c)
{
	if (c == NULL)
		return;
	(void)ls_zstd.f_ZSTD_freeDDict(c->d);
	(void)ls_zstd.f_ZSTD_freeDCtx(c->x);
	ls_free(c->room);
	ls_free(c);
}

static struct ctx *
context_new(void)
{
	struct ctx *c = ls_zalloc(sizeof *c);

	if (c != NULL && (c->x = ls_zstd.f_ZSTD_createDCtx()) == NULL) {
		ls_free(c);
		c = NULL;
	}
	return c;
}

/* Where to look first: what this processor used last lies in its cache, some 30
 * KiB for a page of 4. */
static size_t
own_slot(void)
{
	return (size_t)(unsigned)sched_getcpu() % IDLE;
}

static void
context_give(struct ctx *c)
{
	for (size_t i = 0, at = own_slot(); i < IDLE; i++) {
		struct ctx *none = NULL;

		if (atomic_compare_exchange_strong(
			&idle[(at + i) % IDLE], &none, c))
			return;
	}
	context_free(c);
}

static bool
fits(const struct ctx *c, const struct ls_zdict *z)
{
	return z->n == 0 || (c->d != NULL && c->id == z->id);
}

/* One with this dictionary, else any, else NULL. */
static struct ctx *
context_find(const struct ls_zdict *z)
{
	struct ctx *any = NULL;

	for (size_t i = 0, at = own_slot(); i < IDLE; i++) {
		struct ctx *c = atomic_exchange(&idle[(at + i) % IDLE], NULL);

		if (c == NULL)
			continue;
		if (any != NULL)
			context_give(any);
		if (fits(c, z))
			return c;
		any = c;
	}
	return any;
}

/* False: no memory. */
static bool
context_fit(struct ctx *c, const struct ls_zdict *z)
{
	if (fits(c, z))
		return true;
	(void)ls_zstd.f_ZSTD_freeDDict(c->d);
	ls_free(c->room);
	c->d = NULL;
	if ((c->room = ls_alloc(z->n + LS_PAGE_MAX)) == NULL)
		return false;
	memcpy(c->room, z->bytes, z->n);
	c->id = z->id, c->n = z->n;
	c->d = ls_zstd.f_ZSTD_createDDict_byReference(c->room, z->n);
	return c->d != NULL;
}

static struct ctx *
context_take(const struct ls_zdict *z)
{
	struct ctx *c = context_find(z);

	if (c == NULL)
		c = context_new();
	if (c != NULL && !context_fit(c, z)) {
		context_free(c);
		c = NULL;
	}
	return c;
}

enum ls_rc
ls_zdict_decode(const struct ls_zdict *z, struct ls_span body, uint32_t pgno,
    uint32_t page_size, uint8_t *out, struct ls_err *e)
{
	struct ctx *c = context_take(z);
	size_t n;

	if (c == NULL)
		return ls_err_nomem(e);
	if (z->n == 0)
		n = ls_zstd.f_ZSTD_decompressDCtx(
		    c->x, out, page_size, body.p, body.n);
	else
		n = ls_zstd.f_ZSTD_decompress_usingDDict(
		    c->x, c->room + c->n, page_size, body.p, body.n, c->d);
	if (z->n != 0 && n == page_size)
		memcpy(out, c->room + c->n, page_size);
	context_give(c);
	if (ls_zstd.f_ZSTD_isError(n))
		return ls_err_set(
		    e, LS_ECORRUPT, "page %u: zstd data is damaged", pgno);
	if (n != page_size)
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u: decoded size is not the page size", pgno);
	return LS_OK;
}

/* ---- encoding -------------------------------------------------------------*/

struct ls_zenc {
	struct ls_zdict *z;
	ZSTD_CCtx *x;
	ZSTD_CDict *d;
};

size_t
ls_zframe_bound(uint32_t page_size)
{
	return (size_t)ZSTD_COMPRESSBOUND(page_size);
}

/* "literalCompressionMode", off. zstd.h names it for static linking only, since
 * a later library may refuse it: then pages just decode more slowly. */
static void
plain_literals(struct ls_zenc *c)
{
	(void)ls_zstd.f_ZSTD_CCtx_setParameter(
	    c->x, ZSTD_c_experimentalParam5, 2);
}

/* False: no memory, since every value is a legal one. */
static bool
set_up(struct ls_zenc *c)
{
	static const struct {
		ZSTD_cParameter p;
		int v;
	} set[] = { { ZSTD_c_compressionLevel, LEVEL },
		{ ZSTD_c_checksumFlag, 0 }, { ZSTD_c_dictIDFlag, 0 } };

	if ((c->x = ls_zstd.f_ZSTD_createCCtx()) == NULL)
		return false;
	for (size_t i = 0; i < sizeof set / sizeof *set; i++)
		if (ls_zstd.f_ZSTD_isError(ls_zstd.f_ZSTD_CCtx_setParameter(
			c->x, set[i].p, set[i].v)))
			return false;
	plain_literals(c);
	if (c->z->n == 0)
		return true;
	c->d = ls_zstd.f_ZSTD_createCDict(c->z->bytes, c->z->n, LEVEL);
	return c->d != NULL && !ls_zstd.f_ZSTD_isError(
				   ls_zstd.f_ZSTD_CCtx_refCDict(c->x, c->d));
}

enum ls_rc
ls_zenc_new(struct ls_zdict *z, struct ls_zenc **out, struct ls_err *e)
{
	struct ls_zenc *c = ls_zalloc(sizeof *c);

	if (c == NULL)
		return ls_err_nomem(e);
	c->z = ls_zdict_ref(z);
	if (!set_up(c)) {
		ls_zenc_free(c);
		return ls_err_nomem(e);
	}
	*out = c;
	return LS_OK;
}

void
ls_zenc_free(struct ls_zenc *c)
{
	if (c == NULL)
		return;
	if (c->x != NULL)
		(void)ls_zstd.f_ZSTD_freeCCtx(c->x);
	if (c->d != NULL)
		(void)ls_zstd.f_ZSTD_freeCDict(c->d);
	ls_zdict_unref(c->z);
	ls_free(c);
}

enum ls_rc
ls_zenc_page(struct ls_zenc *c, const uint8_t *page, uint32_t n, uint8_t *out,
    size_t *size, struct ls_err *e)
{
	size_t k =
	    ls_zstd.f_ZSTD_compress2(c->x, out, ls_zframe_bound(n), page, n);

	if (ls_zstd.f_ZSTD_isError(k)) /* the room is zstd's own bound */
		return ls_err_nomem(e);
	*size = k;
	return LS_OK;
}

/* ---- choosing -------------------------------------------------------------*/

/* Bytes that the trial pages of a sample take. */
static enum ls_rc
try_out(struct ls_zdict *z, struct ls_span sample, uint32_t page_size,
    uint64_t *bytes, struct ls_err *e)
{
	size_t pages = sample.n / page_size, n = LS_MIN(pages, (size_t)TRIALS);
	uint8_t *out = ls_alloc(ls_zframe_bound(page_size));
	struct ls_zenc *c = NULL;
	enum ls_rc rc = out == NULL ? ls_err_nomem(e) : ls_zenc_new(z, &c, e);

	*bytes = 0;
	for (size_t i = 0; i < n && rc == LS_OK; i++) {
		size_t size = 0, at = i * pages / n;

		rc = ls_zenc_page(
		    c, sample.p + at * page_size, page_size, out, &size, e);
		*bytes += size;
	}
	ls_zenc_free(c);
	ls_free(out);
	return rc;
}

/* LS_ENOTFOUND: zstd finds nothing in the sample to make one of. */
static enum ls_rc
train(struct ls_span sample, uint32_t page_size, struct ls_zdict **out,
    struct ls_err *e)
{
	size_t n = sample.n / page_size;
	size_t cap = LS_MIN(sample.n / SHARE, (size_t)LS_ZDICT_MAX), got;
	size_t *sizes = ls_alloc(n * sizeof *sizes);
	uint8_t *dict = ls_alloc(cap);
	enum ls_rc rc = LS_ENOTFOUND;

	if (sizes == NULL || dict == NULL) {
		rc = ls_err_nomem(e);
	} else {
		for (size_t i = 0; i < n; i++)
			sizes[i] = page_size;
		got = ls_zstd.f_ZDICT_trainFromBuffer(
		    dict, cap, sample.p, sizes, (unsigned)n);
		if (!ls_zstd.f_ZDICT_isError(got))
			rc = ls_zdict_new(LS_SPAN(dict, got), out, e);
	}
	ls_free(sizes);
	ls_free(dict);
	return rc;
}

/* Does z save more than it takes over `none`? */
static enum ls_rc
judge(struct ls_zdict *z, struct ls_zdict *none, struct ls_span sample,
    uint32_t page_size, uint64_t total, bool *good, struct ls_err *e)
{
	uint64_t pages = LS_MIN(sample.n / page_size, (size_t)TRIALS);
	uint64_t with, without;
	enum ls_rc rc;

	*good = false;
	if ((rc = try_out(z, sample, page_size, &with, e)) != LS_OK ||
	    (rc = try_out(none, sample, page_size, &without, e)) != LS_OK)
		return rc;
	*good = with < without &&
		(without - with) * (total / page_size) / pages > z->n;
	return LS_OK;
}

enum ls_rc
ls_zdict_choose(struct ls_span sample, uint32_t page_size, uint64_t total,
    struct ls_zdict *known, struct ls_zdict **out, struct ls_err *e)
{
	struct ls_zdict *none = NULL, *z = NULL;
	bool good = false;
	enum ls_rc rc;

	if ((rc = ls_zdict_new(LS_SPAN(NULL, 0), &none, e)) != LS_OK)
		return rc;
	if (known != NULL)
		z = ls_zdict_ref(known);
	else if (sample.n >= LS_ZSAMPLE_MIN)
		rc = train(sample, page_size, &z, e);
	if (rc == LS_ENOTFOUND)
		rc = LS_OK;
	if (rc == LS_OK && z != NULL)
		rc = judge(z, none, sample, page_size, total, &good, e);
	if (rc == LS_OK && !good && known != NULL && sample.n >= LS_ZSAMPLE) {
		ls_zdict_unref(z); /* it has grown old */
		ls_zdict_unref(none);
		return ls_zdict_choose(sample, page_size, total, NULL, out, e);
	}
	if (rc == LS_OK)
		*out = ls_zdict_ref(good ? z : none);
	ls_zdict_unref(z);
	ls_zdict_unref(none);
	return rc;
}
