/* crypto_lazy.h -- OpenSSL's libcrypto, mapped when something is signed. See
 * curl_lazy.h for why (1.4 MB here). Nothing of it may be called before
 * ls_crypto_load. */
#ifndef LS_CRYPTO_LAZY_H
#define LS_CRYPTO_LAZY_H

#include "base/err.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

/* clang-format off */
#define LS_CRYPTO_CALLS(X)                                                 \
	X(EVP_sha256)                                                      \
	X(EVP_md5)                                                         \
	X(EVP_Digest) X(EVP_MD_CTX_new) X(EVP_MD_CTX_free)                 \
	    X(EVP_DigestInit_ex) X(EVP_DigestUpdate) X(EVP_DigestFinal_ex) \
		X(EVP_EncodeBlock) X(EVP_DecodeBlock) X(HMAC)              \
		    X(OPENSSL_cleanse) X(OPENSSL_init_crypto)
/* clang-format on */

struct ls_crypto {
#define X(name) __typeof__(&name) f_##name;
	LS_CRYPTO_CALLS(X)
#undef X
};
extern struct ls_crypto ls_crypto;

/* Load, once; thread-safe. LS_EUNSUPPORTED: not installed. */
enum ls_rc ls_crypto_load(struct ls_err *e) LS_MUST_CHECK;

#endif
