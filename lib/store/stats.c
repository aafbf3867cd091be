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

/* A request's word: its operation, its code, and how often it was. */
enum { OP_SHIFT = 60, CODE_SHIFT = 48, CODE_MASK = 0xfff };

static uint64_t
kind_of(enum ls_op op, int code)
{
	return (uint64_t)op << OP_SHIFT |
	       ((uint64_t)(code - LS_REQ_OTHER) & CODE_MASK) << CODE_SHIFT;
}

/* One more in this word, if it is of that kind or of none yet. */
static bool
count_in(_Atomic uint64_t *v, uint64_t kind)
{
	uint64_t was = atomic_load_explicit(v, memory_order_relaxed);

	while (was == 0 || was >> CODE_SHIFT == kind >> CODE_SHIFT)
		if (atomic_compare_exchange_weak_explicit(v, &was,
			(was == 0 ? kind : was) + 1, memory_order_relaxed,
			memory_order_relaxed))
			return true;
	return false;
}

void
ls_req_count(struct ls_req_stats *s, enum ls_op op, int code)
{
	uint64_t kind = kind_of(op, code);

	for (size_t i = 0; i < LS_REQ_MAX - 1; i++)
		if (count_in(&s->v[i], kind))
			return;
	(void)count_in(&s->v[LS_REQ_MAX - 1], kind_of(LS_OPS, LS_REQ_OTHER));
}

size_t
ls_req_read(
    const struct ls_req_stats *s, struct ls_req_stat out[static LS_REQ_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < LS_REQ_MAX; i++) {
		uint64_t v =
		    atomic_load_explicit(&s->v[i], memory_order_relaxed);

		if (v == 0)
			continue;
		out[n++] = (struct ls_req_stat){ (uint16_t)(v >> OP_SHIFT),
			(int16_t)((int)(v >> CODE_SHIFT & CODE_MASK) +
				  LS_REQ_OTHER),
			v & ((1ull << CODE_SHIFT) - 1) };
	}
	return n;
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
