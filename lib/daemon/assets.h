/* assets.h -- the files of lib/daemon that browsers load: status.css, .js and
 * .svg, compiled in (assets.c is made by CMake). */
#ifndef LS_ASSETS_H
#define LS_ASSETS_H

#include <stddef.h>

struct ls_asset {
	const char *path, *type; /* of the URL; of HTTP */
	const unsigned char *p;
	size_t n;
};
extern const struct ls_asset ls_assets[];
extern const size_t ls_assets_n;

#endif
