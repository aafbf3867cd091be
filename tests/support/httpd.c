/* httpd.c -- a scripted HTTP server. See httpd.h. */
#include "httpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNS = 16, HEAD_MAX = 65536 };

struct request {
	char head[HEAD_MAX]; /* request line and headers, with a NUL */
	char *body;
	size_t body_n;
};

struct httpd {
	const struct httpd_step *steps;
	size_t n, at;
	int listen_fd, stop[2], conn[CONNS];
	char url[64], host[48];
	char wrong[4096];    /* the first thing that was not as scripted */
	struct request req;  /* the thread's own */
	char last[HEAD_MAX]; /* head of the last one */
	int accepted;
	pthread_t thread;
	pthread_mutex_t mu; /* guards wrong, last, at, accepted */
};

__attribute__((format(printf, 2, 3))) static void
complain(struct httpd *h, const char *fmt, ...)
{
	va_list ap;

	if (h->wrong[0] != '\0')
		return;
	va_start(ap, fmt);
	(void)vsnprintf(h->wrong, sizeof h->wrong, fmt, ap);
	va_end(ap);
}

/* ---- the request -----------------------------------------------------------*/

/* The value of a header in head, copied to out; false when it is missing. */
static bool
header(const char *head, const char *name, char *out, size_t size)
{
	size_t n = strlen(name);

	for (const char *s = strstr(head, "\r\n"); s != NULL;
	     s = strstr(s, "\r\n")) {
		s += 2;
		if (strncasecmp(s, name, n) != 0 || s[n] != ':')
			continue;
		s += n + 1;
		s += strspn(s, " ");
		n = strcspn(s, "\r");
		n = n < size ? n : size - 1;
		memcpy(out, s, n);
		out[n] = '\0';
		return true;
	}
	return false;
}

/* Read up to the empty line, byte by byte: what follows is the body's. */
static bool
read_head(int fd, struct request *q)
{
	size_t n = 0;

	while (n < sizeof q->head - 1 && recv(fd, q->head + n, 1, 0) == 1) {
		n++;
		if (n >= 4 && memcmp(q->head + n - 4, "\r\n\r\n", 4) == 0) {
			q->head[n] = '\0';
			return true;
		}
	}
	q->head[n] = '\0';
	return false;
}

static bool
read_body(int fd, struct request *q)
{
	char v[32];
	size_t got = 0;

	free(q->body);
	q->body = NULL, q->body_n = 0;
	if (!header(q->head, "content-length", v, sizeof v))
		return true;
	q->body_n = strtoull(v, NULL, 10);
	q->body = malloc(q->body_n + 1);
	while (q->body != NULL && got < q->body_n) {
		ssize_t k = recv(fd, q->body + got, q->body_n - got, 0);

		if (k <= 0)
			return false;
		got += (size_t)k;
	}
	return q->body != NULL;
}

/* ---- expectations ----------------------------------------------------------*/

static void
check_line(struct httpd *h, const char *line, size_t n)
{
	char want[1024], got[1024], *colon;
	bool not = line[0] == '!', there;

	(void)snprintf(want, sizeof want, "%.*s", (int)n - not, line + not );
	if ((colon = strchr(want, ':')) != NULL)
		*colon = '\0';
	there = header(h->req.head, want, got, sizeof got);
	if (not &&there)
		complain(
		    h, "step %zu: header %s: %s is there", h->at, want, got);
	else if (!not &&!there)
		complain(h, "step %zu: no header %s", h->at, want);
	else if (colon != NULL && strcmp(colon + 2, got) != 0)
		complain(h, "step %zu: %s is \"%s\", not \"%s\"", h->at, want,
		    got, colon + 2);
}

static void
check_request(struct httpd *h, const struct httpd_step *s)
{
	char line[8192];
	size_t n = s->body_n ? s->body_n : s->body ? strlen(s->body) : 0;
	const struct request *q = &h->req;

	if (s->method != NULL) {
		(void)snprintf(line, sizeof line, "%s %s HTTP/1.1\r\n",
		    s->method, s->target);
		if (strncmp(q->head, line, strlen(line)) != 0)
			complain(h, "step %zu: got %.*s, want %s %s", h->at,
			    (int)strcspn(q->head, "\r"), q->head, s->method,
			    s->target);
	}
	for (const char *w = s->want; w != NULL && *w != '\0';) {
		size_t k = strcspn(w, "\n");

		check_line(h, w, k);
		w += k + (w[k] == '\n');
	}
	if (s->body != NULL &&
	    (q->body_n != n || memcmp(q->body, s->body, n) != 0))
		complain(h, "step %zu: body \"%.*s\" (%zu bytes), want \"%s\"",
		    h->at, (int)(q->body_n < 1500 ? q->body_n : 1500),
		    q->body ? q->body : "", q->body_n, s->body);
}

/* ---- answers ---------------------------------------------------------------*/

static void
send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k <= 0)
			return;
		p += k, n -= (size_t)k;
	}
}

static void
answer(int fd, const struct request *q, const struct httpd_step *s)
{
	size_t n = s->reply_n ? s->reply_n : s->reply ? strlen(s->reply) : 0;
	char head[4096];
	bool length = s->headers == NULL ||
		      strcasestr(s->headers, "content-length:") == NULL;
	int k;

	k = snprintf(head, sizeof head, "HTTP/1.1 %d Scripted\r\n%s",
	    s->status ? s->status : 200, s->headers ? s->headers : "");
	if (length)
		k += snprintf(head + k, sizeof head - (size_t)k,
		    "Content-Length: %zu\r\n", n);
	k += snprintf(head + k, sizeof head - (size_t)k, "\r\n");
	send_all(fd, head, (size_t)k);
	if (strncmp(q->head, "HEAD ", 5) != 0)
		send_all(fd, s->reply, s->act == HTTPD_CUT ? s->cut : n);
}

static bool
wait_gone(struct httpd *h, int fd)
{
	struct pollfd p[2] = { { h->stop[0], POLLIN, 0 },
		{ fd, POLLIN | POLLHUP, 0 } };

	(void)poll(p, 2, -1);
	return false;
}

/* One request on fd; false: close it. */
static bool
serve(struct httpd *h, int fd)
{
	struct httpd_step s = { .status = 500 };
	bool scripted;

	if (!read_head(fd, &h->req)) {
		if (h->req.head[0] != '\0')
			complain(h, "half a request: %s", h->req.head);
		return false;
	}
	(void)pthread_mutex_lock(&h->mu);
	memcpy(h->last, h->req.head, sizeof h->last);
	if ((scripted = h->at < h->n))
		s = h->steps[h->at];
	else
		complain(h, "unexpected request %.*s",
		    (int)strcspn(h->req.head, "\r"), h->req.head);
	(void)pthread_mutex_unlock(&h->mu);
	if (s.act == HTTPD_REFUSE) {
		(void)pthread_mutex_lock(&h->mu);
		check_request(h, &s);
		h->at++;
		(void)pthread_mutex_unlock(&h->mu);
		return false;
	}
	if (!read_body(fd, &h->req))
		return false;
	(void)pthread_mutex_lock(&h->mu);
	if (scripted)
		check_request(h, &s);
	h->at += scripted;
	(void)pthread_mutex_unlock(&h->mu);
	if (s.act == HTTPD_ABORT)
		return false;
	if (s.act == HTTPD_STALL)
		return wait_gone(h, fd);
	answer(fd, &h->req, &s);
	return s.act == HTTPD_REPLY;
}

/* ---- the thread ------------------------------------------------------------*/

static void
take(struct httpd *h)
{
	int fd = accept(h->listen_fd, NULL, NULL);

	for (int i = 0; fd >= 0 && i < CONNS; i++) {
		if (h->conn[i] >= 0)
			continue;
		h->conn[i] = fd;
		(void)pthread_mutex_lock(&h->mu);
		h->accepted++;
		(void)pthread_mutex_unlock(&h->mu);
		return;
	}
	if (fd >= 0)
		(void)close(fd);
}

static void *
run(void *arg)
{
	struct httpd *h = arg;

	for (;;) {
		struct pollfd p[CONNS + 2] = { { h->stop[0], POLLIN, 0 },
			{ h->listen_fd, POLLIN, 0 } };

		for (int i = 0; i < CONNS; i++)
			p[i + 2] = (struct pollfd){ h->conn[i], POLLIN, 0 };
		if (poll(p, CONNS + 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[0].revents != 0)
			return NULL;
		for (int i = 0; i < CONNS; i++) {
			if (p[i + 2].revents == 0 || serve(h, h->conn[i]))
				continue;
			(void)close(h->conn[i]);
			h->conn[i] = -1;
		}
		if (p[1].revents != 0)
			take(h);
	}
}

struct httpd *
httpd_start(const struct httpd_step *steps, size_t n)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof a;
	struct httpd *h = calloc(1, sizeof *h);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (h == NULL ||
	    (h->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) <
		0 ||
	    bind(h->listen_fd, (struct sockaddr *)&a, sizeof a) != 0 ||
	    listen(h->listen_fd, 16) != 0 ||
	    getsockname(h->listen_fd, (struct sockaddr *)&a, &len) != 0 ||
	    pipe(h->stop) != 0)
		abort();
	h->steps = steps;
	h->n = n;
	for (int i = 0; i < CONNS; i++)
		h->conn[i] = -1;
	(void)snprintf(h->host, sizeof h->host, "127.0.0.1:%u",
	    (unsigned)ntohs(a.sin_port));
	(void)snprintf(h->url, sizeof h->url, "http://%s", h->host);
	(void)pthread_mutex_init(&h->mu, NULL);
	if (pthread_create(&h->thread, NULL, run, h) != 0)
		abort();
	return h;
}

const char *
httpd_url(const struct httpd *h)
{
	return h->url;
}

const char *
httpd_host(const struct httpd *h)
{
	return h->host;
}

int
httpd_connections(struct httpd *h)
{
	int n;

	(void)pthread_mutex_lock(&h->mu);
	n = h->accepted;
	(void)pthread_mutex_unlock(&h->mu);
	return n;
}

const char *
httpd_header(struct httpd *h, const char *name)
{
	static char v[4096];

	(void)pthread_mutex_lock(&h->mu);
	if (!header(h->last, name, v, sizeof v))
		v[0] = '\0';
	(void)pthread_mutex_unlock(&h->mu);
	return v;
}

const char *
httpd_stop(struct httpd *h)
{
	static char wrong[sizeof h->wrong];

	if (write(h->stop[1], "x", 1) != 1)
		abort();
	(void)pthread_join(h->thread, NULL);
	if (h->at < h->n)
		complain(h, "only %zu of %zu requests came", h->at, h->n);
	(void)snprintf(wrong, sizeof wrong, "%s", h->wrong);
	for (int i = 0; i < CONNS; i++)
		if (h->conn[i] >= 0)
			(void)close(h->conn[i]);
	(void)close(h->listen_fd);
	(void)close(h->stop[0]);
	(void)close(h->stop[1]);
	(void)pthread_mutex_destroy(&h->mu);
	free(h->req.body);
	free(h);
	return wrong;
}
