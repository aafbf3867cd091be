/* value.c -- one value: text to field, defaults, inheritance. See schema.h.
 *
 * (1) DEFAULTS ARE VALUES: they stand in the rows as text and go through the
 *     same function as what a user writes, so documentation cannot differ from
 *     behaviour. (test: defaults_are_the_documented_ones)
 * (2) ON ERROR THE FIELD IS AS IT WAS.
 */
#include "config/schema.h"

#include "base/bytes.h"
#include "base/units.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static enum ls_rc
set_str(char **field, const char *text, struct ls_err *e)
{
	char *s = ls_strdup(text);

	if (s == NULL)
		return ls_err_nomem(e);
	ls_free(*field);
	*field = s;
	return LS_OK;
}

/* YAML 1.1 has more words for it than 1.2. */
static enum ls_rc
parse_bool(const char *s, bool *out, struct ls_err *e)
{
	static const char *const yes[] = { "y", "Y", "yes", "Yes", "YES", "on",
		"On", "ON", "true", "True", "TRUE" };
	static const char *const no[] = { "n", "N", "no", "No", "NO", "off",
		"Off", "OFF", "false", "False", "FALSE" };

	for (size_t i = 0; i < LS_COUNT(yes); i++)
		if (strcmp(s, yes[i]) == 0 || strcmp(s, no[i]) == 0) {
			*out = strcmp(s, yes[i]) == 0;
			return LS_OK;
		}
	return ls_err_set(
	    e, LS_EINVALID, "\"%s\" is neither true nor false", s);
}

/* YAML 1.1: 0600 and 0o600 are octal, 0x and 0b too, "_" may separate. */
static enum ls_rc
parse_int(
    const char *s, int64_t min, int64_t max, int64_t *out, struct ls_err *e)
{
	char buf[72], *end, *p = buf;
	size_t n = 0;
	int base = 10, sign = 0;
	long long v;

	for (const char *q = s; *q != '\0' && n < sizeof buf - 1; q++)
		if (*q != '_')
			buf[n++] = *q;
	buf[n] = '\0';
	if (*p == '-' || *p == '+')
		sign = *p++ == '-';
	if (*p == '0' && p[1] != '\0') {
		char c = (char)(p[1] | 0x20);

		base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
		p += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
	}
	errno = 0;
	v = strtoll(p, &end, base);
	if (*p == '-' || *p == '+' || *p == ' ' || end == p || *end != '\0')
		return ls_err_set(
		    e, LS_EINVALID, "\"%s\" is not a whole number", s);
	v = sign ? -v : v;
	if (errno != 0 || v < min || v > max)
		return ls_err_set(e, LS_ERANGE, "%s is out of range", s);
	*out = v;
	return LS_OK;
}

static enum ls_rc
set_word(
    const struct ls_row *row, int *field, const char *text, struct ls_err *e)
{
	char list[96] = "";
	size_t n = 0;

	if (text[0] == '\0' && row->def != NULL)
		text = row->def; /* $NAME of a variable that is not set */
	for (int i = 0; row->words[i] != NULL; i++) {
		const char *w = row->words[i];

		if (w[0] == '!' && strcmp(w + 1, text) == 0)
			return ls_err_set(e, LS_EUNSUPPORTED,
			    "\"%s\" comes with a later version", text);
		if (strcmp(w, text) == 0) {
			*field = i;
			return LS_OK;
		}
		if (w[0] != '!')
			n += (size_t)snprintf(list + n, sizeof list - n, "%s%s",
			    n ? ", " : "", w);
	}
	return ls_err_set(e, LS_EINVALID, "\"%s\" is none of: %s", text, list);
}

static enum ls_rc
check_range(const struct ls_row *row, int64_t v, struct ls_err *e)
{
	if (row->range == LS_R_POSITIVE && v <= 0)
		return ls_err_set(e, LS_ERANGE, "must be greater than 0");
	if (row->range == LS_R_NONNEG && v < 0)
		return ls_err_set(
		    e, LS_ERANGE, "must be greater than or equal to 0");
	return LS_OK;
}

static enum ls_rc
set_number(
    const struct ls_row *row, void *field, const char *text, struct ls_err *e)
{
	enum ls_rc rc;
	int64_t v = 0;

	if (row->type == LS_O_DUR)
		rc = ls_dur_parse(text, &v, e);
	else if (row->type == LS_O_SIZE)
		rc = ls_size_parse(text, &v, e);
	else if (row->type == LS_O_INT)
		rc = parse_int(text, 0, INT_MAX, &v, e);
	else if (row->type == LS_O_U32)
		rc = parse_int(text, 0, 0777, &v, e);
	else
		rc = parse_int(text, INT64_MIN + 1, INT64_MAX, &v, e);
	if (rc != LS_OK || (rc = check_range(row, v, e)) != LS_OK)
		return rc;
	if (row->type == LS_O_INT)
		*(int *)field = (int)v;
	else if (row->type == LS_O_U32)
		*(uint32_t *)field = (uint32_t)v;
	else
		*(int64_t *)field = v;
	return LS_OK;
}

enum ls_rc
ls_value_set(
    const struct ls_row *row, void *field, const char *text, struct ls_err *e)
{
	enum ls_rc rc;
	bool b = false;

	switch (row->type) {
	case LS_O_STR: return set_str(field, text, e);
	case LS_O_ENUM: return set_word(row, field, text, e);
	case LS_O_BOOL:
	case LS_O_TRI:
		if ((rc = parse_bool(text, &b, e)) != LS_OK)
			return rc;
		if (row->type == LS_O_BOOL)
			*(bool *)field = b;
		else
			*(enum ls_tri *)field = b ? LS_YES : LS_NO;
		return LS_OK;
	default: return set_number(row, field, text, e);
	}
}

enum ls_rc
ls_value_defaults(const struct ls_map *m, void *base, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < m->n; i++) {
		const struct ls_row *r = &m->rows[i];

		if (r->type == LS_O_MAP && r->sub != &ls_map_replica)
			rc =
			    ls_value_defaults(r->sub, (char *)base + r->off, e);
		else if (r->type < LS_O_MAP && r->def != NULL)
			rc = ls_value_set(r, (char *)base + r->off, r->def, e);
	}
	return rc;
}

/* ---- inheritance ---------------------------------------------------------*/

static size_t
width(const struct ls_row *r)
{
	switch (r->type) {
	case LS_O_TRI: return sizeof(enum ls_tri);
	case LS_O_INT:
	case LS_O_ENUM: return sizeof(int);
	default: return sizeof(int64_t);
	}
}

static bool
is_unset(const struct ls_row *r, const void *field)
{
	switch (r->type) {
	case LS_O_STR: return *(char *const *)field == NULL;
	case LS_O_TRI: return *(const enum ls_tri *)field == LS_UNSET;
	case LS_O_INT: return *(const int *)field == 0;
	case LS_O_ENUM: return *(const int *)field < 0;
	case LS_O_SIZE: return *(const int64_t *)field == 0;
	default: return *(const int64_t *)field == LS_CFG_UNSET;
	}
}

enum ls_rc
ls_value_inherit(struct ls_raw_replica *to, const struct ls_raw_replica *from,
    struct ls_err *e)
{
	const struct ls_map *m = &ls_map_replica;

	for (size_t i = 0; i < m->n; i++) {
		const struct ls_row *r = &m->rows[i];
		void *dst = (char *)to + r->off;
		const void *src = (const char *)from + r->off;

		if (!r->inherit || r->type >= LS_O_MAP || !is_unset(r, dst) ||
		    is_unset(r, src))
			continue;
		/* A url names its own bucket; upstream refuses the pair even
		 * when the bucket only comes from the top level. */
		if (to->url != NULL && strcmp(r->key, "bucket") == 0)
			continue;
		if (r->type == LS_O_STR) {
			enum ls_rc rc = set_str(dst, *(char *const *)src, e);

			if (rc != LS_OK)
				return rc;
		} else {
			memcpy(dst, src, width(r));
		}
	}
	return LS_OK;
}
