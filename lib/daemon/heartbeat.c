/* heartbeat.c -- a URL is asked for while all is well. See heartbeat.h.
 *
 * Upstream's rule (compatibility 9.6): at most one try an interval, counted
 * from the last try, failed ones too; and only when every database that is not
 * stopped was in sync within the interval, and there is one. That is: it is
 * there, not fenced, and no commit waits for an interval. One that is idle asks
 * the store nothing and is in sync all the same.
 * (test: test_heartbeat)
 */
#include "daemon/heartbeat.h"

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/db.h"
#include "store/net.h"

#include <errno.h>
#include <string.h>

enum { TICK_SEC = 15, TIMEOUT_SEC = 30 };

struct ls_heartbeat {
	struct ls_daemon *d;
	struct ls_net *net;
	char *url, *host;
	int64_t interval_ns;
	struct ls_cancel cancel;
	pthread_t thread;
};

struct look {
	uint64_t now, interval_ns;
	size_t open, bad;
};

static void
look_at(void *arg, struct ls_db *db)
{
	struct look *l = arg;

	if (db->goal == LS_GOAL_STOP)
		return;
	l->open++;
	l->bad += !db->exists || !db->remote_known || db->fenced ||
		  ls_db_lag_ns(db, l->now) >= l->interval_ns;
}

static bool
all_in_sync(struct ls_heartbeat *h)
{
	struct look l = { .now = ls_sys->mono_ns(),
		.interval_ns = (uint64_t)h->interval_ns };
	uint64_t after = 0;

	while (ls_daemon_walk(h->d, &after, 256, look_at, &l))
		;
	return l.open > 0 && l.bad == 0;
}

static enum ls_rc
ask(struct ls_heartbeat *h, struct ls_err *e)
{
	const struct ls_call c = { &h->cancel,
		ls_sys->mono_ns() + TIMEOUT_SEC * LS_SEC };
	const struct ls_http_req q = { .method = "GET", .url = h->url };
	struct ls_http_resp r;
	enum ls_rc rc;

	ls_http_resp_init(&r);
	rc = ls_http_send(ls_net_http(h->net), &q, &r, &c, e);
	if (rc == LS_OK && r.status / 100 != 2)
		rc = ls_err_set(e, LS_ESERVER, "status %d", r.status);
	ls_http_resp_fini(&r);
	return rc;
}

static void *
run(void *arg)
{
	struct ls_heartbeat *h = arg;
	const struct ls_call c = { &h->cancel, 0 };
	uint64_t tried = 0, now, tick = LS_SEC;
	struct ls_err e = { 0 };

	while (ls_call_sleep(&c, tick, NULL) == LS_OK) {
		tick = LS_MIN(2 * tick, TICK_SEC * LS_SEC);
		now = ls_sys->mono_ns();
		if ((tried != 0 && now - tried < (uint64_t)h->interval_ns) ||
		    !all_in_sync(h))
			continue;
		tried = now;
		if (ask(h, &e) == LS_OK)
			ls_debug(
			    "heartbeat sent", LS_ATTRS(LS_S("host", h->host)));
		else if (e.rc != LS_ECANCELED)
			ls_warn("heartbeat failed",
			    LS_ATTRS(LS_S("host", h->host), LS_E(&e)));
	}
	return NULL;
}

/* "host:port" of a URL, without what stands before an '@'. */
static char *
host_of(const char *url)
{
	const char *p = strstr(url, "://");
	size_t n, at;

	p = p != NULL ? p + 3 : url;
	n = strcspn(p, "/?#");
	for (at = n; at > 0 && p[at - 1] != '@';)
		at--;
	return ls_strndup(p + at, n - at);
}

static void
destroy(struct ls_heartbeat *h)
{
	ls_cancel_fini(&h->cancel);
	ls_free(h->url);
	ls_free(h->host);
	ls_free(h);
}

enum ls_rc
ls_heartbeat_start(struct ls_daemon *d, struct ls_net *net, const char *url,
    int64_t interval_ns, struct ls_heartbeat **out, struct ls_err *e)
{
	struct ls_heartbeat *h = ls_zalloc(sizeof *h);
	enum ls_rc rc;

	if (h == NULL)
		return ls_err_nomem(e);
	h->d = d;
	h->net = net;
	h->interval_ns = interval_ns;
	h->cancel.fd = -1;
	h->url = ls_strdup(url);
	h->host = host_of(url);
	if (h->url == NULL || h->host == NULL)
		rc = ls_err_nomem(e);
	else if ((rc = ls_cancel_init(&h->cancel, e)) == LS_OK &&
		 pthread_create(&h->thread, NULL, run, h) != 0)
		rc = ls_err_set(e, LS_EAGAIN, "cannot start a thread");
	if (rc != LS_OK) {
		destroy(h);
		return rc;
	}
	*out = h;
	return LS_OK;
}

void
ls_heartbeat_stop(struct ls_heartbeat *h)
{
	if (h == NULL)
		return;
	ls_cancel_set(&h->cancel);
	(void)pthread_join(h->thread, NULL);
	destroy(h);
}
