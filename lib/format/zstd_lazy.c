/* zstd_lazy.c -- libzstd, mapped on first use. See zstd_lazy.h. */
#include "format/zstd_lazy.h"

#include "base/dl.h"

#include <pthread.h>
#include <string.h>

struct ls_zstd ls_zstd;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why[256];

static void
load(void)
{
#define X(name) { #name, &ls_zstd.f_##name },
	static const struct ls_dl_name names[] = { LS_ZSTD_CALLS(X){
	    NULL, NULL } };
#undef X

	if (!ls_dl_load("libzstd.so.1", names, why, sizeof why))
		memset(&ls_zstd, 0, sizeof ls_zstd);
}

enum ls_rc
ls_zstd_load(struct ls_err *e)
{
	(void)pthread_once(&once, load);
	if (why[0] == '\0')
		return LS_OK;
	return ls_err_hint(e,
	    ls_err_set(e, LS_EUNSUPPORTED, "zstd is not available: %s", why),
	    "install it (Debian: libzstd1)");
}
