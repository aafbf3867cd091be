/* daemon.c -- the scheduler: events and due times in, steps out.
 *
 *  (1) A RECORD IS LENT TO ONE WORKER FOR ONE STEP. `start_due` pushes a step
 *      only when its part is not lent, and sets the flag under d->mu.
 *  (2) NO GUARD IS HELD UNWATCHED. While any database is hot, every 250 ms both
 *      header copies of each wal-index are compared (a few loads), and new
 *      frames that no event told of are found as well (design 3.1, 3.2).
 *  (3) IDLE COSTS NOTHING: with all databases parked the loop sleeps until an
 *      event; timers exist only for records that want one.
 * Not here: what a step does (db_local.c, db_remote.c), stopping (stop.c).
 */
#include "daemon/db.h"

#include "base/bytes.h"
#include "daemon/notify.h"
#include "daemon/stop.h"
#include "daemon/tree.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	LOCAL_WORKERS = 4,
	TICK_MS = 250,
	TORN_MS = 10,
	SLOW_SEC = 2,
	SWEEP_SEC = 60,
	MANY = 100 /* databases: enough to save where it can be saved */
};

void
ls_daemon_wake(struct ls_daemon *d)
{
	static const uint64_t one = 1;

	if (write(d->wake_fd, &one, sizeof one) < 0)
		return; /* full counter: it is awake */
}

void
ls_db_due_local(struct ls_db *db, uint64_t due_ns)
{
	ls_timer_sooner(&db->d->timers, &db->local_timer, due_ns);
}

void
ls_db_due_remote(struct ls_db *db, uint64_t due_ns)
{
	ls_timer_sooner(&db->d->timers, &db->remote_timer, due_ns);
}

void
ls_db_due_maint(struct ls_db *db, uint64_t due_ns)
{
	ls_timer_sooner(&db->d->timers, &db->maint_timer, due_ns);
}

static enum ls_rc
make_parts(struct ls_daemon *d, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = ls_cancel_init(&d->cancel, e)) != LS_OK ||
	    (rc = ls_watch_new(&d->watch, e)) != LS_OK)
		return rc;
	if ((d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		return ls_err_sys(e, errno, "eventfd");
	return LS_OK;
}

enum ls_rc
ls_daemon_add(struct ls_daemon *d, struct ls_db_config *conf,
    struct ls_tree *tree, enum ls_origin from, struct ls_err *e)
{
	struct ls_db *db = NULL;
	enum ls_rc rc;

	if ((rc = ls_timers_reserve(&d->timers, 3 * (d->n + 1), e)) != LS_OK) {
		ls_db_config_fini(conf);
		return rc;
	}
	if ((rc = ls_db_new(d, conf, &db, e)) != LS_OK)
		return rc;
	if (d->n == d->cap) {
		size_t cap = LS_MAX(2 * d->cap, (size_t)16);
		struct ls_db **v = ls_realloc(d->db, cap * sizeof(*v));

		if (v == NULL) {
			ls_db_free(db);
			return ls_err_nomem(e);
		}
		d->db = v;
		d->cap = cap;
	}
	if ((rc = ls_index_add(d, db, e)) != LS_OK) {
		ls_db_free(db);
		return rc;
	}
	db->tree = tree;
	db->origin = from;
	rc = ls_endpoint_of(d, &db->conf.place, &db->endpoint, e);
	if (rc != LS_OK) {
		ls_index_remove(d, db);
		ls_db_free(db);
		return rc;
	}
	db->number = ++d->numbers;
	d->db[d->n++] = db;
	d->unlooked++;
	ls_db_due_local(db, 0); /* its end is followed by the remote's first */
	return LS_OK;
}

static enum ls_rc
add_all(struct ls_daemon *d, struct ls_config *cfg, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < cfg->n_dbs; i++)
		rc = ls_daemon_add(d, &cfg->dbs[i], NULL, LS_FROM_CONFIG, e);
	for (size_t i = 0; rc == LS_OK && i < cfg->n_dirs; i++) {
		struct ls_tree *t;

		if ((rc = ls_tree_add(d, &cfg->dirs[i], &t, e)) == LS_OK)
			rc = ls_tree_first(t, e);
	}
	return rc;
}

enum ls_rc
ls_daemon_new(struct ls_config *cfg, const struct ls_daemon_opts *o,
    struct ls_net *net, struct ls_daemon **out, struct ls_err *e)
{
	struct ls_daemon *d = ls_zalloc(sizeof *d);
	enum ls_rc rc;
	pthread_condattr_t attr;

	if (d == NULL)
		return ls_err_nomem(e);
	d->opts = *o;
	d->net = net;
	d->wake_fd = d->poll_fd = d->cancel.fd = -1;
	d->started_ns = ls_sys->wall_ns();
	d->looks_tail = &d->looks;
	d->looks_due_ns = UINT64_MAX;
	d->tree_work.run = ls_tree_step;
	ls_slots_init(d, o->files);
	(void)pthread_mutex_init(&d->mu, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&d->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	d->cfg = *cfg; /* the scalars; strings and databases stay cfg's */
	d->cfg.dbs = NULL;
	d->cfg.dirs = NULL;
	d->cfg.n_dbs = d->cfg.n_dirs = 0;
	rc = make_parts(d, e);
	if (rc == LS_OK)
		rc = add_all(d, cfg, e);
	if (rc != LS_OK) {
		ls_daemon_free(d);
		return rc;
	}
	cfg->n_dbs = cfg->n_dirs = 0;
	*out = d;
	return LS_OK;
}

void
ls_daemon_free(struct ls_daemon *d)
{
	if (d == NULL)
		return;
	ls_pool_free(d->pool);
	for (size_t i = 0; i < d->n; i++)
		ls_db_free(d->db[i]);
	ls_free(d->db);
	ls_trees_free(d);
	ls_endpoints_free(d);
	ls_index_fini(&d->index);
	ls_timers_fini(&d->timers);
	ls_watch_free(d->watch);
	ls_cancel_fini(&d->cancel);
	if (d->wake_fd >= 0)
		(void)close(d->wake_fd);
	(void)pthread_cond_destroy(&d->changed);
	(void)pthread_mutex_destroy(&d->mu);
	ls_free(d);
}

void
ls_daemon_poll(struct ls_daemon *d, int fd, void (*ready)(void *arg), void *arg)
{
	d->poll_fd = fd;
	d->poll_ready = ready;
	d->poll_arg = arg;
}

void
ls_daemon_ready(struct ls_daemon *d, void (*fn)(void *arg), void *arg)
{
	d->ready = fn;
	d->ready_arg = arg;
}

void
ls_daemon_quiet(struct ls_daemon *d, void (*fn)(void *arg), void *arg)
{
	d->quiet = fn;
	d->quiet_arg = arg;
}

/* Hand a step to a worker, unless the part is lent: then it is looked at again
 * when it comes back (settle() sets the timers). mu held. */
void
ls_daemon_start_local(struct ls_daemon *d, struct ls_db *db)
{
	if (db->local_lent || db->closed || !ls_slot_take(db))
		return;
	db->local_lent = true;
	db->local_net = db->rebase && !ls_endpoint_away(db, NULL);
	if (db->local_net)
		ls_endpoint_push(db, &db->local_work);
	else
		ls_pool_push(d->pool, LS_LANE_LOCAL, &db->local_work);
}

static void
start_remote(struct ls_daemon *d, struct ls_db *db)
{
	if (db->remote_lent || db->closed || db->remote_done)
		return;
	db->remote_lent = true;
	db->upload_after = false;
	db->remote_since_ns = 0;
	d->remote_n++;
	/* What has nothing to send does not wait for those that have. */
	db->remote_net = !ls_db_nothing_to_send(db);
	if (db->remote_net)
		ls_endpoint_push(db, &db->remote_work);
	else
		ls_pool_push(d->pool, LS_LANE_LOCAL, &db->remote_work);
}

static void
start_maint(struct ls_db *db)
{
	if (db->maint_lent || db->closed ||
	    (db->goal == LS_GOAL_STOP && !db->retain_due))
		return;
	db->maint_lent = true;
	ls_endpoint_push(db, &db->maint_work);
}

/* An upload is due, and the WAL has more: that comes first, and goes with it.
 * Each timer for itself, the two intervals would add up. mu held. */
static bool
capture_first(struct ls_daemon *d, struct ls_db *db)
{
	if (!db->hot || db->local_lent || db->remote_lent || db->rebase ||
	    db->upload_after || db->goal == LS_GOAL_STOP || db->fenced ||
	    db->stuck || d->suspending || db->waiters > 0 ||
	    db->conf.monitor_interval_ns == 0 || !ls_capture_changed(db->cap))
		return false; /* upload_after: that was done */
	db->upload_after = true;
	ls_daemon_start_local(d, db);
	return true;
}

/* Lent: settle() makes it due again when it is back. */
static void
start(struct ls_daemon *d, struct ls_timer *t)
{
	char *p = (char *)t;
	struct ls_db *db;

	switch ((enum ls_timer_kind)t->kind) {
	case LS_T_LOCAL:
		db = (struct ls_db *)(p - offsetof(struct ls_db, local_timer));
		db->local_again |= db->local_lent;
		ls_daemon_start_local(d, db);
		break;
	case LS_T_REMOTE:
		db = (struct ls_db *)(p - offsetof(struct ls_db, remote_timer));
		db->remote_again |= db->remote_lent;
		if (!capture_first(d, db))
			start_remote(d, db);
		break;
	case LS_T_MAINT:
		db = (struct ls_db *)(p - offsetof(struct ls_db, maint_timer));
		db->maint_again |= db->maint_lent;
		start_maint(db);
		break;
	}
}

/* Start what is due; ns until the next is. mu held. */
static uint64_t
start_due(struct ls_daemon *d)
{
	uint64_t now = ls_sys->mono_ns();
	struct ls_timer *t;

	while ((t = ls_timers_first(&d->timers)) != NULL && t->due_ns <= now) {
		ls_timer_clear(&d->timers, t);
		start(d, t);
	}
	return t == NULL ? UINT64_MAX : t->due_ns - now;
}

/* An event, or new frames: the first after a quiet spell is captured at once,
 * the others within monitor-interval go together. mu held. */
static void
stir(struct ls_db *db, uint64_t now)
{
	uint64_t every = (uint64_t)db->conf.monitor_interval_ns;

	if (db->seen_ns == 0)
		db->seen_ns = now;
	if (every == 0 || db->fenced || db->stuck)
		return;
	ls_db_due_local(db, LS_MAX(now, db->last_capture_ns + every));
}

static void
on_event(void *arg, void *owner)
{
	struct ls_db *db = owner;

	(void)arg;
	/* The one-shot watch is gone now; it is armed again when the step that
	 * this makes due has ended, so that a busy database wakes us once a
	 * step and not once a write. */
	db->stirred = true;
	db->armed = false;
	stir(db, ls_sys->mono_ns());
}

/* mu held. */
static void
read_events(struct ls_daemon *d)
{
	const struct ls_watch_fns fns = { on_event, ls_tree_event, d };

	ls_watch_read(d->watch, &fns);
	if (ls_watch_full(d->watch))
		ls_warn("fs.inotify.max_user_watches is used up: folders are "
			"watched instead of files",
		    NULL);
}

void
ls_db_returned(struct ls_db *db)
{
	if (db->returned)
		return;
	db->returned = true;
	db->next_returned = db->d->returned;
	db->d->returned = db;
}

static void
poll_instead(struct ls_daemon *d, struct ls_db *db, const struct ls_err *e)
{
	db->polled = true;
	d->polled_n++;
	if (!d->poll_said)
		ls_warn(
		    e->rc == LS_ENOSPC
			? "fs.inotify.max_user_watches is used up: looking at "
			  "the rest every second instead"
			: "cannot watch the folder, looking every second "
			  "instead",
		    LS_ATTRS(LS_S("db", db->name), LS_E(e)));
	d->poll_said = true;
}

static void
watch_folder(struct ls_daemon *d, struct ls_db *db)
{
	struct ls_err e = { 0 };

	if (db->polled)
		return;
	/* Each time: the folder may be another one now, or a link's target. */
	db->watched = ls_watch_db(d->watch, db->conf.path, db, &e) == LS_OK;
	if (db->watched && db->file != NULL)
		db->watched = ls_watch_db(d->watch, db->file, db, &e) == LS_OK;
	if (!db->watched && e.rc != LS_ENOTFOUND)
		poll_instead(d, db, &e);
}

/* Arm the watches of records that came back. What changed before the arming is
 * seen by the look behind it. mu held. */
static void
arm_returned(struct ls_daemon *d, uint64_t now)
{
	struct ls_db *db;

	while ((db = d->returned) != NULL) {
		d->returned = db->next_returned;
		db->returned = false;
		if (db->goal == LS_GOAL_STOP || d->opts.once)
			continue;
		watch_folder(d, db);
		db->armed = ls_watch_arm(d->watch, ls_db_file(db), db);
		if (db->hot ? !db->local_lent && ls_capture_changed(db->cap)
			    : db->parked && ls_db_woke(db))
			stir(db, now);
	}
}

/* Those without a watch, and now and then all that are parked. mu held. */
static void
poll_parked(struct ls_daemon *d, uint64_t now)
{
	bool all = now >= d->sweep_ns;

	if (!all && (d->polled_n == 0 || now < d->poll_ns))
		return;
	d->poll_ns = now + LS_SEC;
	if (all)
		d->sweep_ns = now + SWEEP_SEC * LS_SEC;
	for (size_t i = 0; i < d->n; i++) {
		struct ls_db *db = d->db[i];

		if (db->parked && !db->local_lent && (all || db->polled) &&
		    ls_db_woke(db))
			stir(db, now);
		else if (all && ls_db_forget_remote(db))
			d->parkings++; /* its memory may be given back */
	}
}

static uint64_t
poll_due(const struct ls_daemon *d, uint64_t now)
{
	uint64_t due =
	    d->polled_n > 0 ? LS_MIN(d->poll_ns, d->sweep_ns) : d->sweep_ns;

	return d->n == 0 ? UINT64_MAX : due > now ? due - now : 0;
}

static void
look_at_guard(struct ls_daemon *d, struct ls_db *db, uint64_t now)
{
	if (!ls_capture_torn(db->cap)) {
		db->torn_ns = 0;
	} else if (db->torn_ns == 0) {
		db->torn_ns = now;
		d->tick_ns = now + TORN_MS * LS_MS;
	} else if (now - db->torn_ns >= TORN_MS * LS_MS) {
		db->recover = true;
		ls_db_due_local(db, now);
		/* A step may take long (a first copy): recover beside it. */
		if (db->local_lent &&
		    ls_capture_recover(db->cap, NULL) != LS_OK)
			d->tick_ns = now + TORN_MS * LS_MS;
	}
	if (!db->local_lent && ls_capture_changed(db->cap))
		stir(db, now);
}

void
ls_daemon_look_often(struct ls_daemon *d)
{
	d->tick_step_ns = 0;
	d->tick_ns = 0;
}

/* A store that takes a request and is silent: said within SLOW_SEC, whatever
 * the request's own limits are. mu held. */
static void
look_for_slow(struct ls_daemon *d, uint64_t now)
{
	if (d->remote_n == 0 || now < d->slow_ns)
		return;
	d->slow_ns = now + LS_SEC;
	for (size_t i = 0; i < d->n; i++) {
		struct ls_db *db = d->db[i];

		if (db->remote_lent && db->remote_since_ns != 0 &&
		    now > db->remote_since_ns + SLOW_SEC * LS_SEC &&
		    ls_log_due(&db->slow_limit, 30 * LS_SEC))
			ls_warn("replica has not answered yet",
			    LS_ATTRS(LS_S("db", db->name),
				LS_S("replica", db->conf.place.type),
				LS_D("elapsed", now - db->remote_since_ns)));
	}
}

/* (2) mu held. */
static void
tick(struct ls_daemon *d, uint64_t now)
{
	if (d->hot_n == 0 || now < d->tick_ns)
		return;
	d->tick_step_ns =
	    LS_MIN(2 * LS_MAX(d->tick_step_ns, LS_MS / 2), TICK_MS * LS_MS);
	d->tick_ns = now + d->tick_step_ns;
	for (struct ls_db *db = d->hottest; db != NULL; db = db->colder)
		look_at_guard(d, db, now);
}

static int
timeout_ms(struct ls_daemon *d, uint64_t next_ns, uint64_t now)
{
	uint64_t ns = LS_MIN(next_ns, ls_trees_due(d, now));

	ns = LS_MIN(ns, ls_endpoints_due(d, now));
	uint64_t dog = ls_notify_watchdog_ns();

	if (d->hot_n > 0)
		ns = LS_MIN(ns, d->tick_ns > now ? d->tick_ns - now : 0);
	if (dog != 0)
		ns = LS_MIN(ns, dog);
	if (d->remote_n > 0)
		ns = LS_MIN(ns, LS_SEC);
	if (d->stopping)
		ns = LS_MIN(ns, (d->n > MANY ? 5 : 100) * LS_MS);
	if (d->crowd != NULL || d->leaving != NULL)
		ns = LS_MIN(ns, 50 * LS_MS);
	ns = LS_MIN(ns, poll_due(d, now));
	if (ns == UINT64_MAX)
		return -1;
	return (int)LS_MIN((ns + 999999) / 1000000, (uint64_t)3600000);
}

/* Once every database had its first turn. mu held. */
static void
tell_ready(struct ls_daemon *d)
{
	if (d->was_ready || d->unlooked > 0)
		return;
	d->was_ready = true;
	if (ls_stop_if_locked(d))
		return;
	(void)pthread_mutex_unlock(&d->mu);
	if (d->ready != NULL)
		d->ready(d->ready_arg);
	(void)pthread_mutex_lock(&d->mu);
}

/* mu held. */
static void
tell_quiet(struct ls_daemon *d)
{
	if (d->parkings < MANY || (d->hot_n > 0 && d->parkings < 10 * MANY))
		return;
	d->parkings = 0;
	if (d->quiet == NULL)
		return;
	(void)pthread_mutex_unlock(&d->mu);
	d->quiet(d->quiet_arg);
	(void)pthread_mutex_lock(&d->mu);
}

void
ls_daemon_suspend(struct ls_daemon *d)
{
	(void)pthread_mutex_lock(&d->mu);
	d->suspending = !d->stopping;
	for (size_t i = 0; i < d->n; i++)
		if (d->db[i]->hot)
			ls_db_due_local(d->db[i], 0);
	(void)pthread_mutex_unlock(&d->mu);
	ls_daemon_wake(d);
}

/* mu held. */
static void
go_on(struct ls_daemon *d)
{
	d->suspending = false;
	for (size_t i = 0; i < d->n; i++)
		ls_db_due_local(d->db[i], 0);
}

void
ls_daemon_resume(struct ls_daemon *d)
{
	(void)pthread_mutex_lock(&d->mu);
	if (d->suspending)
		go_on(d);
	(void)pthread_mutex_unlock(&d->mu);
}

/* Once no guard is held: stop here, and go on from here. mu held. */
static void
suspend(struct ls_daemon *d)
{
	if (!d->suspending || d->hot_n > 0)
		return;
	for (size_t i = 0; i < d->n; i++)
		if (d->db[i]->local_lent)
			return;
	(void)raise(SIGSTOP);
	go_on(d);
}

static enum ls_rc
make_epoll(struct ls_daemon *d, int *ep, struct ls_err *e)
{
	const int fds[] = { d->wake_fd, ls_watch_fd(d->watch), d->poll_fd };

	if ((*ep = epoll_create1(EPOLL_CLOEXEC)) < 0)
		return ls_err_sys(e, errno, "epoll");
	for (size_t i = 0; i < LS_COUNT(fds); i++) {
		struct epoll_event ev = { .events = EPOLLIN,
			.data.fd = fds[i] };

		if (fds[i] >= 0 &&
		    epoll_ctl(*ep, EPOLL_CTL_ADD, fds[i], &ev) != 0)
			return ls_err_sys(e, errno, "epoll");
	}
	return LS_OK;
}

static void
handle(struct ls_daemon *d, int fd)
{
	uint64_t count;

	if (fd == d->wake_fd) {
		if (read(fd, &count, sizeof count) < 0)
			return; /* somebody else's wake-up took it */
	} else if (fd == d->poll_fd) {
		d->poll_ready(d->poll_arg);
	} else {
		(void)pthread_mutex_lock(&d->mu);
		read_events(d);
		(void)pthread_mutex_unlock(&d->mu);
	}
}

/* Not at every turn: a busy daemon has thousands a second. */
static void
tell_watchdog(struct ls_daemon *d, uint64_t now)
{
	uint64_t dog = ls_notify_watchdog_ns();

	if (dog == 0 || now < d->dog_ns)
		return;
	d->dog_ns = now + dog / 4; /* the loop wakes after dog at the latest */
	ls_notify("WATCHDOG=1");
}

static void
loop(struct ls_daemon *d, int ep)
{
	struct epoll_event ev[16];

	for (bool over = false; !over;) {
		uint64_t now = ls_sys->mono_ns(), next;
		int n, ms;

		(void)pthread_mutex_lock(&d->mu);
		/* A write before a stop was asked for is heard of before the
		 * final step begins: db_local.c (5). */
		read_events(d);
		arm_returned(d, now);
		poll_parked(d, now);
		ls_trees_turn(d, now);
		ls_leave_turn(d, now);
		ls_endpoints_turn(d, now);
		tick(d, now);
		look_for_slow(d, now);
		ls_slots_turn(d, now);
		suspend(d);
		over = d->stopping && ls_stop_turn(d, now);
		next = start_due(d);
		tell_ready(d);
		tell_quiet(d);
		ms = timeout_ms(d, next, now);
		(void)pthread_mutex_unlock(&d->mu);
		tell_watchdog(d, now);
		if (over)
			break;
		n = epoll_wait(ep, ev, LS_COUNT(ev), ms);
		for (int i = 0; i < n; i++)
			handle(d, ev[i].data.fd);
	}
}

enum ls_rc
ls_daemon_run(struct ls_daemon *d, struct ls_err *e)
{
	enum ls_rc rc;
	int ep = -1;

	if ((rc = make_epoll(d, &ep, e)) == LS_OK)
		rc = ls_pool_new(LOCAL_WORKERS, LS_REMOTE_WORKERS, &d->pool, e);
	if (rc == LS_OK) {
		if (d->opts.once)
			ls_daemon_stop(d);
		loop(d, ep);
		(void)pthread_mutex_lock(&d->mu);
		d->over = true; /* requests that wait are answered */
		(void)pthread_cond_broadcast(&d->changed);
		(void)pthread_mutex_unlock(&d->mu);
		rc = ls_stop_verdict(d, e);
	}
	if (ep >= 0)
		(void)close(ep);
	return rc;
}
