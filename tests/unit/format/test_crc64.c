/* test_crc64.c -- the checksum of LTX. */
#include "kit.h"

#include "base/bytes.h"

/* Bit by bit, from the definition (CRC-64/GO-ISO). */
static uint64_t
slow_crc(const uint8_t *p, size_t n)
{
	uint64_t c = UINT64_MAX;

	for (size_t i = 0; i < n; i++) {
		c ^= p[i];
		for (int k = 0; k < 8; k++)
			c = c >> 1 ^ (c & 1 ? 0xd800000000000000 : 0);
	}
	return c ^ UINT64_MAX;
}

TEST(crc64_check_value)
{
	CHECK(ls_crc64(0, "123456789", 9) == 0xb90956c775a41001);
	CHECK(ls_crc64(0, "", 0) == 0);
	CHECK(
	    ls_crc64(ls_crc64(0, "1234", 4), "56789", 5) == 0xb90956c775a41001);
}

TEST(crc64_any_length_and_alignment)
{
	uint8_t b[2048];

	test_rand_bytes(b, sizeof b);
	for (size_t n = 0; n <= 1100; n++) {
		size_t at = n % 17, cut = n / 3;
		uint64_t want = slow_crc(b + at, n);

		CHECK(ls_crc64(0, b + at, n) == want);
		CHECK(ls_crc64(ls_crc64(0, b + at, cut), b + at + cut,
			  n - cut) == want);
	}
}

TEST(crc64_combine)
{
	static uint8_t b[70000];

	test_rand_bytes(b, sizeof b);
	for (size_t n = 0; n < sizeof b; n = n * 2 + 1) {
		uint64_t a = ls_crc64(0, b, 1000);
		uint64_t c = ls_crc64(0, b + 1000, LS_MIN(n, 69000u));

		CHECK(ls_crc64_combine(a, c, LS_MIN(n, 69000u)) ==
		      ls_crc64(0, b, 1000 + LS_MIN(n, 69000u)));
	}
	/* Lengths that no buffer has: zeros behind a, in two steps and in one.
	 */
	uint64_t big = (1ull << 61) + 12345, z = 0x123456789abcdef;
	uint64_t two = ls_crc64_combine(ls_crc64_combine(z, 0, big), 0, 77);

	CHECK(two == ls_crc64_combine(z, 0, big + 77));
}

TEST(page_checksum)
{
	uint8_t b[4 + 512];

	test_rand_bytes(b, sizeof b);
	ls_put_be32(b, 0x01020304);
	CHECK(ls_page_checksum(0x01020304, LS_SPAN(b + 4, 512)) ==
	      (slow_crc(b, sizeof b) | 1ull << 63));
}
