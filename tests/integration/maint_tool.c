/* maint_tool.c -- maintenance of a replica, step by step, for the tests
 * of other programs' view of it: maint_tool URL compact LEVEL | snapshot |
 * retain RETENTION L0_RETENTION (Go durations; "now" is an hour ahead). */
#include "base/units.h"
#include "replica/maint.h"

#include "base/sys.h"

#include <stdio.h>
#include <stdlib.h>

#define AHEAD_NS (3600 * (int64_t)LS_SEC)

static enum ls_rc
run(struct ls_replica *r, int argc, char **argv, struct ls_err *e)
{
	struct ls_level_state st[LS_LEVELS] = { { 0 } };
	struct ls_compact_opts o = { .verify = true,
		.par = &ls_par_threads,
		.codec.zstd = getenv("LS_ZSTD") != NULL };
	struct ls_retain_opts ro = { .now_ns = ls_sys->wall_ns() + AHEAD_NS };
	struct ls_compacted c;
	struct ls_retained d;
	uint64_t made;
	enum ls_rc rc;

	if (argc == 4 && strcmp(argv[2], "compact") == 0) {
		rc = ls_compact(
		    r, (int)strtol(argv[3], NULL, 10), &o, st, &c, NULL, e);
		if (rc == LS_OK && c.bad_shape)
			rc = ls_err_set(e, LS_EGAP, "gap or overlap");
		if (rc == LS_OK)
			(void)printf("%zu\n", c.files_out);
		return rc;
	}
	if (argc == 3 && strcmp(argv[2], "snapshot") == 0)
		return ls_base_make(r, 0, &o, st, &made, NULL, e);
	if (argc == 5 && strcmp(argv[2], "retain") == 0) {
		if ((rc = ls_dur_parse(argv[3], &ro.retention_ns, e)) !=
			LS_OK ||
		    (rc = ls_dur_parse(argv[4], &ro.l0_retention_ns, e)) !=
			LS_OK ||
		    (rc = ls_retain(r, &ro, NULL, &d, NULL, e)) != LS_OK)
			return rc;
		for (int l = 0; l < LS_LEVELS; l++)
			(void)printf("%zu ", d.deleted[l]);
		(void)printf("\n");
		return LS_OK;
	}
	return ls_err_set(e, LS_EUSAGE, "see the head of maint_tool.c");
}

int
main(int argc, char **argv)
{
	struct ls_err e = { 0 };
	struct ls_place p;
	struct ls_net *net = NULL;
	struct ls_store *st = NULL;
	struct ls_replica *r = NULL;
	enum ls_rc rc;

	ls_place_init(&p);
	if (argc < 3)
		rc = ls_err_set(&e, LS_EUSAGE, "too few arguments");
	else if ((rc = ls_place_from_url(argv[1], &p, &e)) == LS_OK &&
		 (rc = ls_place_settle(&p, &e)) == LS_OK &&
		 (rc = ls_net_new(&net, &e)) == LS_OK &&
		 (rc = ls_store_open(&p, net, &st, &e)) == LS_OK &&
		 (rc = ls_replica_new(st, &r, &e)) == LS_OK)
		rc = run(r, argc, argv, &e);
	if (rc != LS_OK)
		(void)fprintf(stderr, "maint_tool: %s\n", e.msg);
	ls_replica_free(r);
	ls_store_free(st);
	ls_net_free(net);
	ls_place_fini(&p);
	return rc != LS_OK;
}
