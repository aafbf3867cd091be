/* stats.c -- what was asked of stores, counted. See stats.h. */
#include "store/stats.h"

#include "base/sys.h"

#include <ctype.h>
#include <stdio.h>

/* Upstream's: 10 ms to 1 minute. */
const uint64_t ls_op_bound_ns[LS_OP_BOUNDS] = { 10 * LS_MS, 50 * LS_MS,
	100 * LS_MS, 500 * LS_MS, 1 * LS_SEC, 5 * LS_SEC, 10 * LS_SEC,
	30 * LS_SEC, 60 * LS_SEC };

const char *const ls_store_types[LS_STORE_TYPES] = { "file", "s3" };

const char *
ls_op_name(enum ls_op op)
{
	static const char *const names[LS_OPS + 1] = { "PUT", "GET", "HEAD",
		"LIST", "DELETE", "COPY", "OTHER" };

	return names[op];
}

static void
add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

void
ls_op_ended(struct ls_op_stats *s, enum ls_rc rc, uint64_t n, uint64_t bytes,
    uint64_t ns)
{
	size_t b = 0;

	while (b < LS_OP_BOUNDS && ns > ls_op_bound_ns[b])
		b++;
	add(&s->ns, ns);
	add(&s->bucket[b], 1);
	if (rc == LS_OK) {
		add(&s->n, n);
		add(&s->bytes, bytes);
	} else if (rc != LS_ENOTFOUND && rc != LS_EEXISTS &&
		   rc != LS_ECHANGED && rc != LS_ECANCELED) {
		add(&s->errors[rc], 1);
	}
}

void
ls_req_init(struct ls_req_stats *s)
{
	memset(s, 0, sizeof *s);
	(void)pthread_mutex_init(&s->mu, NULL);
}

void
ls_req_fini(struct ls_req_stats *s)
{
	(void)pthread_mutex_destroy(&s->mu);
}

void
ls_req_count(struct ls_req_stats *s, enum ls_op op, int code)
{
	size_t i = 0;

	(void)pthread_mutex_lock(&s->mu);
	while (i < s->n && (s->v[i].op != op || s->v[i].code != code))
		i++;
	if (i == s->n && i < LS_REQ_MAX - 1)
		s->v[s->n++] =
		    (struct ls_req_stat){ (uint16_t)op, (int16_t)code, 0 };
	else if (i >= LS_REQ_MAX - 1) {
		i = LS_REQ_MAX - 1;
		s->v[i].op = LS_OPS;
		s->v[i].code = LS_REQ_OTHER;
		s->n = LS_REQ_MAX;
	}
	s->v[i].n++;
	(void)pthread_mutex_unlock(&s->mu);
}

const char *
ls_req_code(int code, char out[static LS_REQ_CODE_MAX])
{
	if (code >= 100) {
		(void)snprintf(out, LS_REQ_CODE_MAX, "%d", code);
	} else {
		(void)snprintf(out, LS_REQ_CODE_MAX, "%s",
		    code == LS_REQ_OTHER ? "other"
		    : code == LS_OK	 ? "ok"
					 : ls_rc_name((enum ls_rc)code));
		for (char *p = out; *p != '\0'; p++)
			*p = (char)tolower((unsigned char)*p);
	}
	return out;
}
