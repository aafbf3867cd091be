/* client.c -- one request to the daemon. See client.h.
 *
 * (1) BOUNDED: an answer above CLIENT_MAX_BYTES is an error, and the whole
 *     exchange ends with the timeout, whatever arrives. */
#include "client.h"

#include "app.h"
#include "base/sys.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The daemon ends a request at the timeout; its answer has to reach us. */
#define GRACE_NS (2 * LS_SEC)

const char *
client_str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

long long
client_int(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

/* ---- the exchange ----------------------------------------------------------*/

static enum ls_rc
dial(const char *path, int *out, struct ls_err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof a.sun_path)
		return ls_err_set(e, LS_EINVALID,
		    "failed to connect to control socket: path too long: %s",
		    path);
	memcpy(a.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&a, sizeof a) != 0) {
		enum ls_rc rc = ls_err_sys(e, errno,
		    "failed to connect to control socket: dial unix %s", path);

		if (fd >= 0)
			(void)ls_sys->close(fd);
		return ls_err_hint(
		    e, rc, "is the daemon running, with socket.enabled: true?");
	}
	*out = fd;
	return LS_OK;
}

static enum ls_rc
wait_fd(int fd, short events, uint64_t deadline, struct ls_err *e)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		uint64_t now = ls_sys->mono_ns();
		int n;

		if (now >= deadline)
			return ls_err_set(
			    e, LS_ETIMEOUT, "timeout waiting for the daemon");
		n = poll(&p, 1, (int)((deadline - now) / LS_MS) + 1);
		if (n > 0)
			return LS_OK;
		if (n < 0 && errno != EINTR)
			return ls_err_sys(e, errno, "poll");
	}
}

static enum ls_rc
send_all(int fd, struct ls_span s, uint64_t deadline, struct ls_err *e)
{
	while (s.n > 0) {
		enum ls_rc rc = wait_fd(fd, POLLOUT, deadline, e);
		ssize_t n;

		if (rc != LS_OK)
			return rc;
		n = send(fd, s.p, s.n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return ls_err_sys(e, errno, "write");
		if (n > 0)
			s.p += n, s.n -= (size_t)n;
	}
	return LS_OK;
}

static enum ls_rc
recv_all(int fd, struct ls_buf *out, uint64_t deadline, struct ls_err *e)
{
	char buf[16384];

	for (;;) {
		enum ls_rc rc = wait_fd(fd, POLLIN, deadline, e);
		ssize_t n;

		if (rc != LS_OK)
			return rc;
		n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
		if (n == 0)
			return LS_OK;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return ls_err_sys(e, errno, "read");
		if (n > 0 && (rc = ls_buf_add(out, buf, (size_t)n, e)) != LS_OK)
			return rc;
	}
}

/* ---- the answer ------------------------------------------------------------*/

struct answer {
	int status;
	bool chunked;
	struct ls_span body;
};

static enum ls_rc
not_http(struct ls_err *e)
{
	return ls_err_set(e, LS_ECORRUPT, "the answer is not HTTP");
}

/* text is NUL-terminated behind its end. */
static enum ls_rc
parse_head(struct ls_span text, struct answer *a, struct ls_err *e)
{
	const char *s = (const char *)text.p, *end, *line;

	if (text.n < 12 || strncmp(s, "HTTP/1.", 7) != 0 || s[8] != ' ')
		return not_http(e);
	a->status = (int)strtol(s + 9, NULL, 10);
	if ((end = strstr(s, "\r\n\r\n")) == NULL)
		return not_http(e);
	for (line = s; line < end; line = strstr(line, "\r\n") + 2)
		if (strncasecmp(line, "Transfer-Encoding: chunked", 26) == 0)
			a->chunked = true;
	end += 4;
	a->body = LS_SPAN(end, text.n - (size_t)(end - s));
	return LS_OK;
}

static enum ls_rc
unchunk(struct ls_span in, struct ls_buf *out, struct ls_err *e)
{
	for (;;) {
		char *end;
		unsigned long long n = strtoull((const char *)in.p, &end, 16);
		const char *data = strstr(end, "\r\n");
		size_t used;
		enum ls_rc rc;

		if (data == NULL || end == (const char *)in.p)
			return not_http(e);
		used = (size_t)(data + 2 - (const char *)in.p);
		if (n == 0)
			return LS_OK;
		if (used > in.n || n > in.n - used || in.n - used - n < 2)
			return not_http(e);
		if ((rc = ls_buf_add(out, in.p + used, n, e)) != LS_OK)
			return rc;
		in.p += used + n + 2, in.n -= used + n + 2;
	}
}

static enum ls_rc
decode(const char *name, struct ls_buf *raw, json_t **out, struct ls_err *e)
{
	struct ls_buf flat = LS_BUF_INIT(CLIENT_MAX_BYTES);
	struct answer a = { 0 };
	enum ls_rc rc;
	json_t *v = NULL;

	(void)ls_buf_str(raw);
	rc = raw->n ? parse_head(ls_buf_span(raw), &a, e) : not_http(e);
	if (rc == LS_OK && a.chunked) {
		rc = unchunk(a.body, &flat, e);
		a.body = ls_buf_span(&flat);
	}
	if (rc != LS_OK)
		goto out;
	v = json_loadb(
	    a.body.n ? (const char *)a.body.p : "", a.body.n, 0, NULL);
	if (a.status == 200 && json_is_object(v)) {
		*out = v;
		v = NULL;
		goto out;
	}
	if (a.status == 200)
		rc = ls_err_set(e, LS_ECORRUPT, "the answer is not JSON");
	else if (client_str(v, "error")[0] != '\0')
		rc = ls_err_set(e, LS_EINVALID, "%s", client_str(v, "error"));
	else
		rc = ls_err_set(e, LS_EINVALID, "HTTP status %d", a.status);
out:
	json_decref(v);
	ls_buf_free(&flat);
	return ls_err_wrap(e, rc, "%s failed", name);
}

static enum ls_rc
request(const char *name, json_t *body, struct ls_buf *out, struct ls_err *e)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	enum ls_rc rc;

	if (body != NULL && text == NULL)
		return ls_err_nomem(e);
	rc = ls_buf_addf(out, e,
	    "%s /%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
	    "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
	    body ? "POST" : "GET", name, text ? strlen(text) : 0,
	    text ? text : "");
	free(text);
	return rc;
}

enum ls_rc
client_call(const struct client_opts *o, const char *name, json_t *body,
    json_t **out, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(CLIENT_MAX_BYTES);
	uint64_t s = o->timeout_s > 0 ? (uint64_t)o->timeout_s : 0;
	uint64_t deadline = ls_sys->mono_ns() + s * LS_SEC + GRACE_NS;
	int fd = -1;
	enum ls_rc rc;

	if ((rc = request(name, body, &b, e)) != LS_OK ||
	    (rc = dial(o->socket, &fd, e)) != LS_OK)
		goto out;
	rc = send_all(fd, ls_buf_span(&b), deadline, e);
	ls_buf_clear(&b);
	if (rc == LS_OK)
		rc = recv_all(fd, &b, deadline, e);
	rc = rc == LS_OK ? decode(name, &b, out, e)
			 : ls_err_wrap(e, rc, "%s failed", name);
out:
	if (fd >= 0)
		(void)ls_sys->close(fd);
	json_decref(body);
	ls_buf_free(&b);
	return rc;
}

/* ---- commands on one database ----------------------------------------------*/

int
client_begin(const struct cli_spec *s, int argc, char **argv,
    struct client_opts *o, bool positive, const char *hint_args, char **path)
{
	char **rest, hint[160];
	int n, rc;

	if ((rc = cli_parse(s, argc, argv, &rest, &n)) != CLI_GO)
		return rc;
	if (n == 0 || rest[0][0] == '\0') {
		(void)snprintf(hint, sizeof hint, "%s %s", cli_prog, hint_args);
		return cli_error(hint, "database path required");
	}
	if ((rc = cli_at_most(n, 1)) != CLI_GO)
		return rc;
	if (positive && o->timeout_s <= 0)
		return cli_error(NULL, "timeout must be greater than 0");
	*path = ls_config_expand_path(rest[0]);
	return *path ? CLI_GO : cli_error(NULL, "out of memory");
}
