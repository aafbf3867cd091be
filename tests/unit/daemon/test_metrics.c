/* test_metrics.c -- rows and README say the same, upstream's stay upstream's.
 *
 * Run `unit_daemon readme` with LS_PRINT_METRICS=1 to print the table that
 * belongs between the README's markers. */
#include "test.h"

#include "daemon/metrics.h"

/* What Litestream 0.5.17 was seen to serve. */
static const struct {
	const char *name, *type, *help;
} upstream[] = {
	{ "litestream_db_size", "gauge", "The current size of the real DB" },
	{ "litestream_wal_size", "gauge", "The current size of the real WAL" },
	{ "litestream_total_wal_bytes", "counter",
	    "Total number of bytes written to shadow WAL" },
	{ "litestream_txid", "gauge", "The current transaction ID" },
	{ "litestream_sync_count", "counter",
	    "Number of sync operations performed" },
	{ "litestream_sync_error_count", "counter",
	    "Number of sync errors that have occurred" },
	{ "litestream_sync_seconds", "counter",
	    "Time spent syncing shadow WAL, in seconds" },
	{ "litestream_disk_full", "gauge",
	    "Whether replication is paused because the local disk is full" },
	{ "litestream_checkpoint_count", "counter",
	    "Number of checkpoint operations performed" },
	{ "litestream_checkpoint_error_count", "counter",
	    "Number of checkpoint errors that have occurred" },
	{ "litestream_checkpoint_seconds", "counter",
	    "Time spent checkpointing WAL, in seconds" },
	{ "litestream_compaction_verify_error_count", "counter",
	    "Number of post-compaction verification failures" },
	{ "litestream_l0_retention_files_total", "gauge",
	    "Number of L0 files by status during retention enforcement" },
	{ "litestream_replica_operation_total", "counter",
	    "The number of replica operations performed" },
	{ "litestream_replica_operation_bytes", "counter",
	    "The number of bytes used by replica operations" },
	{ "litestream_replica_operation_duration_seconds", "histogram",
	    "Duration of replica operations by type and operation" },
	{ "litestream_replica_operation_errors_total", "counter",
	    "Number of replica operation errors by type, operation, and error "
	    "code" },
};

TEST(metrics_of_upstream_are_all_there)
{
	struct ls_metric_doc m;

	for (size_t i = 0; i < sizeof upstream / sizeof upstream[0]; i++) {
		size_t k = 0;

		while (ls_metrics_doc(k, &m) &&
		       strcmp(m.name, upstream[i].name) != 0)
			k++;
		CHECK_STR(m.name, upstream[i].name);
		CHECK_STR(m.type, upstream[i].type);
		CHECK_STR(m.help, upstream[i].help);
	}
}

TEST(readme_lists_the_metrics)
{
	const char *end = strstr(__FILE__, "tests/unit/daemon");
	struct ls_buf b = LS_BUF_INIT(1 << 20), text = LS_BUF_INIT(4 << 20);
	struct ls_metric_doc m;
	struct ls_err e = { 0 };
	struct ls_span readme;
	char path[4096];

	CHECK(end != NULL);
	(void)snprintf(path, sizeof path, "%.*sREADME.md",
	    (int)(end - __FILE__), __FILE__);
	readme = test_read_file(path);
	CHECK_OK(ls_buf_adds(&b,
	    "<!-- metrics -->\n| metric | type | labels | meaning |\n"
	    "|---|---|---|---|\n",
	    &e));
	for (size_t i = 0; ls_metrics_doc(i, &m); i++)
		if (strncmp(m.name, "litestream_", 11) == 0)
			CHECK_OK(
			    ls_buf_addf(&b, &e, "| `%s` | %s | %s | %s |\n",
				m.name, m.type, m.labels, m.help));
	CHECK_OK(ls_buf_adds(&b, "<!-- /metrics -->\n", &e));
	if (getenv("LS_PRINT_METRICS") != NULL)
		(void)fputs(ls_buf_str(&b), stdout);
	CHECK_OK(ls_buf_add(&text, readme.p, readme.n, &e));
	CHECK(strstr(ls_buf_str(&text), ls_buf_str(&b)) != NULL);
	ls_buf_free(&b);
	ls_buf_free(&text);
}
