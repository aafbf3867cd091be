/* hydrate.h -- a local copy of the pages, filled in the background. */
#ifndef LS_VFS_HYDRATE_H
#define LS_VFS_HYDRATE_H

#include "vfs/index.h"

struct ls_vdb;
struct ls_hydrate;

/* Begin to fill path (kept, and resumed the next time), or with NULL a
 * temporary file, removed at the end. LS_ELOCKED: another process has path. */
enum ls_rc ls_hydrate_new(struct ls_vdb *d, const char *path,
    struct ls_hydrate **out, struct ls_err *e) LS_MUST_CHECK;
/* Waits for its thread; the cancel of the database must be set. NULL is fine.
 */
void ls_hydrate_free(struct ls_hydrate *h);
/* Page pgno of v, which lies at w, if the local copy has just that one. */
bool ls_hydrate_read(struct ls_hydrate *h, const struct ls_ver *v,
    uint32_t pgno, const struct ls_where *w, uint8_t *out);
/* A new version was published. h and old may be NULL. */
void ls_hydrate_moved(
    struct ls_hydrate *h, const struct ls_ver *old, const struct ls_ver *now);
const char *ls_hydrate_path(const struct ls_hydrate *h); /* borrowed */
/* Pages that are here, of how many. */
void ls_hydrate_progress(
    struct ls_hydrate *h, uint32_t *valid, uint32_t *total);

#endif
