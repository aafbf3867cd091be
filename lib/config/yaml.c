/* yaml.c -- a YAML text into rows' fields. The only file that knows libyaml.
 *
 * (1) BOUNDED. At most LS_CONFIG_MAX_BYTES of text; at most NODES nodes are
 *     visited, aliases counted each time; collections nest at most NESTED deep
 *     (libyaml's time grows with the square), merges MERGES deep. The walk
 *     follows the rows, which nest four deep, so a cycle ends at a row.
 *     (test: hostile_documents_are_refused)
 * (2) NO KEY IS LOST: unknown and doubled keys are errors with their line.
 *     (test: unknown_key_names_line_and_nearest)
 * (3) Merge keys ("<<") fill only keys that the mapping itself lacks, and a
 *     given mapping or list replaces a merged one whole, as YAML 1.1 says.
 *     (test: anchors_and_merge_keys)
 * Not here: what a value may be (value.c), what values mean (settle.c).
 */
#include "config/schema.h"

#include "base/bytes.h"

#include <yaml.h>

enum { NODES = 200000, NESTED = 64, MERGES = 8, SLOTS = 2 * LS_MAP_ROWS };

struct walk {
	const char *name;
	yaml_document_t *doc;
	struct ls_raw *raw;
	struct ls_err *e;
	unsigned left; /* nodes that may still be visited */
};

static int
line_of(const yaml_node_t *n)
{
	return (int)n->start_mark.line + 1;
}

#define FAIL(w, n, rc, ...)                                                 \
	ls_err_wrap((w)->e, ls_err_set((w)->e, (rc), __VA_ARGS__), "%s:%d", \
	    (w)->name, line_of(n))

static const char *
scalar(const yaml_node_t *n)
{
	return n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value
					   : NULL;
}

static bool
is_null(const yaml_node_t *n)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };
	const char *s = scalar(n);

	if (s == NULL || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < LS_COUNT(words); i++)
		if (strcmp(s, words[i]) == 0)
			return true;
	return false;
}

static enum ls_rc
visit(struct walk *w, const yaml_node_t *n)
{
	if (w->left == 0)
		return FAIL(w, n, LS_ERANGE, "the document is too large");
	w->left--;
	return LS_OK;
}

/* ---- gathering the pairs of a mapping ------------------------------------*/

struct slot {
	const struct ls_row *row;
	size_t off; /* to add to the base, with row->off */
	const yaml_node_t *key;
	const yaml_node_t *val;
};
struct pairs {
	struct slot v[SLOTS];
	size_t n;
};

static enum ls_rc
unknown_key(struct walk *w, const struct ls_map *m, const yaml_node_t *n)
{
	char near[96];

	ls_map_nearest(m, scalar(n), near, sizeof near);
	return FAIL(w, n, LS_EINVALID, "unknown key \"%s%.64s\"%s", m->prefix,
	    scalar(n), near);
}

static enum ls_rc
take_pair(struct walk *w, const struct ls_map *m, const yaml_node_t *key,
    const yaml_node_t *val, bool merged, struct pairs *p)
{
	size_t off;
	const struct ls_row *row = ls_map_find(m, scalar(key), &off);

	if (row == NULL)
		return unknown_key(w, m, key);
	for (size_t i = 0; i < p->n; i++) {
		if (p->v[i].row != row)
			continue;
		if (merged)
			return LS_OK;
		return FAIL(w, key, LS_EINVALID,
		    "key \"%s%s\" stands here twice, first in line %d",
		    m->prefix, row->key, line_of(p->v[i].key));
	}
	p->v[p->n++] = (struct slot){ row, off, key, val };
	return LS_OK;
}

static enum ls_rc gather(struct walk *w, const struct ls_map *m,
    const yaml_node_t *n, int depth, struct pairs *p);

/* The value of "<<": a mapping or a list of them, the first one wins. */
static enum ls_rc
gather_merge(struct walk *w, const struct ls_map *m, const yaml_node_t *n,
    int depth, struct pairs *p)
{
	enum ls_rc rc = LS_OK;

	if (depth >= MERGES)
		return FAIL(w, n, LS_ERANGE, "merge keys nest too deep");
	if (n->type == YAML_MAPPING_NODE)
		return gather(w, m, n, depth + 1, p);
	if (n->type != YAML_SEQUENCE_NODE)
		return FAIL(w, n, LS_EINVALID, "\"<<\" needs a mapping");
	for (yaml_node_item_t *i = n->data.sequence.items.start;
	     rc == LS_OK && i < n->data.sequence.items.top; i++) {
		const yaml_node_t *sub = yaml_document_get_node(w->doc, *i);

		if (sub->type != YAML_MAPPING_NODE)
			return FAIL(
			    w, sub, LS_EINVALID, "\"<<\" needs mappings");
		rc = gather(w, m, sub, depth + 1, p);
	}
	return rc;
}

/* Own keys first, then what is merged in. */
static enum ls_rc
gather(struct walk *w, const struct ls_map *m, const yaml_node_t *n, int depth,
    struct pairs *p)
{
	enum ls_rc rc = visit(w, n);

	for (int merging = 0; merging < 2; merging++)
		for (yaml_node_pair_t *i = n->data.mapping.pairs.start;
		     rc == LS_OK && i < n->data.mapping.pairs.top; i++) {
			const yaml_node_t *k =
			    yaml_document_get_node(w->doc, i->key);
			const yaml_node_t *v =
			    yaml_document_get_node(w->doc, i->value);
			bool is_merge;

			if (scalar(k) == NULL)
				return FAIL(
				    w, k, LS_EINVALID, "a key must be a word");
			if ((rc = visit(w, k)) != LS_OK)
				return rc;
			is_merge = strcmp(scalar(k), "<<") == 0;
			if (merging && is_merge)
				rc = gather_merge(w, m, v, depth, p);
			else if (!merging && !is_merge)
				rc = take_pair(w, m, k, v, depth > 0, p);
		}
	return rc;
}

/* ---- values --------------------------------------------------------------*/

static enum ls_rc walk_map(
    struct walk *w, const yaml_node_t *n, const struct ls_map *m, void *base);

static size_t
seq_len(const yaml_node_t *n)
{
	return (
	    size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
}

static const yaml_node_t *
seq_at(struct walk *w, const yaml_node_t *n, size_t i)
{
	return yaml_document_get_node(w->doc, n->data.sequence.items.start[i]);
}

static enum ls_rc
walk_levels(struct walk *w, const yaml_node_t *n)
{
	struct ls_config *c = &w->raw->cfg;
	enum ls_rc rc = LS_OK;
	size_t len = seq_len(n);

	if (len > LS_CONFIG_LEVELS)
		return FAIL(w, n, LS_ERANGE,
		    "compaction level cannot exceed %d", LS_CONFIG_LEVELS);
	c->n_levels = (int)len;
	for (size_t i = 0; rc == LS_OK && i < len; i++) {
		const yaml_node_t *v = seq_at(w, n, i);

		c->level_interval_ns[i] = 0;
		rc = walk_map(w, v, &ls_map_level, &c->level_interval_ns[i]);
		if (rc == LS_OK && c->level_interval_ns[i] <= 0)
			rc = FAIL(w, v, LS_ERANGE,
			    "levels[%zu].interval: compaction interval must "
			    "be greater than 0",
			    i);
	}
	return rc;
}

static enum ls_rc
walk_dbs(struct walk *w, const yaml_node_t *n)
{
	enum ls_rc rc = LS_OK;
	struct ls_raw *raw = w->raw;
	size_t len = seq_len(n);

	if (len == 0)
		return LS_OK;
	if (len > w->left)
		return FAIL(w, n, LS_ERANGE, "the document is too large");
	raw->dbs = ls_zalloc(len * sizeof raw->dbs[0]);
	if (raw->dbs == NULL)
		return ls_err_nomem(w->e);
	for (size_t i = 0; rc == LS_OK && i < len; i++) {
		const yaml_node_t *v = seq_at(w, n, i);
		struct ls_raw_db *d = &raw->dbs[raw->n_dbs++];

		if ((rc = ls_raw_db_init(d, w->e)) != LS_OK)
			break;
		d->db.line = d->replica.line = line_of(v);
		rc = walk_map(w, v, &ls_map_db, d);
	}
	return rc;
}

/* The deprecated list: kept when it is one, counted when it is more. */
static enum ls_rc
walk_replicas(struct walk *w, const yaml_node_t *n, struct ls_raw_db *d)
{
	enum ls_rc rc = LS_OK;

	d->n_replicas = seq_len(n);
	if (d->n_replicas == 1) {
		d->replica.line = line_of(seq_at(w, n, 0));
		rc = walk_map(w, seq_at(w, n, 0), &ls_map_replica, &d->replica);
	}
	return rc;
}

/* age with anything in it (compatibility 2.4). */
static enum ls_rc
walk_age(struct walk *w, const yaml_node_t *n)
{
	bool empty = n->type == YAML_MAPPING_NODE;

	if (empty)
		for (yaml_node_pair_t *i = n->data.mapping.pairs.start;
		     i < n->data.mapping.pairs.top; i++) {
			const yaml_node_t *v =
			    yaml_document_get_node(w->doc, i->value);

			empty = empty &&
				(is_null(v) || (v->type == YAML_SEQUENCE_NODE &&
						   seq_len(v) == 0));
		}
	if (empty)
		return LS_OK;
	return FAIL(w, n, LS_EUNSUPPORTED,
	    "age encryption is not currently supported, if you need "
	    "encryption please revert back to Litestream v0.3.x");
}

static enum ls_rc
walk_list(
    struct walk *w, const struct ls_map *m, const struct slot *s, void *base)
{
	if (s->val->type != YAML_SEQUENCE_NODE)
		return FAIL(w, s->val, LS_EINVALID, "%s%s: must be a list",
		    m->prefix, s->row->key);
	if (s->row->type == LS_O_LEVELS)
		return walk_levels(w, s->val);
	if (s->row->type == LS_O_DBS)
		return walk_dbs(w, s->val);
	return walk_replicas(w, s->val, base);
}

static enum ls_rc
walk_submap(struct walk *w, const struct slot *s, char *base)
{
	if (s->row->sub == &ls_map_replica) {
		struct ls_raw_db *d = (void *)base;

		d->has_replica = true;
		d->replica.line = line_of(s->key);
	}
	return walk_map(w, s->val, s->row->sub, base + s->off + s->row->off);
}

static enum ls_rc
walk_scalar(
    struct walk *w, const struct ls_map *m, const struct slot *s, char *base)
{
	enum ls_rc rc;

	if (scalar(s->val) == NULL)
		return FAIL(w, s->val, LS_EINVALID,
		    "%s%s: must be a single value", m->prefix, s->row->key);
	if (strlen(scalar(s->val)) != s->val->data.scalar.length)
		return FAIL(w, s->val, LS_EINVALID,
		    "%s%s: a NUL is in the value", m->prefix, s->row->key);
	rc = ls_value_set(
	    s->row, base + s->off + s->row->off, scalar(s->val), w->e);
	if (rc == LS_ERANGE || rc == LS_EUNSUPPORTED || rc == LS_EINVALID) {
		struct ls_err why = *w->e;

		rc = FAIL(w, s->val, rc, "%s%s: %s (got %.64s)", m->prefix,
		    s->row->key, why.msg, scalar(s->val));
		if (why.hint[0] != '\0')
			rc = ls_err_hint(w->e, rc, "%s", why.hint);
	}
	return rc;
}

static enum ls_rc
walk_value(
    struct walk *w, const struct ls_map *m, const struct slot *s, void *base)
{
	const struct ls_row *row = s->row;

	if (is_null(s->val)) /* as if it were not there */
		return LS_OK;
	if (s->off == 0) /* not one that stands here only to be inherited */
		w->raw->seen[ls_map_number(m)] |= 1ull << (row - m->rows);
	switch (row->type) {
	case LS_O_MAP: return walk_submap(w, s, base);
	case LS_O_LEVELS:
	case LS_O_DBS:
	case LS_O_REPLICAS: return walk_list(w, m, s, base);
	case LS_O_AGE: return walk_age(w, s->val);
	case LS_O_LATER:
		if (scalar(s->val) != NULL && scalar(s->val)[0] == '\0')
			return LS_OK;
		return ls_err_hint(w->e,
		    FAIL(w, s->key, LS_EUNSUPPORTED,
			"%s%s is not supported yet", m->prefix, row->key),
		    "%s", row->doc);
	case LS_O_LEGACY:
		return ls_config_warn(&w->raw->cfg, line_of(s->key), w->e,
		    "%s%s has no effect: %s", m->prefix, row->key, row->doc);
	default: return walk_scalar(w, m, s, base);
	}
}

static enum ls_rc
walk_map(
    struct walk *w, const yaml_node_t *n, const struct ls_map *m, void *base)
{
	struct pairs p;
	enum ls_rc rc;

	if (is_null(n))
		return LS_OK;
	if (n->type != YAML_MAPPING_NODE)
		return FAIL(w, n, LS_EINVALID,
		    "%.*s: keys and values are expected here",
		    m->prefix[0] ? (int)strlen(m->prefix) - 1 : 4,
		    m->prefix[0] ? m->prefix : "file");
	p.n = 0;
	rc = gather(w, m, n, 0, &p);
	for (size_t i = 0; rc == LS_OK && i < p.n; i++)
		rc = walk_value(w, m, &p.v[i], base);
	return rc;
}

/* ---- documents -----------------------------------------------------------*/

static enum ls_rc
parser_error(yaml_parser_t *y, const char *name, struct ls_err *e)
{
	if (y->error == YAML_MEMORY_ERROR)
		return ls_err_nomem(e);
	return ls_err_set(e, LS_EINVALID, "%s:%zu: %s%s%s", name,
	    y->problem_mark.line + 1, y->context ? y->context : "",
	    y->context ? ": " : "", y->problem ? y->problem : "not YAML");
}

static enum ls_rc
only_document(yaml_parser_t *y, const char *name, struct ls_err *e)
{
	yaml_document_t next;
	enum ls_rc rc = LS_OK;
	yaml_node_t *root;

	if (!yaml_parser_load(y, &next))
		return parser_error(y, name, e);
	if ((root = yaml_document_get_root_node(&next)) != NULL)
		rc = ls_err_set(e, LS_EINVALID,
		    "%s:%d: only one YAML document is read", name,
		    line_of(root));
	yaml_document_delete(&next);
	return rc;
}

/* The parser's own view of the text, ended where it nests too deep. */
static enum ls_rc
check_depth(const char *name, struct ls_span text, struct ls_err *e)
{
	yaml_parser_t y;
	enum ls_rc rc = LS_OK;
	int depth = 0;

	if (!yaml_parser_initialize(&y))
		return ls_err_nomem(e);
	yaml_parser_set_input_string(&y, text.p, text.n);
	for (bool end = false; !end && rc == LS_OK;) {
		yaml_event_t v;

		if (!yaml_parser_parse(&y, &v))
			break; /* the loader tells it better */
		end = v.type == YAML_STREAM_END_EVENT;
		if (v.type == YAML_MAPPING_START_EVENT ||
		    v.type == YAML_SEQUENCE_START_EVENT)
			depth++;
		else if (v.type == YAML_MAPPING_END_EVENT ||
			 v.type == YAML_SEQUENCE_END_EVENT)
			depth--;
		if (depth > NESTED)
			rc = ls_err_set(e, LS_EINVALID,
			    "%s:%d: lists and mappings nest deeper than %d",
			    name, (int)v.start_mark.line + 1, NESTED);
		yaml_event_delete(&v);
	}
	yaml_parser_delete(&y);
	return rc;
}

enum ls_rc
ls_raw_read(
    struct ls_raw *raw, const char *name, struct ls_span text, struct ls_err *e)
{
	struct walk w = { .name = name, .raw = raw, .e = e, .left = NODES };
	yaml_parser_t y;
	yaml_document_t doc;
	enum ls_rc rc = LS_OK;
	const yaml_node_t *root;

	if (text.n > LS_CONFIG_MAX_BYTES)
		return ls_err_set(e, LS_ERANGE, "%s: larger than %d bytes",
		    name, LS_CONFIG_MAX_BYTES);
	if (text.n == 0)
		text = LS_SPAN_STR("");
	if ((rc = check_depth(name, text, e)) != LS_OK)
		return rc;
	if (!yaml_parser_initialize(&y))
		return ls_err_nomem(e);
	yaml_parser_set_input_string(&y, text.p, text.n);
	if (!yaml_parser_load(&y, &doc)) {
		rc = parser_error(&y, name, e);
		yaml_parser_delete(&y);
		return rc;
	}
	w.doc = &doc;
	if ((root = yaml_document_get_root_node(&doc)) != NULL) {
		rc = walk_map(&w, root, &ls_map_root, raw);
		if (rc == LS_OK)
			rc = only_document(&y, name, e);
	}
	yaml_document_delete(&doc);
	yaml_parser_delete(&y);
	return rc;
}
