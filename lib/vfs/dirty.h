/* dirty.h -- the pages of one write transaction, apart from everything else
 * until it commits. One thread at a time. */
#ifndef LS_VFS_DIRTY_H
#define LS_VFS_DIRTY_H

#include "base/buf.h"

struct ls_dirty;
/* Up to `memory` bytes of pages stay in memory, the rest goes to a temporary
 * file without a name. Gives *out. */
enum ls_rc ls_dirty_new(uint32_t page_size, uint64_t memory,
    struct ls_dirty **out, struct ls_err *e) LS_MUST_CHECK;
void ls_dirty_free(struct ls_dirty *d); /* NULL is fine */
uint32_t ls_dirty_page_size(const struct ls_dirty *d);
uint32_t ls_dirty_count(const struct ls_dirty *d);
/* A whole page; takes the place of the one before. On an error that is as it
 * was. */
enum ls_rc ls_dirty_put(struct ls_dirty *d, uint32_t pgno, const uint8_t *page,
    struct ls_err *e) LS_MUST_CHECK;
bool ls_dirty_has(const struct ls_dirty *d, uint32_t pgno);
/* LS_ENOTFOUND (no text): it was not written. *page: borrowed until the next
 * call. */
enum ls_rc ls_dirty_get(struct ls_dirty *d, uint32_t pgno, const uint8_t **page,
    struct ls_err *e) LS_MUST_CHECK;
/* Forget the pages above commit. */
void ls_dirty_cut(struct ls_dirty *d, uint32_t commit);
/* Their numbers up to commit, ascending, with room for `more`. Gives *out. */
enum ls_rc ls_dirty_list(const struct ls_dirty *d, uint32_t commit, size_t more,
    uint32_t **out, uint32_t *n, struct ls_err *e) LS_MUST_CHECK;

#endif
