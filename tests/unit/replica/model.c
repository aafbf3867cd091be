/* model.c -- see model.h. */
#include "model.h"

#include "base/units.h"
#include "format/crc64.h"
#include "fault.h"

void
md_open(struct md *m)
{
	struct ls_err e = { 0 };
	struct ls_place p;

	*m = (struct md){ .page_size = MD_PAGE, .lineage = 0xabcdef };
	ls_place_init(&p);
	p.type = ls_strdup("file");
	p.path = ls_strdup(T("rep"));
	CHECK_OK(ls_place_settle(&p, &e));
	CHECK_OK(ls_store_open(&p, NULL, &m->st, &e));
	ls_place_fini(&p);
	CHECK_OK(ls_replica_new(m->st, &m->r, &e));
	m->now_ns = MD_T0;
	md_tick(m, 0);
}

void
md_close(struct md *m)
{
	for (uint64_t i = 1; i <= m->n; i++)
		free(m->s[i].pages);
	free(m->s);
	ls_replica_free(m->r);
	ls_store_free(m->st);
	fault_disarm();
}

void
md_tick(struct md *m, int64_t ns)
{
	m->now_ns += ns;
	fault_clock(m->now_ns - ls_sys_real.wall_ns());
}

static enum ls_rc
to_buf(void *arg, struct ls_span b, struct ls_err *e)
{
	return ls_buf_add(arg, b.p, b.n, e);
}

static void
write_file(const struct md *m, uint64_t min, uint64_t txid,
    struct ls_ltx_header *h, struct ls_buf *out)
{
	const struct md_state *s = &m->s[txid];
	struct ls_err e = { 0 };
	struct ls_ltx_writer *w = NULL;

	*h = (struct ls_ltx_header){ .flags = LS_LTX_NO_CHECKSUM,
		.page_size = s->page_size,
		.commit = s->commit,
		.min_txid = min,
		.max_txid = txid,
		.timestamp_ms = s->ns / 1000000,
		.wal_offset = 32,
		.node_id = s->lineage,
		.has_db_checksum = m->db_checksum };
	for (uint32_t p = 1; p <= s->commit && m->db_checksum; p++)
		h->db_checksum ^= ls_page_checksum(
		    p, LS_SPAN(s->pages + (size_t)(p - 1) * s->page_size,
			   s->page_size));
	CHECK_OK(ls_ltx_writer_new(to_buf, out, &w, &e));
	CHECK_OK(ls_ltx_writer_begin(w, h, NULL, &e));
	for (uint32_t p = 1; p <= s->commit; p++)
		if (min == 1 || (s->changed & 1u << (p - 1)))
			CHECK_OK(ls_ltx_writer_page(w, p,
			    s->pages + (size_t)(p - 1) * s->page_size, &e));
	CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
	ls_ltx_writer_free(w);
}

void
md_file(const struct md *m, uint64_t txid, struct ls_buf *out)
{
	struct ls_ltx_header h;

	write_file(m, txid, txid, &h, out);
}

static void
put(struct md *m, int level, uint64_t min, struct ls_ltx_header *h)
{
	struct ls_err e = { 0 };
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	char key[LS_KEY_MAX];
	const struct ls_put o = { .timestamp_ms = m->s[m->n].ns / 1000000 };

	write_file(m, min, m->n, h, &b);
	ls_ltx_key(ls_store_layout(m->st), level, min, m->n, key);
	CHECK_OK(ls_store_put(m->st, key, ls_buf_span(&b), &o, NULL, &e));
	ls_buf_free(&b);
}

void
md_snapshot(struct md *m, struct ls_ltx_header *h)
{
	put(m, LS_SNAPSHOT_LEVEL, 1, h);
}

static void
next(struct md *m, uint32_t commit, bool whole)
{
	const struct md_state *old;
	struct md_state *s;
	struct ls_ltx_header h;

	if (m->n + 2 > m->cap) {
		m->cap = m->cap ? m->cap * 2 : 64;
		m->s = realloc(m->s, m->cap * sizeof *m->s);
		CHECK(m->s != NULL);
		m->s[0] = (struct md_state){ 0 };
	}
	old = &m->s[m->n];
	s = &m->s[++m->n];
	*s = (struct md_state){ .ns = m->now_ns / 1000000 * 1000000,
		.commit = commit,
		.page_size = m->page_size,
		.lineage = m->lineage };
	s->pages = malloc((size_t)commit * m->page_size);
	CHECK(s->pages != NULL);
	for (uint32_t p = 1; p <= commit; p++) {
		uint8_t *to = s->pages + (size_t)(p - 1) * m->page_size;

		if (whole || p > old->commit || test_rand() % 4 == 0) {
			test_rand_bytes(to, m->page_size);
			s->changed |= 1u << (p - 1);
		} else {
			memcpy(to, old->pages + (size_t)(p - 1) * m->page_size,
			    m->page_size);
		}
	}
	put(m, 0, m->n, &h);
}

void
md_commit(struct md *m)
{
	uint32_t now = m->n ? m->s[m->n].commit : 0;

	if (now == 0 || test_rand() % 4 == 0)
		now = 1 + (uint32_t)(test_rand() % MD_PAGES);
	next(m, now, m->n == 0);
}

void
md_resize(struct md *m, uint32_t page_size)
{
	m->page_size = page_size;
	next(m, 1 + (uint32_t)(test_rand() % MD_PAGES), true);
}

static enum ls_rc
plan(struct md *m, uint64_t txid, struct ls_plan *p, struct ls_err *e)
{
	const struct ls_target t = { .txid = txid };
	struct ls_files all = { 0 };
	enum ls_rc rc = ls_replica_list_all(m->r, NULL, &all, NULL, e);

	if (rc == LS_OK)
		rc = ls_plan_make(m->r, &all, &t, p, NULL, e);
	ls_files_fini(&all);
	return rc;
}

bool
md_plannable(struct md *m, uint64_t txid)
{
	struct ls_plan p = { 0 };
	bool yes = plan(m, txid, &p, NULL) == LS_OK;

	ls_plan_fini(&p);
	return yes;
}

void
md_check(struct md *m, uint64_t txid)
{
	const struct md_state *s = &m->s[txid];
	struct ls_err e = { 0 };
	struct ls_plan p = { 0 };
	struct ls_restored out;
	struct ls_restore_opts o = { .output = T("out.db"), .parallelism = 1 };
	struct ls_span got;

	CHECK_OK(plan(m, txid, &p, &e));
	CHECK_OK(ls_restore(m->r, &p, &o, &out, NULL, &e));
	ls_plan_fini(&p);
	got = test_read_file(T("out.db"));
	CHECK_EQ(got.n, (size_t)s->commit * s->page_size);
	if (memcmp(got.p, s->pages, got.n) != 0)
		test_fail(__FILE__, __LINE__, "TXID %llu differs",
		    (unsigned long long)txid);
	CHECK(remove(T("out.db")) == 0);
}

size_t
md_list(struct md *m, int level, struct ls_files *out)
{
	struct ls_err e = { 0 };

	ls_files_fini(out);
	CHECK_OK(ls_replica_list(m->r, level, 0, out, NULL, &e));
	return out->n;
}

void
md_delete(struct md *m, int level, uint64_t min, uint64_t max)
{
	struct ls_err e = { 0 };
	char key[LS_KEY_MAX];
	const char *const keys[] = { key };

	ls_ltx_key(ls_store_layout(m->st), level, min, max, key);
	CHECK_OK(ls_store_delete(m->st, keys, 1, NULL, &e));
}

uint64_t
md_requests(struct md *m)
{
	struct ls_store_stats s;

	ls_store_stats(m->st, &s);
	return s.put_n + s.get_n + s.list_n + s.delete_n + s.copy_n + s.head_n;
}
