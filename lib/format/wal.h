/* wal.h -- SQLite's write-ahead log and wal-index header.
 * Source: https://sqlite.org/fileformat2.html#walformat and walformat.html,
 * and wal.c for the rules that the pages leave out. */
#ifndef LS_WAL_H
#define LS_WAL_H

#include "base/buf.h"

enum {
	LS_WAL_HEADER = 32,
	LS_WAL_FRAME_HEADER = 24,
	LS_WAL_INDEX_HEADER = 48, /* one of two copies */
};

struct ls_wal_header {
	bool big_endian; /* of the checksums */
	uint32_t page_size;
	uint32_t seq; /* checkpoint sequence number */
	uint32_t salt[2];
	uint32_t sum[2]; /* of the header: seeds the frames' running sum */
};

/* Decode and verify the 32 bytes. LS_ESHORT, LS_ECORRUPT. */
enum ls_rc ls_wal_header_decode(
    struct ls_span in, struct ls_wal_header *h, struct ls_err *e) LS_MUST_CHECK;

struct ls_wal_frame {
	uint32_t pgno;
	uint32_t commit; /* database size in pages, 0 inside a transaction */
	uint32_t salt[2];
	uint32_t sum[2];
};

void ls_wal_frame_decode(
    const uint8_t in[static LS_WAL_FRAME_HEADER], struct ls_wal_frame *f);

/* SQLite's running checksum over n bytes (a multiple of 8). */
void ls_wal_checksum(
    bool big_endian, const void *p, size_t n, uint32_t sum[static 2]);
/* Continue sum over one frame: the first 8 bytes of its header, its page. */
void ls_wal_frame_checksum(bool big_endian, const uint8_t *frame_header,
    const uint8_t *page, uint32_t page_size, uint32_t sum[static 2]);

/* 32 + n * (24 + page_size). */
uint64_t ls_wal_size(uint32_t page_size, uint32_t frames);

/* The wal-index header, native byte order (struct WalIndexHdr of wal.c). */
struct ls_wal_index {
	uint32_t version;
	uint32_t change; /* iChange */
	bool is_init, big_endian;
	uint32_t page_size;
	uint32_t max_frame;    /* mxFrame: committed frames */
	uint32_t pages;	       /* nPage */
	uint32_t frame_sum[2]; /* aFrameCksum: running checksum of mxFrame */
	uint8_t salt[8];       /* as in the WAL file: big-endian bytes */
};

/* Check as walIndexTryHdr does (given two equal copies): version, isInit,
 * header checksum. false when SQLite would not believe it either. */
bool ls_wal_index_decode(
    const uint8_t copy[static LS_WAL_INDEX_HEADER], struct ls_wal_index *h);
static inline void
ls_wal_index_salts(const struct ls_wal_index *h, uint32_t salt[static 2])
{
	for (int i = 0; i < 2; i++)
		salt[i] = (uint32_t)h->salt[4 * i] << 24 |
			  (uint32_t)h->salt[4 * i + 1] << 16 |
			  (uint32_t)h->salt[4 * i + 2] << 8 |
			  h->salt[4 * i + 3];
}

#endif
