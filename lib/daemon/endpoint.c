/* endpoint.c -- steps that talk to a store, by the server that they talk to.
 *
 *  (1) ONE DEAD SERVER SLOWS NOBODY ELSE: each has a share of the workers that
 *      is its own, so that the others' are free whatever it does. (test:
 *      fleet.black_hole)
 *  (2) A SERVER THAT FAILS IS ASKED BY ONE STEP AT A TIME, with growing pauses,
 *      until one gets an answer; the others wait here, in order. Capture goes on
 *      meanwhile. Errors of one database (access, a bucket, a fence) are not the
 *      server's.
 *  (3) A STOP IS NOT HELD UP: what has nothing to send is run at once, and past
 *      the deadline everything is, to be cancelled.
 *  (4) UPKEEP COMES AFTER UPLOADS, but is never left out: every eighth start is
 *      its own while both wait.
 * All with d->mu held.
 */
#include "daemon/endpoint.h"

#include "daemon/db.h"

#include "base/bytes.h"

enum { MOST = 16, BAD = 3, UPKEEP_EVERY = 8 };

struct ls_endpoint {
	struct ls_endpoint *next;
	struct queue {
		struct ls_work *head, **tail;
	} wait[2];	       /* who waits, in order; [1]: upkeep */
	unsigned running, bad; /* bad: failures in a row */
	unsigned started;
	bool open; /* (2) */
	uint64_t probe_ns;
	struct ls_log_limit limit;
	char error[256];
	char name[];
};

/* The server, or the file system, as far as its name says it. */
static char *
name_of(const struct ls_place *p)
{
	const char *path = p->path ? p->path : "", *end = path;

	if (strcmp(p->type, "file") != 0)
		return ls_asprintf("%s %s", p->type,
		    p->endpoint ? p->endpoint
		    : p->bucket ? p->bucket
				: "");
	for (int i = 0; i < 2 && *end == '/'; i++)
		end += 1 + strcspn(end + 1, "/");
	return ls_asprintf("file %.*s", (int)(end - path), path);
}

enum ls_rc
ls_endpoint_of(struct ls_daemon *d, const struct ls_place *place,
    struct ls_endpoint **out, struct ls_err *e)
{
	char *name = name_of(place);
	struct ls_endpoint *ep = d->endpoints;
	size_t n;

	if (name == NULL)
		return ls_err_nomem(e);
	while (ep != NULL && strcmp(ep->name, name) != 0)
		ep = ep->next;
	n = strlen(name) + 1;
	if (ep == NULL && (ep = ls_zalloc(sizeof *ep + n)) != NULL) {
		memcpy(ep->name, name, n);
		ep->wait[0].tail = &ep->wait[0].head;
		ep->wait[1].tail = &ep->wait[1].head;
		ep->next = d->endpoints;
		d->endpoints = ep;
		d->endpoints_n++;
	}
	ls_free(name);
	*out = ep;
	return ep != NULL ? LS_OK : ls_err_nomem(e);
}

void
ls_endpoints_free(struct ls_daemon *d)
{
	for (struct ls_endpoint *ep; (ep = d->endpoints) != NULL;) {
		d->endpoints = ep->next;
		ls_free(ep);
	}
}

static bool
may_start(const struct ls_daemon *d, const struct ls_endpoint *ep, uint64_t now)
{
	size_t share = LS_MAX(LS_REMOTE_WORKERS / d->endpoints_n, (size_t)1);

	if (d->gave_up)
		return true;
	if (ep->open)
		return ep->running == 0 && now >= ep->probe_ns;
	return ep->running < LS_MIN(share, (size_t)MOST);
}

static struct ls_work *
take(struct queue *q, struct ls_work **p)
{
	struct ls_work *w = *p;

	if ((*p = w->next) == NULL)
		q->tail = p;
	return w;
}

static bool
waits(const struct ls_endpoint *ep)
{
	return ep->wait[0].head != NULL || ep->wait[1].head != NULL;
}

/* (4) */
static struct queue *
whose_turn(struct ls_endpoint *ep)
{
	bool upkeep =
	    ep->wait[0].head == NULL ||
	    (ep->wait[1].head != NULL && ep->started % UPKEEP_EVERY == 0);

	return &ep->wait[upkeep];
}

static void
turn(struct ls_daemon *d, struct ls_endpoint *ep, uint64_t now)
{
	while (waits(ep) && may_start(d, ep, now)) {
		struct queue *q = whose_turn(ep);

		ep->running++;
		ep->started++;
		ls_pool_push(d->pool, LS_LANE_REMOTE, take(q, &q->head));
	}
}

void
ls_endpoint_push(struct ls_db *db, struct ls_work *w)
{
	struct ls_endpoint *ep = db->endpoint;
	struct queue *q = &ep->wait[w == &db->maint_work && !db->retain_due];

	w->next = NULL;
	*q->tail = w;
	q->tail = &w->next;
	turn(db->d, ep, ls_sys->mono_ns());
}

void
ls_endpoint_hurry(struct ls_db *db, struct ls_work *w)
{
	struct ls_endpoint *ep = db->endpoint;

	for (int i = 0; i < 2; i++) {
		struct ls_work **p = &ep->wait[i].head;

		while (*p != NULL && *p != w)
			p = &(*p)->next;
		if (*p == NULL)
			continue;
		ep->running++;
		ls_pool_push(
		    db->d->pool, LS_LANE_REMOTE, take(&ep->wait[i], p));
		return;
	}
}

static void
came_back(struct ls_db *db)
{
	struct ls_daemon *d = db->d;
	struct ls_endpoint *ep = db->endpoint;

	ls_info("store answers again",
	    LS_ATTRS(LS_S("store", ep->name), LS_U("failures", ep->bad)));
	ep->open = false;
	for (size_t i = 0; i < d->n; i++)
		if (d->db[i]->endpoint == ep && d->db[i]->rebase)
			ls_db_due_local(d->db[i], 0);
}

static void
failed(struct ls_db *db, const struct ls_err *e)
{
	struct ls_daemon *d = db->d;
	struct ls_endpoint *ep = db->endpoint;
	uint64_t pause = d->stopping
			     ? (uint64_t)d->cfg.shutdown_sync_interval_ns
			     : ls_db_backoff(LS_SEC, ep->bad);

	memcpy(ep->error, e->msg, sizeof ep->error - 1);
	ep->probe_ns = ls_sys->mono_ns() + pause;
	if (++ep->bad < BAD)
		return;
	ep->open = true;
	if (ls_log_due(&ep->limit, 60 * LS_SEC))
		ls_warn("store does not answer, its databases wait",
		    LS_ATTRS(LS_S("store", ep->name), LS_E(e)));
}

void
ls_endpoint_done(
    struct ls_db *db, bool answered, enum ls_rc rc, const struct ls_err *e)
{
	struct ls_endpoint *ep = db->endpoint;

	ep->running--;
	if (rc == LS_ENET || rc == LS_ETIMEOUT || rc == LS_ESERVER ||
	    rc == LS_ETHROTTLED) {
		failed(db, e);
	} else if (answered) {
		if (ep->open)
			came_back(db);
		ep->bad = 0;
		ep->limit.last_ns = 0;
	}
	turn(db->d, ep, ls_sys->mono_ns());
}

void
ls_endpoints_turn(struct ls_daemon *d, uint64_t now)
{
	for (struct ls_endpoint *ep = d->endpoints; ep; ep = ep->next)
		if (waits(ep) && (ep->open || d->gave_up))
			turn(d, ep, now);
}

void
ls_endpoints_hurry(struct ls_daemon *d)
{
	for (struct ls_endpoint *ep = d->endpoints; ep; ep = ep->next)
		ep->probe_ns = 0;
}

uint64_t
ls_endpoints_due(const struct ls_daemon *d, uint64_t now)
{
	uint64_t due = UINT64_MAX;

	for (struct ls_endpoint *ep = d->endpoints; ep; ep = ep->next)
		if (waits(ep) && ep->open && ep->running == 0)
			due = LS_MIN(
			    due, ep->probe_ns > now ? ep->probe_ns - now : 0);
	return due;
}

bool
ls_endpoint_away(const struct ls_db *db, const char **why)
{
	if (why != NULL)
		*why = db->endpoint->error;
	return db->endpoint->open;
}
