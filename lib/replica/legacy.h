/* legacy.h -- replicas of Litestream v0.3: generations of snapshots and WAL
 * segments (compatibility 4.7 and 7.4). Read only.
 *
 *   generations/<16 hex>/snapshots/<8 hex index>.snapshot.lz4
 *   generations/<16 hex>/wal/<8 hex index>_<8..16 hex offset>.wal.lz4
 * Names that are not of these forms are ignored. Times are the store's. */
#ifndef LS_LEGACY_H
#define LS_LEGACY_H

#include "replica/replica.h"

struct ls_legacy_snapshot {
	char generation[17];
	uint32_t index; /* of the WAL that follows it */
	uint64_t size;
	int64_t created_ns;
};
struct ls_legacy { /* heap inside; ls_legacy_fini */
	struct ls_legacy_snapshot *v;
	size_t n, cap;
	size_t generations; /* also those without a snapshot */
};

/* Generations and their snapshots; *out must be zeroed. Only "file" and "s3"
 * stores ever held such replicas: elsewhere *out stays empty. One request
 * where there are none. */
enum ls_rc ls_legacy_list(struct ls_store *st, struct ls_legacy *out,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
void ls_legacy_fini(struct ls_legacy *l);
/* The newest one, of all generations, that was made at or before a time (0:
 * any); NULL when there is none. Borrowed. */
const struct ls_legacy_snapshot *ls_legacy_pick(
    const struct ls_legacy *l, int64_t before_ns);
/* Time of the oldest snapshot and of the newest object; 0 when empty. Lists
 * the WAL segments of every generation. */
enum ls_rc ls_legacy_bounds(struct ls_store *st, const struct ls_legacy *l,
    int64_t *oldest_ns, int64_t *newest_ns, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Is a restore to that time (0: newest) one of the v0.3 files? As upstream: not
 * without any; yes without LTX files; else whichever has the later object, or
 * with a time the later base before it. */
enum ls_rc ls_legacy_preferred(struct ls_store *st, const struct ls_legacy *l,
    const struct ls_files *ltx, int64_t before_ns, bool *yes,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

/* As ls_restore, from a snapshot and the segments that follow it, those made
 * at or before before_ns (0: all). LS_ENOTFOUND "no snapshots available";
 * LS_EGAP "missing WAL segment: expected i/o, got i/o" and "missing WAL
 * index: ...". out->txid is 0. */
enum ls_rc ls_legacy_restore(struct ls_store *st, const struct ls_legacy *l,
    int64_t before_ns, const struct ls_restore_opts *o, struct ls_restored *out,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

#endif
