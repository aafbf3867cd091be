/* test_ltx.c -- headers, names and the completeness rule. */
#include "kit.h"

#include "base/bytes.h"

TEST(header_layout)
{
	struct ls_ltx_header h = {
		.flags = 2,
		.page_size = 4096,
		.commit = 0x01020304,
		.min_txid = 0x1112131415161718,
		.max_txid = 0x2122232425262728,
		.timestamp_ms = 0x3132333435363738,
		.wal_offset = 0x4142434445464748,
		.wal_size = 0x5152535455565758,
		.salt1 = 0x61626364,
		.salt2 = 0x71727374,
		.node_id = 0x8182838485868788,
		.has_db_checksum = true,
		.db_checksum = 0x9192939495969798,
		.wal_sum = { 0xa1a2a3a4, 0xb1b2b3b4 },
	};
	static const uint8_t want[LS_LTX_HEADER] = { 'L', 'T', 'X', '1', 0, 0,
		0, 2, 0, 0, 0x10, 0, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15,
		0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
		0x28, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0, 0, 0,
		0, 0, 0, 0, 0, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
		0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x61, 0x62,
		0x63, 0x64, 0x71, 0x72, 0x73, 0x74, 0x81, 0x82, 0x83, 0x84,
		0x85, 0x86, 0x87, 0x88, 'L', 'S', 'D', '1', 0x91, 0x92, 0x93,
		0x94, 0x95, 0x96, 0x97, 0x98, 0xa1, 0xa2, 0xa3, 0xa4, 0xb1,
		0xb2, 0xb3, 0xb4 };
	struct ls_ltx_header d = { 0 };
	uint8_t b[LS_LTX_HEADER];
	struct ls_err e = { 0 };

	ls_ltx_header_encode(&h, b);
	CHECK(memcmp(b, want, sizeof b) == 0);
	CHECK_OK(ls_ltx_header_decode(LS_SPAN(b, sizeof b), &d, &e));
	CHECK(d.flags == h.flags && d.page_size == h.page_size);
	CHECK(d.commit == h.commit && d.min_txid == h.min_txid);
	CHECK(d.max_txid == h.max_txid && d.timestamp_ms == h.timestamp_ms);
	CHECK(d.wal_offset == h.wal_offset && d.wal_size == h.wal_size);
	CHECK(d.salt1 == h.salt1 && d.salt2 == h.salt2);
	CHECK(d.node_id == h.node_id && d.has_db_checksum);
	CHECK(d.db_checksum == h.db_checksum && d.pre_apply == 0);
	CHECK(memcmp(d.wal_sum, h.wal_sum, sizeof d.wal_sum) == 0);
}

static enum ls_rc
trip(const struct ls_ltx_header *h, struct ls_err *e)
{
	struct ls_ltx_header d;
	uint8_t b[LS_LTX_HEADER];

	ls_ltx_header_encode(h, b);
	return ls_ltx_header_decode(LS_SPAN(b, sizeof b), &d, e);
}

#define RULE(rc, ...)                                               \
	do {                                                        \
		struct ls_ltx_header h = kit_header(4096, 9, 2, 3); \
		__VA_ARGS__;                                        \
		CHECK_RC(trip(&h, &e), rc);                         \
		if ((rc) != LS_OK)                                  \
			CHECK(e.msg[0] != '\0');                    \
		e.msg[0] = '\0';                                    \
	} while (0)

TEST(header_rules)
{
	struct ls_err e = { 0 };

	RULE(LS_OK, (void)0);
	RULE(LS_OK, h.commit = 0);
	RULE(LS_OK, h.flags = 2 | LS_LTX_ZSTD);
	RULE(LS_EUNSUPPORTED, h.flags = 2 | 1);
	RULE(LS_EUNSUPPORTED, h.flags = 2 | 0x80000000);
	RULE(LS_EUNSUPPORTED, h.flags = 2 | 8);
	CHECK(e.hint[0] != '\0');
	RULE(LS_ECORRUPT, h.page_size = 256);
	RULE(LS_ECORRUPT, h.page_size = 131072);
	RULE(LS_ECORRUPT, h.page_size = 4097);
	RULE(LS_ECORRUPT, h.page_size = 0);
	RULE(LS_ECORRUPT, h.min_txid = 0);
	RULE(LS_ECORRUPT, h.min_txid = 0; h.max_txid = 0);
	RULE(LS_ECORRUPT, h.min_txid = 4);
	RULE(LS_ECORRUPT, h.wal_offset = -1);
	RULE(LS_ECORRUPT, h.wal_offset = 32; h.wal_size = -1);
	RULE(LS_ECORRUPT, h.wal_size = 1);
	RULE(LS_ECORRUPT, h.salt1 = 1);
	RULE(LS_ECORRUPT, h.salt2 = 1);
	RULE(LS_OK, h.wal_offset = 32; h.salt1 = h.salt2 = 1);
	RULE(LS_ECORRUPT, h.pre_apply = LS_CHECKSUM_FLAG);
	RULE(LS_OK, h.flags = 0; h.pre_apply = LS_CHECKSUM_FLAG | 1);
	RULE(LS_ECORRUPT, h.flags = 0; h.pre_apply = 1);
	RULE(LS_ECORRUPT, h.flags = 0);
	RULE(LS_OK, h.flags = 0; h.min_txid = 1);
	RULE(LS_ECORRUPT, h.flags = 0; h.min_txid = 1;
	     h.pre_apply = LS_CHECKSUM_FLAG);
}

TEST(header_reserved)
{
	struct ls_ltx_header h = kit_header(512, 1, 1, 1), d;
	uint8_t b[LS_LTX_HEADER];
	struct ls_err e = { 0 };

	ls_ltx_header_encode(&h, b);
	memset(b + 80, 0xee, 20);
	CHECK_OK(ls_ltx_header_decode(LS_SPAN(b, sizeof b), &d, &e));
	CHECK(!d.has_db_checksum && d.db_checksum == 0);
	CHECK(d.wal_sum[0] == 0 && d.wal_sum[1] == 0);
	b[0] = 'l';
	CHECK_RC(
	    ls_ltx_header_decode(LS_SPAN(b, sizeof b), &d, &e), LS_ECORRUPT);
	CHECK_RC(ls_ltx_header_decode(LS_SPAN(b, 99), &d, &e), LS_ESHORT);
}

TEST(lock_page_numbers)
{
	CHECK_EQ(ls_lock_pgno(512), 2097153);
	CHECK_EQ(ls_lock_pgno(4096), 262145);
	CHECK_EQ(ls_lock_pgno(65536), 16385);
}

TEST(names)
{
	char name[LS_LTX_NAME_MAX], text[LS_TXID_TEXT];
	uint64_t a = 7, b = 7;
	static const char *const bad[] = {
		"",
		"0000000000000001",
		"0000000000000001-0000000000000002",
		"0000000000000001-0000000000000002.ltx.tmp",
		"0000000000000001-0000000000000002.LTX",
		"000000000000000A-000000000000000b.ltx",
		"0000000000000001_0000000000000002.ltx",
		"0000000000000003-0000000000000002.ltx",
		"0000000000000000-0000000000000002.ltx",
		"000000000000001-0000000000000002.ltx",
		"00000000000000001-0000000000000002.ltx",
		"0x00000000000001-0000000000000002.ltx",
	};

	CHECK_STR(ls_ltx_name(1, 0xabc, name),
	    "0000000000000001-0000000000000abc.ltx");
	CHECK(ls_ltx_name_parse(name, &a, &b) && a == 1 && b == 0xabc);
	CHECK_STR(ls_ltx_name(UINT64_MAX, UINT64_MAX, name),
	    "ffffffffffffffff-ffffffffffffffff.ltx");
	CHECK(ls_ltx_name_parse(name, &a, &b) && a == UINT64_MAX);
	a = b = 7;
	for (size_t i = 0; i < LS_COUNT(bad); i++)
		CHECK(!ls_ltx_name_parse(bad[i], &a, &b));
	CHECK(a == 7 && b == 7);
	CHECK_STR(ls_txid_text(0x1f, text), "000000000000001f");
}

TEST(txids)
{
	static const char *const bad[] = { "", "1", "00000000000000001",
		"000000000000000g", " 00000000000001", "000000000000001 " };
	struct ls_err e = { 0 };
	uint64_t t = 5;

	for (size_t i = 0; i < LS_COUNT(bad); i++) {
		CHECK_RC(ls_txid_parse(bad[i], &t, &e), LS_EINVALID);
		CHECK_STR(e.msg, "invalid txid format");
	}
	CHECK_EQ(t, 5);
	CHECK_OK(ls_txid_parse("00000000000000Ff", &t, &e));
	CHECK_EQ(t, 255);
}

static enum ls_rc
complete(uint32_t prev, uint32_t commit, uint32_t page_size, size_t n,
    const uint32_t *v)
{
	struct ls_err e = { 0 };
	enum ls_rc rc = ls_ltx_complete(v, n, prev, commit, page_size, &e);

	CHECK(rc == LS_OK || e.msg[0] != '\0');
	return rc;
}
#define V(...)                                                \
	sizeof((uint32_t[]){ __VA_ARGS__ }) / 4, (uint32_t[]) \
	{                                                     \
		__VA_ARGS__                                   \
	}

TEST(completeness)
{
	const uint32_t lock = 16385, top = UINT32_MAX;

	CHECK_RC(complete(0, 0, 512, 0, NULL), LS_OK);
	CHECK_RC(complete(5, 5, 512, 0, NULL), LS_OK);
	CHECK_RC(complete(9, 5, 512, V(1)), LS_OK);
	CHECK_RC(complete(0, 1, 512, 0, NULL), LS_ECORRUPT);
	CHECK_RC(complete(0, 3, 512, V(1, 2, 3)), LS_OK);
	CHECK_RC(complete(0, 3, 512, V(1, 2)), LS_ECORRUPT);
	CHECK_RC(complete(0, 3, 512, V(1, 3)), LS_ECORRUPT);
	CHECK_RC(complete(0, 3, 512, V(2, 3)), LS_ECORRUPT);
	CHECK_RC(complete(3, 5, 512, V(1, 3, 4, 5)), LS_OK);
	CHECK_RC(complete(3, 5, 512, V(1, 3, 5)), LS_ECORRUPT);
	CHECK_RC(complete(3, 5, 512, V(4, 5, 9)), LS_OK);
	CHECK_RC(complete(3, 5, 512, V(9)), LS_ECORRUPT);
	CHECK_RC(
	    complete(lock - 2, lock + 1, 65536, V(lock - 1, lock + 1)), LS_OK);
	CHECK_RC(complete(lock - 2, lock, 65536, V(lock - 1)), LS_OK);
	CHECK_RC(complete(lock - 1, lock, 65536, 0, NULL), LS_OK);
	CHECK_RC(complete(lock - 1, lock + 1, 65536, 0, NULL), LS_ECORRUPT);
	CHECK_RC(complete(lock, lock + 1, 65536, V(lock + 1)), LS_OK);
	CHECK_RC(complete(lock, lock + 1, 65536, V(lock)), LS_ECORRUPT);
	CHECK_RC(complete(top - 2, top, 4096, V(top - 1, top)), LS_OK);
	CHECK_RC(complete(top - 2, top, 4096, V(top)), LS_ECORRUPT);
	CHECK_RC(complete(top - 2, top, 4096, V(top - 1)), LS_ECORRUPT);
}
