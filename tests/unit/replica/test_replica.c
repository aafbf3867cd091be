/* test_replica.c -- names, listings, headers. */
#include "fixture.h"

TEST(keys_are_upstreams)
{
	char b[LS_KEY_MAX];

	CHECK_STR(ls_ltx_key(LS_LAYOUT_HEX, 0, 1, 0xab, b),
	    "0000/0000000000000001-00000000000000ab.ltx");
	CHECK_STR(ls_ltx_key(LS_LAYOUT_LTX, 9, 1, UINT64_MAX, b),
	    "ltx/9/0000000000000001-ffffffffffffffff.ltx");
	CHECK_STR(ls_level_prefix(LS_LAYOUT_HEX, 9, b), "0009/");
	CHECK_STR(ls_level_prefix(LS_LAYOUT_LTX, 0, b), "ltx/0/");
}

TEST(listing_ignores_what_is_not_ltx)
{
	static const char *const junk[] = {
		"ltx/0/0000000000000001-0000000000000002.ltx.x",
		"ltx/0/000000000000000A-000000000000000B.ltx",
		"ltx/0/0000000000000003-0000000000000002.ltx",
		"ltx/0/0000000000000000-0000000000000002.ltx", "ltx/0/readme",
		"ltx/10/0000000000000001-0000000000000002.ltx"
	};
	struct ls_err e = { 0 };
	struct ls_files f = { 0 };
	struct ls_put o = { 0 };
	struct fx x;

	fx_open(&x, 512);
	CHECK_OK(ls_replica_list_all(x.r, NULL, &f, NULL, &e));
	CHECK_EQ(f.n, 0); /* a place that is not there yet */
	for (size_t i = 0; i < sizeof junk / sizeof *junk; i++)
		CHECK_OK(ls_store_put(
		    x.st, junk[i], LS_SPAN_STR("x"), &o, NULL, &e));
	for (int i = 0; i < 20; i++) {
		fx_commit(&x);
		fx_put(&x, 0, x.txid, x.txid);
	}
	fx_put(&x, 9, 1, 7);
	CHECK_OK(ls_replica_list_all(x.r, &ls_par_threads, &f, NULL, &e));
	CHECK_EQ(f.n, 21);
	CHECK(f.v[20].level == 9 && f.v[20].max_txid == 7);
	CHECK(f.v[0].min_txid == 1 && f.v[0].size > LS_LTX_HEADER);
	CHECK_EQ(f.v[0].created_ns, (FX_T0 + 1000) * 1000000);
	ls_files_fini(&f);
	CHECK_OK(ls_replica_list(x.r, 0, 15, &f, NULL, &e));
	CHECK_EQ(f.n, 6);
	CHECK_EQ(f.v[0].min_txid, 15);
	ls_files_fini(&f);
	fx_close(&x);
}

TEST(newest_is_over_all_levels)
{
	struct ls_err e = { 0 };
	struct ls_ltx_header h;
	uint64_t txid = 99;
	struct fx x;

	fx_open(&x, 512);
	CHECK_OK(ls_replica_newest(x.r, NULL, &txid, &h, NULL, &e));
	CHECK_EQ(txid, 0);
	for (int i = 0; i < 9; i++)
		fx_commit(&x);
	fx_put(&x, 0, 4, 4);
	fx_put(&x, 3, 5, 8);
	fx_put(&x, 9, 1, 7);
	CHECK_OK(ls_replica_newest(x.r, NULL, &txid, &h, NULL, &e));
	CHECK_EQ(txid, 8);
	CHECK_EQ(h.min_txid, 5);
	CHECK_EQ(h.node_id, 0xabcdef);
	fx_close(&x);
}

TEST(remembered_headers_are_of_their_object)
{
	struct ls_err e = { 0 };
	struct ls_store_stats before, after;
	struct ls_files f = { 0 };
	struct ls_ltx_header h;
	struct fx x;

	fx_open(&x, 512);
	for (int i = 0; i < 40; i++) {
		fx_commit(&x);
		fx_put(&x, 0, x.txid, x.txid);
	}
	CHECK_OK(ls_replica_list(x.r, 0, 0, &f, NULL, &e));
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < f.n; i++) {
			CHECK_OK(ls_replica_header(x.r, &f.v[i], &h, NULL, &e));
			CHECK_EQ(h.max_txid, i + 1);
			CHECK_EQ(f.v[i].timestamp_ms,
			    FX_T0 + 1000 * ((int64_t)i + 1));
			CHECK_EQ(f.v[i].commit, x.s[i + 1].commit);
		}
	ls_store_stats(x.st, &before);
	CHECK_OK(ls_replica_header(x.r, &f.v[39], &h, NULL, &e));
	ls_store_stats(x.st, &after);
	CHECK_EQ(after.get_n, before.get_n);
	/* Replaced by another object of that name: read again. */
	f.v[39].created_ns++;
	CHECK_OK(ls_replica_header(x.r, &f.v[39], &h, NULL, &e));
	ls_store_stats(x.st, &after);
	CHECK_EQ(after.get_n, before.get_n + 1);
	/* A header under another file's name is refused. */
	CHECK_OK(ls_rename(fx_path(0, 2, 2), fx_path(0, 1, 1), &e));
	f.v[0].created_ns++;
	CHECK_RC(ls_replica_header(x.r, &f.v[0], &h, NULL, &e), LS_ECORRUPT);
	ls_files_fini(&f);
	fx_close(&x);
}
