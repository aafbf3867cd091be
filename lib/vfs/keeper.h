/* keeper.h -- upkeep of a replica that is only written through the VFS: what
 * the daemon does else. Compaction, snapshots, retention, in a thread. */
#ifndef LS_VFS_KEEPER_H
#define LS_VFS_KEEPER_H

#include "replica/maint.h"

struct ls_keep_conf {
	bool off;
	int n_levels;
	int64_t level_ns[LS_SNAPSHOT_LEVEL - 1]; /* intervals of L1, L2, ... */
	int64_t snapshot_interval_ns, snapshot_retention_ns, l0_retention_ns;
};
/* On; 30s,5m,1h; snapshots every 24h, kept 24h; level 0 kept 20m. */
void ls_keep_conf_init(struct ls_keep_conf *k);
/* "30s,5m,1h", ascending; LS_EINVALID. */
enum ls_rc ls_keep_levels(
    struct ls_keep_conf *k, const char *text, struct ls_err *e) LS_MUST_CHECK;

struct ls_keeper;
/* Keeps r. No request and no thread before the first push. */
enum ls_rc ls_keeper_new(struct ls_replica *r, const struct ls_keep_conf *conf,
    struct ls_keeper **out, struct ls_err *e) LS_MUST_CHECK;
/* TXID txid was put just now, and acknowledged: nobody was newer. */
void ls_keeper_pushed(struct ls_keeper *k, uint64_t txid);
/* About to put up to txid: what is found stored up to there is ours. */
void ls_keeper_pushing(struct ls_keeper *k, uint64_t txid);
/* What stopped it (LS_EFENCED), or went wrong last; msg "" when all is well. */
void ls_keeper_error(struct ls_keeper *k, struct ls_err *out);
/* End; what is under way is cancelled. NULL is fine. See (3) in keeper.c. */
void ls_keeper_free(struct ls_keeper *k);

#endif
