/* fetch.h -- pages out of stored files, in blocks, each once at a time. */
#ifndef LS_VFS_FETCH_H
#define LS_VFS_FETCH_H

#include "vfs/scratch.h"

struct ls_fetch;
/* Keeps st and files. Threads are made when read-ahead asks for them. */
enum ls_rc ls_fetch_new(struct ls_store *st, struct ls_vfiles *files,
    struct ls_fetch **out, struct ls_err *e) LS_MUST_CHECK;
/* Look on this disk first, and keep there what comes. Keeps d. The first one
 * stays. */
void ls_fetch_set_disk(struct ls_fetch *f, struct ls_disk *d);
struct ls_disk *ls_fetch_disk(struct ls_fetch *f); /* NULL: none */
/* The same with a temporary file, which a disk goes before, for databases that
 * the cache in memory cannot hold. Keeps s. The first one stays. */
void ls_fetch_set_scratch(struct ls_fetch *f, struct ls_scratch *s);
/* Waits for its threads; no call may be under way. NULL is fine. */
void ls_fetch_free(struct ls_fetch *f);
/* Calls that are under way, and later ones, end with LS_ECANCELED. */
void ls_fetch_cancel(struct ls_fetch *f);

/* Read page pgno of v (v->page_size bytes), and bring its neighbourhood into
 * the cache: up to `span` bytes of the stored file around it. LS_ENOTFOUND or
 * LS_ECHANGED: the file is gone, plan again. LS_ERANGE: v has no such page.
 * *came: it had to be fetched. */
enum ls_rc ls_fetch_page(struct ls_fetch *f, struct ls_ver *v, uint32_t pgno,
    size_t span, uint8_t *out, bool *came, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* May a block for one page be wide: is what it brings kept, in memory or on a
 * disk, and mostly still there when it is wanted? */
bool ls_fetch_wide(struct ls_fetch *f, const struct ls_ver *v);
/* Bring pages from..to into the cache in the background, in blocks of up to
 * `span` bytes. Best effort: what cannot be queued is not. */
void ls_fetch_ahead(struct ls_fetch *f, struct ls_ver *v, uint32_t from,
    uint32_t to, size_t span);

/* Keep bytes of a file that somebody else fetched, which begin at off, on the
 * disk; soon, and not now: nobody waits for it. Needs no more than that the
 * file stays referenced for the call. Takes what is in b. */
void ls_fetch_keep(
    struct ls_fetch *f, struct ls_vfile *file, uint64_t off, struct ls_buf *b);

/* Give way for a moment while a reader waits for a fetch: for work in the
 * background. */
void ls_fetch_yield(struct ls_fetch *f, const struct ls_call *c);

struct ls_fetch_stats {
	uint64_t blocks, pages, bytes, ahead;
};
void ls_fetch_stats(struct ls_fetch *f, struct ls_fetch_stats *out);
/* Of the disk, or of the temporary file; zeros without. */
void ls_fetch_disk_stats(struct ls_fetch *f, struct ls_disk_stats *out);

/* Decode one page of v out of bytes of its file that begin at base; false when
 * its frame is not wholly in them. For those who fetch by themselves. */
enum ls_rc ls_fetch_decode(const struct ls_ver *v, uint32_t pgno,
    const struct ls_where *w, struct ls_span bytes, uint64_t base, uint8_t *out,
    struct ls_err *e) LS_MUST_CHECK;

#endif
