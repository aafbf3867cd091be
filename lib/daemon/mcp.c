/* mcp.c -- the Model Context Protocol. See mcp.h.
 *
 * (1) A VALUE IS NEVER A FLAG: values go behind their flag's '=' or behind
 *     "--", whatever they begin with. (test: a_path_is_no_flag)
 * (2) A FLAG THAT IS TRUE is one word. Upstream hands over two, "-x" and
 *     "true", which its own command refuses. (test: boolean_flags)
 */
#include "daemon/mcp.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"
#include "daemon/web.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum { OUT_MAX = 4 << 20, WORDS_MAX = 24, PARAMS_MAX = 9, SESSION_MAX = 64 };

#define SESSION "mcp-session-"

struct ls_mcp {
	struct ls_web *web;
	const char *config;
	ls_mcp_run *run;
	struct ls_cancel cancel;
};

/* ---- the tools ------------------------------------------------------------ */

enum kind { TEXT, FLAG };
struct param {
	const char *name; /* NULL: the last */
	const char *flag; /* "-txid="; NULL: the word behind the flags */
	enum kind kind;
	bool required;
	const char *doc;
};
struct tool {
	const char *name, *command, *doc;
	bool reads; /* changes nothing */
	bool destroys;
	struct param params[PARAMS_MAX];
};

#define CONFIG                                                      \
	{                                                           \
		"config", "-config=", TEXT, false,                  \
		    "Path to the Litestream config file. Optional." \
	}
#define PATH(text)                               \
	{                                        \
		"path", NULL, TEXT, true, (text) \
	}

static const struct tool tools[] = {
	{ "litestream_databases", "databases",
	    "List databases and their replicas as defined in the Litestream "
	    "config file. The default path is /etc/litestream.yml but is not "
	    "required.",
	    true, false, { CONFIG } },
	{ "litestream_info", NULL,
	    "Get a comprehensive summary of Litestream's current status "
	    "including databases, LTX files, and version information.",
	    true, false, { CONFIG } },
	{ "litestream_ltx", "ltx",
	    "List all LTX files for a database or replica URL.", true, false,
	    { PATH("Database path or replica URL."), CONFIG } },
	{ "litestream_reset", "reset",
	    "Clear local Litestream state for a database. Removes local LTX "
	    "files; what is stored stays. Database file is not modified.",
	    false, true, { PATH("Database path to reset."), CONFIG } },
	{ "litestream_restore", "restore",
	    "Restore a database from a Litestream replica.", false, false,
	    { PATH("Database path or replica URL."),
		{ "o", "-o=", TEXT, false,
		    "Output path for the restored database. Optional." },
		CONFIG,
		{ "txid", "-txid=", TEXT, false,
		    "Restore up to a specific transaction ID. Optional." },
		{ "timestamp", "-timestamp=", TEXT, false,
		    "Restore to a specific point-in-time (RFC3339). "
		    "Optional." },
		{ "parallelism", "-parallelism=", TEXT, false,
		    "Number of files to download in parallel. Optional." },
		{ "if_db_not_exists", "-if-db-not-exists", FLAG, false,
		    "Return 0 if the database already exists. Optional." },
		{ "if_replica_exists", "-if-replica-exists", FLAG, false,
		    "Return 0 if no backups found. Optional." } } },
	{ "litestream_status", "status",
	    "Display replication status including database path, status, "
	    "local transaction ID, and WAL size.",
	    true, false,
	    { CONFIG, { "path", NULL, TEXT, false,
			  "Filter to a specific database path. Optional." } } },
	{ "litestream_version", "version",
	    "Print the Litestream binary version.", true, false,
	    { { NULL, NULL, TEXT, false, NULL } } },
};

static json_t *
schema_of(const struct tool *t)
{
	json_t *props = json_object(), *required = json_array(), *s;

	for (const struct param *p = t->params; p->name != NULL; p++) {
		(void)json_object_set_new(props, p->name,
		    json_pack("{s:s, s:s}", "type",
			p->kind == FLAG ? "boolean" : "string", "description",
			p->doc));
		if (p->required)
			(void)json_array_append_new(
			    required, json_string(p->name));
	}
	s = json_pack("{s:s, s:o}", "type", "object", "properties", props);
	if (json_array_size(required) > 0)
		(void)json_object_set(s, "required", required);
	json_decref(required);
	return s;
}

static json_t *
list_tools(void)
{
	json_t *list = json_array();

	for (size_t i = 0; i < LS_COUNT(tools); i++) {
		const struct tool *t = &tools[i];

		(void)json_array_append_new(list,
		    json_pack("{s:s, s:s, s:o, s:{s:b, s:b, s:b, s:b}}", "name",
			t->name, "description", t->doc, "inputSchema",
			schema_of(t), "annotations", "readOnlyHint", t->reads,
			"destructiveHint", t->destroys, "idempotentHint",
			t->reads, "openWorldHint", true));
	}
	return json_pack("{s:o}", "tools", list);
}

/* ---- running one ---------------------------------------------------------- */

struct words {
	const char *v[WORDS_MAX];
	char *own[WORDS_MAX]; /* heap ones */
	size_t n, n_own;
};

static void
words_free(struct words *w)
{
	while (w->n_own > 0)
		ls_free(w->own[--w->n_own]);
}

/* flag and value as one word, (1). */
static bool
add_value(struct words *w, const char *flag, const char *value)
{
	char *s = ls_asprintf("%s%s", flag, value);

	if (s == NULL)
		return false;
	w->own[w->n_own++] = s;
	w->v[w->n++] = s;
	return true;
}

/* The command line of a tool with these arguments; what is wrong with them, or
 * NULL. */
static const char *
words_of(const struct ls_mcp *m, const struct tool *t, const json_t *args,
    struct words *w)
{
	const char *path = NULL, *config = m->config;
	bool ok = true;

	w->v[w->n++] = t->command;
	for (const struct param *p = t->params; p->name != NULL; p++) {
		const json_t *v = json_object_get(args, p->name);
		const char *s = json_string_value(v);

		if (v == NULL || json_is_null(v))
			continue;
		if (p->kind == FLAG ? !json_is_boolean(v) : s == NULL)
			return p->kind == FLAG ? "a flag must be true or false"
					       : "an argument must be a string";
		if (p->kind == FLAG && json_is_true(v))
			w->v[w->n++] = p->flag;
		else if (p->flag == NULL)
			path = s;
		else if (strcmp(p->name, "config") == 0)
			config = s;
		else if (p->kind == TEXT && s[0] != '\0')
			ok &= add_value(w, p->flag, s);
	}
	if (t->params[0].name != NULL && config != NULL && config[0] != '\0' &&
	    (path == NULL || strstr(path, "://") == NULL))
		ok &= add_value(w, "-config=", config);
	if (path != NULL && path[0] != '\0') {
		w->v[w->n++] = "--";
		w->v[w->n++] = path;
	}
	w->v[w->n] = NULL;
	return ok ? NULL : "out of memory";
}

/* Append a text; one that does not fit is left out, which the reader sees. */
static void
put(struct ls_buf *out, const char *s)
{
	if (ls_buf_adds(out, s, NULL) != LS_OK)
		return;
}

/* Run and append what it wrote; false: it failed, and out says how. */
static bool
run_words(struct ls_mcp *m, const char *const *words, struct ls_buf *out)
{
	struct ls_err e = { 0 };
	char text[40];
	int status = 0;

	if (m->run(words, &m->cancel, out, &status, &e) != LS_OK) {
		put(out, e.msg);
		return false;
	}
	if (status == 0)
		return true;
	while (out->n > 0 && out->p[out->n - 1] == '\n')
		out->n--;
	(void)snprintf(text, sizeof text, ": exit status %d", status);
	put(out, text);
	return false;
}

/* The files of one database, for litestream_info. */
static void
add_files(
    struct ls_mcp *m, const char *config, const char *path, struct ls_buf *out)
{
	struct ls_buf b = LS_BUF_INIT(OUT_MAX);
	const char *const words[] = { "ltx", config, "--", path, NULL };
	bool ok = run_words(m, words, &b);

	put(out, ok ? "" : "Failed to get LTX files for ");
	put(out, path);
	put(out, ok ? "\n" : ":\n");
	put(out, ls_buf_str(&b));
	put(out, ok ? "\n" : "\n\n");
	ls_buf_free(&b);
}

static void
add_all_files(struct ls_mcp *m, const char *config, struct ls_buf *out)
{
	struct ls_buf b = LS_BUF_INIT(OUT_MAX);
	const char *const words[] = { "databases", "-json", config, NULL };
	json_t *list = NULL, *row;
	size_t i;

	if (run_words(m, words, &b))
		list = json_loadb((const char *)b.p, b.n, 0, NULL);
	json_array_foreach(list, i, row)
	{
		const char *path =
		    json_string_value(json_object_get(row, "path"));

		if (path != NULL)
			add_files(m, config, path, out);
	}
	json_decref(list);
	ls_buf_free(&b);
}

static bool
info(struct ls_mcp *m, const json_t *args, struct ls_buf *out)
{
	static const char *const version[] = { "version", NULL };
	const char *config = json_string_value(json_object_get(args, "config"));
	char *flag;
	bool ok;

	if (config == NULL || config[0] == '\0')
		config = m->config ? m->config : "/etc/litestream.yml";
	if ((flag = ls_asprintf("-config=%s", config)) == NULL)
		return false;
	put(out, "=== Litestream Status Report ===\n\nVersion Information:\n");
	ok = run_words(m, version, out);
	put(out, "\nCurrent Config Path:\n");
	put(out, config);
	put(out, "\n\nDatabases:\n");
	ok &=
	    run_words(m, (const char *const[]){ "databases", flag, NULL }, out);
	put(out, "\nLTX Files:\n");
	if (ok)
		add_all_files(m, flag, out);
	ls_free(flag);
	return ok;
}

static json_t *
call_tool(struct ls_mcp *m, const struct tool *t, const json_t *args)
{
	struct ls_buf out = LS_BUF_INIT(OUT_MAX);
	struct words w = { .n = 0 };
	const char *bad = NULL;
	json_t *r, *text;
	bool ok;

	if (t->command == NULL) {
		ok = info(m, args, &out);
	} else if ((bad = words_of(m, t, args, &w)) != NULL) {
		put(&out, bad);
		ok = false;
	} else {
		ok = run_words(m, w.v, &out);
	}
	/* What is no UTF-8 (a path may hold any byte) is no JSON either. */
	if ((text = json_stringn((const char *)out.p, out.n)) == NULL)
		text = json_string("the output is not UTF-8");
	r = json_pack(
	    "{s:[{s:s, s:o}]}", "content", "type", "text", "text", text);
	if (!ok)
		(void)json_object_set_new(r, "isError", json_true());
	words_free(&w);
	ls_buf_free(&out);
	return r;
}

/* ---- JSON-RPC ------------------------------------------------------------- */

/* One message: its answer is result or error. */
struct rpc {
	struct ls_mcp *m;
	const json_t *params;
	json_t *result, *error;
};

static void LS_PRINTF(3, 4) fail(struct rpc *r, int code, const char *fmt, ...)
{
	char msg[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	r->error = json_pack("{s:i, s:s}", "code", code, "message", msg);
}

static void
do_initialize(struct rpc *r)
{
	const char *want =
	    json_string_value(json_object_get(r->params, "protocolVersion"));
	const char *have = want != NULL && strcmp(want, "2024-11-05") == 0
			       ? want
			       : "2025-03-26";

	r->result = json_pack("{s:s, s:{s:{}, s:{}}, s:{s:s, s:s}}",
	    "protocolVersion", have, "capabilities", "logging", "tools",
	    "serverInfo", "name", "Litestream MCP Server", "version", "1.0.0");
}

static void
do_empty(struct rpc *r)
{
	r->result = json_object();
}

static void
do_list(struct rpc *r)
{
	r->result = list_tools();
}

static void
do_call(struct rpc *r)
{
	const char *name =
	    json_string_value(json_object_get(r->params, "name"));

	for (size_t i = 0; name != NULL && i < LS_COUNT(tools); i++)
		if (strcmp(tools[i].name, name) == 0) {
			r->result = call_tool(r->m, &tools[i],
			    json_object_get(r->params, "arguments"));
			return;
		}
	fail(r, -32602, "tool '%.100s' not found: tool not found",
	    name ? name : "");
}

static const struct {
	const char *name;
	void (*run)(struct rpc *r);
} methods[] = {
	{ "initialize", do_initialize },
	{ "ping", do_empty },
	{ "logging/setLevel", do_empty },
	{ "tools/list", do_list },
	{ "tools/call", do_call },
};

static void
dispatch(struct rpc *r, const char *method)
{
	for (size_t i = 0; i < LS_COUNT(methods); i++)
		if (strcmp(methods[i].name, method) == 0) {
			methods[i].run(r);
			return;
		}
	fail(r, -32601, "Method %.100s not found", method);
}

/* ---- HTTP ----------------------------------------------------------------- */

static enum MHD_Result
plain(const struct ls_web_call *c, unsigned status, const char *text)
{
	return ls_web_reply(
	    c, status, "text/plain; charset=utf-8", LS_SPAN_STR(text), NULL);
}

/* Takes doc. */
static enum MHD_Result
json(const struct ls_web_call *c, unsigned status, json_t *doc,
    const struct ls_web_header *more)
{
	char *text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;
	enum MHD_Result ok;

	json_decref(doc);
	if (text == NULL)
		return plain(c, 500, "out of memory\n");
	ok = ls_web_reply(
	    c, status, "application/json", LS_SPAN_STR(text), more);
	free(text);
	return ok;
}

static enum MHD_Result
no_json(const struct ls_web_call *c)
{
	return json(c, 400,
	    json_pack("{s:s, s:n, s:{s:i, s:s}}", "jsonrpc", "2.0", "id",
		"error", "code", -32700, "message",
		"request body is not valid json"),
	    NULL);
}

/* Sessions hold no state, so any that we could have given is one. */
static bool
is_session(const char *s)
{
	size_t n = strlen(SESSION);

	return s != NULL && strncmp(s, SESSION, n) == 0 &&
	       strspn(s + n, "0123456789abcdef-") == 36 && s[n + 36] == '\0';
}

static bool
make_session(char out[static SESSION_MAX])
{
	unsigned char r[16];

	if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r)
		return false;
	r[6] = (unsigned char)((r[6] & 0x0f) | 0x40); /* RFC 9562, version 4 */
	r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
	(void)snprintf(out, SESSION_MAX,
	    SESSION "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x"
		    "%02x%02x%02x",
	    r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10],
	    r[11], r[12], r[13], r[14], r[15]);
	return true;
}

/* Takes doc, an object. */
static enum MHD_Result
answer(struct ls_mcp *m, const struct ls_web_call *c, json_t *doc)
{
	const char *method = json_string_value(json_object_get(doc, "method"));
	const char *version =
	    json_string_value(json_object_get(doc, "jsonrpc"));
	json_t *id = json_object_get(doc, "id"), *out;
	struct rpc r = { .m = m, .params = json_object_get(doc, "params") };
	char session[SESSION_MAX];
	const struct ls_web_header with[] = { { "Mcp-Session-Id", session },
		{ NULL, NULL } };
	bool first = method != NULL && strcmp(method, "initialize") == 0;

	if ((!first &&
		!is_session(ls_web_request_header(c, "Mcp-Session-Id"))) ||
	    (first && !make_session(session))) {
		json_decref(doc);
		return plain(c, 400, "Invalid session ID\n");
	}
	if (method != NULL && id == NULL) { /* a notification */
		json_decref(doc);
		return plain(c, 202, "");
	}
	if (version == NULL || strcmp(version, "2.0") != 0)
		fail(&r, -32600, "Invalid JSON-RPC version");
	else if (method == NULL)
		fail(&r, -32600, "there is no method");
	else
		dispatch(&r, method);
	out = json_pack("{s:s, s:O?, s:o}", "jsonrpc", "2.0", "id", id,
	    r.error ? "error" : "result", r.error ? r.error : r.result);
	json_decref(doc);
	return json(c, 200, out, first ? with : NULL);
}

/* A page of another place must not use a visitor's browser to reach us. */
static bool
is_foreign(const char *origin)
{
	static const char *const local[] = { "localhost", "127.0.0.1",
		"[::1]" };
	const char *host = origin != NULL ? strstr(origin, "://") : NULL;

	if (origin == NULL)
		return false; /* no browser */
	for (size_t i = 0; host != NULL && i < LS_COUNT(local); i++) {
		size_t n = strlen(local[i]);

		if (strncmp(host + 3, local[i], n) == 0 &&
		    (host[3 + n] == '\0' || host[3 + n] == ':'))
			return false;
	}
	return true;
}

static enum MHD_Result
on_call(void *arg, const struct ls_web_call *c)
{
	static const struct ls_web_header allow[] = {
		{ "Allow", "POST, DELETE" }, { NULL, NULL }
	};
	struct ls_mcp *m = arg;
	const char *type = ls_web_request_header(c, "Content-Type");
	json_t *doc;

	if (is_foreign(ls_web_request_header(c, "Origin")))
		return plain(c, 403, "this origin is not served\n");
	if (strcmp(c->method, "DELETE") == 0)
		return plain(c, 200, "");
	if (strcmp(c->method, "POST") != 0)
		return ls_web_reply(c, 405, "text/plain",
		    LS_SPAN_STR("method not allowed\n"), allow);
	if (type == NULL || strncmp(type, "application/json", 16) != 0)
		return plain(c, 400,
		    "Invalid content type: must be 'application/json'\n");
	ls_web_patient(c);
	doc = c->too_large
		  ? NULL
		  : json_loadb((const char *)c->body.p, c->body.n, 0, NULL);
	if (!json_is_object(doc)) {
		json_decref(doc);
		return no_json(c);
	}
	return answer(m, c, doc);
}

enum ls_rc
ls_mcp_start(const char *addr, const char *config, ls_mcp_run *run,
    struct ls_mcp **out, struct ls_err *e)
{
	struct ls_mcp *m = ls_zalloc(sizeof *m);
	struct ls_web_addr bound;
	char url[LS_WEB_BOUND_MAX + 16];
	enum ls_rc rc;
	int fd = -1;

	if (m == NULL)
		return ls_err_nomem(e);
	m->config = config;
	m->run = run;
	m->cancel.fd = -1;
	if ((rc = ls_cancel_init(&m->cancel, e)) == LS_OK &&
	    (rc = ls_web_listen(addr, &fd, &bound, e)) == LS_OK)
		rc = ls_web_start(fd, on_call, m, "MCP server", &m->web, e);
	if (rc != LS_OK) {
		if (fd >= 0)
			(void)close(fd);
		ls_cancel_fini(&m->cancel);
		ls_free(m);
		return rc;
	}
	(void)snprintf(url, sizeof url, "http://%s/", bound.text);
	ls_info("serving MCP on", LS_ATTRS(LS_S("url", url)));
	if (!bound.loopback)
		ls_warn("the MCP server is open to other machines: whoever "
			"reaches it may restore and reset",
		    LS_ATTRS(LS_S("url", url)));
	*out = m;
	return LS_OK;
}

void
ls_mcp_stop(struct ls_mcp *m)
{
	if (m == NULL)
		return;
	ls_cancel_set(&m->cancel);
	ls_web_stop(m->web);
	ls_cancel_fini(&m->cancel);
	ls_free(m);
}
