/* dl.h -- a shared library that is mapped only when it is needed. */
#ifndef LS_DL_H
#define LS_DL_H

#include "base/err.h"

struct ls_dl_name {
	const char *name;
	void *fn; /* address of a function pointer */
};

/* Load lib and fill the pointers of names (ends with a NULL name). The library
 * stays for the life of the process. false: why says what is missing. */
bool ls_dl_load(const char *lib, const struct ls_dl_name *names, char *why,
    size_t n) LS_MUST_CHECK;

#endif
