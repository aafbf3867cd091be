/* net.c -- what the handles of one process share. See net.h. */
#include "store/net.h"

#include "base/sys.h"
#include "store/ending.h"

struct ls_net {
	struct ls_http *http;
	struct ls_creds_cache *creds;
	pthread_mutex_t mu; /* guards facts */
	struct ls_fact *facts;
	_Atomic uint64_t seed;
	struct ls_net_stats stats;
};

enum ls_rc
ls_net_new(struct ls_net **out, struct ls_err *e)
{
	struct ls_net *n = ls_zalloc(sizeof *n);
	enum ls_rc rc;

	if (n == NULL)
		return ls_err_nomem(e);
	(void)pthread_mutex_init(&n->mu, NULL);
	atomic_store(
	    &n->seed, (uint64_t)ls_sys->wall_ns() ^ ls_sys->mono_ns() << 20);
	if ((rc = ls_http_new(&n->http, e)) != LS_OK ||
	    (rc = ls_creds_cache_new(n->http, &n->creds, e)) != LS_OK) {
		ls_net_free(n);
		return rc;
	}
	*out = n;
	return LS_OK;
}

void
ls_net_free(struct ls_net *n)
{
	if (n == NULL ||
	    ls_ending()) /* closing a connection is no longer safe */
		return;
	ls_creds_cache_free(n->creds);
	ls_http_free(n->http);
	while (n->facts != NULL) {
		struct ls_fact *f = n->facts;

		n->facts = f->next;
		(void)pthread_mutex_destroy(&f->mu);
		(void)pthread_mutex_destroy(&f->probe_mu);
		ls_free(f->name);
		ls_free(f);
	}
	(void)pthread_mutex_destroy(&n->mu);
	ls_free(n);
}

void
ls_net_trim(struct ls_net *n, uint64_t idle_ms)
{
	if (ls_ending_enter(NULL) != LS_OK)
		return;
	ls_http_trim(n->http, idle_ms);
	ls_ending_leave();
}

struct ls_http *
ls_net_http(struct ls_net *n)
{
	return n->http;
}

struct ls_net_stats *
ls_net_stats(struct ls_net *n)
{
	return &n->stats;
}

struct ls_creds_cache *
ls_net_creds(struct ls_net *n)
{
	return n->creds;
}

static struct ls_fact *
fact_new(const char *name)
{
	struct ls_fact *f = ls_zalloc(sizeof *f);

	if (f == NULL || (f->name = ls_strdup(name)) == NULL) {
		ls_free(f);
		return NULL;
	}
	(void)pthread_mutex_init(&f->mu, NULL);
	(void)pthread_mutex_init(&f->probe_mu, NULL);
	return f;
}

enum ls_rc
ls_net_fact(
    struct ls_net *n, const char *name, struct ls_fact **out, struct ls_err *e)
{
	struct ls_fact *f;

	(void)pthread_mutex_lock(&n->mu);
	for (f = n->facts; f != NULL && strcmp(f->name, name) != 0;)
		f = f->next;
	if (f == NULL && (f = fact_new(name)) != NULL) {
		f->next = n->facts;
		n->facts = f;
	}
	(void)pthread_mutex_unlock(&n->mu);
	if (f == NULL)
		return ls_err_nomem(e);
	*out = f;
	return LS_OK;
}

uint64_t
ls_net_random(struct ls_net *n)
{
	/* splitmix64: each caller gets its own step of the counter. */
	uint64_t z = atomic_fetch_add(&n->seed, 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}
