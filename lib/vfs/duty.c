/* duty.c -- the lease and the upkeep of a writer. See duty.h.
 *
 * (1) THE LEASE COMES FIRST AND GOES LAST: it is taken before anything of the
 *     buffer is replayed, and released when the last push and the last turn of
 *     upkeep are done. (test: test_write_lease.py)
 * (2) A LEASE THAT ANOTHER TOOK IS A FENCE: nothing more is sent. One that
 *     could not be renewed in time only stops the sending until it can be.
 */
#include "vfs/duty.h"

#include "base/sys.h"
#include "vfs/guest.h"
#include "vfs/keeper.h"
#include "vfs/lease.h"

struct ls_duty {
	struct ls_replica *r;
	struct ls_keeper *keeper; /* NULL: finished */
	pthread_mutex_t mu;
	struct ls_lease *lease; /* under mu; NULL: nobody asked for it */
};

/* (2) */
static enum ls_rc
may_write(void *arg, const struct ls_call *c, struct ls_err *e)
{
	struct ls_duty *d = arg;
	enum ls_rc rc = LS_OK;

	(void)c;
	(void)pthread_mutex_lock(&d->mu);
	if (d->lease != NULL)
		rc = ls_lease_held(d->lease, e);
	(void)pthread_mutex_unlock(&d->mu);
	if (rc == LS_ELOCKED) {
		rc = LS_EFENCED;
		if (e != NULL)
			e->rc = rc;
	}
	return rc;
}

static void
pushing(void *arg, uint64_t txid)
{
	struct ls_duty *d = arg;

	if (d->keeper != NULL)
		ls_keeper_pushing(d->keeper, txid);
}

static void
pushed(void *arg, struct ls_uploader *u, uint64_t txid, const struct ls_call *c)
{
	struct ls_duty *d = arg;

	(void)u, (void)c;
	if (d->keeper != NULL)
		ls_keeper_pushed(d->keeper, txid);
}

/* (1) */
static void
finished(void *arg)
{
	struct ls_duty *d = arg;
	struct ls_quiet q;

	ls_quiet_begin(&q);
	ls_keeper_free(d->keeper);
	d->keeper = NULL;
	(void)pthread_mutex_lock(&d->mu);
	ls_lease_drop(d->lease);
	d->lease = NULL;
	(void)pthread_mutex_unlock(&d->mu);
	ls_quiet_end(&q);
}

struct ls_own_hooks
ls_duty_hooks(struct ls_duty *d)
{
	return (struct ls_own_hooks){ d, may_write, pushing, pushed, finished };
}

void
ls_duty_error(struct ls_duty *d, struct ls_err *out)
{
	*out = (struct ls_err){ 0 };
	if (d->keeper != NULL)
		ls_keeper_error(d->keeper, out);
}

static enum ls_rc
duty_new(struct ls_duty **out, struct ls_replica *r,
    const struct ls_vfs_opts *o, struct ls_err *e)
{
	struct ls_duty *d = ls_zalloc(sizeof *d);
	enum ls_rc rc;

	if (d == NULL)
		return ls_err_nomem(e);
	d->r = r;
	(void)pthread_mutex_init(&d->mu, NULL);
	if ((rc = ls_keeper_new(r, &o->keep, &d->keeper, e)) == LS_OK)
		*out = d;
	else
		ls_duty_free(d);
	return rc;
}

enum ls_rc
ls_duty_join(struct ls_duty **d, struct ls_replica *r,
    const struct ls_vfs_opts *o, const struct ls_call *c, struct ls_err *e)
{
	struct ls_lease *lease = NULL;
	struct ls_quiet q;
	enum ls_rc rc = LS_OK;

	if (*d == NULL && (rc = duty_new(d, r, o, e)) != LS_OK)
		return rc;
	if (!o->lease || (*d)->lease != NULL)
		return LS_OK;
	ls_quiet_begin(&q);
	rc = ls_lease_take(
	    ls_replica_store(r), NULL, LS_LEASE_TTL, &lease, c, e);
	ls_quiet_end(&q);
	(void)pthread_mutex_lock(&(*d)->mu);
	(*d)->lease = lease;
	(void)pthread_mutex_unlock(&(*d)->mu);
	return rc;
}

void
ls_duty_free(struct ls_duty *d)
{
	if (d == NULL)
		return;
	finished(d);
	(void)pthread_mutex_destroy(&d->mu);
	ls_free(d);
}
