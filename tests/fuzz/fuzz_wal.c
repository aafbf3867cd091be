/* fuzz_wal.c -- any bytes as a WAL or a wal-index header.
 *
 * No crash; a header that is accepted has a legal page size; the checksum does
 * not depend on how the bytes are cut, nor on which byte order's loop runs over
 * swapped bytes. */
#include "base/bytes.h"
#include "format/ltx.h"
#include "format/wal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
must(bool x)
{
	if (!x)
		abort();
}

static void
check_sums(const uint8_t *p, size_t n)
{
	uint32_t a[2] = { 1, 2 }, b[2] = { 1, 2 }, c[2] = { 1, 2 };
	size_t cut = n / 16 * 8;

	ls_wal_checksum(false, p, n, a);
	ls_wal_checksum(false, p, cut, b);
	ls_wal_checksum(false, p + cut, n - cut, b);
	must(a[0] == b[0] && a[1] == b[1]);
	for (size_t i = 0; i < n; i += 8) {
		uint8_t x[8] = { p[i + 3], p[i + 2], p[i + 1], p[i], p[i + 7],
			p[i + 6], p[i + 5], p[i + 4] };

		ls_wal_checksum(true, x, 8, c);
	}
	must(a[0] == c[0] && a[1] == c[1]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct ls_wal_header h;
	struct ls_wal_index x;
	size_t at = LS_WAL_HEADER;

	check_sums(p, n / 8 * 8);
	if (n >= LS_WAL_INDEX_HEADER && ls_wal_index_decode(p, &x))
		must(x.is_init);
	if (ls_wal_header_decode(LS_SPAN(p, n), &h, NULL) != LS_OK)
		return 0;
	must(ls_page_size_valid(h.page_size));
	for (; n - at >= LS_WAL_FRAME_HEADER + h.page_size;
	     at += LS_WAL_FRAME_HEADER + h.page_size) {
		struct ls_wal_frame f;
		const uint8_t *q = p + at;

		ls_wal_frame_decode(q, &f);
		ls_wal_frame_checksum(h.big_endian, q, q + LS_WAL_FRAME_HEADER,
		    h.page_size, h.sum);
	}
	return 0;
}
