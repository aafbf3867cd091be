/* test_merge.c -- the merge against a model that knows each page's history. */
#include "kit.h"

#include "base/bytes.h"
#include "fault.h"

#include <errno.h>

enum { PS = 512, PAGES = 48, FILES = 24 };

/* What a database's page held after each TXID: a version, 0 for none. */
struct history {
	struct ls_buf file[FILES];
	uint32_t commit[FILES + 1]; /* [0]: before the first */
	uint32_t version[FILES + 1][PAGES + 1];
	size_t n;
};

/* One more file: TXID n + 1, some pages changed, grown or shrunk. */
static void
step(struct history *s, bool snapshot)
{
	size_t t = s->n + 1;
	uint32_t old = s->commit[s->n];
	uint32_t now = 1 + (uint32_t)(test_rand() % PAGES), pgnos[PAGES];
	struct ls_ltx_header h;
	struct ls_err e = { 0 };
	size_t n = 0;

	memcpy(s->version[t], s->version[s->n], sizeof s->version[t]);
	for (uint32_t p = 1; p <= PAGES; p++) {
		bool must = snapshot || p > old;

		if (p > now)
			s->version[t][p] = 0;
		else if (must || test_rand() % 4 == 0) {
			s->version[t][p] = (uint32_t)t;
			pgnos[n++] = p;
		}
	}
	s->commit[t] = now;
	h = kit_header(PS, now, t, t);
	h.wal_offset = 32;
	h.salt1 = 7;
	h.node_id = t;
	h.has_db_checksum = t % 2;
	h.db_checksum = t;
	if (snapshot) /* a true one would be asked to fit */
		h.has_db_checksum = false;
	s->file[s->n].max = 0;
	CHECK_OK(kit_write(&h, pgnos, n, t, &s->file[s->n], &e));
	s->n++;
}

static void
history_init(struct history *s, size_t n, uint64_t seed)
{
	memset(s, 0, sizeof *s);
	test_seed(seed);
	for (size_t i = 0; i < n; i++)
		step(s, i == 0);
}

static void
history_fini(struct history *s)
{
	for (size_t i = 0; i < s->n; i++)
		ls_buf_free(&s->file[i]);
}

struct inputs {
	struct kit_source src[FILES];
	struct ls_merge_input in[FILES];
};

static void
inputs_of(struct inputs *k, const struct ls_buf *f, size_t n, size_t chunk)
{
	for (size_t i = 0; i < n; i++) {
		k->src[i] = (struct kit_source){ ls_buf_span(&f[i]), 0, chunk };
		k->in[i] = (struct ls_merge_input){ kit_source, &k->src[i] };
	}
}

/* A page must be in the merge of TXIDs from+1..to iff it is in the database
 * and was written in between; then it is the newest version. */
struct expect {
	const struct history *s;
	size_t from, to;
	uint32_t next; /* pages below were seen */
};

static bool
wanted(const struct expect *x, uint32_t p)
{
	return x->s->version[x->to][p] > x->from;
}

static enum ls_rc
see_page(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	struct expect *x = arg;
	uint8_t want[PS];

	(void)e;
	for (; x->next < pgno; x->next++)
		CHECK(!wanted(x, x->next));
	CHECK(wanted(x, pgno));
	kit_page(want, PS, pgno, x->s->version[x->to][pgno]);
	CHECK(memcmp(data, want, PS) == 0);
	x->next = pgno + 1;
	return LS_OK;
}

static void
see_end(struct expect *x)
{
	for (; x->next <= PAGES; x->next++)
		CHECK(!wanted(x, x->next));
}

static void
check_header(
    const struct ls_ltx_header *h, const struct expect *x, uint64_t node_id)
{
	CHECK(h->min_txid == x->from + 1 && h->max_txid == x->to);
	CHECK_EQ(h->commit, x->s->commit[x->to]);
	CHECK_EQ(h->flags, LS_LTX_NO_CHECKSUM);
	CHECK_EQ(h->timestamp_ms, 1700000000000 + (int64_t)x->to);
	CHECK(h->wal_offset == 0 && h->salt1 == 0 && h->wal_size == 0);
	CHECK(h->node_id == node_id);
	CHECK(h->has_db_checksum == (x->to > 1 && x->to % 2));
	CHECK(!h->has_db_checksum || h->db_checksum == x->to);
}

static void
check_merge(const struct history *s, size_t from, size_t to, size_t chunk)
{
	struct inputs k;
	struct expect x = { s, from, to, 1 };
	struct ls_merge_opts o = { true, s->commit[from], false, 99, { 0 } };
	struct kit_sink out = KIT_SINK;
	struct ls_ltx_header h, stored;
	struct ls_merge_input again;
	struct kit_source src;
	struct ls_err e = { 0 };
	uint64_t size = 0;

	inputs_of(&k, s->file + from, to - from, chunk);
	CHECK_OK(ls_merge_pages(k.in, to - from, see_page, &x, &h, &e));
	see_end(&x);
	check_header(&h, &x, 0);
	inputs_of(&k, s->file + from, to - from, chunk);
	CHECK_OK(ls_merge(k.in, to - from, &o, kit_sink, &out, &h, &size, &e));
	CHECK_EQ(size, out.b.n);
	check_header(&h, &x, 99);
	CHECK_OK(ls_ltx_header_decode(ls_buf_span(&out.b), &stored, &e));
	check_header(&stored, &x, 99);
	src = (struct kit_source){ ls_buf_span(&out.b), 0, 0 };
	again = (struct ls_merge_input){ kit_source, &src };
	x.next = 1;
	CHECK_OK(ls_merge_pages(&again, 1, see_page, &x, NULL, &e));
	see_end(&x);
	ls_buf_free(&out.b);
}

TEST(merge_against_model)
{
	static struct history s;

	for (uint64_t seed = 1; seed <= 60; seed++) {
		history_init(&s, FILES, seed);
		/* The first file of the history is complete, so a merge that
		 * begins at 1 is a snapshot. A true database checksum would
		 * be checked then, hence an even end. */
		check_merge(&s, 0, FILES, seed % 3 ? 0 : 33);
		for (size_t from = 1; from < FILES; from += 3)
			check_merge(&s, from,
			    from + 1 + test_rand() % (FILES - from), 0);
		history_fini(&s);
	}
}

/* Merging merges, with overlaps, is merging. */
TEST(merge_of_merges)
{
	static struct history s;
	struct ls_merge_opts o = { .node_id = 5 };
	struct kit_sink one = KIT_SINK, a = KIT_SINK, b = KIT_SINK,
			two = KIT_SINK;
	struct ls_buf parts[2];
	struct inputs k;
	struct ls_err e = { 0 };

	history_init(&s, 20, 77);
	inputs_of(&k, s.file, 20, 0);
	CHECK_OK(ls_merge(k.in, 20, &o, kit_sink, &one, NULL, NULL, &e));
	inputs_of(&k, s.file, 12, 0);
	CHECK_OK(ls_merge(k.in, 12, &o, kit_sink, &a, NULL, NULL, &e));
	inputs_of(&k, s.file + 7, 13, 0); /* 8..20 overlaps 1..12 */
	CHECK_OK(ls_merge(k.in, 13, &o, kit_sink, &b, NULL, NULL, &e));
	parts[0] = a.b, parts[1] = b.b;
	inputs_of(&k, parts, 2, 0);
	CHECK_OK(ls_merge(k.in, 2, &o, kit_sink, &two, NULL, NULL, &e));
	CHECK_EQ(one.b.n, two.b.n);
	CHECK(memcmp(one.b.p, two.b.p, one.b.n) == 0);
	ls_buf_free(&one.b), ls_buf_free(&two.b);
	ls_buf_free(&a.b), ls_buf_free(&b.b);
	history_fini(&s);
}

/* n files given as (commit, pages...); merged; the result. */
struct given {
	uint32_t commit;
	uint32_t pgnos[8];
};

static enum ls_rc
merge_given(const struct given *g, size_t n, uint64_t first,
    const struct ls_merge_opts *o, struct ls_buf *out, struct ls_err *e)
{
	struct ls_buf f[8] = { LS_BUF_INIT(0) };
	struct kit_sink sink = KIT_SINK;
	struct inputs k;
	enum ls_rc rc;

	for (size_t i = 0; i < n; i++) {
		struct ls_ltx_header h =
		    kit_header(PS, g[i].commit, first + i, first + i);
		size_t pages = 0;

		while (pages < 8 && g[i].pgnos[pages] != 0)
			pages++;
		CHECK_RC(
		    kit_write(&h, g[i].pgnos, pages, i + 1, &f[i], e), LS_OK);
	}
	inputs_of(&k, f, n, 0);
	rc = ls_merge(k.in, n, o, kit_sink, &sink, NULL, NULL, e);
	for (size_t i = 0; i < n; i++)
		ls_buf_free(&f[i]);
	if (rc == LS_OK && out != NULL)
		*out = sink.b;
	else
		ls_buf_free(&sink.b);
	return rc;
}

TEST(merge_incomplete)
{
	static const struct given grow[] = { { 9, { 2 } },
		{ 12, { 3, 10, 12 } } };
	static const struct given whole[] = { { 9, { 2 } },
		{ 12, { 3, 10, 11, 12 } } };
	static const struct given alone[] = { { 9, { 2, 8, 9 } } };
	static const struct given regrow[] = { { 9, { 2, 7 } }, { 5, { 1 } },
		{ 7, { 6 } } };
	static const struct given snap[] = { { 3, { 1, 2, 3 } }, { 4, { 1 } } };
	struct ls_merge_opts none = { .node_id = 1 };
	struct ls_merge_opts prev7 = { true, 7, false, 1, { 0 } },
			     prev6 = { true, 6, false, 1, { 0 } };
	struct ls_err e = { 0 };

	CHECK_RC(merge_given(grow, 2, 5, &none, NULL, &e), LS_ECORRUPT);
	CHECK_STR(e.msg,
	    "page 11 is missing: the file is not complete up to page 12");
	CHECK_OK(merge_given(whole, 2, 5, &none, NULL, &e));
	CHECK_OK(merge_given(alone, 1, 5, &none, NULL, &e));
	CHECK_OK(merge_given(alone, 1, 5, &prev7, NULL, &e));
	CHECK_RC(merge_given(alone, 1, 5, &prev6, NULL, &e), LS_ECORRUPT);
	CHECK_STR(
	    e.msg, "page 7 is missing: the file is not complete up to page 9");
	/* Page 7 of the first file was cut off by the second. */
	CHECK_RC(merge_given(regrow, 3, 5, &none, NULL, &e), LS_ECORRUPT);
	CHECK_RC(merge_given(snap, 2, 1, &none, NULL, &e), LS_ECORRUPT);
}

TEST(merge_shrink_and_regrow)
{
	static const struct given g[] = { { 9, { 2, 6, 7, 9 } }, { 5, { 1 } },
		{ 8, { 6, 7, 8 } } };
	struct ls_merge_opts none = { .node_id = 1 };
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_buf out = LS_BUF_INIT(0);
	struct ls_err e = { 0 };
	uint8_t got[PS], want[PS];

	CHECK_OK(merge_given(g, 3, 5, &none, &out, &e));
	CHECK_OK(
	    ls_ltx_index_decode(ls_buf_span(&out), out.n, 8, NULL, &idx, &e));
	CHECK_EQ(idx.n, 5);
	for (size_t i = 0; i < idx.n; i++) {
		static const uint32_t pgno[] = { 1, 2, 6, 7, 8 };
		static const uint64_t version[] = { 2, 1, 3, 3, 3 };
		struct ls_ltx_entry x = idx.v[i];

		CHECK_EQ(x.pgno, pgno[i]);
		CHECK_OK(ls_ltx_frame_decode(
		    LS_SPAN(out.p + x.off, x.size), NULL, x.pgno, PS, got, &e));
		kit_page(want, PS, x.pgno, version[i]);
		CHECK(memcmp(got, want, PS) == 0);
	}
	ls_ltx_index_fini(&idx);
	ls_buf_free(&out);
}

static enum ls_rc
merge_two(struct ls_ltx_header a, struct ls_ltx_header b, struct ls_err *e)
{
	static const uint32_t pgnos[] = { 1, 2, 3 };
	struct ls_buf f[2] = { LS_BUF_INIT(0), LS_BUF_INIT(0) };
	struct ls_merge_opts o = { .node_id = 1 };
	struct kit_sink sink = KIT_SINK;
	struct inputs k;
	enum ls_rc rc;

	CHECK_RC(kit_write(&a, pgnos, 3, 1, &f[0], e), LS_OK);
	CHECK_RC(kit_write(&b, pgnos, 3, 2, &f[1], e), LS_OK);
	inputs_of(&k, f, 2, 0);
	rc = ls_merge(k.in, 2, &o, kit_sink, &sink, NULL, NULL, e);
	ls_buf_free(&f[0]);
	ls_buf_free(&f[1]);
	ls_buf_free(&sink.b);
	return rc;
}

TEST(merge_chain_rules)
{
	struct ls_ltx_header a = kit_header(PS, 3, 4, 6);
	struct ls_err e = { 0 };

	CHECK_OK(merge_two(a, kit_header(PS, 3, 7, 7), &e));
	CHECK_OK(merge_two(a, kit_header(PS, 3, 2, 7), &e));
	CHECK_RC(merge_two(a, kit_header(PS, 3, 8, 8), &e), LS_ECORRUPT);
	CHECK(strncmp(e.msg, "non-contiguous transaction ids in input files",
		  45) == 0);
	CHECK_RC(merge_two(a, kit_header(PS, 3, 5, 6), &e), LS_ECORRUPT);
	CHECK_RC(merge_two(a, kit_header(1024, 3, 7, 7), &e), LS_ECORRUPT);
	CHECK(
	    strncmp(e.msg, "input files have mismatched page sizes", 38) == 0);
	CHECK_RC(ls_merge(NULL, 0, &(struct ls_merge_opts){ 0 }, kit_sink, NULL,
		     NULL, NULL, &e),
	    LS_EINVALID);
}

/* A legacy input is recompressed; a file of an empty database is read. */
TEST(merge_legacy_and_empty)
{
	struct kit_source src[3];
	struct ls_merge_input in[3];
	struct ls_merge_opts o = { .node_id = 1 };
	struct kit_sink out = KIT_SINK;
	struct expect none = { .next = 1 };
	struct ls_ltx_header h;
	struct ls_err e = { 0 };
	static const char *const names[] = { "legacy-sum-diff.ltx",
		"block-sum-empty.ltx" };

	for (size_t i = 0; i < 2; i++) {
		src[i] = (struct kit_source){ kit_data(names[i]), 0, 0 };
		in[i] = (struct ls_merge_input){ kit_source, &src[i] };
	}
	CHECK_OK(ls_merge(in, 1, &o, kit_sink, &out, &h, NULL, &e));
	CHECK(h.flags == LS_LTX_NO_CHECKSUM && h.pre_apply == 0);
	CHECK_OK(kit_verify(ls_buf_span(&out.b), &e));
	CHECK_EQ(ls_be16(out.b.p + LS_LTX_HEADER + 4), LS_LTX_PAGE_SIZED);
	src[0].at = 0;
	CHECK_RC(
	    ls_merge(in, 2, &o, kit_sink, &out, NULL, NULL, &e), LS_EINVALID);
	src[0].at = src[1].at = 0;
	CHECK_OK(ls_merge_pages(in, 2, see_page, &none, &h, &e));
	CHECK_EQ(h.commit, 0);
	ls_buf_free(&out.b);
}

/* Whichever input is damaged, wherever: an error that names it. */
TEST(merge_damaged_input)
{
	static struct history s;
	struct ls_merge_opts o = { .node_id = 1 };

	history_init(&s, 6, 3);
	for (size_t i = 0; i < 6; i++) {
		size_t size = s.file[i].n;

		for (size_t at = 0; at < size; at += 1 + size / 40) {
			struct kit_sink out = KIT_SINK;
			struct inputs k;
			struct ls_err e = { 0 };
			enum ls_rc rc;

			inputs_of(&k, s.file, 6, 0);
			k.src[i].s.n = at;
			rc = ls_merge(
			    k.in, 6, &o, kit_sink, &out, NULL, NULL, &e);
			CHECK_RC(rc, LS_ESHORT);
			CHECK(strstr(e.msg, "input") != NULL);
			ls_buf_free(&out.b);
		}
		s.file[i].p[size - 1] ^= 1;
		struct kit_sink out = KIT_SINK;
		struct inputs k;
		struct ls_err e = { 0 };
		char name[LS_LTX_NAME_MAX];

		inputs_of(&k, s.file, 6, 0);
		CHECK_RC(ls_merge(k.in, 6, &o, kit_sink, &out, NULL, NULL, &e),
		    LS_ECORRUPT);
		CHECK(strstr(e.msg, ls_ltx_name(i + 1, i + 1, name)) != NULL);
		CHECK(strstr(e.msg, "file checksum mismatch") != NULL);
		s.file[i].p[size - 1] ^= 1;
		ls_buf_free(&out.b);
	}
	history_fini(&s);
}

static enum ls_rc
refuse(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	(void)arg;
	(void)data;
	return pgno < 3 ? LS_OK :
			/* the code that also means "no more pages" */
		   ls_err_set(e, LS_ENOTFOUND, "page %u unwanted", pgno);
}

/* Sources that fail give their own error, also LS_ENOTFOUND. */
static enum ls_rc
source_gone(void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct kit_source *k = arg;

	if (k->at < 500)
		return kit_source(k, buf, LS_MIN(n, 500 - k->at), got, e);
	return ls_err_set(e, LS_ENOTFOUND, "object is gone");
}

TEST(errors_of_callbacks)
{
	static struct history s;
	struct ls_merge_opts o = { .node_id = 1 };
	struct kit_sink out = KIT_SINK;
	struct ls_err e = { 0 };
	struct inputs k;

	history_init(&s, 3, 9);
	inputs_of(&k, s.file, 3, 0);
	CHECK_RC(ls_merge_pages(k.in, 3, refuse, NULL, NULL, &e), LS_ENOTFOUND);
	CHECK(strstr(e.msg, "unwanted") != NULL);
	for (size_t i = 0; i < 3; i++) {
		if (s.file[i].n <= 500)
			continue;
		inputs_of(&k, s.file, 3, 0);
		k.in[i].src = source_gone;
		CHECK_RC(ls_merge(k.in, 3, &o, kit_sink, &out, NULL, NULL, &e),
		    LS_ENOTFOUND);
		CHECK(strstr(e.msg, "object is gone") != NULL);
		k.src[i].at = 0;
		CHECK_RC(ls_ltx_verify(source_gone, &k.src[i], NULL, &e),
		    LS_ENOTFOUND);
	}
	ls_buf_free(&out.b);
	history_fini(&s);
}

TEST(merge_memory_faults)
{
	static struct history s;
	struct ls_merge_opts o = { .node_id = 1 };

	history_init(&s, 5, 21);
	for (int n = 1;; n++) {
		struct kit_sink out = KIT_SINK;
		struct inputs k;
		struct ls_err e = { 0 };
		enum ls_rc rc;

		inputs_of(&k, s.file, 5, 0);
		fault_arm(n, ENOMEM);
		rc = ls_merge(k.in, 5, &o, kit_sink, &out, NULL, NULL, &e);
		fault_disarm();
		ls_buf_free(&out.b);
		if (!fault_fired()) {
			CHECK_RC(rc, LS_OK);
			CHECK(n > 15);
			break;
		}
		CHECK_RC(rc, LS_ENOMEM);
		CHECK(e.msg[0] != '\0');
	}
	history_fini(&s);
}
