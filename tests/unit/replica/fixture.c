/* fixture.c -- see fixture.h. */
#include "fixture.h"

#include "base/bytes.h"
#include "format/crc64.h"

void
fx_open(struct fx *x, uint32_t page_size)
{
	struct ls_err e = { 0 };
	struct ls_place p;

	*x = (struct fx){ .page_size = page_size, .lineage = 0xabcdef };
	ls_place_init(&p);
	p.type = ls_strdup("file");
	p.path = ls_strdup(T("rep"));
	CHECK_OK(ls_place_settle(&p, &e));
	CHECK_OK(ls_store_open(&p, NULL, &x->st, &e));
	ls_place_fini(&p);
	CHECK_OK(ls_replica_new(x->st, &x->r, &e));
}

void
fx_mix(struct fx *x)
{
	static uint8_t text[LS_ZSAMPLE_MIN];
	struct ls_err e = { 0 };

	for (size_t i = 0; i + 16 <= sizeof text; i += 16)
		(void)snprintf((char *)text + i, 16, "field-%09llu",
		    (unsigned long long)(test_rand() % 99 * 10000019));
	CHECK_OK(ls_zdict_choose(
	    LS_SPAN(text, sizeof text), 512, 1ull << 40, NULL, &x->z, &e));
	CHECK(ls_zdict_bytes(x->z).n > 0);
	x->mixed = true;
}

/* The dictionary of a file. Gives it; NULL: LZ4. */
static struct ls_zdict *
dict_of(struct fx *x, uint64_t min, uint64_t max)
{
	struct ls_zdict *none = NULL;
	struct ls_err e = { 0 };

	if (!x->mixed || (min == max && min != 1) || (min + max) % 3 == 2)
		return NULL;
	if ((min + max) % 3 == 1)
		return ls_zdict_ref(x->z);
	CHECK_OK(ls_zdict_new(LS_SPAN(NULL, 0), &none, &e));
	return none;
}

void
fx_close(struct fx *x)
{
	ls_zdict_unref(x->z);
	for (int i = 0; i < FX_TXIDS; i++)
		free(x->s[i].pages);
	ls_replica_free(x->r);
	ls_store_free(x->st);
}

static void
random_page(uint8_t *p, uint32_t n)
{
	memset(p, (int)(test_rand() >> 32), n);
	test_rand_bytes(p, n / (1 + test_rand() % 8));
}

void
fx_commit_to(struct fx *x, uint32_t commit)
{
	const struct fx_state *old = &x->s[x->txid];
	struct fx_state *s = &x->s[++x->txid];

	CHECK(x->txid < FX_TXIDS && commit <= FX_PAGES && commit > 0);
	s->commit = commit;
	s->pages = malloc((size_t)commit * x->page_size);
	CHECK(s->pages != NULL);
	for (uint32_t p = 1; p <= commit; p++) {
		uint8_t *to = s->pages + (size_t)(p - 1) * x->page_size;

		s->changed[p] = p > old->commit || test_rand() % 5 == 0;
		if (s->changed[p])
			random_page(to, x->page_size);
		else
			memcpy(to, old->pages + (size_t)(p - 1) * x->page_size,
			    x->page_size);
	}
}

void
fx_commit(struct fx *x)
{
	uint32_t now = x->s[x->txid].commit;

	if (now == 0)
		now = 1 + (uint32_t)(test_rand() % 40);
	else if (test_rand() % 3 == 0)
		now = 1 + (uint32_t)(test_rand() % FX_PAGES);
	fx_commit_to(x, now);
}

uint64_t
fx_sum(const struct fx *x, uint64_t txid)
{
	uint64_t sum = 0;

	for (uint32_t p = 1; p <= x->s[txid].commit; p++)
		sum ^= ls_page_checksum(p,
		    LS_SPAN(x->s[txid].pages + (size_t)(p - 1) * x->page_size,
			x->page_size));
	return sum;
}

static bool
in_range(const struct fx *x, uint32_t pgno, uint64_t min, uint64_t max)
{
	if (min == 1)
		return true;
	for (uint64_t t = min; t <= max; t++)
		if (x->s[t].commit >= pgno && x->s[t].changed[pgno])
			return true;
	return false;
}

static enum ls_rc
to_buf(void *arg, struct ls_span b, struct ls_err *e)
{
	return ls_buf_add(arg, b.p, b.n, e);
}

void
fx_file(struct fx *x, uint64_t min, uint64_t max, struct ls_buf *out)
{
	const struct fx_state *s = &x->s[max];
	struct ls_err e = { 0 };
	struct ls_ltx_writer *w = NULL;
	struct ls_zdict *z = dict_of(x, min, max);
	struct ls_ltx_header h = { .flags = LS_LTX_NO_CHECKSUM,
		.page_size = x->page_size,
		.commit = s->commit,
		.min_txid = min,
		.max_txid = max,
		.timestamp_ms = FX_T0 + x->later_ms + (int64_t)max * 1000,
		.wal_offset = 32,
		.node_id = x->lineage,
		.has_db_checksum = x->db_checksum };

	if (x->db_checksum)
		h.db_checksum = fx_sum(x, max);
	CHECK_OK(ls_ltx_writer_new(to_buf, out, &w, &e));
	CHECK_OK(ls_ltx_writer_begin(w, &h, z, &e));
	ls_zdict_unref(z);
	for (uint32_t p = 1; p <= s->commit; p++)
		if (in_range(x, p, min, max))
			CHECK_OK(ls_ltx_writer_page(w, p,
			    s->pages + (size_t)(p - 1) * x->page_size, &e));
	CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
	ls_ltx_writer_free(w);
}

void
fx_put(struct fx *x, int level, uint64_t min, uint64_t max)
{
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(64 << 20);
	char key[LS_KEY_MAX];
	struct ls_put o = { .timestamp_ms =
				FX_T0 + x->later_ms + (int64_t)max * 1000 };

	fx_file(x, min, max, &b);
	ls_ltx_key(ls_store_layout(x->st), level, min, max, key);
	CHECK_OK(ls_store_put(x->st, key, ls_buf_span(&b), &o, NULL, &e));
	ls_buf_free(&b);
}

const char *
fx_path(int level, uint64_t min, uint64_t max)
{
	char name[128];

	(void)snprintf(name, sizeof name, "rep/ltx/%d/%016llx-%016llx.ltx",
	    level, (unsigned long long)min, (unsigned long long)max);
	return T(name);
}

enum ls_rc
fx_plan(struct fx *x, const struct ls_target *t, struct ls_plan *p,
    struct ls_err *e)
{
	struct ls_files all = { 0 };
	enum ls_rc rc = ls_replica_list_all(x->r, NULL, &all, NULL, e);

	if (rc == LS_OK)
		rc = ls_plan_make(x->r, &all, t, p, NULL, e);
	ls_files_fini(&all);
	return rc;
}

enum ls_rc
fx_restore(struct fx *x, uint64_t txid, const char *name,
    struct ls_restored *out, struct ls_err *e)
{
	struct ls_target t = { .txid = txid };
	struct ls_plan p = { 0 };
	struct ls_restore_opts o = {
		.output = T(name), .parallelism = 4, .par = &ls_par_threads
	};
	enum ls_rc rc = fx_plan(x, &t, &p, e);

	if (rc == LS_OK)
		rc = ls_restore(x->r, &p, &o, out, NULL, e);
	ls_plan_fini(&p);
	return rc;
}

bool
fx_equal(const struct fx *x, uint64_t txid, const char *name)
{
	struct ls_span got = test_read_file(T(name));
	const struct fx_state *s = &x->s[txid];

	return got.n == (size_t)s->commit * x->page_size &&
	       memcmp(got.p, s->pages, got.n) == 0;
}

bool
fx_nothing_left(const char *name)
{
	char tmp[64];

	(void)snprintf(tmp, sizeof tmp, "%s.tmp", name);
	return !ls_exists(T(name)) && !ls_exists(T(tmp));
}

void
fx_drop(const char *name)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_remove_tree(T(name), &e));
}

void
fx_poke(const char *path, size_t at, uint8_t xor)
{
	struct ls_span s = test_read_file(path);
	uint8_t *p = malloc(s.n);

	CHECK(p != NULL && at < s.n);
	memcpy(p, s.p, s.n);
	p[at] ^= xor;
	test_write_file(path, p, s.n);
	free(p);
}
