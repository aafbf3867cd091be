/* fuzz_config.c -- any bytes as a configuration file.
 *
 * No crash, no leak; what is refused is refused with a text; what is accepted
 * is the same as itself, and every database of it has a path. */
#include "config/config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
must(bool x)
{
	if (!x)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct ls_config cfg;
	struct ls_err e = { 0 };
	char differ[200];

	if (ls_config_parse("fuzz.yml", LS_SPAN(p, n), false, &cfg, &e) !=
	    LS_OK) {
		must(e.msg[0] != '\0');
		return 0;
	}
	for (size_t i = 0; i < cfg.n_dbs; i++) {
		must(cfg.dbs[i].path != NULL && cfg.dbs[i].path[0] == '/');
		must(ls_db_config_same(&cfg.dbs[i], &cfg.dbs[i]));
	}
	ls_config_differ(&cfg, &cfg, differ, sizeof differ);
	must(differ[0] == '\0');
	ls_config_fini(&cfg);
	return 0;
}
