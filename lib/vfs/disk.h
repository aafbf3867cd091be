/* disk.h -- bytes of stored files, kept on a local disk between the network and
 * the page cache; shared by processes, still there after a restart.
 * Thread-safe. Nothing here can fail: what cannot be kept is not, what cannot
 * be read is a miss. */
#ifndef LS_VFS_DISK_H
#define LS_VFS_DISK_H

#include "vfs/index.h"

enum { LS_DISK_UNIT = 4096 }; /* what is kept or not, at multiples of it */

struct ls_disk;
/* Up to `most` bytes of disk in the folder dir, which is made when something is
 * kept. Nothing is touched yet. */
enum ls_rc ls_disk_new(const char *dir, uint64_t most, struct ls_disk **out,
    struct ls_err *e) LS_MUST_CHECK;
void ls_disk_free(struct ls_disk *d); /* NULL is fine */
const char *ls_disk_path(const struct ls_disk *d);

/* Bytes off..off+n of a stored file; false when one of them is not here. The
 * file's size, ETag, header and checksum have to be known. */
bool ls_disk_get(struct ls_disk *d, const struct ls_vfile *f, uint64_t off,
    size_t n, uint8_t *out);
/* Keep the units that lie wholly in bytes, which begin at off. */
void ls_disk_put(struct ls_disk *d, const struct ls_vfile *f, uint64_t off,
    struct ls_span bytes);

struct ls_disk_stats {
	uint64_t hits, misses; /* calls of get */
	uint64_t dropped;      /* reads of what was not what was written */
	uint64_t written;      /* bytes */
	uint64_t failures;     /* of writing: the disk is left alone a while */
};
void ls_disk_stats(struct ls_disk *d, struct ls_disk_stats *out);

#endif
