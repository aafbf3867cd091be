/* crypto_lazy.c -- libcrypto, mapped on first use. See crypto_lazy.h.
 *
 * At exit() it would free what it has, and a thread of the extension may still
 * use it (ending.h). Its first user can tell it not to; when that was the
 * host, our own exit handler comes before libcrypto's. */
#include "store/crypto_lazy.h"

#include "base/dl.h"
#include "store/ending.h"

#include <pthread.h>
#include <string.h>

struct ls_crypto ls_crypto;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why[256];

static void
load(void)
{
#define X(name) { #name, &ls_crypto.f_##name },
	static const struct ls_dl_name names[] = { LS_CRYPTO_CALLS(X){
	    NULL, NULL } };
#undef X

	if (!ls_dl_load("libcrypto.so.3", names, why, sizeof why))
		memset(&ls_crypto, 0, sizeof ls_crypto);
	else
		(void)ls_crypto.f_OPENSSL_init_crypto(
		    OPENSSL_INIT_NO_ATEXIT, NULL);
	ls_ending_watch();
}

enum ls_rc
ls_crypto_load(struct ls_err *e)
{
	(void)pthread_once(&once, load);
	if (why[0] == '\0')
		return LS_OK;
	return ls_err_hint(e,
	    ls_err_set(e, LS_EUNSUPPORTED, "cannot sign requests: %s", why),
	    "install OpenSSL 3 (Debian: libssl3)");
}
