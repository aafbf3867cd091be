/* crc64.c -- CRC-64 (ISO, reflected). See crc64.h.
 *
 *  (1) isa-l's crc64_iso_refl inverts its seed and its result, as LTX does, so
 *      results chain and 0 begins. (test: crc64_check_value)
 *  (2) Because of that, crc(A||B) = crc(A) * x^(8 * len B) + crc(B) modulo the
 *      polynomial: the two inversions cancel. (test: crc64_combine) */
#include "format/crc64.h"

#include "base/bytes.h"

#include <isa-l/crc64.h>

static const uint64_t poly = 0xd800000000000000; /* reflected */
static const uint64_t one = 1ull << 63;		 /* x^0, reflected */

uint64_t
ls_crc64(uint64_t crc, const void *p, size_t n)
{
	return n == 0 ? crc : crc64_iso_refl(crc, p, n);
}

/* a * b modulo poly, all reflected. */
static uint64_t
multiply(uint64_t a, uint64_t b)
{
	uint64_t r = 0;

	for (; a != 0; a <<= 1) {
		if (a & one)
			r ^= b;
		b = b >> 1 ^ (b & 1 ? poly : 0);
	}
	return r;
}

uint64_t
ls_crc64_combine(uint64_t a, uint64_t b, uint64_t len_b)
{
	uint64_t power = one >> 8; /* x^8, then its squares */

	for (; len_b != 0; len_b >>= 1) {
		if (len_b & 1)
			a = multiply(power, a);
		power = multiply(power, power);
	}
	return a ^ b;
}

uint64_t
ls_page_checksum(uint32_t pgno, struct ls_span page)
{
	uint8_t be[4];

	ls_put_be32(be, pgno);
	return LS_CHECKSUM_FLAG |
	       ls_crc64(ls_crc64(0, be, sizeof be), page.p, page.n);
}
