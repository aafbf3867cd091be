/* control.c -- the control socket. See control.h.
 *
 * Each request is one row of `routes`: method, path, handler. Handlers read a
 * JSON object and give one; errors are {"error": "..."} with upstream's codes.
 * The peer is whoever may open the socket file (0600 by default). */
#include "daemon/control.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/units.h"
#include "daemon/text.h"
#include "daemon/web.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 32, TIMEOUT_SEC = 30 };

struct ls_control {
	struct ls_daemon *d;
	struct ls_web *web;
	char *path;
};

/* What a handler works on: json in, json out. */
struct call {
	struct ls_daemon *d;
	const struct ls_web_call *web;
	json_t *in;  /* borrowed; an object, or NULL for GET */
	json_t *out; /* gives */
	unsigned status;
};

/* Text that may hold any byte (paths do): what is no UTF-8 is shown as \xNN. */
static json_t *
text_of(const char *s)
{
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	struct ls_err e;
	json_t *v = json_string(s);

	if (v == NULL && ls_text_plain(&b, s, &e) == LS_OK)
		v = json_string(ls_buf_str(&b));
	ls_buf_free(&b);
	return v;
}

static void
fail_for(struct call *c, unsigned status, const char *msg, const char *details)
{
	c->status = status;
	c->out = json_pack("{s:o}", "error", text_of(msg));
	if (details[0] != '\0')
		(void)json_object_set_new(c->out, "details", text_of(details));
}

static void
fail(struct call *c, unsigned status, const char *msg)
{
	fail_for(c, status, msg, "");
}

static void
fail_rc(struct call *c, enum ls_rc rc, const struct ls_err *e)
{
	fail_for(c,
	    rc == LS_ENOTFOUND	? 404
	    : rc == LS_EINVALID ? 409
				: 500,
	    e->msg, e->hint);
}

/* The "path" member, expanded; fails the call when it is missing. */
static char *
path_of(struct call *c)
{
	const char *p = json_string_value(json_object_get(c->in, "path"));
	char *full;

	if (p == NULL || *p == '\0') {
		fail(c, 400, "path required");
		return NULL;
	}
	if ((full = ls_config_expand_path(p)) == NULL)
		fail(c, 500, "out of memory");
	return full;
}

static uint64_t
deadline_of(const struct call *c)
{
	json_int_t sec = json_integer_value(json_object_get(c->in, "timeout"));

	if (sec <= 0 || sec > 86400)
		sec = TIMEOUT_SEC;
	return ls_sys->mono_ns() + (uint64_t)sec * LS_SEC;
}

static void
do_start(struct call *c)
{
	struct ls_err e = { 0 };
	uint64_t txid = 0;
	bool already = false;
	char *path = path_of(c);
	enum ls_rc rc;

	if (path == NULL)
		return;
	rc = ls_daemon_start_db(c->d, path, &txid, &already, &e);
	if (rc != LS_OK)
		fail(c, 500, e.msg);
	else
		c->out = json_pack("{s:s, s:o, s:I}", "status",
		    already ? "already_running" : "started", "path",
		    text_of(path), "txid", (json_int_t)txid);
	ls_free(path);
}

static void
do_stop(struct call *c)
{
	struct ls_err e = { 0 };
	uint64_t txid = 0;
	bool already = false;
	char *path = path_of(c);
	enum ls_rc rc;

	if (path == NULL)
		return;
	rc = ls_daemon_stop_db(c->d, path, deadline_of(c), &txid, &already, &e);
	if (rc != LS_OK)
		fail(c, 500, e.msg);
	else
		c->out = json_pack("{s:s, s:o, s:I}", "status",
		    already ? "already_stopped" : "stopped", "path",
		    text_of(path), "txid", (json_int_t)txid);
	ls_free(path);
}

static void
do_register(struct call *c)
{
	struct ls_err e = { 0 };
	const char *url =
	    json_string_value(json_object_get(c->in, "replica_url"));
	bool already = false;
	char *path = path_of(c);
	enum ls_rc rc;

	if (path == NULL)
		return;
	if (url == NULL || *url == '\0')
		fail(c, 400, "replica_url required");
	else if ((rc = ls_daemon_register(c->d, path, url, &already, &e)) !=
		 LS_OK)
		fail_for(c, rc == LS_ENOMEM ? 500 : 400, e.msg, e.hint);
	else
		c->out = json_pack("{s:s, s:o}", "status",
		    already ? "already_registered" : "registered", "path",
		    text_of(path));
	ls_free(path);
}

static void
do_unregister(struct call *c)
{
	struct ls_err e = { 0 };
	uint64_t txid = 0;
	bool already = false;
	char *path = path_of(c);
	enum ls_rc rc;

	if (path == NULL)
		return;
	rc = ls_daemon_unregister(
	    c->d, path, deadline_of(c), &txid, &already, &e);
	if (rc != LS_OK)
		fail(c, 500, e.msg);
	else
		c->out = json_pack("{s:s, s:o, s:I}", "status",
		    already ? "already_unregistered" : "unregistered", "path",
		    text_of(path), "txid", (json_int_t)txid);
	ls_free(path);
}

static void
do_sync(struct call *c)
{
	struct ls_err e = { 0 };
	struct ls_sync_result r = { 0 };
	bool wait = json_is_true(json_object_get(c->in, "wait"));
	char *path = path_of(c);
	enum ls_rc rc;

	if (path == NULL)
		return;
	rc = ls_daemon_sync(c->d, path, wait, deadline_of(c), &r, &e);
	if (rc != LS_OK)
		fail_rc(c, rc, &e);
	else
		c->out = json_pack("{s:s, s:o, s:I, s:I}", "status",
		    !r.changed && (!wait || r.txid == r.replica_txid)
			? "no_change"
		    : wait ? "synced"
			   : "synced_local",
		    "path", text_of(path), "txid", (json_int_t)r.txid,
		    "replicated_txid", (json_int_t)r.replica_txid);
	ls_free(path);
}

static void
do_txid(struct call *c)
{
	const char *arg = ls_web_query(c->web, "path");
	struct ls_db_info *v = NULL;
	struct ls_err e = { 0 };
	size_t n = 0;
	char *path;

	if (arg == NULL || *arg == '\0') {
		fail(c, 400, "path required");
		return;
	}
	path = ls_config_expand_path(arg);
	if (path == NULL || ls_daemon_list(c->d, &v, &n, &e) != LS_OK)
		fail(c, 500, "out of memory");
	for (size_t i = 0; c->out == NULL && i < n; i++)
		if (strcmp(v[i].path, path) == 0)
			c->out = json_pack(
			    "{s:I}", "txid", (json_int_t)v[i].local_txid);
	if (c->out == NULL)
		fail(c, 404, "database not found");
	ls_db_infos_free(v, n);
	ls_free(path);
}

/* Upstream knows replicating, open and stopped; parked is replicating there. */
static json_t *
list_row(const struct ls_db_info *i)
{
	json_t *o;
	char t[LS_TIME_MAX];
	bool parked = strcmp(i->state, "parked") == 0;

	o = json_pack("{s:o, s:s}", "path", text_of(i->path), "status",
	    parked ? "replicating" : i->state);
	if (parked)
		(void)json_object_set_new(o, "parked", json_true());
	if (i->last_sync_ns != 0)
		(void)json_object_set_new(o, "last_sync_at",
		    json_string(ls_time_nano(i->last_sync_ns, t)));
	if (i->error[0] != '\0')
		(void)json_object_set_new(o, "error", text_of(i->error));
	return o;
}

static void
do_list(struct call *c)
{
	struct ls_db_info *v = NULL;
	struct ls_err e = { 0 };
	size_t n = 0;
	json_t *rows = json_array();

	if (rows == NULL || ls_daemon_list(c->d, &v, &n, &e) != LS_OK) {
		json_decref(rows);
		fail(c, 500, "out of memory");
		return;
	}
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(rows, list_row(&v[i]));
	c->out = json_pack("{s:o}", "databases", rows);
	ls_db_infos_free(v, n);
}

static void
set_time(json_t *o, const char *key, int64_t ns)
{
	char t[LS_TIME_MAX];

	if (ns != 0)
		(void)json_object_set_new(
		    o, key, json_string(ls_time_nano(ns, t)));
}

static void
set_count(json_t *o, const char *key, uint64_t n)
{
	if (n != 0)
		(void)json_object_set_new(o, key, json_integer((json_int_t)n));
}

/* Where its capture stands: upstream's names; our steps have no phases. What is
 * nothing is left out there, too. */
static json_t *
diagnostic(const struct ls_db_info *i)
{
	int64_t end = i->active ? ls_sys->wall_ns() : i->step_end_ns;
	json_t *o = json_pack(
	    "{s:o, s:b}", "path", text_of(i->path), "active", i->active);

	if (i->step_ns != 0) {
		(void)json_object_set_new(o, "operation", json_string("sync"));
		set_time(o, "started_at", i->step_ns);
		set_time(o, "updated_at", end);
		(void)json_object_set_new(o, "elapsed_seconds",
		    json_real((double)LS_MAX(end - i->step_ns, 0) / 1e9));
	}
	set_count(o, "txid", i->local_txid);
	set_count(o, "wal_size", i->wal_bytes);
	set_count(o, "last_synced_wal_offset", i->wal_done);
	if (i->snapshotting)
		(void)json_object_set_new(o, "snapshotting", json_true());
	if (i->error[0] != '\0')
		(void)json_object_set_new(o, "error", text_of(i->error));
	return o;
}

static void
do_sync_status(struct call *c)
{
	const char *arg = ls_web_query(c->web, "path");
	char *only = NULL;
	struct ls_db_info *v = NULL;
	struct ls_err e = { 0 };
	size_t n = 0;
	json_t *rows = json_array();

	if (arg != NULL && *arg != '\0')
		only = ls_config_expand_path(arg);
	if (rows == NULL || ls_daemon_list(c->d, &v, &n, &e) != LS_OK)
		fail(c, 500, "out of memory");
	for (size_t i = 0; c->out == NULL && i < n; i++)
		if (only == NULL || strcmp(v[i].path, only) == 0)
			(void)json_array_append_new(rows, diagnostic(&v[i]));
	if (c->out == NULL && only != NULL && json_array_size(rows) == 0)
		fail(c, 404, "database not found");
	if (c->out == NULL)
		c->out = json_pack("{s:O}", "databases", rows);
	json_decref(rows);
	ls_db_infos_free(v, n);
	ls_free(only);
}

static void
do_info(struct call *c)
{
	int64_t at = ls_daemon_started_ns(c->d);
	char t[LS_TIME_MAX];

	c->out = json_pack("{s:s, s:i, s:I, s:s, s:I}", "version", LS_VERSION,
	    "pid", (int)getpid(), "uptime_seconds",
	    (json_int_t)((ls_sys->wall_ns() - at) / (int64_t)LS_SEC),
	    "started_at", ls_time_nano(at, t), "database_count",
	    (json_int_t)ls_daemon_count(c->d));
}

static const struct route {
	const char *method, *path;
	void (*run)(struct call *c);
} routes[] = {
	{ "POST", "/start", do_start },
	{ "POST", "/stop", do_stop },
	{ "POST", "/register", do_register },
	{ "POST", "/unregister", do_unregister },
	{ "POST", "/sync", do_sync },
	{ "GET", "/txid", do_txid },
	{ "GET", "/list", do_list },
	{ "GET", "/info", do_info },
	{ "GET", "/debug/sync-status", do_sync_status },
};

/* v as one line; NULL: v is, or memory is out. */
static char *
line_of(const json_t *v)
{
	char *text =
	    v ? json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	char *line = text ? ls_asprintf("%s\n", text) : NULL;

	free(text);
	return line;
}

static enum MHD_Result
reply(const struct ls_web_call *w, unsigned status, const char *text)
{
	return ls_web_reply(
	    w, status, "application/json", LS_SPAN_STR(text), NULL);
}

/* A member of another type than it should have; null stands for none. */
static const char *
odd_member(const json_t *o)
{
	static const struct {
		const char *key;
		enum { TEXT, NUMBER, TRUTH } type;
		const char *why;
	} known[] = { { "path", TEXT, "path must be a string" },
		{ "replica_url", TEXT, "replica_url must be a string" },
		{ "timeout", NUMBER, "timeout must be a whole number" },
		{ "wait", TRUTH, "wait must be true or false" } };

	for (size_t i = 0; i < LS_COUNT(known); i++) {
		const json_t *v = json_object_get(o, known[i].key);
		bool fits = known[i].type == TEXT     ? json_is_string(v)
			    : known[i].type == NUMBER ? json_is_integer(v)
						      : json_is_boolean(v);

		if (v != NULL && !json_is_null(v) && !fits)
			return known[i].why;
	}
	return NULL;
}

/* The body of a POST, an object; null is an empty one. */
static void
read_body(struct call *c)
{
	const struct ls_web_call *w = c->web;
	json_error_t err;
	const char *why = NULL;

	c->in = json_loadb(
	    (const char *)w->body.p, w->body.n, JSON_DECODE_ANY, &err);
	if (w->too_large)
		why = "the body is too large";
	else if (c->in == NULL)
		why = w->body.n == 0 ? "the body is empty" : err.text;
	else if (json_is_null(c->in))
		c->in = json_object();
	else if (!json_is_object(c->in))
		why = "the body is not an object";
	else
		why = odd_member(c->in);
	if (why != NULL)
		fail_for(c, 400, "invalid request body", why);
}

static enum MHD_Result
run(struct call *c, const struct route *r)
{
	const struct ls_web_call *w = c->web;
	enum MHD_Result ok;
	char *text;

	c->status = 200;
	/* The request is there; it may take as long as it says. */
	ls_web_patient(w);
	if (r->method[0] == 'P')
		read_body(c);
	if (c->out == NULL)
		r->run(c);
	text = line_of(c->out);
	ok = reply(w, text ? c->status : 500,
	    text ? text : "{\"error\":\"out of memory\"}\n");
	ls_free(text);
	json_decref(c->in);
	json_decref(c->out);
	return ok;
}

static enum MHD_Result
plain(const struct ls_web_call *w, unsigned status, const char *text,
    const struct ls_web_header *more)
{
	return ls_web_reply(
	    w, status, "text/plain; charset=utf-8", LS_SPAN_STR(text), more);
}

static enum MHD_Result
on_call(void *arg, const struct ls_web_call *w)
{
	struct ls_control *ctl = arg;
	struct call c = { .d = ctl->d, .web = w };
	struct ls_web_header allow[] = { { "Allow", NULL }, { NULL, NULL } };

	for (size_t i = 0; i < LS_COUNT(routes); i++) {
		if (strcmp(w->path, routes[i].path) != 0)
			continue;
		if (strcmp(w->method, routes[i].method) == 0)
			return run(&c, &routes[i]);
		allow[0].value = routes[i].method;
	}
	return allow[0].value ? plain(w, 405, "Method Not Allowed\n", allow)
			      : plain(w, 404, "404 page not found\n", NULL);
}

static enum ls_rc
listen_at(const char *path, uint32_t mode, int *fd, struct ls_err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;

	if (strlen(path) >= sizeof a.sun_path)
		return ls_err_set(e, LS_EINVALID,
		    "socket path is longer than %zu bytes: %s",
		    sizeof a.sun_path - 1, path);
	memcpy(a.sun_path, path, strlen(path));
	if (stat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return ls_err_set(e, LS_EINVALID,
			    "%s exists and is not a socket", path);
		(void)unlink(path);
	} else if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
		(void)unlink(path); /* the service's, which is not running */
	}
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&a, sizeof a) != 0 ||
	    chmod(path, (mode_t)mode) != 0 || listen(*fd, BACKLOG) != 0)
		return ls_err_sys(e, errno, "control socket %s", path);
	return LS_OK;
}

enum ls_rc
ls_control_start(struct ls_daemon *d, const char *path, uint32_t mode,
    struct ls_control **out, struct ls_err *e)
{
	struct ls_control *c = ls_zalloc(sizeof *c);
	enum ls_rc rc;
	int fd = -1;

	if (c == NULL || (c->path = ls_strdup(path)) == NULL) {
		ls_free(c);
		return ls_err_nomem(e);
	}
	c->d = d;
	if ((rc = listen_at(path, mode, &fd, e)) == LS_OK)
		rc = ls_web_start(fd, on_call, c, "control socket", &c->web, e);
	if (rc != LS_OK) {
		if (fd >= 0)
			(void)close(fd);
		ls_free(c->path);
		ls_free(c);
		return rc;
	}
	ls_info("control socket listening",
	    LS_ATTRS(LS_S("system", "server"), LS_S("path", path)));
	*out = c;
	return LS_OK;
}

void
ls_control_stop(struct ls_control *c)
{
	if (c == NULL)
		return;
	(void)unlink(c->path);
	ls_web_stop(c->web);
	ls_free(c->path);
	ls_free(c);
}
