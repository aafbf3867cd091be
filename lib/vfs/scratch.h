/* scratch.h -- bytes of stored files in a temporary file of this process, for
 * pages that the cache in memory has no room for; where no folder for a disk
 * cache (disk.h) was given.
 * Thread-safe. Nothing here can fail: what cannot be kept is not, what cannot
 * be read is a miss. */
#ifndef LS_VFS_SCRATCH_H
#define LS_VFS_SCRATCH_H

#include "vfs/disk.h"

struct ls_scratch;
/* A file of up to `most` bytes in the folder dir, NULL: the one for temporary
 * files, if it is on a disk. It is made when something is kept. */
enum ls_rc ls_scratch_new(const char *dir, uint64_t most,
    struct ls_scratch **out, struct ls_err *e) LS_MUST_CHECK;
void ls_scratch_free(struct ls_scratch *s); /* NULL is fine */
/* The limit, when it was lower. */
void ls_scratch_allow(struct ls_scratch *s, uint64_t most);
uint64_t ls_scratch_most(struct ls_scratch *s);
/* Those who keep something there have a number each, which goes before the
 * serials of their files. The file goes with the last of them. */
uint32_t ls_scratch_join(struct ls_scratch *s);
void ls_scratch_leave(struct ls_scratch *s, uint32_t who);
/* false: not to be had, or full; asked again after a while. */
bool ls_scratch_works(struct ls_scratch *s);

/* As ls_disk_get and ls_disk_put, units and all. Of f the serial and the size
 * have to be known. */
bool ls_scratch_get(struct ls_scratch *s, uint32_t who,
    const struct ls_vfile *f, uint64_t off, size_t n, uint8_t *out);
void ls_scratch_put(struct ls_scratch *s, uint32_t who,
    const struct ls_vfile *f, uint64_t off, struct ls_span bytes);
/* Since the first of those who use it now joined. */
void ls_scratch_stats(struct ls_scratch *s, struct ls_disk_stats *out);

/* In the child of a fork, where nobody uses s any more: close its copy. */
void ls_scratch_forked(struct ls_scratch *s);

#endif
