/* test_config.c -- reading a configuration: keys, values, expansion, errors. */
#include "test.h"

#include "config/config.h"

#include "config/schema.h"

#include <unistd.h>

static struct ls_config cfg;

static enum ls_rc
parse(const char *text, struct ls_err *e)
{
	ls_config_fini(&cfg);
	return ls_config_parse("c.yml", LS_SPAN_STR(text), true, &cfg, e);
}

static void
refuses(const char *text, const char *want)
{
	struct ls_err e = { 0 };

	if (parse(text, &e) == LS_OK)
		test_fail(__FILE__, __LINE__, "accepted: %s", text);
	if (strstr(e.msg, want) == NULL)
		test_fail(
		    __FILE__, __LINE__, "\"%s\" lacks \"%s\"", e.msg, want);
	CHECK(cfg.dbs == NULL && cfg.socket.path == NULL);
}

#define ONE "dbs:\n- path: /d/a.db\n  replica: {path: /r/a}\n"
static const int64_t sec = 1000000000;

/* compatibility 2.2 to 2.4; l0-retention: 13.4. */
TEST(defaults_are_the_documented_ones)
{
	struct ls_err e = { 0 };
	const struct ls_db_config *d;

	CHECK_OK(parse(ONE, &e));
	CHECK(!cfg.socket.enabled && cfg.retention_enabled);
	CHECK_STR(cfg.socket.path, "/var/run/litestream.sock");
	CHECK_EQ(cfg.socket.permissions, 0600);
	CHECK_EQ(cfg.n_levels, 3);
	CHECK_EQ(cfg.level_interval_ns[0], 30 * sec);
	CHECK_EQ(cfg.level_interval_ns[1], 300 * sec);
	CHECK_EQ(cfg.level_interval_ns[2], 3600 * sec);
	CHECK_EQ(cfg.snapshot_interval_ns, 86400 * sec);
	CHECK_EQ(cfg.snapshot_retention_ns, 86400 * sec);
	CHECK_EQ(cfg.l0_retention_ns, 1200 * sec);
	CHECK_EQ(cfg.l0_retention_check_interval_ns, 15 * sec);
	CHECK(!cfg.verify_compaction && cfg.exec == NULL);
	CHECK_EQ(cfg.shutdown_sync_timeout_ns, 30 * sec);
	CHECK_EQ(cfg.shutdown_sync_interval_ns, sec / 2);
	CHECK_EQ(cfg.park_after_ns, 10 * sec);
	CHECK(cfg.logging.level == NULL && !cfg.logging.to_stderr);
	CHECK_EQ(cfg.logging.type, LS_LOG_TEXT);
	CHECK_EQ(cfg.n_dbs, 1);
	d = &cfg.dbs[0];
	CHECK_STR(d->path, "/d/a.db");
	CHECK_STR(d->meta_path, "/d/.a.db-litestream");
	CHECK_EQ(d->monitor_interval_ns, sec);
	CHECK_EQ(d->checkpoint_interval_ns, 60 * sec);
	CHECK_EQ(d->busy_timeout_ns, sec);
	CHECK_EQ(d->min_checkpoint_pages, 1000);
	CHECK_EQ(d->truncate_pages, 121359);
	CHECK_EQ(d->max_sync_wal_bytes, 64 << 20);
	CHECK(!d->restore_if_db_not_exists && !d->auto_recover);
	CHECK_EQ(d->on_stale, LS_STALE_RESYNC);
	CHECK_EQ(d->sync_interval_ns, sec);
	CHECK_EQ(d->max_sync_ltx_files, 256);
	CHECK_EQ(d->place.fencing, LS_FENCING_AUTO);
	CHECK_STR(d->place.type, "file");
	CHECK_STR(d->place.path, "/r/a");
	ls_config_fini(&cfg);
}

TEST(an_empty_file_is_the_defaults)
{
	struct ls_err e = { 0 };
	static const char *const texts[] = { "", "# nothing\n", "---\n", "~\n",
		"{}\n",
		"dbs:\nsocket:\nlevels:\nsnapshot: {interval: null}\n" };

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		CHECK_OK(parse(texts[i], &e));
		CHECK_EQ(cfg.n_dbs, 0);
		CHECK_EQ(cfg.n_levels, 3);
		CHECK_EQ(cfg.snapshot_interval_ns, 86400 * sec);
	}
	ls_config_fini(&cfg);
}

TEST(every_value_arrives)
{
	struct ls_err e = { 0 };
	const struct ls_db_config *d;

	CHECK_OK(parse("socket: {enabled: yes, path: /s, permissions: 0640}\n"
		       "levels: [{interval: 1m}, {interval: 1h30m}]\n"
		       "snapshot: {interval: 2h, retention: 48h}\n"
		       "l0-retention: 0\n"
		       "verify-compaction: on\n"
		       "retention: {enabled: off}\n"
		       "exec: run me\n"
		       "park-after: 0s\n"
		       "logging: {level: debug, type: json, stderr: True,"
		       " source: y}\n"
		       "sync-interval: 5s\n"
		       "dbs:\n"
		       "- path: /a.db\n"
		       "  meta-path: /m\n"
		       "  monitor-interval: 0s\n"
		       "  truncate-page-n: -1\n"
		       "  min-checkpoint-page-count: 0x10\n"
		       "  max-sync-wal-bytes: 1_000\n"
		       "  on-stale-state: stop\n"
		       "  restore-if-db-not-exists: true\n"
		       "  replica: {type: s3, bucket: b, path: p, region: r,"
		       " access-key-id: k, secret-access-key: 0600,"
		       " auto-recover: true, fencing: require,"
		       " max-sync-ltx-files: 0, part-size: 8MiB,"
		       " concurrency: 3, sign-payload: n}\n",
	    &e));
	CHECK(cfg.socket.enabled && !cfg.retention_enabled);
	CHECK_STR(cfg.socket.path, "/s");
	CHECK_EQ(cfg.socket.permissions, 0640);
	CHECK_EQ(cfg.n_levels, 2);
	CHECK_EQ(cfg.level_interval_ns[1], 5400 * sec);
	CHECK_EQ(cfg.snapshot_retention_ns, 48 * 3600 * sec);
	CHECK_EQ(cfg.l0_retention_ns, 0);
	CHECK(cfg.verify_compaction);
	CHECK_STR(cfg.exec, "run me");
	CHECK_EQ(cfg.park_after_ns, 0);
	CHECK_STR(cfg.logging.level, "debug");
	CHECK_EQ(cfg.logging.type, LS_LOG_JSON);
	CHECK(cfg.logging.to_stderr && cfg.logging.source);
	d = &cfg.dbs[0];
	CHECK_STR(d->meta_path, "/m");
	CHECK_EQ(d->monitor_interval_ns, 0);
	CHECK_EQ(d->truncate_pages, -1);
	CHECK_EQ(d->min_checkpoint_pages, 16);
	CHECK_EQ(d->max_sync_wal_bytes, 1000);
	CHECK_EQ(d->on_stale, LS_STALE_STOP);
	CHECK(d->restore_if_db_not_exists && d->auto_recover);
	CHECK_EQ(d->sync_interval_ns, 5 * sec);
	CHECK_EQ(d->max_sync_ltx_files, 0);
	CHECK_STR(d->place.secret_access_key, "0600"); /* text stays text */
	CHECK_EQ(d->place.fencing, LS_FENCING_REQUIRE);
	CHECK_EQ(d->place.part_size, 8 << 20);
	CHECK_EQ(d->place.concurrency, 3);
	CHECK_EQ(d->place.sign_payload, LS_NO);
	ls_config_fini(&cfg);
}

TEST(unknown_key_names_line_and_nearest)
{
	refuses("\nsnapshoot: {}\n", "c.yml:2: unknown key \"snapshoot\"; did "
				     "you mean \"snapshot\"?");
	refuses("dbs:\n- path: /a\n  replica:\n    buckett: x\n",
	    "c.yml:4: unknown key \"dbs[].replica.buckett\"; did you mean "
	    "\"bucket\"?");
	refuses("socket: {perms: 1}\n", "unknown key \"socket.perms\"");
	refuses("monitor-interval: 1s\n",
	    "; it belongs under dbs[].monitor-interval");
	refuses("xyzzy: 1\n", "c.yml:1: unknown key \"xyzzy\"");
	refuses("exec: a\nexec: b\n",
	    "c.yml:2: key \"exec\" stands here twice, first in line 1");
}

TEST(bad_values_name_line_key_and_value)
{
	refuses("l0-retention: 300\n",
	    "c.yml:1: l0-retention: invalid duration \"300\"");
	refuses("l0-retention: -1s\n", "greater than or equal to 0 (got -1s)");
	refuses("snapshot:\n  interval: 0s\n",
	    "c.yml:2: snapshot.interval: must be greater than 0 (got 0s)");
	refuses("levels: [{interval: 0s}]\n", "greater than 0");
	refuses("levels: [{}]\n", "compaction interval must be greater than 0");
	refuses("levels: [{interval: 1s},{interval: 1s},{interval: 1s},"
		"{interval: 1s},{interval: 1s},{interval: 1s},{interval: 1s},"
		"{interval: 1s},{interval: 1s}]\n",
	    "compaction level cannot exceed 8");
	refuses("verify-compaction: maybe\n", "neither true nor false");
	refuses("socket: {permissions: 01000}\n", "out of range");
	refuses("socket: {permissions: 0690}\n", "not a whole number");
	refuses("logging: {type: xml}\n", "none of: text, json, pretty");
	refuses("logging: [a]\n", "logging: keys and values");
	refuses("exec: [a]\n", "exec: must be a single value");
	refuses("dbs: 1\n", "dbs: must be a list");
	refuses("- 1\n", "file: keys and values");
	refuses("[a]: 1\n", "a key must be a word");
	refuses("exec: 'a\n", "c.yml:");
	refuses("exec: a\n---\nexec: b\n", "only one YAML document");
}

TEST(later_is_refused)
{
	refuses("age: {recipients: [x]}\n", "age encryption is not currently "
					    "supported");
	refuses("dbs:\n- path: /d\n  replica: {type: sftp, host: h}\n",
	    "dbs[].replica.host is not supported yet");
	CHECK(parse("addr: ''\nage: {recipients: []}\n", NULL) == LS_OK);
	ls_config_fini(&cfg);
}

TEST(what_is_served_is_checked)
{
	refuses("addr: localhost\n",
	    "addr: must specify port for bind address: \"localhost\"");
	refuses("addr: 'localhost:'\n", "must specify port");
	refuses("mcp-addr: ':x'\n", "mcp-addr: \"x\" is no port number");
	refuses("addr: ':65536'\n", "\"65536\" is no port number");
	refuses("addr: '::1:9090'\n", "too many colons in bind address");
	refuses("heartbeat-url: ftp://x\n",
	    "heartbeat-url must start with http:// or https://");
	refuses("heartbeat-interval: 59s\n",
	    "heartbeat interval must be at least 1 minute");
	refuses("validation: {interval: -1s}\n", "validation.interval");
	CHECK(parse("addr: '[::1]:0'\nmcp-addr: ':3001'\n"
		    "heartbeat-url: https://x\nvalidation: {interval: 5m}\n",
		  NULL) == LS_OK);
	CHECK_STR(cfg.addr, "[::1]:0");
	CHECK_STR(cfg.mcp_addr, ":3001");
	CHECK_STR(cfg.heartbeat_url, "https://x");
	CHECK_EQ(cfg.heartbeat_interval_ns, 300 * LS_SEC);
	CHECK_EQ(cfg.validation_interval_ns, 300 * LS_SEC);
	ls_config_fini(&cfg);
}

TEST(legacy_warns)
{
	struct ls_err e = { 0 };

	CHECK_OK(parse("dbs:\n"
		       "- path: /a\n"
		       "  max-checkpoint-page-count: 5\n"
		       "  replica: {path: /r, retention: 24h}\n"
		       "- path: /b\n"
		       "  replica: {path: /r2, retention: 24h}\n",
	    &e));
	CHECK_EQ(cfg.n_warnings, 2); /* each key once */
	CHECK_EQ(cfg.warnings[0].line, 3);
	CHECK(strstr(cfg.warnings[0].text, "truncate-page-n") != NULL);
	CHECK(strstr(cfg.warnings[1].text, "snapshot.retention") != NULL);
	ls_config_fini(&cfg);
}

TEST(anchors_and_merge_keys)
{
	struct ls_err e = { 0 };

	CHECK_OK(parse("dbs:\n"
		       "- &base\n"
		       "  path: /a\n"
		       "  busy-timeout: 2s\n"
		       "  checkpoint-interval: 3s\n"
		       "  replica: {path: /r1, auto-recover: true}\n"
		       "- <<: *base\n"
		       "  path: /b\n"
		       "  busy-timeout: 4s\n"
		       "  replica: {path: /r2}\n",
	    &e));
	CHECK_EQ(cfg.n_dbs, 2);
	CHECK_STR(cfg.dbs[1].path, "/b");
	CHECK_EQ(cfg.dbs[1].busy_timeout_ns, 4 * sec);
	CHECK_EQ(cfg.dbs[1].checkpoint_interval_ns, 3 * sec);
	CHECK(!cfg.dbs[1].auto_recover); /* a mapping is replaced whole */
	CHECK(cfg.dbs[0].auto_recover);
	ls_config_fini(&cfg);
}

/* An alias costs as often as it stands there; merges end. */
TEST(hostile_documents_are_refused)
{
	struct ls_buf b = LS_BUF_INIT(LS_CONFIG_MAX_BYTES + 64);
	struct ls_err e = { 0 };

	CHECK_OK(ls_buf_adds(
	    &b, "dbs:\n- &d {path: /a, replica: {path: /r}}\n", &e));
	for (int i = 0; i < 100000; i++)
		CHECK_OK(ls_buf_adds(&b, "- *d\n", &e));
	refuses(ls_buf_str(&b), "too large");
	ls_buf_clear(&b);
	for (int i = 0; i < 200000; i++)
		CHECK_OK(ls_buf_adds(&b, "[", &e));
	refuses(ls_buf_str(&b), "c.yml:1: lists and mappings nest deeper");
	ls_buf_clear(&b);
	CHECK_OK(ls_buf_reserve(&b, LS_CONFIG_MAX_BYTES + 1, &e));
	memset(b.p, '#', LS_CONFIG_MAX_BYTES + 1);
	b.n = LS_CONFIG_MAX_BYTES + 1;
	refuses(ls_buf_str(&b), "c.yml");
	ls_buf_free(&b);
	refuses("socket: &a {<<: *a}\n", "merge keys nest too deep");
	refuses("dbs: &a [{path: /x, replicas: *a}]\n", "unknown key");
	refuses("socket: {<<: 1}\n", "needs a mapping");
}

TEST(any_cut_of_a_file_ends)
{
	static const char text[] =
	    "socket: {enabled: yes}\nlevels: &l\n- interval: 30s\n"
	    "dbs:\n- path: \"/a\"\n  replica:\n    url: 'file:///r'\n"
	    "- path: /b\n  replicas: [{path: /q}]\n# $HOME ${\n";
	struct ls_err e;

	for (size_t n = 0; n <= sizeof text - 1; n++) {
		ls_config_fini(&cfg);
		if (ls_config_parse(
			"c.yml", LS_SPAN(text, n), true, &cfg, &e) != LS_OK)
			CHECK(e.msg[0] != '\0');
	}
	CHECK_EQ(cfg.n_dbs, 2);
	ls_config_fini(&cfg);
}

/* As Go's os.Expand. */
TEST(environment_is_expanded)
{
	static const char *const cases[][2] = { { "a$LS_T_X.b", "av.b" },
		{ "${LS_T_X}y", "vy" }, { "$LS_T_Xy", "" }, { "$$x", "x" },
		{ "a${}b", "ab" }, { "a${LS_T_X", "aLS_T_X" }, { "$", "$" },
		{ "a $ b", "a $ b" }, { "$1x", "x" }, { "${LS_T_NONE}", "" } };
	struct ls_err e = { 0 };
	char pid[32];

	CHECK(setenv("LS_T_X", "v", 1) == 0 && unsetenv("LS_T_NONE") == 0);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct ls_buf b = LS_BUF_INIT(1000);

		CHECK_OK(ls_expand_env(LS_SPAN_STR(cases[i][0]), &b, &e));
		CHECK_STR(ls_buf_str(&b), cases[i][1]);
		ls_buf_free(&b);
	}
	CHECK_OK(parse("exec: run-$PID\n", &e));
	(void)snprintf(pid, sizeof pid, "run-%ld", (long)getpid());
	CHECK_STR(cfg.exec, pid);
	ls_config_fini(&cfg);
	CHECK_OK(ls_config_parse(
	    "c.yml", LS_SPAN_STR("exec: $LS_T_X\n"), false, &cfg, &e));
	CHECK_STR(cfg.exec, "$LS_T_X");
	ls_config_fini(&cfg);
}

TEST(files_are_read_and_missed)
{
	struct ls_err e = { 0 };

	test_write_file(T("a.yml"), ONE, strlen(ONE));
	CHECK_OK(ls_config_load(T("a.yml"), true, &cfg, &e));
	CHECK_STR(cfg.file, T("a.yml"));
	ls_config_fini(&cfg);
	CHECK_RC(ls_config_load("/no/such.yml", true, &cfg, &e), LS_ENOTFOUND);
	CHECK_STR(e.msg, "config file not found: /no/such.yml");
}

TEST(levels_of_log_words)
{
	CHECK_EQ(ls_level_parse("TRACE"), LS_TRACE);
	CHECK_EQ(ls_level_parse("Warning"), LS_WARN);
	CHECK_EQ(ls_level_parse("error"), LS_ERROR);
	CHECK_EQ(ls_level_parse("loud"), LS_INFO);
	CHECK_EQ(ls_level_parse(""), LS_INFO);
}
