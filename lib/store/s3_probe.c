/* s3_probe.c -- what a bucket can do, found out by trying. See s3.h.
 *
 * (1) ONLY A 412 IS A YES. A store that ignores If-None-Match answers 200 to
 *     the second put, one that refuses it 501 or 400, and either is a no; any
 *     other answer (denied, network) is an error and nothing is remembered.
 *     (test: s3_probe_if_absent)
 * (2) PROBES DO NOT MEET: the object's name is random, since another daemon's
 *     delete between our two puts would read as a no.
 */
#include "store/s3.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>

#define PROBE_WAIT (20 * LS_MS)

static const char text[] = "litestreamd probes what this store can do\n";

static char *
probe_path(const struct ls_store *st)
{
	const char *p = st->place.path;

	return ls_asprintf("%s%s.litestream-probe-%016" PRIx64, p,
	    p[0] ? "/" : "", ls_net_random(st->net));
}

static enum ls_rc
put_probe(struct ls_store *st, const char *path, bool absent,
    const struct ls_call *c, struct ls_err *e)
{
	const struct ls_body b = { LS_SPAN(text, sizeof text - 1), -1, 0,
		sizeof text - 1 };
	const struct ls_put o = { .if_absent = absent };

	return ls_s3_put_plain(st, path, &b, &o, c, e);
}

static bool
is_no(enum ls_rc rc)
{
	return rc == LS_EUNSUPPORTED || rc == LS_EINVALID;
}

static enum ls_rc
try_put(struct ls_store *st, const char *path, bool *yes,
    const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;

	*yes = false;
	rc = put_probe(st, path, true, c, e);
	if (rc == LS_OK)
		rc = put_probe(st, path, true, c, e);
	/* A first put with a lost answer: the second 412 is of our own. */
	*yes = rc == LS_EEXISTS || rc == LS_EAGAIN;
	return *yes || is_no(rc) ? LS_OK : rc;
}

static enum ls_rc
try_complete(struct ls_store *st, const char *path, bool *yes,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_s3_multi m = { .st = st, .path = path, .c = c };
	const struct ls_body b = { LS_SPAN(text, sizeof text - 1), -1, 0,
		sizeof text - 1 };
	enum ls_rc rc;

	*yes = false;
	if ((rc = put_probe(st, path, false, c, e)) != LS_OK)
		return rc;
	if ((rc = ls_s3_multi_create(&m, e)) != LS_OK ||
	    (rc = ls_s3_multi_part(&m, &b, e)) != LS_OK) {
		ls_s3_multi_abort(&m);
		return rc;
	}
	rc = ls_s3_multi_try_complete(&m, e);
	*yes = rc == LS_EEXISTS;
	return *yes || is_no(rc) ? LS_OK : rc;
}

/* ---- once per bucket -------------------------------------------------------*/

/* The probe's lock, without waiting longer than the call allows. */
static enum ls_rc
lock_probe(struct ls_fact *f, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc;

	while (pthread_mutex_trylock(&f->probe_mu) != 0)
		if ((rc = ls_call_sleep(c, PROBE_WAIT, e)) != LS_OK)
			return rc;
	return LS_OK;
}

static enum ls_rc
probe(struct ls_store *st, unsigned bit,
    enum ls_rc (*try)(struct ls_store *st, const char *path, bool *yes,
	const struct ls_call *c, struct ls_err *e),
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_fact *f = ls_s3_of(st)->fact;
	char *path;
	bool yes = false;
	enum ls_rc rc;

	if ((atomic_load(&f->caps_known) & bit) != 0)
		return LS_OK;
	if ((rc = lock_probe(f, c, e)) != LS_OK)
		return rc;
	if ((atomic_load(&f->caps_known) & bit) != 0) /* while we waited */
		goto out;
	if ((path = probe_path(st)) == NULL) {
		rc = ls_err_nomem(e);
		goto out;
	}
	rc = try(st, path, &yes, c, e);
	(void)!ls_s3_delete(st, &path, 1, c, NULL); /* best effort */
	ls_free(path);
	if (rc == LS_OK) {
		if (yes)
			atomic_fetch_or(&f->caps, bit);
		atomic_fetch_or(&f->caps_known, bit);
	}
out:
	(void)pthread_mutex_unlock(&f->probe_mu);
	return rc;
}

enum ls_rc
ls_s3_caps(struct ls_store *st, unsigned *caps, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_fact *f = ls_s3_of(st)->fact;
	enum ls_rc rc;

	if ((rc = probe(st, LS_CAP_IF_ABSENT, try_put, c, e)) != LS_OK)
		return rc;
	*caps = atomic_load(&f->caps);
	/* Assumed until a copy says otherwise. */
	if ((atomic_load(&f->caps_known) & LS_CAP_COPY) == 0)
		*caps |= LS_CAP_COPY;
	return LS_OK;
}

enum ls_rc
ls_s3_caps_multi(
    struct ls_store *st, bool *yes, const struct ls_call *c, struct ls_err *e)
{
	struct ls_fact *f = ls_s3_of(st)->fact;
	enum ls_rc rc;

	rc = probe(st, LS_CAP_IF_ABSENT_MULTI, try_complete, c, e);
	if (rc == LS_OK)
		*yes = (atomic_load(&f->caps) & LS_CAP_IF_ABSENT_MULTI) != 0;
	return rc;
}
