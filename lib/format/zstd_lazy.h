/* zstd_lazy.h -- libzstd, mapped when the first zstd file is read or written
 * (1 MB that a daemon of LZ4 replicas does not pay). Its stable calls, and one that is
 * older than those: ZSTD_createDDict_byReference.
 * Nothing of it may be called before ls_zstd_load. For this folder only. */
#ifndef LS_ZSTD_LAZY_H
#define LS_ZSTD_LAZY_H

#include "base/err.h"

#include <zdict.h>
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

/* clang-format off */
#define LS_ZSTD_CALLS(X)                                            \
	X(ZSTD_isError)                                             \
	X(ZSTD_createCCtx) X(ZSTD_freeCCtx)                         \
	    X(ZSTD_CCtx_setParameter) X(ZSTD_CCtx_refCDict)         \
		X(ZSTD_compress2) X(ZSTD_createCDict)               \
		    X(ZSTD_freeCDict) X(ZSTD_createDCtx)            \
			X(ZSTD_freeDCtx) X(ZSTD_decompressDCtx)     \
			    X(ZSTD_decompress_usingDDict)           \
				X(ZSTD_createDDict) X(ZSTD_freeDDict) \
	X(ZSTD_createDDict_byReference)                             \
	X(ZDICT_trainFromBuffer) X(ZDICT_isError)
/* clang-format on */

struct ls_zstd {
#define X(name) __typeof__(&name) f_##name;
	LS_ZSTD_CALLS(X)
#undef X
};
extern struct ls_zstd ls_zstd;

/* Load, once; thread-safe. LS_EUNSUPPORTED: not installed. */
enum ls_rc ls_zstd_load(struct ls_err *e) LS_MUST_CHECK;

#endif
