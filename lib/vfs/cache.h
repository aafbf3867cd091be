/* cache.h -- decoded pages of one database, the least recently used go first.
 * Thread-safe. */
#ifndef LS_VFS_CACHE_H
#define LS_VFS_CACHE_H

#include "base/buf.h"

struct ls_cache;
/* Room for `bytes` of pages with what goes with each (at least 16 pages). */
enum ls_rc ls_cache_new(uint32_t page_size, uint64_t bytes,
    struct ls_cache **out, struct ls_err *e) LS_MUST_CHECK;
struct ls_cache *ls_cache_ref(struct ls_cache *c);
void ls_cache_unref(struct ls_cache *c); /* NULL is fine */
uint32_t ls_cache_page_size(const struct ls_cache *c);
/* How many pages it may hold. */
uint32_t ls_cache_room(const struct ls_cache *c);
/* Page pgno as file `serial` has it. Copies n bytes from off into out; false
 * when it is not here. */
bool ls_cache_get(struct ls_cache *c, uint32_t serial, uint32_t pgno,
    size_t off, size_t n, uint8_t *out);
bool ls_cache_has(struct ls_cache *c, uint32_t serial, uint32_t pgno);
/* Keep a copy of a page. Without memory it is not kept. */
void ls_cache_put(
    struct ls_cache *c, uint32_t serial, uint32_t pgno, const uint8_t *data);

struct ls_cache_stats {
	uint64_t hits, misses, pages, bytes;
};
void ls_cache_stats(struct ls_cache *c, struct ls_cache_stats *out);

#endif
