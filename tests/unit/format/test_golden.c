/* test_golden.c -- files of upstream read by us, ours by a second reader, and
 * upstream's own compaction repeated byte by byte. See data/README.md. */
#include "kit.h"

#include "base/bytes.h"

#include <inttypes.h>

/* Apply a file of upstream to db (grown or cut to its commit). */
static void
apply(struct ls_span file, struct ls_buf *db)
{
	struct kit_source src = { file, 0, 0 };
	struct ls_ltx_reader *r = NULL;
	struct ls_ltx_page pg;
	struct ls_err e = { 0 };
	const struct ls_ltx_header *h;
	size_t size;
	enum ls_rc rc;

	CHECK_OK(ls_ltx_reader_open(kit_source, &src, &r, &e));
	h = ls_ltx_reader_header(r);
	size = (size_t)h->commit * h->page_size;
	if (size > db->n)
		CHECK_OK(ls_buf_reserve(db, size - db->n, &e));
	db->n = size;
	while ((rc = ls_ltx_reader_next(r, &pg, &e)) == LS_OK)
		memcpy(db->p + (size_t)(pg.pgno - 1) * h->page_size, pg.data,
		    h->page_size);
	CHECK_RC(rc, LS_ENOTFOUND);
	CHECK_OK(ls_ltx_reader_finish(r, &e));
	ls_ltx_reader_free(r);
}

TEST(upstream_files_give_upstreams_database)
{
	struct ls_span list = kit_data("restored.txt");
	const char *line = (const char *)list.p;
	const char *end = line + list.n;
	struct ls_buf db = LS_BUF_INIT(1 << 20);
	int seen = 0;

	for (; line < end;
	     line =
		 (const char *)memchr(line, '\n', (size_t)(end - line)) + 1) {
		unsigned ps, txid, pages;
		uint64_t crc;
		char name[64];

		if (*line == '#')
			continue;
		CHECK(sscanf(line, "%u %u %u %" SCNx64, &ps, &txid, &pages,
			  &crc) == 4);
		(void)snprintf(
		    name, sizeof name, "up%u-L0-%u-%u.ltx", ps, txid, txid);
		apply(kit_data(name), &db);
		CHECK_EQ(db.n, (size_t)ps * pages);
		CHECK(ls_crc64(0, db.p, db.n) == crc);
		seen++;
	}
	CHECK_EQ(seen, 9);
	ls_buf_free(&db);
}

/* The pages of the files made with the Go library; see data/README.md. */
static void
go_page(uint8_t *out, uint32_t page_size, uint32_t pgno, uint32_t v)
{
	uint32_t x = pgno * 2654435761u + v;

	memset(out, 0, page_size);
	for (int i = 0; i < 400; i++) {
		x = x * 1664525 + 1013904223;
		out[i] = (uint8_t)(x >> 24);
	}
}

static const struct {
	const char *name;
	uint32_t flags, v, n, pgno[4];
} go_files[] = {
	{ "nosum-4096", 2, 1, 3, { 1, 2, 3 } },
	{ "nosum-65536", 2, 2, 1, { 4 } },
	{ "sum-snapshot", 0, 3, 4, { 1, 2, 3, 4 } },
	{ "sum-diff", 0, 4, 2, { 2, 6 } },
	{ "sum-empty", 0, 0, 0, { 0 } },
};

static void
check_go_file(size_t k, struct ls_span file, uint16_t flags, size_t chunk)
{
	static uint8_t want[LS_PAGE_MAX], alone[LS_PAGE_MAX];
	struct kit_source src = { file, 0, chunk };
	struct ls_ltx_index idx = { NULL, 0 };
	struct ls_ltx_reader *r = NULL;
	const struct ls_ltx_header *h;
	struct ls_ltx_page pg;
	struct ls_err e = { 0 };

	CHECK_OK(ls_ltx_reader_open(kit_source, &src, &r, &e));
	h = ls_ltx_reader_header(r);
	CHECK_EQ(h->flags, go_files[k].flags);
	CHECK_OK(ls_ltx_index_decode(file, file.n, h->commit, NULL, &idx, &e));
	CHECK_EQ(idx.n, go_files[k].n);
	for (size_t i = 0; i < idx.n; i++) {
		struct ls_ltx_entry x = idx.v[i];

		CHECK_OK(ls_ltx_reader_next(r, &pg, &e));
		CHECK_EQ(pg.pgno, go_files[k].pgno[i]);
		CHECK_EQ(pg.flags, flags);
		CHECK(pg.offset == x.off && pg.pgno == x.pgno);
		go_page(want, h->page_size, pg.pgno, go_files[k].v);
		CHECK(memcmp(pg.data, want, h->page_size) == 0);
		CHECK_OK(ls_ltx_frame_decode(LS_SPAN(file.p + x.off, x.size),
		    NULL, x.pgno, h->page_size, alone, &e));
		CHECK(memcmp(alone, want, h->page_size) == 0);
	}
	CHECK_RC(ls_ltx_reader_next(r, &pg, &e), LS_ENOTFOUND);
	CHECK_OK(ls_ltx_reader_finish(r, &e));
	ls_ltx_reader_free(r);
	ls_ltx_index_fini(&idx);
}

TEST(go_library_files)
{
	static const struct {
		const char *kind;
		uint16_t flags;
	} kinds[] = { { "legacy", 0 }, { "block", LS_LTX_PAGE_SIZED } };

	for (size_t i = 0; i < 2 * LS_COUNT(go_files); i++) {
		size_t k = i / 2;
		char name[64];
		struct ls_span file;

		(void)snprintf(name, sizeof name, "%s-%s.ltx",
		    kinds[i % 2].kind, go_files[k].name);
		file = kit_data(name);
		check_go_file(k, file, kinds[i % 2].flags, 0);
		check_go_file(k, file, kinds[i % 2].flags, 1);
	}
}

TEST(merge_is_upstreams_compaction)
{
	static const char *const sizes[] = { "512", "4096", "65536" };

	for (size_t i = 0; i < LS_COUNT(sizes); i++) {
		struct kit_source src[2] = { { .at = 0 }, { .at = 0 } };
		struct ls_merge_input in[2];
		struct ls_merge_opts o = { .prev_commit_known = true,
			.prev_commit = 4 };
		struct kit_sink out = KIT_SINK;
		struct ls_err e = { 0 };
		struct ls_span want;
		char name[64];

		for (unsigned k = 0; k < 2; k++) {
			(void)snprintf(name, sizeof name, "up%s-L0-%u-%u.ltx",
			    sizes[i], k + 2, k + 2);
			src[k].s = kit_data(name);
			in[k] = (struct ls_merge_input){ kit_source, &src[k] };
		}
		(void)snprintf(name, sizeof name, "up%s-L1-2-3.ltx", sizes[i]);
		want = kit_data(name);
		CHECK_OK(ls_merge(in, 2, &o, kit_sink, &out, NULL, NULL, &e));
		CHECK_EQ(out.b.n, want.n);
		CHECK(memcmp(out.b.p, want.p, want.n) == 0);
		ls_buf_free(&out.b);
	}
}

/* The Python reader takes a file and finds the same pages. */
static void
check_by_reference(const char *file, const char *pages)
{
	char cmd[2048];

	(void)snprintf(cmd, sizeof cmd, "/usr/bin/python3 -B %s %s %s",
	    kit_path("ltx_ref.py"), file, pages);
	if (system(cmd) != 0)
		test_fail(__FILE__, __LINE__, "%s", cmd);
}

TEST(our_files_by_a_second_reader)
{
	static const uint32_t pgnos[] = { 1, 2, 3, 4, 5, 6, 7 };
	static uint8_t page[7 * LS_PAGE_MAX];

	for (uint32_t ps = LS_PAGE_MIN; ps <= LS_PAGE_MAX; ps *= 2) {
		struct ls_ltx_header h = kit_header(ps, 7, 1, 3);
		struct ls_buf file = LS_BUF_INIT(0);
		size_t n = ps > 8192 ? 2 : 7;
		struct ls_err e = { 0 };

		h.commit = (uint32_t)n;
		h.has_db_checksum = true;
		for (size_t i = 0; i < n; i++) {
			uint8_t *p = page + i * ps;

			kit_page(p, ps, pgnos[i], ps);
			h.db_checksum ^=
			    ls_page_checksum(pgnos[i], LS_SPAN(p, ps));
		}
		CHECK_OK(kit_write(&h, pgnos, n, ps, &file, &e));
		test_write_file(T("a.ltx"), file.p, file.n);
		test_write_file(T("pages"), page, n * ps);
		check_by_reference(T("a.ltx"), T("pages"));
		ls_buf_free(&file);
	}
}
