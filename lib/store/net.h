/* net.h -- what the handles of one process share: connections, credentials,
 * and what was learnt about each endpoint and bucket. */
#ifndef LS_NET_H
#define LS_NET_H

#include "store/credentials.h"
#include "store/http.h"
#include "store/stats.h"

#include <pthread.h>

/* Facts about one bucket at one endpoint; never freed before the net. */
struct ls_fact {
	struct ls_fact *next;
	char *name;
	atomic_uint caps; /* enum ls_cap, of those known */
	atomic_uint caps_known;
	atomic_int bare_etag;	  /* If-Match wants no quotes (Ceph) */
	atomic_int no_batch;	  /* DeleteObjects is not implemented */
	atomic_int clock_known;	  /* the server said its time */
	_Atomic int64_t ahead_ns; /* its clock less ours */
	pthread_mutex_t probe_mu; /* one probe at a time */
	pthread_mutex_t mu;	  /* guards region */
	char region[64];	  /* learnt from the server, or "" */
};

struct ls_http *ls_net_http(struct ls_net *n);
struct ls_creds_cache *ls_net_creds(struct ls_net *n);
/* Find or add. Gives a borrowed pointer. */
enum ls_rc ls_net_fact(struct ls_net *n, const char *name, struct ls_fact **out,
    struct ls_err *e) LS_MUST_CHECK;
/* Full jitter and the like; not for secrets. Thread-safe. */
uint64_t ls_net_random(struct ls_net *n);

#endif
