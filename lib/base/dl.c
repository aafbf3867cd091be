/* dl.c -- a shared library that is mapped only when it is needed. See dl.h. */
#include "base/dl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

bool
ls_dl_load(const char *lib, const struct ls_dl_name *names, char *why, size_t n)
{
	void *h = dlopen(lib, RTLD_NOW | RTLD_LOCAL);

	if (h == NULL) {
		(void)snprintf(why, n, "%s", dlerror());
		return false;
	}
	for (; names->name != NULL; names++) {
		void *p = dlsym(h, names->name);

		if (p == NULL) {
			(void)snprintf(
			    why, n, "%s has no %s", lib, names->name);
			return false;
		}
		memcpy(names->fn, &p, sizeof p); /* POSIX: it fits */
	}
	return true;
}
