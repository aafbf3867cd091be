/* restore_out.c -- what `restore` prints, in upstream's shapes. */
#include "restore_out.h"

#include "app.h"
#include "base/file.h"
#include "base/units.h"

#include <stdio.h>

struct texts {
	char level[8], min[20], max[20], size[24], time[LS_TIME_MAX];
	char key[LS_KEY_MAX];
};

static void
hex(uint64_t txid, char out[static 20])
{
	(void)snprintf(out, 20, "%016llx", (unsigned long long)txid);
}

static void
to_texts(const struct ls_file *f, enum ls_layout layout, struct texts *t)
{
	(void)snprintf(t->level, sizeof t->level, "%d", f->level);
	hex(f->min_txid, t->min);
	hex(f->max_txid, t->max);
	(void)snprintf(
	    t->size, sizeof t->size, "%llu", (unsigned long long)f->size);
	(void)ls_time_sec(f->created_ns, t->time);
	(void)ls_ltx_key(layout, f->level, f->min_txid, f->max_txid, t->key);
}

static json_t *
plan_files(const struct ls_plan *plan, enum ls_layout layout)
{
	json_t *list = json_array();
	struct texts t;

	for (size_t i = 0; list != NULL && i < plan->files.n; i++) {
		const struct ls_file *f = &plan->files.v[i];

		to_texts(f, layout, &t);
		if (json_array_append_new(list,
			json_pack("{s:i,s:s,s:s,s:s,s:I,s:s}", "level",
			    f->level, "name", ls_basename(t.key), "min_txid",
			    t.min, "max_txid", t.max, "size",
			    (json_int_t)f->size, "timestamp", t.time)) != 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

int
restore_print_plan(const struct ls_plan *plan, const char *source,
    const char *target, const char *type, enum ls_layout layout, bool json)
{
	struct app_table table;
	struct texts t;
	char min[20], max[20];

	hex(plan->files.n ? plan->files.v[0].min_txid : 0, min);
	hex(plan->txid, max);
	if (json)
		return app_json_print(json_pack("{s:o,s:o,s:s,s:s,s:s,s:o}",
		    "source", app_json_text(source), "target_path",
		    app_json_text(target), "replica", type, "min_txid", min,
		    "max_txid", max, "files", plan_files(plan, layout)));
	(void)printf("Restore plan:\n  source: %s\n  target: %s\n"
		     "  replica: %s\n  txid range: %s - %s\n\n"
		     "Files to fetch:\n",
	    source, target, type, min, max);
	app_table_init(&table, 6, "level", "file", "min_txid", "max_txid",
	    "size", "timestamp");
	for (size_t i = 0; i < plan->files.n; i++) {
		to_texts(&plan->files.v[i], layout, &t);
		app_table_row(&table, t.level, ls_basename(t.key), t.min, t.max,
		    t.size, t.time);
	}
	return app_table_print(&table);
}

int
restore_print_result(const char *path, const char *type, uint64_t txid,
    uint64_t ms, const char *integrity)
{
	char text[20];

	hex(txid, text);
	return app_json_print(json_pack("{s:o,s:s,s:s,s:I,s:s}", "db_path",
	    app_json_text(path), "replica", type, "txid", text, "duration_ms",
	    (json_int_t)ms, "integrity_check", integrity));
}
