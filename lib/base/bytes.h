/* bytes.h -- fixed-width integers in files, and arithmetic that is checked. */
#ifndef LS_BYTES_H
#define LS_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t
ls_be16(const void *v)
{
	const uint8_t *p = v;
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t
ls_be32(const void *v)
{
	uint32_t x;
	memcpy(&x, v, 4);
	return __builtin_bswap32(x);
}

static inline uint64_t
ls_be64(const void *v)
{
	uint64_t x;
	memcpy(&x, v, 8);
	return __builtin_bswap64(x);
}

static inline uint32_t
ls_le32(const void *v)
{
	uint32_t x;
	memcpy(&x, v, 4);
	return x;
}

static inline void
ls_put_be16(void *v, uint16_t x)
{
	uint8_t *p = v;
	p[0] = (uint8_t)(x >> 8), p[1] = (uint8_t)x;
}

static inline void
ls_put_be32(void *v, uint32_t x)
{
	x = __builtin_bswap32(x);
	memcpy(v, &x, 4);
}

static inline void
ls_put_be64(void *v, uint64_t x)
{
	x = __builtin_bswap64(x);
	memcpy(v, &x, 8);
}

/* false when it overflows; *out is set only when it does not. */
static inline bool
ls_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

static inline bool
ls_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

#define LS_MIN(a, b) ((a) < (b) ? (a) : (b))
#define LS_MAX(a, b) ((a) > (b) ? (a) : (b))
#define LS_COUNT(a)  (sizeof(a) / sizeof(a)[0])

#endif
