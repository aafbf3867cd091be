/* db_impl.h -- inside db.c and db_past.c. */
#ifndef LS_VFS_DB_IMPL_H
#define LS_VFS_DB_IMPL_H

#include "vfs/db.h"

#include "base/log.h"
#include "vfs/registry.h"

enum { LS_OPEN_SECONDS = 60 };

struct ls_vdb {
	struct ls_vdb_link link;
	struct ls_store *st;
	struct ls_replica *r;
	struct ls_vfiles files;
	struct ls_fetch *fetch;
	struct ls_hydrate *hydrate; /* set once, under mu */
	struct ls_cancel cancel;
	uint64_t cache_bytes;
	pthread_mutex_t follow; /* one who looks for news at a time */
	/* Under follow: */
	uint64_t pruned_txid; /* whose level-0 file is known to be gone */
	uint64_t audit_ns;
	pthread_mutex_t build; /* one who plans anew, or begins a part */
	/* Under build: */
	struct ls_ver *replanned; /* the last one, for those behind */
	_Atomic uint64_t builds, contents;
	pthread_mutex_t versions; /* one who changes them at a time */
	struct ls_own *own;	  /* set once, under versions */
	struct ls_duty *duty;	  /* of own; under build */
	pthread_mutex_t mu;
	pthread_cond_t wake;
	/* Under mu: */
	struct ls_ver *newest, *stored;
	struct ls_cache *cache; /* of the last version built */
	struct ls_pin *pins;
	uint64_t poll_ns; /* smallest that a connection wants */
	uint64_t ok_ns, tried_ns;
	struct ls_err poll_err;
	struct ls_log_limit said;
	bool polling, stop;
	pthread_t poller;
};

struct ls_call ls_vdb_within(struct ls_vdb *d, uint64_t seconds);
/* As ls_load, with the cache of the last version. */
enum ls_rc ls_vdb_load(struct ls_vdb *d, const struct ls_target *t,
    const struct ls_files *all, struct ls_ver **out, bool *empty,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* Takes the reference of v, which becomes what is stored, if `cur` (not NULL:
 * the stored one that it was built on) still is. LS_ECHANGED: it is not, and
 * what took its place is older than v. */
enum ls_rc ls_vdb_publish(struct ls_vdb *d, const struct ls_ver *cur,
    struct ls_ver *v, struct ls_err *e) LS_MUST_CHECK;

#endif
