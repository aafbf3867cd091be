/* same.c -- do two configurations mean the same? See config.h. */
#include "config/schema.h"

#include <stdio.h>

static bool
text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* ROWS: options are compared by what they are, so that none is forgotten. */
static bool
field(enum ls_opt_type type, const void *a, const void *b)
{
	switch (type) {
	case LS_O_STR: return text(*(char *const *)a, *(char *const *)b);
	case LS_O_DUR:
	case LS_O_I64:
	case LS_O_SIZE: return *(const int64_t *)a == *(const int64_t *)b;
	case LS_O_BOOL: return *(const bool *)a == *(const bool *)b;
	case LS_O_TRI:
	case LS_O_INT:
	case LS_O_ENUM: return *(const int *)a == *(const int *)b;
	case LS_O_U32: return *(const uint32_t *)a == *(const uint32_t *)b;
	default: return true; /* lists and what is not stored */
	}
}

static bool
rows(const struct ls_map *m, const char *a, const char *b)
{
	bool same = true;

	for (size_t i = 0; i < m->n && same; i++) {
		const struct ls_row *r = &m->rows[i];

		if (r->type == LS_O_MAP)
			same = rows(r->sub, a + r->off, b + r->off);
		else
			same = field(r->type, a + r->off, b + r->off);
	}
	return same;
}

bool
ls_db_config_same(const struct ls_db_config *a, const struct ls_db_config *b)
{
	/* What is inherited has been settled into these. */
	struct ls_raw_db x = { .db = *a }, y = { .db = *b };

	return a->sync_interval_ns == b->sync_interval_ns &&
	       a->max_sync_ltx_files == b->max_sync_ltx_files &&
	       a->auto_recover == b->auto_recover &&
	       ls_place_same(&a->place, &b->place) &&
	       rows(&ls_map_db, (const char *)&x, (const char *)&y);
}

bool
ls_dir_config_same(const struct ls_dir_config *a, const struct ls_dir_config *b)
{
	return text(a->dir, b->dir) && text(a->pattern, b->pattern) &&
	       text(a->meta_path, b->meta_path) &&
	       text(a->meta_dir, b->meta_dir) && a->recursive == b->recursive &&
	       a->watch == b->watch && ls_db_config_same(&a->db, &b->db);
}

static bool
levels(const struct ls_config *a, const struct ls_config *b)
{
	bool same = a->n_levels == b->n_levels;

	for (int i = 0; same && i < a->n_levels; i++)
		same = a->level_interval_ns[i] == b->level_interval_ns[i];
	return same;
}

void
ls_config_differ(
    const struct ls_config *a, const struct ls_config *b, char *out, size_t n)
{
	const struct ls_map *m = &ls_map_root;
	struct ls_raw x = { .cfg = *a }, y = { .cfg = *b };
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < m->n && used < n; i++) {
		const struct ls_row *r = &m->rows[i];
		const char *p = (const char *)&x + r->off;
		const char *q = (const char *)&y + r->off;
		bool same = r->type == LS_O_LEVELS ? levels(a, b)
			    : r->type == LS_O_MAP  ? rows(r->sub, p, q)
						   : field(r->type, p, q);

		if (!same)
			used += (size_t)snprintf(out + used, n - used, "%s%s",
			    used > 0 ? ", " : "", r->key);
	}
}
