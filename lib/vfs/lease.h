/* lease.h -- one writer at a time, by an object in the store (compatibility
 * 9.7): "lock.json" beside the levels. It keeps a second writer from beginning;
 * what keeps histories apart is the fencing of uploads. */
#ifndef LS_VFS_LEASE_H
#define LS_VFS_LEASE_H

#include "store/store.h"

#define LS_LEASE_KEY "lock.json"
#define LS_LEASE_TTL (30 * LS_SEC)

struct ls_lease;
/* Take the lease and keep it by renewing it in a thread of its own. Keeps st.
 * owner NULL: "host:pid". LS_ELOCKED names the holder and until when;
 * LS_EUNSUPPORTED: the store has no conditional writes. Gives *out. */
enum ls_rc ls_lease_take(struct ls_store *st, const char *owner,
    uint64_t ttl_ns, struct ls_lease **out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Is it ours at this moment? No request. LS_ELOCKED: another writer took it,
 * for good; LS_ETIMEOUT: it ran out, since it could not be renewed; once it can
 * be, and nobody took it meanwhile, it is ours again. */
enum ls_rc ls_lease_held(struct ls_lease *l, struct ls_err *e) LS_MUST_CHECK;
/* Renew now. LS_ELOCKED as above. */
enum ls_rc ls_lease_renew(struct ls_lease *l, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Release it, if it is still ours, and free l; NULL is fine. */
void ls_lease_drop(struct ls_lease *l);

#endif
