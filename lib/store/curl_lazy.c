/* curl_lazy.c -- libcurl, mapped on first use. See curl_lazy.h. */
#define LS_CURL_LAZY_C
#include "store/curl_lazy.h"

#include "base/dl.h"
#include "store/crypto_lazy.h"

#include <pthread.h>
#include <stdio.h>

struct ls_curl ls_curl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why[256]; /* it failed */

static void
load(void)
{
#define X(name) { "curl_" #name, &ls_curl.name },
	static const struct ls_dl_name names[] = { LS_CURL_CALLS(X){
	    NULL, NULL } };
#undef X

	/* libcrypto is ours first; without it libcurl may still do. */
	(void)!ls_crypto_load(NULL);
	if (ls_dl_load("libcurl.so.4", names, why, sizeof why) &&
	    ls_curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		(void)snprintf(why, sizeof why, "libcurl does not start");
}

enum ls_rc
ls_curl_load(struct ls_err *e)
{
	(void)pthread_once(&once, load);
	if (why[0] == '\0')
		return LS_OK;
	return ls_err_hint(e,
	    ls_err_set(e, LS_EUNSUPPORTED, "cannot use the network: %s", why),
	    "install libcurl (Debian: libcurl4)");
}
