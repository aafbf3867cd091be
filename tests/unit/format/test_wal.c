/* test_wal.c -- WAL and wal-index against files that SQLite itself makes. */
#include "kit.h"

#include "base/bytes.h"
#include "format/wal.h"

#include <sqlite3.h>

static void
run(sqlite3 *db, const char *sql)
{
	char *msg = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &msg) != SQLITE_OK)
		test_fail(__FILE__, __LINE__, "%s: %s", sql, msg);
}

/* A database in WAL mode with some commits, left open: gives db. */
static sqlite3 *
make_db(const char *path, uint32_t page_size)
{
	sqlite3 *db = NULL;
	char sql[128];

	CHECK(sqlite3_open(path, &db) == SQLITE_OK);
	(void)snprintf(sql, sizeof sql, "PRAGMA page_size=%u", page_size);
	run(db, sql);
	run(db, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;"
		"CREATE TABLE t(x);");
	for (int i = 0; i < 5; i++)
		run(db,
		    "INSERT INTO t SELECT randomblob(300) FROM (VALUES(1),(2),"
		    "(3),(4),(5),(6),(7),(8));");
	return db;
}

/* SQLite's checksum, from the description in fileformat2, byte by byte. */
static void
slow_sum(bool big_endian, const uint8_t *p, size_t n, uint32_t s[2])
{
	for (size_t i = 0; i < n; i += 8)
		for (size_t k = 0; k < 2; k++) {
			const uint8_t *b = p + i + 4 * k;
			uint32_t x = 0;

			for (unsigned j = 0; j < 4; j++)
				x |= (uint32_t)b[j]
				     << (big_endian ? 24 - 8 * j : 8 * j);
			s[k] += x + s[1 - k];
		}
}

/* Walk all frames; gives their number. Checks salts and every checksum. */
static uint32_t
walk(struct ls_span wal, struct ls_wal_header *h, struct ls_wal_frame *last)
{
	struct ls_err e = { 0 };
	uint32_t sum[2], n = 0;
	size_t at = LS_WAL_HEADER;

	CHECK_OK(ls_wal_header_decode(wal, h, &e));
	sum[0] = h->sum[0], sum[1] = h->sum[1];
	while (at < wal.n) {
		const uint8_t *p = wal.p + at;

		ls_wal_frame_decode(p, last);
		CHECK(last->salt[0] == h->salt[0]);
		CHECK(last->salt[1] == h->salt[1]);
		ls_wal_frame_checksum(h->big_endian, p, p + LS_WAL_FRAME_HEADER,
		    h->page_size, sum);
		CHECK(sum[0] == last->sum[0] && sum[1] == last->sum[1]);
		CHECK(last->pgno > 0);
		at += LS_WAL_FRAME_HEADER + h->page_size;
		n++;
		CHECK_EQ(at, ls_wal_size(h->page_size, n));
	}
	CHECK(last->commit > 0);
	return n;
}

TEST(wal_checksum_sqlite)
{
	for (uint32_t ps = LS_PAGE_MIN; ps <= LS_PAGE_MAX; ps *= 2) {
		char name[32];
		sqlite3 *db;
		struct ls_wal_header h;
		struct ls_wal_frame last = { 0 };
		struct ls_wal_index x = { 0 };
		struct ls_span shm;
		uint32_t salt[2], n;

		(void)snprintf(name, sizeof name, "%u.db", ps);
		db = make_db(T(name), ps);
		(void)snprintf(name, sizeof name, "%u.db-wal", ps);
		n = walk(test_read_file(T(name)), &h, &last);
		CHECK_EQ(h.page_size, ps);
		CHECK(!h.big_endian && n > 5);
		(void)snprintf(name, sizeof name, "%u.db-shm", ps);
		shm = test_read_file(T(name));
		CHECK(ls_wal_index_decode(shm.p, &x));
		CHECK(ls_wal_index_decode(shm.p + LS_WAL_INDEX_HEADER, &x));
		CHECK(x.is_init && !x.big_endian && x.version == 3007000);
		CHECK_EQ(x.page_size, ps);
		CHECK_EQ(x.max_frame, n);
		CHECK_EQ(x.pages, last.commit);
		CHECK(x.frame_sum[0] == last.sum[0]);
		CHECK(x.frame_sum[1] == last.sum[1]);
		ls_wal_index_salts(&x, salt);
		CHECK(salt[0] == h.salt[0] && salt[1] == h.salt[1]);
		(void)sqlite3_close(db);
	}
}

/* The same WAL with big-endian sums: SQLite must recover every row of it, so
 * what slow_sum wrote is right, and then so is what walk() finds. */
TEST(wal_checksum_big_endian)
{
	sqlite3 *db = make_db(T("a.db"), 1024);
	struct ls_span file = test_read_file(T("a.db-wal"));
	struct ls_span main_file = test_read_file(T("a.db"));
	uint8_t *wal = ls_alloc(file.n);
	struct ls_wal_header h;
	struct ls_wal_frame last;
	sqlite3_stmt *st = NULL;
	uint32_t s[2] = { 0, 0 };

	memcpy(wal, file.p, file.n);
	wal[3] |= 1;
	slow_sum(true, wal, 24, s);
	ls_put_be32(wal + 24, s[0]), ls_put_be32(wal + 28, s[1]);
	for (size_t at = 32; at < file.n; at += 24 + 1024) {
		slow_sum(true, wal + at, 8, s);
		slow_sum(true, wal + at + 24, 1024, s);
		ls_put_be32(wal + at + 16, s[0]);
		ls_put_be32(wal + at + 20, s[1]);
	}
	CHECK(walk(LS_SPAN(wal, file.n), &h, &last) > 5 && h.big_endian);
	test_write_file(T("b.db"), main_file.p, main_file.n);
	test_write_file(T("b.db-wal"), wal, file.n);
	(void)sqlite3_close(db);
	CHECK(sqlite3_open(T("b.db"), &db) == SQLITE_OK);
	CHECK(sqlite3_prepare_v2(db, "SELECT count(*) FROM t", -1, &st, NULL) ==
	      SQLITE_OK);
	CHECK(sqlite3_step(st) == SQLITE_ROW);
	CHECK_EQ(sqlite3_column_int(st, 0), 40);
	(void)sqlite3_finalize(st);
	(void)sqlite3_close(db);
	ls_free(wal);
}

TEST(wal_checksum_any_bytes)
{
	uint8_t b[4096];

	test_rand_bytes(b, sizeof b);
	for (size_t n = 0; n <= sizeof b; n += 8)
		for (int big = 0; big < 2; big++) {
			uint32_t s[2] = { 0xfffffff0, 0x12345678 };
			uint32_t want[2] = { 0xfffffff0, 0x12345678 };

			ls_wal_checksum(big, b, n, s);
			slow_sum(big, b, n, want);
			CHECK(s[0] == want[0] && s[1] == want[1]);
		}
}

static void
sign_header(uint8_t *p)
{
	uint32_t s[2] = { 0, 0 };

	slow_sum(p[3] & 1, p, 24, s);
	ls_put_be32(p + 24, s[0]), ls_put_be32(p + 28, s[1]);
}

TEST(wal_header_damage)
{
	sqlite3 *db = make_db(T("a.db"), 512);
	struct ls_span file = test_read_file(T("a.db-wal"));
	static const uint32_t sizes[] = { 0, 1, 256, 513, 131072, 1u << 31 };
	struct ls_wal_header h, kept = { .seq = 77 };
	struct ls_err e = { 0 };
	uint8_t p[LS_WAL_HEADER];

	(void)sqlite3_close(db);
	memcpy(p, file.p, sizeof p);
	for (size_t n = 0; n < sizeof p; n++)
		CHECK_RC(
		    ls_wal_header_decode(LS_SPAN(p, n), &kept, &e), LS_ESHORT);
	for (size_t i = 0; i < sizeof p * 8; i++) {
		p[i / 8] ^= (uint8_t)(1 << i % 8);
		CHECK_RC(ls_wal_header_decode(LS_SPAN(p, 32), &kept, &e),
		    LS_ECORRUPT);
		CHECK(e.msg[0] != '\0');
		p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	CHECK_EQ(kept.seq, 77);
	for (size_t i = 0; i < LS_COUNT(sizes); i++) {
		ls_put_be32(p + 8, sizes[i]);
		sign_header(p);
		CHECK_RC(
		    ls_wal_header_decode(LS_SPAN(p, 32), &h, &e), LS_ECORRUPT);
	}
	ls_put_be32(p + 8, 65536);
	ls_put_be32(p + 12, 5);
	sign_header(p);
	CHECK_OK(ls_wal_header_decode(LS_SPAN(p, 32), &h, &e));
	CHECK(h.page_size == 65536 && h.seq == 5);
	ls_put_be32(p + 4, 3007001);
	sign_header(p);
	CHECK_RC(ls_wal_header_decode(LS_SPAN(p, 32), &h, &e), LS_ECORRUPT);
}

TEST(wal_index_damage)
{
	sqlite3 *db = make_db(T("a.db"), 512);
	uint8_t p[LS_WAL_INDEX_HEADER];
	struct ls_wal_index x = { .change = 77 };
	uint32_t s[2] = { 0, 0 };

	memcpy(p, test_read_file(T("a.db-shm")).p, sizeof p);
	(void)sqlite3_close(db);
	for (size_t i = 0; i < sizeof p * 8; i++) {
		p[i / 8] ^= (uint8_t)(1 << i % 8);
		CHECK(!ls_wal_index_decode(p, &x));
		p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	CHECK_EQ(x.change, 77);
	p[12] = 0; /* isInit, with a checksum that fits */
	slow_sum(false, p, 40, s);
	memcpy(p + 40, s, 8);
	CHECK(!ls_wal_index_decode(p, &x));
}

TEST(wal_sizes)
{
	CHECK(ls_wal_size(4096, 0) == 32);
	CHECK(ls_wal_size(4096, 1) == 32 + 24 + 4096);
	CHECK(ls_wal_size(65536, UINT32_MAX) ==
	      32 + 4294967295ull * (24 + 65536));
}
