/* spool.h -- the local folder of level-0 files, in upstream's layout:
 * <meta>/ltx/0/<txid>-<txid>.ltx, one TXID a file, always (compatibility 4.2:
 * a file that spans several stops upstream for ever).
 *
 * A file is wholly there or absent. The newest one stays even when it was
 * uploaded: its header is the resume point, for upstream too. */
#ifndef LS_SPOOL_H
#define LS_SPOOL_H

#include "format/ltx.h"

#include <sys/types.h>

struct ls_spool;

/* Opens or creates the folder (mode from the parent as upstream), sweeps
 * *.tmp, finishes or undoes a merge that a crash cut short. Keeps a copy of
 * meta. */
enum ls_rc ls_spool_open(
    const char *meta, struct ls_spool **out, struct ls_err *e) LS_MUST_CHECK;
void ls_spool_free(struct ls_spool *s);

/* Oldest and newest TXID that are there; 0, 0 when empty. Files form one run;
 * older leftovers in front of a gap are removed at open. */
void ls_spool_range(
    const struct ls_spool *s, uint64_t *oldest, uint64_t *newest);
uint64_t ls_spool_bytes(const struct ls_spool *s);
/* Path of the file of txid into out (a committed but unsynced one has another
 * name until ls_spool_sync). */
char *ls_spool_path(
    const struct ls_spool *s, uint64_t txid, char *out, size_t n);
enum ls_rc ls_spool_header(const struct ls_spool *s, uint64_t txid,
    struct ls_ltx_header *h, uint64_t *size, struct ls_err *e) LS_MUST_CHECK;

/* Write the file of TXID newest + 1 (or any, when empty): begin gives an
 * ls_sink and its argument; commit renames it into place. sync: fsync file and
 * folder before returning; without it ls_spool_sync must follow before the
 * position counts as durable. A commit that fails is an abort. */
enum ls_rc ls_spool_begin(
    struct ls_spool *s, uint64_t txid, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_spool_sink(
    void *spool, struct ls_span bytes, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_spool_commit(
    struct ls_spool *s, bool sync, struct ls_err *e) LS_MUST_CHECK;
void ls_spool_abort(struct ls_spool *s);
enum ls_rc ls_spool_sync(struct ls_spool *s, struct ls_err *e) LS_MUST_CHECK;

/* Remove the files up to and with txid, but never the newest one. */
enum ls_rc ls_spool_drop(
    struct ls_spool *s, uint64_t txid, struct ls_err *e) LS_MUST_CHECK;
/* Remove all: the caller starts anew (rebase, reset). */
enum ls_rc ls_spool_clear(struct ls_spool *s, struct ls_err *e) LS_MUST_CHECK;

/* Mode of new files from here on (the database file's; 0600 until told), and
 * their owner, best effort; (uid_t)-1: leave. */
void ls_spool_owner(struct ls_spool *s, mode_t mode, uid_t uid, gid_t gid);

/* Bound the spool (design 6): merge all files after frozen into one that takes
 * the first of their TXIDs, which is the newest then; WAL fields, time and
 * database checksum are the newest input's. The caller's position and page map
 * go back to that TXID; they fit when checksum and WAL fields agree. Fewer than
 * two such files: LS_OK, nothing done. On error all files are as they were, or
 * the merge is decided and is finished by the next begin, drop, merge or open:
 * look at ls_spool_range in any case. */
enum ls_rc ls_spool_merge(
    struct ls_spool *s, uint64_t frozen, struct ls_err *e) LS_MUST_CHECK;
/* Is a merge decided and not carried out? Carry it out (LS_OK: none is left). */
bool ls_spool_merging(const struct ls_spool *s);
enum ls_rc ls_spool_settle(struct ls_spool *s, struct ls_err *e) LS_MUST_CHECK;

#endif
