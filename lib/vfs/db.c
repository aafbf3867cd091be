/* db.c -- what the connections to one replica share. See db.h.
 *
 * (1) ONE STATE A REPLICA AND PROCESS, found by URL, counted by its
 *     connections. The last close cancels what is under way and joins every
 *     thread; when no replica is open at all the sockets go too.
 *     (test: close_leaves_nothing)
 * (2) FOLLOWING NEVER WEDGES. A poll lists level 0 from the TXID that we have:
 *     one request. What continues it is put over it. In every other case --
 *     a gap, a file gone while it was read, our newest file pruned since the
 *     last look, no successful poll for a while -- all levels are listed and
 *     the chain goes on over them, and if that fails too the state is planned
 *     anew from a snapshot. An error changes nothing: the next poll tries
 *     again. (test: gap_is_bridged, defects.DefectTest.test_3)
 * (3) NEVER BACKWARDS. A version replaces the newest one only when its TXID is
 *     not smaller; the exception is a replica whose history was replaced, and
 *     that raises the epoch, so that no cache of SQLite survives it.
 *     (test: never_backwards, replaced_history)
 * (4) A FORK LEAVES THE CHILD NOTHING: after a fork the registry is empty, and
 *     what the parent opened is refused by the generation in the reader.
 *     (test: test_vfs.py fork)
 *
 * (5) WHILE COMMITS OF THIS PROCESS WAIT FOR THE STORE nothing else moves the
 *     state: who is right then is decided by the next push (push.c), never by
 *     a listing. A version that was built on one that is no longer the stored
 *     one is dropped. (test: loser_is_told_and_keeps_its_buffer)
 * (6) FOLLOWING WAITS FOR NOBODY who plans an old state anew: that takes many
 *     requests. When such a plan takes the place of the state that a poll went
 *     on from, the poll is done again.
 *     (test: poll_does_not_wait_for_a_replan)
 *
 * Locks, in this order: registry, own's push, follow or build, versions, mu.
 * `push`, `follow` and `build` are held over requests.
 */
#include "vfs/db_impl.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/sys.h"
#include "replica/files.h"
#include "vfs/guest.h"
#include "vfs/hydrate.h"
#include "vfs/load.h"
#include "vfs/duty.h"
#include "vfs/own.h"
#include "vfs/registry.h"

enum {
	POLL_SECONDS = 60,
	TRIES = 3,
	SILENCE_SECONDS = 30, /* after which level 0 alone is not believed */
	AUDIT_SECONDS = 300,
	FIRST_PAGE_SIZE = 4096, /* until the first write says */
};

static struct ls_loader
loader(struct ls_vdb *d)
{
	return (struct ls_loader){ d->r, &d->files, d->fetch, d->cache_bytes,
		&ls_guest_par };
}

struct ls_call
ls_vdb_within(struct ls_vdb *d, uint64_t seconds)
{
	return (
	    struct ls_call){ &d->cancel, ls_sys->mono_ns() + seconds * LS_SEC };
}

/* ---- life -----------------------------------------------------------------*/

static void
vdb_free(struct ls_vdb *d)
{
	ls_own_free(d->own);
	ls_duty_free(d->duty);
	ls_fetch_free(d->fetch);
	ls_ver_unref(d->newest);
	ls_ver_unref(d->stored);
	ls_ver_unref(d->replanned);
	ls_cache_unref(d->cache);
	ls_replica_free(d->r);
	ls_store_free(d->st);
	ls_vfiles_fini(&d->files);
	ls_cancel_fini(&d->cancel);
	(void)pthread_mutex_destroy(&d->follow);
	(void)pthread_mutex_destroy(&d->build);
	(void)pthread_mutex_destroy(&d->versions);
	(void)pthread_mutex_destroy(&d->mu);
	(void)pthread_cond_destroy(&d->wake);
	ls_free(d->link.key);
	ls_free(d);
}

static enum ls_rc
open_store(
    struct ls_vdb *d, const char *url, struct ls_net *net, struct ls_err *e)
{
	struct ls_place p;
	enum ls_rc rc;

	ls_place_init(&p);
	if ((rc = ls_place_from_url(url, &p, e)) == LS_OK &&
	    (rc = ls_place_from_env(&p, e)) == LS_OK &&
	    (rc = ls_place_settle(&p, e)) == LS_OK)
		rc = ls_store_open(&p, net, &d->st, e);
	ls_place_fini(&p);
	return rc;
}

static enum ls_rc
vdb_new(const struct ls_vfs_opts *o, char *key, struct ls_net *net,
    struct ls_vdb **out, struct ls_err *e)
{
	struct ls_vdb *d = ls_zalloc(sizeof *d);
	enum ls_rc rc;

	if (d == NULL) {
		ls_free(key);
		return ls_err_nomem(e);
	}
	d->link.key = key;
	d->cancel.fd = -1;
	d->cache_bytes = o->cache_bytes;
	(void)pthread_mutex_init(&d->follow, NULL);
	(void)pthread_mutex_init(&d->build, NULL);
	(void)pthread_mutex_init(&d->versions, NULL);
	(void)pthread_mutex_init(&d->mu, NULL);
	ls_guest_cond(&d->wake);
	ls_vfiles_init(&d->files);
	if ((rc = ls_cancel_init(&d->cancel, e)) == LS_OK &&
	    (rc = open_store(d, o->url, net, e)) == LS_OK &&
	    (rc = ls_replica_new(d->st, &d->r, e)) == LS_OK &&
	    (rc = ls_fetch_new(d->st, &d->files, &d->fetch, e)) == LS_OK) {
		*out = d;
		return LS_OK;
	}
	vdb_free(d);
	return rc;
}

enum ls_rc
ls_vdb_open(const struct ls_vfs_opts *o, struct ls_vdb **out, struct ls_err *e)
{
	struct ls_vdb_link *l;
	struct ls_net *net;
	struct ls_disk *disk = NULL;
	struct ls_scratch *scratch = NULL;
	enum ls_rc rc = LS_OK;
	char *key = ls_registry_key(o);

	if (key == NULL)
		return ls_err_nomem(e);
	ls_registry_lock();
	if (o->disk_path != NULL && o->disk_bytes > 0)
		rc = ls_registry_disk(o->disk_path, o->disk_bytes, &disk, e);
	else if (o->disk_bytes > 0)
		rc = ls_registry_scratch(o->disk_bytes, &scratch, e);
	if (rc != LS_OK) {
		ls_free(key);
	} else if ((l = ls_registry_find(key)) != NULL) {
		l->refs++;
		*out = (struct ls_vdb *)l;
		ls_free(key);
	} else if ((rc = ls_registry_net(&net, e)) != LS_OK) {
		ls_free(key);
	} else if ((rc = vdb_new(o, key, net, out, e)) == LS_OK) {
		(*out)->link.refs = 1;
		ls_registry_add(&(*out)->link);
	}
	if (rc == LS_OK) {
		ls_fetch_set_disk((*out)->fetch, disk);
		ls_fetch_set_scratch((*out)->fetch, scratch);
	}
	ls_registry_unlock();
	return rc;
}

static void
stop_all(struct ls_vdb *d)
{
	bool polling;

	ls_cancel_set(&d->cancel);
	ls_fetch_cancel(d->fetch);
	(void)pthread_mutex_lock(&d->mu);
	d->stop = true;
	polling = d->polling;
	(void)pthread_cond_broadcast(&d->wake);
	(void)pthread_mutex_unlock(&d->mu);
	if (polling)
		(void)pthread_join(d->poller, NULL);
	ls_hydrate_free(d->hydrate);
}

void
ls_vdb_close(struct ls_vdb *d)
{
	bool last;

	if (d == NULL)
		return;
	ls_registry_lock();
	if ((last = --d->link.refs == 0))
		d->link.closing = true;
	ls_registry_unlock();
	if (!last)
		return;
	if (d->own != NULL)
		ls_own_finish(d->own);
	stop_all(d);
	ls_own_free(d->own); /* and the lock of the buffer */
	d->own = NULL;
	ls_registry_lock();
	ls_registry_remove(&d->link);
	ls_registry_unlock();
	vdb_free(d);
	ls_registry_trim();
}

/* ---- versions -------------------------------------------------------------*/

struct ls_ver *
ls_vdb_newest(struct ls_vdb *d)
{
	struct ls_ver *v;

	(void)pthread_mutex_lock(&d->mu);
	v = d->newest ? ls_ver_ref(d->newest) : NULL;
	(void)pthread_mutex_unlock(&d->mu);
	return v;
}

static struct ls_cache *
cache_of(struct ls_vdb *d)
{
	struct ls_cache *c;

	(void)pthread_mutex_lock(&d->mu);
	c = d->cache ? ls_cache_ref(d->cache) : NULL;
	(void)pthread_mutex_unlock(&d->mu);
	return c;
}

struct ls_ver *
ls_vdb_stored(struct ls_vdb *d)
{
	struct ls_ver *v;

	(void)pthread_mutex_lock(&d->mu);
	v = d->stored ? ls_ver_ref(d->stored) : NULL;
	(void)pthread_mutex_unlock(&d->mu);
	return v;
}

void
ls_vdb_lock(struct ls_vdb *d)
{
	(void)pthread_mutex_lock(&d->versions);
}

void
ls_vdb_unlock(struct ls_vdb *d)
{
	(void)pthread_mutex_unlock(&d->versions);
}

void
ls_vdb_wait(struct ls_vdb *d, pthread_cond_t *c, uint64_t until_ns)
{
	ls_guest_wait(c, &d->versions, until_ns);
}

uint64_t
ls_vdb_content(struct ls_vdb *d)
{
	return atomic_fetch_add(&d->contents, 1) + 1;
}

void
ls_vdb_swap(struct ls_vdb *d, struct ls_ver *stored, struct ls_ver *newest)
{
	struct ls_ver *was, *was_newest;

	if (stored->build == 0)
		stored->build = atomic_fetch_add(&d->builds, 1) + 1;
	if (newest->build == 0)
		newest->build = atomic_fetch_add(&d->builds, 1) + 1;
	(void)pthread_mutex_lock(&d->mu);
	was = d->stored, was_newest = d->newest;
	d->stored = ls_ver_ref(stored);
	d->newest = ls_ver_ref(newest);
	if (d->cache != stored->cache) {
		ls_cache_unref(d->cache);
		d->cache = ls_cache_ref(stored->cache);
	}
	(void)pthread_mutex_unlock(&d->mu);
	if (was != stored)
		ls_hydrate_moved(ls_vdb_hydrate(d), was, stored);
	ls_ver_unref(was);
	ls_ver_unref(was_newest);
}

/* (5) */
enum ls_rc
ls_vdb_publish(struct ls_vdb *d, const struct ls_ver *cur, struct ls_ver *v,
    struct ls_err *e)
{
	struct ls_ver *was;
	bool same;
	enum ls_rc rc = LS_OK;

	ls_vdb_lock(d);
	was = ls_vdb_stored(d);
	same = was != NULL && was->txid == v->txid && was->epoch == v->epoch;
	if (cur != was) { /* somebody was faster */
		if (was->txid < v->txid)
			rc = ls_err_set(e, LS_ECHANGED,
			    "another plan of TXID %016llx took its place",
			    (unsigned long long)was->txid);
	} else if (!same && d->own != NULL && ls_own_pending(d->own)) {
		rc = ls_err_set(e, LS_EBUSY,
		    "TXID %016llx is stored, but transactions on top of "
		    "%016llx wait here",
		    (unsigned long long)v->txid, (unsigned long long)was->txid);
	} else {
		v->content = same ? was->content : ls_vdb_content(d);
		if (d->own != NULL)
			rc = ls_own_moved(d->own, v, e);
		else
			ls_vdb_swap(d, v, v);
	}
	ls_vdb_unlock(d);
	ls_ver_unref(was);
	ls_ver_unref(v);
	return rc;
}

enum ls_rc
ls_vdb_empty(
    struct ls_vdb *d, uint32_t page_size, struct ls_ver **out, struct ls_err *e)
{
	struct ls_cache *c = cache_of(d);
	enum ls_rc rc = LS_OK;

	if (c != NULL && ls_cache_page_size(c) != page_size) {
		ls_cache_unref(c);
		c = NULL;
	}
	if (c == NULL)
		rc = ls_cache_new(page_size, d->cache_bytes, &c, e);
	if (rc == LS_OK)
		rc = ls_ver_new(&d->files, page_size, c, out, e);
	ls_cache_unref(c);
	return rc;
}

enum ls_rc
ls_vdb_load(struct ls_vdb *d, const struct ls_target *t,
    const struct ls_files *all, struct ls_ver **out, bool *empty,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_loader ld = loader(d);
	struct ls_cache *cache = cache_of(d);
	enum ls_rc rc = ls_load(&ld, t, cache, all, out, empty, c, e);

	ls_cache_unref(cache);
	return rc;
}

/* ---- following ------------------------------------------------------------*/

/* What a listing says about the file that our state ends with. */
enum tip { TIP_UNSEEN, TIP_SEEN, TIP_REPLACED };

static enum tip
tip_in(const struct ls_ver *cur, const struct ls_files *files)
{
	for (size_t i = 0; i < files->n; i++) {
		const struct ls_file *f = &files->v[i];

		if (f->level != 0 || f->max_txid != cur->txid ||
		    f->min_txid != cur->txid)
			continue;
		/* Of what we put there ourselves the time is not known. */
		if (cur->tip.level == 0 && cur->tip.min_txid == f->min_txid &&
		    (cur->tip.size != f->size ||
			(cur->tip.created_ns != f->created_ns &&
			    cur->tip.created_ns != 0)))
			return TIP_REPLACED;
		return TIP_SEEN;
	}
	return TIP_UNSEEN;
}

/* A plan from the start, for when the chain does not go on from cur. */
static enum ls_rc
rebuild(struct ls_vdb *d, const struct ls_ver *cur, bool replaced,
    const struct ls_files *all, const struct ls_call *c, struct ls_err *e)
{
	struct ls_ver *v = NULL;
	bool empty;
	enum ls_rc rc = ls_vdb_load(d, NULL, all, &v, &empty, c, e);

	if (rc != LS_OK)
		return rc;
	replaced = replaced || (cur->lineage != 0 && v->lineage != 0 &&
				   cur->lineage != v->lineage);
	if (!replaced && v->txid < cur->txid) {
		ls_ver_unref(v); /* (3) */
		return ls_err_set(e, LS_EGAP,
		    "the replica can be planned up to TXID %016llx only, we "
		    "are at %016llx",
		    (unsigned long long)v->txid, (unsigned long long)cur->txid);
	}
	v->epoch = cur->epoch + replaced;
	return ls_vdb_publish(d, cur, v, e);
}

/* Over all levels. */
static enum ls_rc
look_everywhere(struct ls_vdb *d, const struct ls_ver *cur, bool replaced,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_loader ld = loader(d);
	struct ls_files all = { 0 };
	struct ls_ver *v = NULL;
	const struct ls_file *newest;
	enum ls_rc rc;

	rc = ls_replica_list_all(d->r, &ls_guest_par, &all, c, e);
	if (rc != LS_OK)
		return rc;
	newest = ls_files_newest(&all);
	if (newest == NULL) {
		rc = ls_err_set(e, LS_ENOTFOUND, "the replica is empty");
	} else if (replaced || newest->max_txid < cur->txid) {
		rc = rebuild(d, cur, true, &all, c, e);
	} else {
		rc = ls_load_more(&ld, cur, &all, &v, c, e);
		if (rc == LS_EGAP || rc == LS_ENOTFOUND || rc == LS_ECORRUPT)
			rc = rebuild(d, cur, false, NULL, c, e);
		else if (v != NULL)
			rc = ls_vdb_publish(d, cur, v, e);
	}
	ls_files_fini(&all);
	if (rc == LS_OK) {
		d->audit_ns = ls_sys->mono_ns();
		d->pruned_txid = cur->txid;
	}
	return rc;
}

/* From nothing to something: another process made the database. */
static enum ls_rc
look_for_first(struct ls_vdb *d, const struct ls_ver *cur,
    const struct ls_call *c, struct ls_err *e)
{
	struct ls_ver *v = NULL;
	bool empty;
	enum ls_rc rc = ls_vdb_load(d, NULL, NULL, &v, &empty, c, e);

	if (rc == LS_ENOTFOUND && empty) {
		if (e != NULL)
			*e = (struct ls_err){ 0 };
		return LS_OK;
	}
	if (rc != LS_OK)
		return rc;
	v->epoch = cur->epoch;
	return ls_vdb_publish(d, cur, v, e);
}

/* One look for something newer. With `follow`. */
static enum ls_rc
look(struct ls_vdb *d, const struct ls_call *c, struct ls_err *e)
{
	struct ls_loader ld = loader(d);
	struct ls_ver *cur = ls_vdb_stored(d), *v = NULL;
	struct ls_files l0 = { 0 };
	uint64_t now = ls_sys->mono_ns(), ok;
	enum tip tip;
	enum ls_rc rc;

	(void)pthread_mutex_lock(&d->mu);
	ok = d->ok_ns;
	(void)pthread_mutex_unlock(&d->mu);
	rc = cur->txid == 0 ? look_for_first(d, cur, c, e)
			    : ls_replica_list(d->r, 0, cur->txid, &l0, c, e);
	if (rc != LS_OK || cur->txid == 0)
		goto out;
	tip = tip_in(cur, &l0);
	if (tip != TIP_REPLACED)
		rc = ls_load_more(&ld, cur, &l0, &v, c, e);
	if (rc == LS_OK && v != NULL) {
		rc = ls_vdb_publish(d, cur, v, e);
		goto out;
	}
	/* (2) */
	if (tip == TIP_REPLACED || rc == LS_EGAP || rc == LS_ENOTFOUND ||
	    rc == LS_ECORRUPT ||
	    (tip == TIP_UNSEEN && cur->tip.level == 0 &&
		d->pruned_txid != cur->txid) ||
	    now - ok > SILENCE_SECONDS * LS_SEC ||
	    now - d->audit_ns > AUDIT_SECONDS * LS_SEC)
		rc = look_everywhere(d, cur, tip == TIP_REPLACED, c, e);
out:
	ls_files_fini(&l0);
	ls_ver_unref(cur);
	return rc;
}

static void
look_and_note(struct ls_vdb *d, uint64_t not_after_ns)
{
	struct ls_call c = ls_vdb_within(d, POLL_SECONDS);
	struct ls_err e = { 0 };
	uint64_t began;
	enum ls_rc rc = LS_OK;
	bool due, say, waits;

	(void)pthread_mutex_lock(&d->follow);
	began = ls_sys->mono_ns();
	ls_vdb_lock(d);
	waits = d->own != NULL && ls_own_pending(d->own); /* (5) */
	ls_vdb_unlock(d);
	(void)pthread_mutex_lock(&d->mu);
	due = d->newest != NULL && !waits &&
	      (not_after_ns == 0 || d->tried_ns <= not_after_ns);
	(void)pthread_mutex_unlock(&d->mu);
	if (due)
		rc = look(d, &c, &e);
	for (int i = 0; rc == LS_ECHANGED && i < TRIES; i++) {
		e = (struct ls_err){ 0 };
		rc = look(d, &c, &e); /* (6) */
	}
	(void)pthread_mutex_unlock(&d->follow);
	if (!due || rc == LS_ECANCELED)
		return;
	(void)pthread_mutex_lock(&d->mu);
	d->tried_ns = began;
	if (rc == LS_OK)
		d->ok_ns = began;
	d->poll_err = e;
	say = rc != LS_OK && ls_log_due(&d->said, 30 * LS_SEC);
	(void)pthread_mutex_unlock(&d->mu);
	if (say)
		ls_warn("cannot follow the replica",
		    LS_ATTRS(LS_S("replica", ls_store_text(d->st)), LS_E(&e)));
}

void
ls_vdb_look(struct ls_vdb *d)
{
	uint64_t now = ls_sys->mono_ns();
	bool due;

	(void)pthread_mutex_lock(&d->mu);
	due = now - d->tried_ns >= LS_SEC;
	(void)pthread_mutex_unlock(&d->mu);
	if (due)
		look_and_note(d, now - LS_SEC);
}

void
ls_vdb_look_now(struct ls_vdb *d)
{
	look_and_note(d, 0);
}

static void *
poller(void *arg)
{
	struct ls_vdb *d = arg;
	uint64_t last = ls_sys->mono_ns();

	for (;;) {
		(void)pthread_mutex_lock(&d->mu);
		/* It may become less meanwhile. */
		while (!d->stop && ls_sys->mono_ns() < last + d->poll_ns)
			ls_guest_wait(&d->wake, &d->mu, last + d->poll_ns);
		if (d->stop) {
			(void)pthread_mutex_unlock(&d->mu);
			return NULL;
		}
		(void)pthread_mutex_unlock(&d->mu);
		look_and_note(d, 0);
		last = ls_sys->mono_ns(); /* slow: no catching up */
	}
}

/* ---- opening --------------------------------------------------------------*/

static enum ls_rc
load_first(struct ls_vdb *d, bool create, bool *empty, struct ls_err *e)
{
	struct ls_call c = ls_vdb_within(d, LS_OPEN_SECONDS);
	struct ls_ver *v = NULL;
	uint64_t began = ls_sys->mono_ns();
	enum ls_rc rc = LS_OK;

	*empty = false;
	(void)pthread_mutex_lock(&d->follow);
	(void)pthread_mutex_lock(&d->mu);
	v = d->newest;
	(void)pthread_mutex_unlock(&d->mu);
	if (v == NULL) {
		rc = ls_vdb_load(d, NULL, NULL, &v, empty, &c, e);
		if (rc == LS_ENOTFOUND && *empty && create)
			rc = ls_vdb_empty(d, FIRST_PAGE_SIZE, &v, e);
		if (rc == LS_OK)
			rc = ls_vdb_publish(d, NULL, v, e);
	} else {
		began = 0;
	}
	if (rc == LS_OK && began != 0) {
		d->audit_ns = began;
		(void)pthread_mutex_lock(&d->mu);
		d->ok_ns = d->tried_ns = began;
		(void)pthread_mutex_unlock(&d->mu);
	}
	(void)pthread_mutex_unlock(&d->follow);
	return rc;
}

/* Poll at least as often as this connection wants. Without a thread for it
 * transactions look by themselves (reader.c). */
static void
poll_for(struct ls_vdb *d, uint64_t poll_ns)
{
	if (poll_ns == 0)
		return;
	(void)pthread_mutex_lock(&d->mu);
	if (d->poll_ns == 0 || poll_ns < d->poll_ns)
		d->poll_ns = poll_ns;
	if (!d->polling)
		d->polling = ls_guest_thread(&d->poller, poller, d);
	else
		(void)pthread_cond_broadcast(&d->wake);
	(void)pthread_mutex_unlock(&d->mu);
}

enum ls_rc
ls_vdb_follow(struct ls_vdb *d, uint64_t poll_ns, bool create, struct ls_err *e)
{
	struct ls_log_limit said = { 0 };
	struct ls_call forever = { &d->cancel, 0 };
	bool empty;
	enum ls_rc rc;

	while (
	    (rc = load_first(d, create, &empty, e)) == LS_ENOTFOUND && empty) {
		if (ls_log_due(&said, 30 * LS_SEC))
			ls_warn("nothing is stored yet, waiting",
			    LS_ATTRS(LS_S("replica", ls_store_text(d->st))));
		rc = ls_call_sleep(&forever, poll_ns ? poll_ns : LS_SEC, e);
		if (rc != LS_OK)
			return rc;
	}
	if (rc == LS_OK)
		poll_for(d, poll_ns);
	return rc;
}

/* ---- pins -----------------------------------------------------------------*/

void
ls_pin_begin(struct ls_vdb *d, struct ls_pin *p, struct ls_ver *v)
{
	(void)pthread_mutex_lock(&d->mu);
	p->v = ls_ver_ref(v ? v : d->newest);
	p->prev = NULL;
	p->next = d->pins;
	if (p->next != NULL)
		p->next->prev = p;
	d->pins = p;
	(void)pthread_mutex_unlock(&d->mu);
}

void
ls_pin_end(struct ls_vdb *d, struct ls_pin *p)
{
	(void)pthread_mutex_lock(&d->mu);
	*(p->prev ? &p->prev->next : &d->pins) = p->next;
	if (p->next != NULL)
		p->next->prev = p->prev;
	(void)pthread_mutex_unlock(&d->mu);
	ls_ver_unref(p->v);
	*p = (struct ls_pin){ 0 };
}

bool
ls_vdb_older_readers(struct ls_vdb *d, const struct ls_ver *v)
{
	bool yes = false;

	(void)pthread_mutex_lock(&d->mu);
	for (const struct ls_pin *p = d->pins; p != NULL && !yes; p = p->next)
		yes = p->v->txid < v->txid;
	(void)pthread_mutex_unlock(&d->mu);
	return yes;
}

/* ---- parts ----------------------------------------------------------------*/

struct ls_fetch *
ls_vdb_fetch(struct ls_vdb *d)
{
	return d->fetch;
}

struct ls_replica *
ls_vdb_replica(struct ls_vdb *d)
{
	return d->r;
}

struct ls_vfiles *
ls_vdb_files(struct ls_vdb *d)
{
	return &d->files;
}

struct ls_hydrate *
ls_vdb_hydrate(struct ls_vdb *d)
{
	struct ls_hydrate *h;

	(void)pthread_mutex_lock(&d->mu);
	h = d->hydrate;
	(void)pthread_mutex_unlock(&d->mu);
	return h;
}

enum ls_rc
ls_vdb_hydrate_start(struct ls_vdb *d, const char *path, struct ls_err *e)
{
	struct ls_hydrate *h = NULL;
	enum ls_rc rc = LS_OK;

	(void)pthread_mutex_lock(&d->build);
	if (d->hydrate == NULL &&
	    (rc = ls_hydrate_new(d, path, &h, e)) == LS_OK) {
		(void)pthread_mutex_lock(&d->mu);
		d->hydrate = h;
		(void)pthread_mutex_unlock(&d->mu);
	} else if (rc == LS_OK && path != NULL &&
		   strcmp(ls_hydrate_path(d->hydrate), path) != 0) {
		rc = ls_err_set(e, LS_EINVALID,
		    "this replica is hydrated to %s already",
		    ls_hydrate_path(d->hydrate));
	}
	(void)pthread_mutex_unlock(&d->build);
	return rc;
}

struct ls_own *
ls_vdb_own(struct ls_vdb *d)
{
	struct ls_own *w;

	ls_vdb_lock(d);
	w = d->own;
	ls_vdb_unlock(d);
	return w;
}

enum ls_rc
ls_vdb_write(struct ls_vdb *d, const struct ls_vfs_opts *o, struct ls_err *e)
{
	struct ls_call c = ls_vdb_within(d, LS_OPEN_SECONDS);
	struct ls_own *w = NULL;
	struct ls_own_hooks hooks;
	enum ls_rc rc;

	(void)pthread_mutex_lock(&d->build);
	rc = ls_duty_join(&d->duty, d->r, o, &c, e);
	if (rc == LS_OK && (w = ls_vdb_own(d)) == NULL &&
	    (rc = ls_own_new(d, o, &w, e)) == LS_OK) {
		hooks = ls_duty_hooks(d->duty);
		ls_own_set_hooks(w, &hooks);
		ls_vdb_lock(d);
		d->own = w;
		ls_vdb_unlock(d);
	}
	(void)pthread_mutex_unlock(&d->build);
	return rc == LS_OK ? ls_own_join(w, o, e) : rc;
}

/* Without build: a connection that writes has made it, and it stays. */
void
ls_vdb_upkeep_error(struct ls_vdb *d, struct ls_err *out)
{
	ls_duty_error(d->duty, out);
}

void
ls_vdb_known(struct ls_vdb *d, uint64_t mono_ns)
{
	(void)pthread_mutex_lock(&d->mu);
	d->ok_ns = LS_MAX(d->ok_ns, mono_ns);
	(void)pthread_mutex_unlock(&d->mu);
}

int64_t
ls_vdb_lag_ns(struct ls_vdb *d)
{
	int64_t lag;

	(void)pthread_mutex_lock(&d->mu);
	lag = d->ok_ns == 0 ? -1 : (int64_t)(ls_sys->mono_ns() - d->ok_ns);
	(void)pthread_mutex_unlock(&d->mu);
	return lag;
}

void
ls_vdb_last_error(struct ls_vdb *d, struct ls_err *out)
{
	(void)pthread_mutex_lock(&d->mu);
	*out = d->poll_err;
	(void)pthread_mutex_unlock(&d->mu);
}
