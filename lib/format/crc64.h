/* crc64.h -- CRC-64 (ISO, reflected), the checksum of LTX.
 * Source: LTX checksum.go; check value of "123456789" is b90956c775a41001. */
#ifndef LS_CRC64_H
#define LS_CRC64_H

#include "base/buf.h"

/* Set in every stored LTX checksum. */
#define LS_CHECKSUM_FLAG (1ull << 63)

/* Continue crc (0 to begin) over n bytes. */
uint64_t ls_crc64(uint64_t crc, const void *p, size_t n);
/* The CRC of A||B from the CRCs of A and B and the length of B. */
uint64_t ls_crc64_combine(uint64_t a, uint64_t b, uint64_t len_b);
/* LTX's page checksum: CHECKSUM_FLAG | crc64(be32 pgno || data). */
uint64_t ls_page_checksum(uint32_t pgno, struct ls_span page);

#endif
