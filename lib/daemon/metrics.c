/* metrics.c -- what Prometheus reads. See metrics.h.
 *
 * (1) ONE ROW A METRIC. A metric's lines stand together (the text format asks
 *     for it), so the databases are walked once a row, a few at a time.
 *     (tests: test_watching.parse, test_promtool_finds_nothing)
 * (2) THE DAEMON IS NOT HELD UP: d->mu is taken for PIECE databases at a time,
 *     and for nothing but writing their lines into memory.
 * (3) A SERIES APPEARS ONCE. Walking is by number, so what comes and goes
 *     meanwhile is met once or not at all. Where a label is only the base name,
 *     which several databases may share, they are added up.
 *     (test: test_databases_of_one_name)
 * (4) IT TELLS WHAT IS KNOWN: a value that was never learnt has no series.
 * Not here: the counting (tally.h and the steps), serving it (site.c).
 */
#include "daemon/metrics.h"

#include "base/bytes.h"
#include "daemon/db.h"
#include "daemon/procstat.h"
#include "daemon/text.h"
#include "store/net.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECE = 32 };

struct names { /* of (3) */
	struct name {
		char *name;
		uint64_t v[LS_L0_TOO_RECENT + 1];
	} * v;
	size_t n, cap;
};

struct ls_metrics {
	struct ls_daemon *d;
	struct ls_metrics_count *count;
	size_t row;
	bool begun;	/* the row's head is written */
	uint64_t after; /* databases of this row up to that number are done */
	uint64_t now;	/* mono */
	struct names names;
	struct ls_buf *b;
	bool bad; /* no memory, or a piece too large */
};

struct row;
typedef void row_fn(struct ls_metrics *m, const struct row *r, struct ls_db *);

struct row {
	const char *name, *type, *labels, *help;
	row_fn *each; /* for every database, mu held; or */
	void (*all)(struct ls_metrics *m, const struct row *r); /* once */
	size_t off;   /* in struct ls_tally */
	bool seconds; /* the value is in ns */
};

/* ---- lines ---------------------------------------------------------------- */

static void LS_PRINTF(2, 3) say(struct ls_metrics *m, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	m->bad |= n < 0 || (size_t)n >= sizeof line ||
		  ls_buf_adds(m->b, line, NULL) != LS_OK;
}

/* name{db="...", more first when it is not "". */
static void
say_db(struct ls_metrics *m, const struct row *r, const struct ls_db *db,
    const char *more)
{
	m->bad |= ls_buf_adds(m->b, r->name, NULL) != LS_OK ||
		  ls_buf_adds(m->b, "{db=\"", NULL) != LS_OK ||
		  ls_text_label(m->b, db->conf.path, NULL) != LS_OK ||
		  ls_buf_adds(m->b, "\"", NULL) != LS_OK ||
		  ls_buf_adds(m->b, more, NULL) != LS_OK ||
		  ls_buf_adds(m->b, "} ", NULL) != LS_OK;
}

static void
say_value(struct ls_metrics *m, uint64_t v, bool ns)
{
	if (ns)
		say(m, "%" PRIu64 ".%09" PRIu64 "\n", (uint64_t)(v / LS_SEC),
		    (uint64_t)(v % LS_SEC));
	else
		say(m, "%" PRIu64 "\n", v);
}

static uint64_t
field(const struct row *r, const struct ls_db *db, size_t i)
{
	const _Atomic uint64_t *p =
	    (const void *)((const char *)&db->tally + r->off);

	return ls_tally_get(p + i);
}

/* ---- rows of databases ---------------------------------------------------- */

static void
each_field(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	say_db(m, r, db, "");
	say_value(m, field(r, db, 0), r->seconds);
}

/* What a step has to look at first. */
static void
each_looked(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	if (db->looked)
		each_field(m, r, db);
}

/* A gauge that is not known before it was learnt. */
static void
each_known(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	if (field(r, db, 0) != 0)
		each_field(m, r, db);
}

static void
each_mode(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	static const char *const modes[] = { "", ",mode=\"PASSIVE\"",
		",mode=\"RESTART\"", ",mode=\"TRUNCATE\"" };

	for (size_t i = LS_CKPT_PASSIVE; i <= LS_CKPT_TRUNCATE; i++) {
		/* The usual one is there from the start, for dashboards. */
		if (i != LS_CKPT_PASSIVE &&
		    ls_tally_get(&db->tally.ckpt_ns[i]) == 0)
			continue; /* none of this mode was tried */
		say_db(m, r, db, modes[i]);
		say_value(m, field(r, db, i), r->seconds);
	}
}

static void
each_txid(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	say_db(m, r, db, "");
	say_value(m, db->newest, false);
}

static void
each_durable_txid(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	if (!db->remote_known)
		return;
	say_db(m, r, db, "");
	say_value(m, db->acked, false);
}

static void
each_durable_time(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	uint64_t ms = ls_tally_get(&db->tally.durable_ms);

	if (!db->remote_known || ms == 0)
		return;
	say_db(m, r, db, "");
	say(m, "%" PRIu64 ".%03" PRIu64 "\n", ms / 1000, ms % 1000);
}

/* Of a database that is stopped nobody knows what it commits. */
static void
each_lag(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	if (db->goal == LS_GOAL_STOP && db->closed)
		return;
	say_db(m, r, db, "");
	say_value(m, ls_db_lag_ns(db, m->now), true);
}

static void
each_state(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	static const char *const states[] = { "replicating", "parked",
		"stopped", "fenced", "error" };
	const char *now = ls_db_state(db);
	char more[32];

	for (size_t i = 0; i < LS_COUNT(states); i++) {
		(void)snprintf(more, sizeof more, ",state=\"%s\"", states[i]);
		say_db(m, r, db, more);
		say_value(m, strcmp(states[i], now) == 0, false);
	}
}

static void
each_request(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	struct ls_req_stat v[LS_REQ_MAX];
	char code[LS_REQ_CODE_MAX], more[80];
	size_t n = ls_req_read(&db->requests, v);

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(more, sizeof more,
		    ",operation=\"%s\",code=\"%s\"",
		    ls_op_name((enum ls_op)v[i].op),
		    ls_req_code(v[i].code, code));
		say_db(m, r, db, more);
		say_value(m, v[i].n, false);
	}
}

/* ---- base names, (3) ------------------------------------------------------ */

static void
each_name(struct ls_metrics *m, const struct row *r, struct ls_db *db)
{
	struct names *s = &m->names;
	struct name *v;

	(void)r;
	if (ls_tally_get(&db->tally.l0_known) == 0)
		return;
	if (s->n == s->cap) {
		size_t cap = LS_MAX(2 * s->cap, (size_t)64);

		if ((v = ls_realloc(s->v, cap * sizeof *v)) == NULL) {
			m->bad = true;
			return;
		}
		s->v = v;
		s->cap = cap;
	}
	v = &s->v[s->n];
	if ((v->name = ls_strdup(db->name)) == NULL) {
		m->bad = true;
		return;
	}
	for (size_t i = 0; i <= LS_L0_TOO_RECENT; i++)
		v->v[i] = ls_tally_get(&db->tally.l0[i]);
	s->n++;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(
	    ((const struct name *)a)->name, ((const struct name *)b)->name);
}

/* Behind the last database. */
static void
say_names(struct ls_metrics *m, const struct row *r)
{
	static const char *const status[] = { "eligible", "not_compacted",
		"too_recent" };
	struct names *s = &m->names;

	if (s->n > 0)
		qsort(s->v, s->n, sizeof s->v[0], by_name);
	for (size_t i = 0, next; i < s->n; i = next) {
		for (next = i + 1;
		     next < s->n && strcmp(s->v[next].name, s->v[i].name) == 0;
		     next++)
			for (size_t k = 0; k < LS_COUNT(status); k++)
				s->v[i].v[k] += s->v[next].v[k];
		for (size_t k = 0; k < LS_COUNT(status); k++) {
			say(m, "%s{db=\"", r->name);
			m->bad |=
			    ls_text_label(m->b, s->v[i].name, NULL) != LS_OK;
			say(m, "\",status=\"%s\"} %" PRIu64 "\n", status[k],
			    s->v[i].v[k]);
		}
	}
}

static void
names_fini(struct names *s)
{
	for (size_t i = 0; i < s->n; i++)
		ls_free(s->v[i].name);
	ls_free(s->v);
	*s = (struct names){ NULL, 0, 0 };
}

/* ---- rows of the process -------------------------------------------------- */

typedef void op_fn(struct ls_metrics *m, const struct row *r,
    const char *labels, const struct ls_op_stats *s);

static void
all_ops(struct ls_metrics *m, const struct row *r, op_fn *fn)
{
	struct ls_net_stats *all =
	    m->d->net != NULL ? ls_net_stats(m->d->net) : NULL;
	char labels[80];

	for (size_t t = 0; all != NULL && t < LS_STORE_TYPES; t++)
		for (size_t i = 0; i < LS_OPS; i++) {
			(void)snprintf(labels, sizeof labels,
			    "replica_type=\"%s\",operation=\"%s\"",
			    ls_store_types[t], ls_op_name((enum ls_op)i));
			fn(m, r, labels, &all->op[t][i]);
		}
}

static void
op_total(struct ls_metrics *m, const struct row *r, const char *labels,
    const struct ls_op_stats *s)
{
	uint64_t n = ls_tally_get(&s->n);

	if (n > 0)
		say(m, "%s{%s} %" PRIu64 "\n", r->name, labels, n);
}

static void
op_bytes(struct ls_metrics *m, const struct row *r, const char *labels,
    const struct ls_op_stats *s)
{
	uint64_t n = ls_tally_get(&s->bytes);

	if (n > 0)
		say(m, "%s{%s} %" PRIu64 "\n", r->name, labels, n);
}

static void
op_errors(struct ls_metrics *m, const struct row *r, const char *labels,
    const struct ls_op_stats *s)
{
	char code[LS_REQ_CODE_MAX];

	for (int i = 1; i < LS_OP_ERRORS; i++) {
		uint64_t n = ls_tally_get(&s->errors[i]);

		if (n > 0)
			say(m, "%s{%s,code=\"%s\"} %" PRIu64 "\n", r->name,
			    labels, ls_req_code(i, code), n);
	}
}

static void
op_duration(struct ls_metrics *m, const struct row *r, const char *labels,
    const struct ls_op_stats *s)
{
	static const char *const bounds[] = { "0.01", "0.05", "0.1", "0.5", "1",
		"5", "10", "30", "60", "+Inf" };
	uint64_t n[LS_COUNT(bounds)], sum = 0;

	for (size_t i = 0; i < LS_COUNT(bounds); i++)
		n[i] = sum += ls_tally_get(&s->bucket[i]);
	if (sum == 0)
		return;
	for (size_t i = 0; i < LS_COUNT(bounds); i++)
		say(m, "%s_bucket{%s,le=\"%s\"} %" PRIu64 "\n", r->name, labels,
		    bounds[i], n[i]);
	say(m, "%s_sum{%s} ", r->name, labels);
	say_value(m, ls_tally_get(&s->ns), true);
	say(m, "%s_count{%s} %" PRIu64 "\n", r->name, labels, sum);
}

static void
all_op_total(struct ls_metrics *m, const struct row *r)
{
	all_ops(m, r, op_total);
}

static void
all_op_bytes(struct ls_metrics *m, const struct row *r)
{
	all_ops(m, r, op_bytes);
}

static void
all_op_errors(struct ls_metrics *m, const struct row *r)
{
	all_ops(m, r, op_errors);
}

static void
all_op_duration(struct ls_metrics *m, const struct row *r)
{
	all_ops(m, r, op_duration);
}

static void
all_process(struct ls_metrics *m, const struct row *r)
{
	double v;

	if (ls_procstat((enum ls_procstat)r->off, &v))
		say(m, "%s %.17g\n", r->name, v);
}

static void
all_in_flight(struct ls_metrics *m, const struct row *r)
{
	say(m, "%s %" PRIu64 "\n", r->name, ls_tally_get(&m->count->in_flight));
}

static void
all_scrapes(struct ls_metrics *m, const struct row *r)
{
	say(m, "%s{code=\"200\"} %" PRIu64 "\n", r->name,
	    ls_tally_get(&m->count->served));
	say(m, "%s{code=\"500\"} %" PRIu64 "\n", r->name,
	    ls_tally_get(&m->count->failed));
	say(m, "%s{code=\"503\"} 0\n", r->name);
}

/* ---- the table ------------------------------------------------------------ */

#define DB(nm, ty, fld, text)                                              \
	{                                                                  \
		.name = (nm), .type = (ty), .labels = "db",                \
		.each = each_field, .off = offsetof(struct ls_tally, fld), \
		.help = (text)                                             \
	}
#define LOOKED(nm, ty, fld, text)                                           \
	{                                                                   \
		.name = (nm), .type = (ty), .labels = "db",                 \
		.each = each_looked, .off = offsetof(struct ls_tally, fld), \
		.help = (text)                                              \
	}
#define SEC(nm, ty, fld, text)                                             \
	{                                                                  \
		.name = (nm), .type = (ty), .labels = "db",                \
		.each = each_field, .off = offsetof(struct ls_tally, fld), \
		.seconds = true, .help = (text)                            \
	}
#define MODE(nm, fld, ns, text)                                           \
	{                                                                 \
		.name = (nm), .type = "counter", .labels = "db, mode",    \
		.each = each_mode, .off = offsetof(struct ls_tally, fld), \
		.seconds = (ns), .help = (text)                           \
	}
#define FN(nm, ty, lb, fn, text)                                          \
	{                                                                 \
		.name = (nm), .type = (ty), .labels = (lb), .each = (fn), \
		.help = (text)                                            \
	}
#define ALL(nm, ty, lb, fn, text)                                        \
	{                                                                \
		.name = (nm), .type = (ty), .labels = (lb), .all = (fn), \
		.help = (text)                                           \
	}
#define PROCESS(nm, ty, what, text)                                           \
	{                                                                     \
		.name = (nm), .type = (ty), .labels = "", .all = all_process, \
		.off = (what), .help = (text)                                 \
	}

static const struct row rows[] = {
	LOOKED("litestream_db_size", "gauge", db_bytes,
	    "The current size of the real DB"),
	LOOKED("litestream_wal_size", "gauge", wal_done,
	    "The current size of the real WAL"),
	DB("litestream_total_wal_bytes", "counter", wal_read,
	    "Total number of bytes written to shadow WAL"),
	FN("litestream_txid", "gauge", "db", each_txid,
	    "The current transaction ID"),
	DB("litestream_sync_count", "counter", syncs,
	    "Number of sync operations performed"),
	DB("litestream_sync_error_count", "counter", sync_errors,
	    "Number of sync errors that have occurred"),
	SEC("litestream_sync_seconds", "counter", sync_ns,
	    "Time spent syncing shadow WAL, in seconds"),
	DB("litestream_disk_full", "gauge", disk_full,
	    "Whether replication is paused because the local disk is full"),
	MODE("litestream_checkpoint_count", ckpts, false,
	    "Number of checkpoint operations performed"),
	MODE("litestream_checkpoint_error_count", ckpt_errors, false,
	    "Number of checkpoint errors that have occurred"),
	MODE("litestream_checkpoint_seconds", ckpt_ns, true,
	    "Time spent checkpointing WAL, in seconds"),
	DB("litestream_compaction_verify_error_count", "counter",
	    compact_errors, "Number of post-compaction verification failures"),
	{ .name = "litestream_l0_retention_files_total",
	    .type = "gauge",
	    .labels = "db (base name), status",
	    .each = each_name,
	    .all = say_names,
	    .help = "Number of L0 files by status during retention "
		    "enforcement" },
	ALL("litestream_replica_operation_total", "counter",
	    "replica_type, operation", all_op_total,
	    "The number of replica operations performed"),
	ALL("litestream_replica_operation_bytes", "counter",
	    "replica_type, operation", all_op_bytes,
	    "The number of bytes used by replica operations"),
	ALL("litestream_replica_operation_duration_seconds", "histogram",
	    "replica_type, operation", all_op_duration,
	    "Duration of replica operations by type and operation"),
	ALL("litestream_replica_operation_errors_total", "counter",
	    "replica_type, operation, code", all_op_errors,
	    "Number of replica operation errors by type, operation, and error "
	    "code"),

	FN("litestream_replication_lag_seconds", "gauge", "db", each_lag,
	    "For how long the oldest commit waits that is not at the replica; "
	    "0 when all are"),
	FN("litestream_durable_txid", "gauge", "db", each_durable_txid,
	    "Newest transaction ID that the replica has"),
	FN("litestream_durable_timestamp_seconds", "gauge", "db",
	    each_durable_time, "When that transaction was committed"),
	DB("litestream_upload_error_count", "counter", upload_errors,
	    "Number of uploads that failed after all tries"),
	LOOKED("litestream_spool_bytes", "gauge", spool_bytes,
	    "Size of the local files that wait for the replica or are kept to "
	    "resume from"),
	LOOKED(
	    "litestream_wal_bytes", "gauge", wal_bytes, "Size of the WAL file"),
	DB("litestream_blocked_by_pid", "gauge", blocked_by,
	    "Process whose read transaction keeps the WAL from being "
	    "restarted; 0 when none does"),
	FN("litestream_state", "gauge", "db, state", each_state,
	    "1 for the state that the database is in"),
	DB("litestream_resync_count", "counter", resyncs,
	    "Number of times that the database was compared because the WAL "
	    "was not continuous"),
	DB("litestream_resync_pages", "counter", resync_pages,
	    "Number of pages that were sent because of that"),
	FN("litestream_store_request_total", "counter", "db, operation, code",
	    each_request,
	    "Number of requests sent to the store, each try, by how it was "
	    "answered"),
	{ .name = "litestream_verify_last_success_timestamp_seconds",
	    .type = "gauge",
	    .labels = "db",
	    .each = each_known,
	    .off = offsetof(struct ls_tally, verified_ns),
	    .seconds = true,
	    .help = "When the replica was last found complete "
		    "(validation.interval)" },
	DB("litestream_validation_error_count", "counter", validation_errors,
	    "Number of gaps and other faults that validation found"),

	PROCESS("process_cpu_seconds_total", "counter", LS_PROC_CPU,
	    "Total user and system CPU time spent in seconds."),
	PROCESS("process_max_fds", "gauge", LS_PROC_MAX_FDS,
	    "Maximum number of open file descriptors."),
	PROCESS("process_open_fds", "gauge", LS_PROC_FDS,
	    "Number of open file descriptors."),
	PROCESS("process_resident_memory_bytes", "gauge", LS_PROC_RSS,
	    "Resident memory size in bytes."),
	PROCESS("process_start_time_seconds", "gauge", LS_PROC_START,
	    "Start time of the process since unix epoch in seconds."),
	PROCESS("process_virtual_memory_bytes", "gauge", LS_PROC_VSIZE,
	    "Virtual memory size in bytes."),
	PROCESS("process_virtual_memory_max_bytes", "gauge", LS_PROC_VMAX,
	    "Maximum amount of virtual memory available in bytes."),
	ALL("promhttp_metric_handler_requests_in_flight", "gauge", "",
	    all_in_flight, "Current number of scrapes being served."),
	ALL("promhttp_metric_handler_requests_total", "counter", "code",
	    all_scrapes, "Total number of scrapes by HTTP status code."),
};

bool
ls_metrics_doc(size_t i, struct ls_metric_doc *out)
{
	if (i >= LS_COUNT(rows))
		return false;
	*out = (struct ls_metric_doc){ rows[i].name, rows[i].type,
		rows[i].labels, rows[i].help };
	return true;
}

/* ---- piece by piece ------------------------------------------------------- */

enum ls_rc
ls_metrics_new(struct ls_daemon *d, struct ls_metrics_count *count,
    struct ls_metrics **out, struct ls_err *e)
{
	struct ls_metrics *m = ls_zalloc(sizeof *m);

	if (m == NULL)
		return ls_err_nomem(e);
	m->d = d;
	m->count = count;
	ls_tally_add(&count->in_flight, 1);
	*out = m;
	return LS_OK;
}

void
ls_metrics_free(void *arg)
{
	struct ls_metrics *m = arg;

	ls_tally_add(&m->count->in_flight, UINT64_MAX);
	names_fini(&m->names);
	ls_free(m);
}

static void
on_db(void *arg, struct ls_db *db)
{
	struct ls_metrics *m = arg;

	rows[m->row].each(m, &rows[m->row], db);
}

enum ls_web_next
ls_metrics_fill(void *arg, struct ls_buf *b)
{
	struct ls_metrics *m = arg;
	const struct row *r = &rows[m->row];
	bool more = false;

	m->b = b;
	m->now = ls_sys->mono_ns();
	if (!m->begun)
		say(m, "# HELP %s %s\n# TYPE %s %s\n", r->name, r->help,
		    r->name, r->type);
	m->begun = true;
	if (r->each != NULL)
		more = ls_daemon_walk(m->d, &m->after, PIECE, on_db, m);
	if (!more) {
		if (r->all != NULL)
			r->all(m, r);
		m->row++;
		m->after = 0;
		m->begun = false;
	}
	if (m->bad) {
		ls_tally_add(&m->count->failed, 1);
		return LS_WEB_CUT;
	}
	if (m->row < LS_COUNT(rows))
		return LS_WEB_MORE;
	ls_tally_add(&m->count->served, 1);
	return LS_WEB_LAST;
}
