/* test_upstream.c -- every key that Litestream v0.5 documents, where it may
 * stand, and what becomes of it here: it is used, refused by name because its
 * store is not there, or warned about because it never did anything. A key of
 * v0.5 that is not in these tables is missing here, too. */
#include "test.h"

#include "config/config.h"

#include "base/bytes.h"

enum fate { USED, REFUSED, WARNED };
struct key {
	const char *key, *value;
	enum fate fate;
};

static const struct key globals[] = {
	{ "addr", "127.0.0.1:9090", USED },
	{ "socket", "{enabled: true, path: /s, permissions: 0600}", USED },
	{ "levels", "[{interval: 30s}, {interval: 5m}]", USED },
	{ "snapshot", "{interval: 1h, retention: 24h}", USED },
	{ "validation", "{interval: 5m}", USED },
	{ "l0-retention", "5m", USED },
	{ "l0-retention-check-interval", "15s", USED },
	{ "verify-compaction", "true", USED },
	{ "retention", "{enabled: true}", USED },
	{ "heartbeat-url", "https://example.com/x", USED },
	{ "heartbeat-interval", "5m", USED },
	{ "exec", "app", USED },
	{ "logging", "{level: info, type: text, stderr: true, source: true}",
	    USED },
	{ "mcp-addr", "127.0.0.1:3001", USED },
	{ "shutdown-sync-timeout", "30s", USED },
	{ "shutdown-sync-interval", "500ms", USED },
};

static const struct key databases[] = {
	{ "meta-path", "/m", USED },
	{ "monitor-interval", "1s", USED },
	{ "checkpoint-interval", "1m", USED },
	{ "busy-timeout", "1s", USED },
	{ "min-checkpoint-page-count", "1000", USED },
	{ "truncate-page-n", "121359", USED },
	{ "max-sync-wal-bytes", "67108864", USED },
	{ "restore-if-db-not-exists", "true", USED },
	{ "snapshot", "{interval: 1h, retention: 24h}", USED },
	{ "max-checkpoint-page-count", "10000", WARNED },
};

/* Beside bucket and type: s3; those of `shared` also hold at top level. */
static const struct key shared[] = {
	{ "sync-interval", "1s", USED },
	{ "max-sync-ltx-files", "256", USED },
	{ "auto-recover", "true", USED },
	{ "access-key-id", "AK", USED },
	{ "secret-access-key", "SK", USED },
	{ "region", "eu-west-1", USED },
	{ "endpoint", "https://s3.example.com", USED },
	{ "force-path-style", "true", USED },
	{ "sign-payload", "true", USED },
	{ "require-content-md5", "true", USED },
	{ "skip-verify", "true", USED },
	{ "storage-class", "STANDARD_IA", USED },
	{ "part-size", "8MB", USED },
	{ "concurrency", "5", USED },
	{ "sse-customer-key",
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", USED },
	{ "sse-kms-key-id", "k", USED },
	{ "validation-interval", "5m", WARNED },
	{ "account-name", "a", REFUSED },
	{ "account-key", "a", REFUSED },
	{ "sas-token", "a", REFUSED },
	{ "host", "a", REFUSED },
	{ "user", "a", REFUSED },
	{ "password", "a", REFUSED },
	{ "key-path", "a", REFUSED },
	{ "concurrent-writes", "true", REFUSED },
	{ "jwt", "a", REFUSED },
	{ "seed", "a", REFUSED },
	{ "creds", "a", REFUSED },
	{ "nkey", "a", REFUSED },
	{ "username", "a", REFUSED },
	{ "token", "a", REFUSED },
	{ "tls", "true", REFUSED },
	{ "root-cas", "[a]", REFUSED },
	{ "client-cert", "a", REFUSED },
	{ "client-key", "a", REFUSED },
	{ "max-reconnects", "1", REFUSED },
	{ "reconnect-wait", "1s", REFUSED },
	{ "timeout", "1s", REFUSED },
	{ "age", "{identities: [a]}", REFUSED },
};
static const struct key replicas[] = {
	{ "name", "a", WARNED },
	{ "retention", "24h", WARNED },
	{ "retention-check-interval", "1h", WARNED },
	{ "snapshot-interval", "1h", WARNED },
	{ "host-key", "a", REFUSED },
	{ "webdav-url", "a", REFUSED },
	{ "webdav-username", "a", REFUSED },
	{ "webdav-password", "a", REFUSED },
};

static void
try(const char *text, const struct key *k)
{
	struct ls_config cfg = { 0 };
	struct ls_err e = { 0 };
	enum ls_rc rc =
	    ls_config_parse("c.yml", LS_SPAN_STR(text), true, &cfg, &e);
	bool named =
	    strstr(e.msg, k->key) != NULL && strstr(e.msg, "support") != NULL;

	if (k->fate == REFUSED ? rc == LS_OK || !named : rc != LS_OK)
		test_fail(__FILE__, __LINE__, "%s: %s: %s", k->key,
		    ls_rc_name(rc), e.msg);
	if (rc == LS_OK && (k->fate == WARNED) != (cfg.n_warnings == 1))
		test_fail(__FILE__, __LINE__, "%s: %zu warnings", k->key,
		    cfg.n_warnings);
	if (cfg.n_warnings == 1)
		CHECK(strstr(cfg.warnings[0].text, k->key) != NULL);
	ls_config_fini(&cfg);
}

TEST(upstream_keys_at_top_level)
{
	char text[2000];

	for (size_t i = 0; i < LS_COUNT(globals); i++) {
		(void)snprintf(text, sizeof text,
		    "%s: %s\ndbs:\n- {path: /a, replica: {path: /r}}\n",
		    globals[i].key, globals[i].value);
		try(text, &globals[i]);
	}
	for (size_t i = 0; i < LS_COUNT(shared); i++) {
		(void)snprintf(text, sizeof text,
		    "%s: %s\nbucket: b\ndbs:\n- path: /a\n"
		    "  replica: {type: s3, path: p}\n",
		    shared[i].key, shared[i].value);
		try(text, &shared[i]);
	}
}

TEST(upstream_keys_of_a_database)
{
	char text[2000];

	for (size_t i = 0; i < LS_COUNT(databases); i++) {
		(void)snprintf(text, sizeof text,
		    "dbs:\n- path: /a\n  %s: %s\n  replica: {path: /r}\n",
		    databases[i].key, databases[i].value);
		try(text, &databases[i]);
	}
}

TEST(upstream_keys_of_a_replica)
{
	static const struct key *const lists[] = { shared, replicas };
	static const size_t n[] = { LS_COUNT(shared), LS_COUNT(replicas) };
	char text[2000];

	for (size_t l = 0; l < LS_COUNT(lists); l++)
		for (size_t i = 0; i < n[l]; i++) {
			(void)snprintf(text, sizeof text,
			    "dbs:\n- path: /a\n  replica:\n    type: s3\n"
			    "    bucket: b\n    path: p\n    %s: %s\n",
			    lists[l][i].key, lists[l][i].value);
			try(text, &lists[l][i]);
		}
}

/* The two that need a neighbour, and a folder entry with all it can say. */
TEST(upstream_keys_that_go_together)
{
	static const struct key algorithm = { "sse-customer-algorithm", "",
		USED },
				entry = { "dir", "", USED };
	char text[2000];

	try("dbs:\n- path: /a\n  replica: {url: 's3://b/p',\n"
	    "    sse-customer-algorithm: AES256, sse-customer-key:"
	    " AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}\n",
	    &algorithm);
	test_write_file(
	    T("key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 45);
	(void)snprintf(text, sizeof text,
	    "dbs:\n- path: /a\n  replica:\n    url: s3://b/p\n"
	    "    sse-customer-key-path: %s\n",
	    T("key"));
	try(text, &algorithm);
	try("dbs:\n- dir: /d\n  pattern: '*.db'\n  recursive: true\n"
	    "  watch: true\n  meta-dir: /m\n  replica: {url: 's3://b/p'}\n",
	    &entry);
}

TEST(upstream_stores_are_refused_by_name)
{
	static const char *const types[] = { "gs", "abs", "sftp", "webdav",
		"nats", "oss" };
	char text[500];

	for (size_t i = 0; i < LS_COUNT(types); i++) {
		const struct key k = { types[i], "", REFUSED };

		(void)snprintf(text, sizeof text,
		    "dbs:\n- {path: /a, replica: {url: '%s://x/y'}}\n",
		    types[i]);
		try(text, &k);
		(void)snprintf(text, sizeof text,
		    "dbs:\n- {path: /a, replica: {type: %s, path: y}}\n",
		    types[i]);
		try(text, &k);
	}
}
