/* wal.c -- SQLite's write-ahead log and wal-index header. See wal.h.
 *
 *  (1) The running checksum is two additions a word, each waiting for the last;
 *      grouping them as (sum + word) + other lets the CPU prepare the first
 *      half, which makes it twice as fast. (test: wal_checksum_sqlite)
 *      Every byte of a log goes through here, of buffers that one thread has:
 *      ThreadSanitizer, which made it a hundred times slower, leaves it out.
 *  (2) Nothing is believed before its checksum fits; what SQLite would refuse
 *      is refused here. (tests: wal_header_damage, wal_index_damage)
 * Not here: reading files, or deciding what is committed. */
#include "format/wal.h"

#include "base/bytes.h"
#include "format/ltx.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define UNWATCHED __attribute__((no_sanitize("thread")))

static const uint32_t wal_magic = 0x377f0682; /* | 1: big-endian sums */
static const uint32_t wal_version = 3007000;

UNWATCHED static void
checksum_native(const uint8_t *p, const uint8_t *end, uint32_t sum[static 2])
{
	uint32_t a = sum[0], b = sum[1], w[2];

	for (; p < end; p += sizeof w) {
		memcpy(w, p, sizeof w);
		a = (a + le32toh(w[0])) + b;
		b = (b + le32toh(w[1])) + a;
	}
	sum[0] = a;
	sum[1] = b;
}

UNWATCHED static void
checksum_swapped(const uint8_t *p, const uint8_t *end, uint32_t sum[static 2])
{
	uint32_t a = sum[0], b = sum[1], w[2];

	for (; p < end; p += sizeof w) {
		memcpy(w, p, sizeof w);
		a = (a + be32toh(w[0])) + b;
		b = (b + be32toh(w[1])) + a;
	}
	sum[0] = a;
	sum[1] = b;
}

void
ls_wal_checksum(
    bool big_endian, const void *p, size_t n, uint32_t sum[static 2])
{
	const uint8_t *from = p;

	assert(n % 8 == 0);
	if (big_endian)
		checksum_swapped(from, from + n, sum);
	else
		checksum_native(from, from + n, sum);
}

void
ls_wal_frame_checksum(bool big_endian, const uint8_t *frame_header,
    const uint8_t *page, uint32_t page_size, uint32_t sum[static 2])
{
	ls_wal_checksum(big_endian, frame_header, 8, sum);
	ls_wal_checksum(big_endian, page, page_size, sum);
}

enum ls_rc
ls_wal_header_decode(
    struct ls_span in, struct ls_wal_header *h, struct ls_err *e)
{
	const uint8_t *p = in.p;
	struct ls_wal_header d = { .big_endian = false };

	if (in.n < LS_WAL_HEADER)
		return ls_err_set(e, LS_ESHORT,
		    "WAL header is cut off after %zu bytes", in.n);
	if ((ls_be32(p) & ~1u) != wal_magic)
		return ls_err_set(
		    e, LS_ECORRUPT, "invalid WAL header magic: %x", ls_be32(p));
	d.big_endian = ls_be32(p) & 1;
	ls_wal_checksum(d.big_endian, p, LS_WAL_HEADER - 8, d.sum);
	if (d.sum[0] != ls_be32(p + 24) || d.sum[1] != ls_be32(p + 28))
		return ls_err_set(
		    e, LS_ECORRUPT, "WAL header checksum mismatch");
	if (ls_be32(p + 4) != wal_version)
		return ls_err_set(e, LS_ECORRUPT, "unsupported WAL version: %u",
		    ls_be32(p + 4));
	d.page_size = ls_be32(p + 8);
	if (!ls_page_size_valid(d.page_size))
		return ls_err_set(e, LS_ECORRUPT,
		    "WAL header: invalid page size %u", d.page_size);
	d.seq = ls_be32(p + 12);
	d.salt[0] = ls_be32(p + 16);
	d.salt[1] = ls_be32(p + 20);
	*h = d;
	return LS_OK;
}

void
ls_wal_frame_decode(
    const uint8_t in[static LS_WAL_FRAME_HEADER], struct ls_wal_frame *f)
{
	*f = (struct ls_wal_frame){
		.pgno = ls_be32(in),
		.commit = ls_be32(in + 4),
		.salt = { ls_be32(in + 8), ls_be32(in + 12) },
		.sum = { ls_be32(in + 16), ls_be32(in + 20) },
	};
}

uint64_t
ls_wal_size(uint32_t page_size, uint32_t frames)
{
	return LS_WAL_HEADER +
	       (uint64_t)frames * (LS_WAL_FRAME_HEADER + page_size);
}

/* struct WalIndexHdr of wal.c: iVersion, unused, iChange, isInit u8,
 * bigEndCksum u8, szPage u16, mxFrame, nPage, aFrameCksum[2], aSalt[2],
 * aCksum[2]; 65536 is stored as 1. This build is for little-endian machines
 * only (base/bytes.h), so native order is little-endian. */
bool
ls_wal_index_decode(
    const uint8_t copy[static LS_WAL_INDEX_HEADER], struct ls_wal_index *h)
{
	uint32_t sum[2] = { 0, 0 };
	uint32_t size = ls_le32(copy + 12) >> 16;

	ls_wal_checksum(false, copy, LS_WAL_INDEX_HEADER - 8, sum);
	if (ls_le32(copy) != wal_version || copy[12] == 0 ||
	    sum[0] != ls_le32(copy + 40) || sum[1] != ls_le32(copy + 44))
		return false;
	*h = (struct ls_wal_index){
		.version = ls_le32(copy),
		.change = ls_le32(copy + 8),
		.is_init = true,
		.big_endian = copy[13] != 0,
		.page_size = (size & 0xfe00) + ((size & 1) << 16),
		.max_frame = ls_le32(copy + 16),
		.pages = ls_le32(copy + 20),
		.frame_sum = { ls_le32(copy + 24), ls_le32(copy + 28) },
	};
	memcpy(h->salt, copy + 32, 8);
	return true;
}
