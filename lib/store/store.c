/* store.c -- the front of every store: checks keys, counts, and names the
 * operation, the key and the place in errors. See store.h.
 *
 * (1) NO KEY LEAVES THE PLACE. A key that is empty, absolute, or holds a "."
 *     or ".." component is refused before a driver sees it, since keys are
 *     built from names that a server listed. (test: bad_keys_are_refused)
 */
#include "store/driver.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "store/net.h"

#include <stdio.h>

enum { KEY_MAX = 1024 }; /* S3's limit */

static const struct ls_driver *const drivers[] = { &ls_driver_file,
	&ls_driver_s3 };

enum ls_rc
ls_store_open(const struct ls_place *place, struct ls_net *net,
    struct ls_store **out, struct ls_err *e)
{
	struct ls_store *st = ls_zalloc(sizeof *st);
	enum ls_rc rc;

	if (st == NULL)
		return ls_err_nomem(e);
	ls_place_init(&st->place);
	st->net = net;
	if ((rc = ls_place_copy(&st->place, place, e)) != LS_OK ||
	    (rc = ls_place_settle(&st->place, e)) != LS_OK)
		goto out;
	for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++)
		if (strcmp(st->place.type, drivers[i]->type) == 0) {
			st->drv = drivers[i];
			st->kind = i; /* of ls_store_types */
		}
	if ((st->text = ls_place_text(&st->place)) == NULL)
		rc = ls_err_nomem(e);
	else
		rc = st->drv->open(st, e);
out:
	if (rc != LS_OK) {
		ls_place_fini(&st->place);
		ls_free(st->text);
		ls_free(st);
		return ls_err_wrap(e, rc, "open replica");
	}
	*out = st;
	return LS_OK;
}

void
ls_store_free(struct ls_store *st)
{
	if (st == NULL)
		return;
	if (st->drv->close != NULL)
		st->drv->close(st);
	ls_place_fini(&st->place);
	ls_free(st->text);
	ls_free(st);
}

const char *
ls_store_type(const struct ls_store *st)
{
	return st->drv->type;
}

const char *
ls_store_text(const struct ls_store *st)
{
	return st->text;
}

enum ls_layout
ls_store_layout(const struct ls_store *st)
{
	return st->drv->layout;
}

/* ---- keys and counters -----------------------------------------------------*/

static bool
key_ok(const char *key)
{
	const char *s = key;

	if (key[0] == '\0' || strlen(key) > KEY_MAX)
		return false;
	for (;;) {
		size_t n = strcspn(s, "/");

		if (n == 0 || (n == 1 && s[0] == '.') ||
		    (n == 2 && s[0] == '.' && s[1] == '.'))
			return false;
		if (s[n] == '\0')
			return true;
		s += n + 1;
	}
}

static char *
join(const struct ls_store *st, const char *key)
{
	const char *path = st->place.path;
	size_t n = strlen(path);

	return ls_asprintf(
	    "%s%s%s", path, n > 0 && path[n - 1] != '/' ? "/" : "", key);
}

const char *
ls_store_key(const struct ls_store *st, const char *path)
{
	size_t n = strlen(st->place.path);

	if (n == 0)
		return path;
	return path + n + (st->place.path[n - 1] != '/');
}

static enum ls_rc
path_of(
    const struct ls_store *st, const char *key, char **out, struct ls_err *e)
{
	if (!key_ok(key))
		return ls_err_set(
		    e, LS_EINVALID, "invalid key \"%.200s\"", key);
	if ((*out = join(st, key)) == NULL)
		return ls_err_nomem(e);
	return LS_OK;
}

/* A prefix: "" or a key followed by '/'. */
static enum ls_rc
prefix_of(
    const struct ls_store *st, const char *prefix, char **out, struct ls_err *e)
{
	size_t n = strlen(prefix);
	char *key = n > 0 ? ls_strndup(prefix, n - 1) : NULL;
	bool ok =
	    n == 0 || (key != NULL && prefix[n - 1] == '/' && key_ok(key));

	if (n > 0 && key == NULL)
		return ls_err_nomem(e);
	ls_free(key);
	if (!ok)
		return ls_err_set(
		    e, LS_EINVALID, "invalid prefix \"%.200s\"", prefix);
	if ((*out = join(st, prefix)) == NULL)
		return ls_err_nomem(e);
	return LS_OK;
}

static void
count(struct ls_store *st, enum ls_counter what, uint64_t n)
{
	atomic_fetch_add_explicit(&st->n[what], n, memory_order_relaxed);
}

/* An operation that ended: n things of so many bytes. */
struct ended {
	enum ls_op op;
	uint64_t began_ns, n, bytes;
};

/* Count it, or an error unless the answer is an ordinary one. */
static enum ls_rc
done(struct ls_store *st, enum ls_rc rc, const struct ended *d)
{
	static const enum ls_counter what[LS_OPS] = { [LS_OP_PUT] = LS_N_PUT,
		[LS_OP_GET] = LS_N_GET,
		[LS_OP_HEAD] = LS_N_HEAD,
		[LS_OP_LIST] = LS_N_LIST,
		[LS_OP_DELETE] = LS_N_DELETE,
		[LS_OP_COPY] = LS_N_COPY };

	if (rc == LS_OK)
		count(st, what[d->op], d->n);
	else if (rc != LS_ENOTFOUND && rc != LS_EEXISTS && rc != LS_ECHANGED &&
		 rc != LS_ECANCELED)
		count(st, LS_N_ERRORS, 1);
	if (rc == LS_OK && d->op == LS_OP_PUT)
		count(st, LS_N_PUT_BYTES, d->bytes);
	if (rc == LS_OK && d->op == LS_OP_GET)
		count(st, LS_N_GET_BYTES, d->bytes);
	if (!st->drv->counts && st->requests != NULL)
		ls_req_count(st->requests, d->op, (int)rc);
	if (st->net != NULL)
		ls_op_ended(&ls_net_stats(st->net)->op[st->kind][d->op], rc,
		    d->n, d->bytes, ls_sys->mono_ns() - d->began_ns);
	return rc;
}

static struct ended
begin(enum ls_op op)
{
	return (struct ended){ op, ls_sys->mono_ns(), 1, 0 };
}

void
ls_store_count(struct ls_store *st, struct ls_req_stats *s)
{
	st->requests = s;
}

void
ls_store_stats(const struct ls_store *st, struct ls_store_stats *out)
{
	uint64_t *const field[LS_N_COUNTERS] = {
		[LS_N_PUT] = &out->put_n,
		[LS_N_PUT_BYTES] = &out->put_bytes,
		[LS_N_GET] = &out->get_n,
		[LS_N_GET_BYTES] = &out->get_bytes,
		[LS_N_LIST] = &out->list_n,
		[LS_N_DELETE] = &out->delete_n,
		[LS_N_COPY] = &out->copy_n,
		[LS_N_HEAD] = &out->head_n,
		[LS_N_ERRORS] = &out->errors,
	};

	for (int i = 0; i < LS_N_COUNTERS; i++)
		*field[i] =
		    atomic_load_explicit(&st->n[i], memory_order_relaxed);
}

/* ---- operations ------------------------------------------------------------*/

enum ls_rc
ls_store_caps(struct ls_store *st, unsigned *caps, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_call_check(c, e)) == LS_OK)
		rc = st->drv->caps(st, caps, c, e);
	return ls_err_wrap(e, rc, "probe %s", st->text);
}

enum ls_rc
ls_store_caps_multi(
    struct ls_store *st, bool *yes, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_call_check(c, e)) == LS_OK)
		rc = st->drv->caps_multi(st, yes, c, e);
	return ls_err_wrap(e, rc, "probe %s", st->text);
}

static enum ls_rc
put(struct ls_store *st, const char *key, const struct ls_body *b,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	static const struct ls_put plain = { .if_absent = false };
	struct ended d = begin(LS_OP_PUT);
	char *path = NULL;
	enum ls_rc rc;

	d.bytes = b->size;
	if ((rc = path_of(st, key, &path, e)) == LS_OK &&
	    (rc = ls_call_check(c, e)) == LS_OK)
		rc = done(
		    st, st->drv->put(st, path, b, o ? o : &plain, c, e), &d);
	ls_free(path);
	return ls_err_wrap(e, rc, "put %s to %s", key, st->text);
}

enum ls_rc
ls_store_put(struct ls_store *st, const char *key, struct ls_span body,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	const struct ls_body b = { body, -1, 0, body.n };

	return put(st, key, &b, o, c, e);
}

enum ls_rc
ls_store_put_file(struct ls_store *st, const char *key, int fd, uint64_t size,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	const struct ls_body b = { { NULL, 0 }, fd, 0, size };

	return put(st, key, &b, o, c, e);
}

enum ls_rc
ls_store_get(struct ls_store *st, const char *key, const struct ls_get *o,
    struct ls_buf *out, struct ls_got *got, const struct ls_call *c,
    struct ls_err *e)
{
	static const struct ls_get whole = { .off = 0 };
	struct ended d = begin(LS_OP_GET);
	struct ls_got g = { 0 };
	size_t before = out->n;
	char *path = NULL;
	enum ls_rc rc;

	if ((rc = path_of(st, key, &path, e)) == LS_OK &&
	    (rc = ls_call_check(c, e)) == LS_OK) {
		rc = st->drv->get(st, path, o ? o : &whole, out, &g, c, e);
		d.bytes = out->n - before;
		rc = done(st, rc, &d);
	}
	ls_free(path);
	if (rc != LS_OK)
		out->n = before;
	else if (got != NULL)
		*got = g;
	return ls_err_wrap(e, rc, "get %s from %s", key, st->text);
}

enum ls_rc
ls_store_head(struct ls_store *st, const char *key, struct ls_got *got,
    const struct ls_call *c, struct ls_err *e)
{
	struct ended d = begin(LS_OP_HEAD);
	struct ls_got g = { 0 };
	char *path = NULL;
	enum ls_rc rc;

	if ((rc = path_of(st, key, &path, e)) == LS_OK &&
	    (rc = ls_call_check(c, e)) == LS_OK)
		rc = done(st, st->drv->head(st, path, &g, c, e), &d);
	ls_free(path);
	if (rc == LS_OK && got != NULL)
		*got = g;
	return ls_err_wrap(e, rc, "head %s at %s", key, st->text);
}

static enum ls_rc
list(struct ls_store *st, const char *prefix, const char *after, bool dirs,
    ls_list_fn *fn, void *arg, const struct ls_call *c, struct ls_err *e)
{
	struct ended d = begin(LS_OP_LIST);
	char *pre = NULL, *from = NULL;
	enum ls_rc rc;

	if (after != NULL && after[0] == '\0')
		after = NULL;
	if ((rc = prefix_of(st, prefix, &pre, e)) == LS_OK &&
	    (after == NULL || (rc = path_of(st, after, &from, e)) == LS_OK) &&
	    (rc = ls_call_check(c, e)) == LS_OK)
		rc = done(
		    st, st->drv->list(st, pre, from, dirs, fn, arg, c, e), &d);
	ls_free(pre);
	ls_free(from);
	return ls_err_wrap(e, rc, "list %s of %s", prefix, st->text);
}

enum ls_rc
ls_store_list(struct ls_store *st, const char *prefix, const char *after,
    ls_list_fn *fn, void *arg, const struct ls_call *c, struct ls_err *e)
{
	return list(st, prefix, after, false, fn, arg, c, e);
}

enum ls_rc
ls_store_list_dirs(struct ls_store *st, const char *prefix, ls_list_fn *fn,
    void *arg, const struct ls_call *c, struct ls_err *e)
{
	return list(st, prefix, NULL, true, fn, arg, c, e);
}

enum ls_rc
ls_store_delete(struct ls_store *st, const char *const *keys, size_t n,
    const struct ls_call *c, struct ls_err *e)
{
	struct ended d = begin(LS_OP_DELETE);
	char **paths;
	enum ls_rc rc = LS_OK;
	size_t i;

	if (n == 0)
		return LS_OK;
	if ((paths = ls_zalloc(n * sizeof *paths)) == NULL)
		return ls_err_nomem(e);
	d.n = n;
	for (i = 0; rc == LS_OK && i < n; i++)
		rc = path_of(st, keys[i], &paths[i], e);
	if (rc == LS_OK && (rc = ls_call_check(c, e)) == LS_OK)
		rc = done(st, st->drv->del(st, paths, n, c, e), &d);
	for (i = 0; i < n; i++)
		ls_free(paths[i]);
	ls_free(paths);
	return ls_err_wrap(e, rc, "delete from %s", st->text);
}

enum ls_rc
ls_store_delete_if(struct ls_store *st, const char *key, const char *etag,
    const struct ls_call *c, struct ls_err *e)
{
	struct ended d = begin(LS_OP_DELETE);
	char *path = NULL;
	enum ls_rc rc;

	if ((rc = path_of(st, key, &path, e)) == LS_OK &&
	    (rc = ls_call_check(c, e)) == LS_OK)
		rc = done(st, st->drv->del_if(st, path, etag, c, e), &d);
	ls_free(path);
	return ls_err_wrap(e, rc, "delete %s from %s", key, st->text);
}

enum ls_rc
ls_store_copy(struct ls_store *st, const char *from, const char *to,
    const struct ls_put *o, const struct ls_call *c, struct ls_err *e)
{
	static const struct ls_put plain = { .if_absent = false };
	struct ended d = begin(LS_OP_COPY);
	char *a = NULL, *b = NULL;
	enum ls_rc rc;

	if ((rc = path_of(st, from, &a, e)) == LS_OK &&
	    (rc = path_of(st, to, &b, e)) == LS_OK &&
	    (rc = ls_call_check(c, e)) == LS_OK)
		rc =
		    done(st, st->drv->copy(st, a, b, o ? o : &plain, c, e), &d);
	ls_free(a);
	ls_free(b);
	return ls_err_wrap(e, rc, "copy %s to %s at %s", from, to, st->text);
}

enum ls_rc
ls_store_sweep(struct ls_store *st, int64_t age_ms, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_call_check(c, e)) == LS_OK)
		rc = st->drv->sweep(st, age_ms, c, e);
	return ls_err_wrap(e, rc, "sweep %s", st->text);
}

/* ---- streamed puts ---------------------------------------------------------*/

static void
upload_free(struct ls_upload *u)
{
	ls_free(u->path);
	ls_free(u);
}

enum ls_rc
ls_upload_begin(struct ls_store *st, const char *key, const struct ls_put *o,
    const struct ls_call *c, struct ls_upload **out, struct ls_err *e)
{
	struct ls_upload *u = ls_zalloc(sizeof *u);
	struct ended d = begin(LS_OP_PUT);
	enum ls_rc rc;

	if (u == NULL)
		return ls_err_nomem(e);
	u->st = st;
	u->began_ns = d.began_ns;
	if (o != NULL)
		u->o = *o;
	if (c != NULL)
		u->call = *c;
	if ((rc = path_of(st, key, &u->path, e)) == LS_OK &&
	    (rc = ls_call_check(c, e)) == LS_OK)
		rc = st->drv->begin(u, e);
	if (rc != LS_OK) {
		(void)done(st, rc, &d);
		upload_free(u);
		return ls_err_wrap(e, rc, "put %s to %s", key, st->text);
	}
	*out = u;
	return LS_OK;
}

enum ls_rc
ls_upload_write(void *arg, struct ls_span bytes, struct ls_err *e)
{
	struct ls_upload *u = arg;
	enum ls_rc rc;

	if ((rc = ls_call_check(&u->call, e)) == LS_OK)
		rc = u->st->drv->write(u, bytes, e);
	if (rc == LS_OK)
		u->total += bytes.n;
	return ls_err_wrap(
	    e, rc, "put %s to %s", ls_store_key(u->st, u->path), u->st->text);
}

enum ls_rc
ls_upload_commit(struct ls_upload *u, struct ls_err *e)
{
	struct ls_store *st = u->st;
	const struct ended d = { LS_OP_PUT, u->began_ns, 1, u->total };
	enum ls_rc rc;

	if ((rc = ls_call_check(&u->call, e)) == LS_OK)
		rc = st->drv->commit(u, e);
	else
		st->drv->abort(u);
	(void)done(st, rc, &d);
	rc = ls_err_wrap(
	    e, rc, "put %s to %s", ls_store_key(st, u->path), st->text);
	upload_free(u);
	return rc;
}

void
ls_upload_abort(struct ls_upload *u)
{
	if (u == NULL)
		return;
	u->st->drv->abort(u);
	upload_free(u);
}
