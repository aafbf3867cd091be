/* load.h -- from what is stored to a version: list, plan, read the indexes. */
#ifndef LS_VFS_LOAD_H
#define LS_VFS_LOAD_H

#include "vfs/fetch.h"

struct ls_loader {
	struct ls_replica *r;
	struct ls_vfiles *files;
	struct ls_fetch *fetch; /* what came along is kept through it */
	uint64_t cache_bytes;
	const struct ls_par *par;
};
/* The state that t asks for (NULL: the newest). Two rounds of requests: the
 * levels, then the ends of all files of the plan; what else came with them goes
 * into the caches. Uses `cache` (may be NULL) when the page size is the same. all: a listing made just now, or NULL. Gives *out. As ls_plan_make;
 * LS_ENOTFOUND with *empty set: nothing at all is stored. */
enum ls_rc ls_load(const struct ls_loader *ld, const struct ls_target *t,
    struct ls_cache *cache, const struct ls_files *all, struct ls_ver **out,
    bool *empty, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* Go on from cur with the files of a listing (any levels) as far as they
 * reach. *out is NULL when they lead nowhere new. LS_EGAP: what comes next does
 * not continue this state; a plan from the start may. LS_ENOTFOUND: a file is
 * gone by now. */
enum ls_rc ls_load_more(const struct ls_loader *ld, const struct ls_ver *cur,
    const struct ls_files *all, struct ls_ver **out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

#endif
