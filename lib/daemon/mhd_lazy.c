/* mhd_lazy.c -- libmicrohttpd, mapped on first use. See mhd_lazy.h. */
#include "daemon/mhd_lazy.h"

#include "base/dl.h"

#include <pthread.h>
#include <string.h>

struct ls_mhd ls_mhd;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why[256];

static void
load(void)
{
#define X(name) { "MHD_" #name, &ls_mhd.name },
	static const struct ls_dl_name names[] = { LS_MHD_CALLS(X){
	    NULL, NULL } };
#undef X

	if (!ls_dl_load("libmicrohttpd.so.12", names, why, sizeof why))
		memset(&ls_mhd, 0, sizeof ls_mhd);
}

enum ls_rc
ls_mhd_load(struct ls_err *e)
{
	(void)pthread_once(&once, load);
	if (why[0] == '\0')
		return LS_OK;
	return ls_err_hint(e,
	    ls_err_set(e, LS_EUNSUPPORTED, "cannot serve HTTP: %s", why),
	    "install libmicrohttpd (Debian: libmicrohttpd12)");
}
