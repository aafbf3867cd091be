/* follow_apply.h -- change a database in place, beside readers. Inside
 * lib/replica only. */
#ifndef LS_FOLLOW_APPLY_H
#define LS_FOLLOW_APPLY_H

#include "format/merge.h"
#include "replica/replica.h"

/* New pages, given as often as asked, ascending, the lock page never. Pages
 * whose bit (pgno % 8 of byte pgno / 8) is not set in want may be left out;
 * want NULL: none. */
struct ls_apply_src {
	enum ls_rc (*each)(void *arg, const uint8_t *want, ls_page_fn *fn,
	    void *fn_arg, struct ls_err *e);
	void *arg;
	uint32_t page_size, commit; /* of the database afterwards */
	bool whole;		    /* all pages of the database come */
};
/* What the last apply left: a copy that does not look so any more was written
 * by somebody else. Zeroed: unknown. */
struct ls_apply_mark {
	bool known;
	uint32_t change; /* bytes 24..27 */
};
/* After LS_OK the pages are in path, durably. LS_EGAP: only a source with all
 * pages can be applied (another page size, or somebody wrote to the copy).
 * LS_EBUSY: readers did not let go in time. After an error the old content is
 * there, or a hot journal that brings it back. */
enum ls_rc ls_follow_apply(const char *path, const struct ls_apply_src *src,
    struct ls_apply_mark *mark, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Roll a hot journal back, if there is one. */
enum ls_rc ls_follow_recover(const char *path, struct ls_err *e) LS_MUST_CHECK;
/* Bytes 18 and 19 become 1: rollback-journal mode. For a file that nobody
 * else knows yet; synced. Sets *mark. */
enum ls_rc ls_follow_settle(const char *path, struct ls_apply_mark *mark,
    struct ls_err *e) LS_MUST_CHECK;
/* Page size and pages of a database by its header and length. */
enum ls_rc ls_follow_shape(const char *path, uint32_t *page_size,
    uint32_t *pages, struct ls_err *e) LS_MUST_CHECK;

#endif
