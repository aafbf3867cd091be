/* curl_lazy.c -- libcurl, mapped on first use. See curl_lazy.h. */
#define LS_CURL_LAZY_C
#include "store/curl_lazy.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct ls_curl ls_curl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why[256]; /* it failed */

static bool
find(void *lib, const char *name, void *fn)
{
	void *p = dlsym(lib, name);

	memcpy(fn, &p, sizeof p); /* POSIX: function pointers fit */
	if (p == NULL)
		(void)snprintf(why, sizeof why, "libcurl has no %s", name);
	return p != NULL;
}

static void
load(void)
{
	void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	bool ok = true;

	if (lib == NULL) {
		(void)snprintf(why, sizeof why, "%s", dlerror());
		return;
	}
#define X(name) ok = ok && find(lib, "curl_" #name, &ls_curl.name);
	LS_CURL_CALLS(X)
#undef X
	if (ok && ls_curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
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
