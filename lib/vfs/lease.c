/* lease.c -- one writer at a time. See lease.h.
 *
 * (1) EVERY WRITE IS CONDITIONAL: if absent, or on the ETag of what was read.
 *     So of two that find no lease, or an expired one, one gets it. (test:
 *     lease_has_one_winner)
 * (2) AN ANSWER IS NOT BELIEVED, THE OBJECT IS: after each put it is read back.
 *     That gives the new ETag, and settles a put whose answer was lost. (test:
 *     lease_survives_any_fault)
 * (3) OURS ENDS NO LATER THAN OTHERS BELIEVE: the term is counted from before
 *     the put, on the clock that runs through suspension. (test:
 *     lease_runs_out)
 * (4) ONLY WHAT IS OURS IS REMOVED: with our ETag, and only within our term,
 *     since some servers ignore the condition on a delete.
 *     (test: lease_of_another_is_left)
 * No lease at all is normal: who does not ask for one never sees this.
 */
#include "vfs/lease.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/units.h"
#include "vfs/guest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OBJECT_MAX = 8192, OWNER_MAX = 160, TRY_SECONDS = 10 };

struct terms { /* what the object says */
	int64_t generation, expires_ns;
	char owner[OWNER_MAX];
	char etag[128];
};

struct ls_lease {
	struct ls_store *st;
	uint64_t ttl_ns;
	char owner[OWNER_MAX];
	struct ls_cancel cancel;
	pthread_mutex_t use; /* one request at a time; before mu */
	struct terms mine;   /* under use */
	pthread_mutex_t mu;
	pthread_cond_t wake;
	/* Under mu: */
	uint64_t until_ns; /* of boot_ns */
	struct ls_err why; /* of the last renewal that failed; or lost */
	bool lost, stop, running;
	pthread_t thread;
};

/* ---- the object -----------------------------------------------------------*/

static enum ls_rc
parse(struct ls_span text, struct terms *t, struct ls_err *e)
{
	json_t *j = json_loadb((const char *)text.p, text.n, 0, NULL);
	const char *owner = json_string_value(json_object_get(j, "owner"));
	const char *at = json_string_value(json_object_get(j, "expires_at"));
	const json_t *generation = json_object_get(j, "generation");
	enum ls_rc rc;

	if (!json_is_integer(generation) || at == NULL ||
	    ls_time_parse(at, &t->expires_ns, NULL) != LS_OK) {
		rc = ls_err_set(e, LS_ECORRUPT, "it is not a lease");
		(void)ls_err_hint(e, rc, "remove it if no writer is running");
	} else {
		t->generation = json_integer_value(generation);
		(void)snprintf(t->owner, sizeof t->owner, "%s",
		    owner ? owner : "an unnamed writer");
		rc = LS_OK;
	}
	json_decref(j);
	return rc;
}

/* LS_ENOTFOUND: there is none. */
static enum ls_rc
look(struct ls_store *st, struct terms *t, const struct ls_call *c,
    struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(OBJECT_MAX);
	struct ls_got got;
	enum ls_rc rc;

	rc = ls_store_get(st, LS_LEASE_KEY, NULL, &b, &got, c, e);
	if (rc == LS_OK) {
		(void)snprintf(t->etag, sizeof t->etag, "%s", got.etag);
		rc = parse(ls_buf_span(&b), t, e);
		rc = ls_err_wrap(
		    e, rc, "%s of %s", LS_LEASE_KEY, ls_store_text(st));
	}
	ls_buf_free(&b);
	return rc;
}

static bool
same(const struct terms *a, const struct terms *b)
{
	return a->generation == b->generation &&
	       a->expires_ns == b->expires_ns &&
	       strcmp(a->owner, b->owner) == 0;
}

static enum ls_rc
held_by(const struct terms *t, struct ls_err *e)
{
	char at[LS_TIME_MAX];

	(void)ls_err_set(e, LS_ELOCKED, "lease already held by %s until %s",
	    t->owner, ls_time_nano(t->expires_ns, at));
	return ls_err_hint(
	    e, LS_ELOCKED, "close that writer, or wait until its lease ends");
}

/* Put `want` where `was` is (NULL: where nothing is), and look. t becomes what
 * is there. */
static enum ls_rc
swap(struct ls_store *st, const struct terms *was, const struct terms *want,
    struct terms *t, const struct ls_call *c, struct ls_err *e)
{
	struct ls_put o = { .if_absent = was == NULL,
		.if_match = was ? was->etag : NULL };
	char at[LS_TIME_MAX];
	json_t *j = json_pack("{s:I,s:s,s:s}", "generation",
	    (json_int_t)want->generation, "expires_at",
	    ls_time_nano(want->expires_ns, at), "owner", want->owner);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	struct ls_err put = { 0 };
	enum ls_rc rc, sent;

	json_decref(j);
	if (text == NULL)
		return ls_err_nomem(e);
	sent = ls_store_put(st, LS_LEASE_KEY, LS_SPAN_STR(text), &o, c, &put);
	free(text);
	rc = look(st, t, c, e); /* (2) */
	if (rc == LS_OK && same(t, want))
		return LS_OK;
	if (sent != LS_OK && sent != LS_EEXISTS && sent != LS_ECHANGED) {
		*e = put;
		return sent;
	}
	return rc == LS_OK ? held_by(t, e) : rc;
}

/* ---- taking and renewing --------------------------------------------------*/

/* (3) */
static void
ours_until(struct ls_lease *l, uint64_t began, const struct terms *t)
{
	l->mine = *t;
	(void)pthread_mutex_lock(&l->mu);
	l->until_ns = began + l->ttl_ns;
	l->why = (struct ls_err){ 0 };
	(void)pthread_mutex_unlock(&l->mu);
}

static struct terms
next_term(const struct ls_lease *l, int64_t generation)
{
	struct terms t = { .generation = generation,
		.expires_ns = ls_sys->wall_ns() + (int64_t)l->ttl_ns };

	memcpy(t.owner, l->owner, sizeof t.owner);
	return t;
}

static enum ls_rc
take(struct ls_lease *l, const struct ls_call *c, struct ls_err *e)
{
	struct terms was = { 0 }, want, now = { 0 };
	uint64_t began = ls_sys->boot_ns();
	enum ls_rc rc = look(l->st, &was, c, e);
	bool none = rc == LS_ENOTFOUND;

	if (rc != LS_OK && !none)
		return rc;
	if (!none && was.expires_ns > ls_sys->wall_ns())
		return held_by(&was, e);
	want = next_term(l, was.generation + 1);
	rc = swap(l->st, none ? NULL : &was, &want, &now, c, e);
	if (rc == LS_OK)
		ours_until(l, began, &now);
	return rc;
}

static enum ls_rc
renew(struct ls_lease *l, const struct ls_call *c, struct ls_err *e)
{
	uint64_t began = ls_sys->boot_ns();
	struct terms want = next_term(l, l->mine.generation), now = { 0 };
	enum ls_rc rc = swap(l->st, &l->mine, &want, &now, c, e);

	if (rc == LS_ELOCKED && now.generation == l->mine.generation &&
	    strcmp(now.owner, l->owner) == 0) {
		l->mine = now; /* a put of ours that could not be read back */
		rc = swap(l->st, &l->mine, &want, &now, c, e);
	}
	if (rc == LS_ENOTFOUND) /* removed by hand */
		return take(l, c, e);
	if (rc == LS_OK)
		ours_until(l, began, &now);
	return rc;
}

enum ls_rc
ls_lease_renew(struct ls_lease *l, const struct ls_call *c, struct ls_err *e)
{
	struct ls_err why = { 0 };
	enum ls_rc rc;

	(void)pthread_mutex_lock(&l->use);
	rc = renew(l, c, &why);
	(void)pthread_mutex_unlock(&l->use);
	if (rc == LS_OK)
		return LS_OK;
	(void)pthread_mutex_lock(&l->mu);
	l->lost = l->lost || rc == LS_ELOCKED;
	l->why = why;
	(void)pthread_mutex_unlock(&l->mu);
	if (e != NULL)
		*e = why;
	return ls_err_wrap(e, rc, "renew the lease");
}

enum ls_rc
ls_lease_held(struct ls_lease *l, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	(void)pthread_mutex_lock(&l->mu);
	if (l->lost) {
		rc =
		    ls_err_set(e, LS_ELOCKED, "lease not held: %s", l->why.msg);
	} else if (ls_sys->boot_ns() >= l->until_ns) {
		rc = ls_err_set(e, LS_ETIMEOUT, "the lease ran out: %s",
		    l->why.msg[0] ? l->why.msg : "it was not renewed in time");
		(void)ls_err_hint(e, rc, "try again once the store answers");
	}
	(void)pthread_mutex_unlock(&l->mu);
	return rc;
}

/* ---- the thread -----------------------------------------------------------*/

/* Three tries or more within a term. */
static void *
keep(void *arg)
{
	struct ls_lease *l = arg;
	uint64_t next = ls_sys->mono_ns() + l->ttl_ns / 3;
	struct ls_log_limit said = { 0 };

	for (;;) {
		struct ls_call c = { &l->cancel, 0 };
		struct ls_err e = { 0 };
		enum ls_rc rc;
		bool stop;

		(void)pthread_mutex_lock(&l->mu);
		while (!l->stop && ls_sys->mono_ns() < next)
			ls_guest_wait(&l->wake, &l->mu, next);
		stop = l->stop;
		(void)pthread_mutex_unlock(&l->mu);
		if (stop)
			return NULL;
		c.deadline_ns = ls_sys->mono_ns() + TRY_SECONDS * LS_SEC;
		rc = ls_lease_renew(l, &c, &e);
		if (rc != LS_OK && rc != LS_ECANCELED &&
		    ls_log_due(&said, 30 * LS_SEC))
			ls_warn("cannot renew the lease",
			    LS_ATTRS(LS_S("replica", ls_store_text(l->st)),
				LS_E(&e)));
		if (rc == LS_ELOCKED)
			return NULL; /* it is another's: nothing to keep */
		next = ls_sys->mono_ns() + l->ttl_ns / (rc == LS_OK ? 3 : 15);
	}
}

static void
name_us(char out[static OWNER_MAX])
{
	char host[OWNER_MAX - 20] = "";

	if (gethostname(host, sizeof host - 1) == 0 && host[0] != '\0')
		(void)snprintf(out, OWNER_MAX, "%s:%ld", host, (long)getpid());
	else
		(void)snprintf(out, OWNER_MAX, "pid-%ld", (long)getpid());
}

static void
lease_free(struct ls_lease *l)
{
	ls_cancel_fini(&l->cancel);
	(void)pthread_mutex_destroy(&l->use);
	(void)pthread_mutex_destroy(&l->mu);
	(void)pthread_cond_destroy(&l->wake);
	ls_free(l);
}

static enum ls_rc
can(struct ls_store *st, const struct ls_call *c, struct ls_err *e)
{
	unsigned caps = 0;
	enum ls_rc rc = ls_store_caps(st, &caps, c, e);

	if (rc == LS_OK && !(caps & LS_CAP_IF_ABSENT))
		rc = ls_err_set(e, LS_EUNSUPPORTED,
		    "%s has no conditional writes, which a lease needs",
		    ls_store_text(st));
	return rc;
}

enum ls_rc
ls_lease_take(struct ls_store *st, const char *owner, uint64_t ttl_ns,
    struct ls_lease **out, const struct ls_call *c, struct ls_err *e)
{
	struct ls_lease *l = ls_zalloc(sizeof *l);
	enum ls_rc rc;

	if (l == NULL)
		return ls_err_nomem(e);
	l->st = st;
	l->ttl_ns = ttl_ns;
	l->cancel.fd = -1;
	name_us(l->owner);
	if (owner != NULL)
		(void)snprintf(l->owner, sizeof l->owner, "%s", owner);
	(void)pthread_mutex_init(&l->use, NULL);
	(void)pthread_mutex_init(&l->mu, NULL);
	ls_guest_cond(&l->wake);
	if ((rc = ls_cancel_init(&l->cancel, e)) == LS_OK &&
	    (rc = can(st, c, e)) == LS_OK && (rc = take(l, c, e)) == LS_OK &&
	    !(l->running = ls_guest_thread(&l->thread, keep, l))) {
		rc = ls_err_set(e, LS_ENOMEM, "no thread to renew the lease");
		ls_lease_drop(l);
		return rc;
	}
	if (rc != LS_OK)
		lease_free(l);
	else
		*out = l;
	return rc;
}

void
ls_lease_drop(struct ls_lease *l)
{
	struct ls_call c = { NULL, 0 };
	struct ls_err e = { 0 };

	if (l == NULL)
		return;
	(void)pthread_mutex_lock(&l->mu);
	l->stop = true;
	(void)pthread_cond_broadcast(&l->wake);
	(void)pthread_mutex_unlock(&l->mu);
	ls_cancel_set(&l->cancel);
	if (l->running)
		(void)pthread_join(l->thread, NULL);
	c.deadline_ns = ls_sys->mono_ns() + TRY_SECONDS * LS_SEC;
	if (ls_lease_held(l, &e) == LS_OK && /* (4) */
	    ls_store_delete_if(l->st, LS_LEASE_KEY, l->mine.etag, &c, &e) !=
		LS_OK)
		ls_warn("the lease is not released, it will run out",
		    LS_ATTRS(LS_S("replica", ls_store_text(l->st)), LS_E(&e)));
	lease_free(l);
}
