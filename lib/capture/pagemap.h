/* pagemap.h -- the page map: 8 bytes a page, the LTX page checksum of the last
 * captured content (design 3.4), in memory and in <meta>/litestreamd-pagemap.
 *
 * An entry of 0 means "unknown" (the lock page is always 0): such a page
 * differs from anything. The XOR over all entries is kept current at every
 * change. One thread at a time.
 *
 * A map is valid when it describes one whole state of the database: loaded
 * from the file, or begun by ls_pagemap_reset and filled by the caller. The
 * caller that stops half way through a change invalidates it. */
#ifndef LS_PAGEMAP_H
#define LS_PAGEMAP_H

#include "base/err.h"

struct ls_pagemap;

/* Gives *out. Reads the file and a redo of a save that a crash cut short;
 * writes nothing. A file that is absent, damaged or of another version gives
 * an empty, invalid map. Errors: LS_ENOMEM, or the disk's for a file that is
 * there and cannot be read. Keeps a copy of meta. */
enum ls_rc ls_pagemap_open(
    const char *meta, struct ls_pagemap **out, struct ls_err *e) LS_MUST_CHECK;
/* Takes m; NULL is fine. Saves nothing. */
void ls_pagemap_free(struct ls_pagemap *m);

bool ls_pagemap_valid(const struct ls_pagemap *m);
/* Of the last load or save; 0 when there was none. */
uint64_t ls_pagemap_txid(const struct ls_pagemap *m);
uint64_t ls_pagemap_lineage(const struct ls_pagemap *m);
uint32_t ls_pagemap_page_size(const struct ls_pagemap *m); /* 0 if invalid */
uint32_t ls_pagemap_count(const struct ls_pagemap *m);	   /* pages covered */
/* Database checksum: XOR of all entries, LS_CHECKSUM_FLAG set (as every stored
 * LTX checksum). Do not publish it while an entry is unknown, see _whole. */
uint64_t ls_pagemap_xor(const struct ls_pagemap *m);
/* No entry but the lock page's is unknown: the XOR is that of the database. */
bool ls_pagemap_whole(const struct ls_pagemap *m);

/* 0 for pgno 0 or above the count: unknown. */
uint64_t ls_pagemap_get(const struct ls_pagemap *m, uint32_t pgno);
/* pgno must be 1..count (assert). Ignored for the lock page. */
void ls_pagemap_set(struct ls_pagemap *m, uint32_t pgno, uint64_t sum);
/* Cover exactly 1..npages: entries above are dropped (and leave the XOR), new
 * ones are unknown. On error the map is as it was. Shrinking cannot fail. */
enum ls_rc ls_pagemap_resize(
    struct ls_pagemap *m, uint32_t npages, struct ls_err *e) LS_MUST_CHECK;
/* Begin anew: valid, no pages. The file stays until the next save. */
void ls_pagemap_reset(struct ls_pagemap *m, uint32_t page_size);
/* Empty and invalid. The file stays; ls_pagemap_wipe removes it. */
void ls_pagemap_invalidate(struct ls_pagemap *m);

/* Make the map durable as the state of txid, by writing what changed since the
 * last save (nothing when nothing did). After an error or a crash the file
 * holds the last saved state or this one, never a mixture, and a later save
 * repairs it. LS_EINVALID when the map is not valid. */
enum ls_rc ls_pagemap_save(struct ls_pagemap *m, uint64_t txid,
    uint64_t lineage, struct ls_err *e) LS_MUST_CHECK;
/* Remove the files and invalidate. */
enum ls_rc ls_pagemap_wipe(
    struct ls_pagemap *m, struct ls_err *e) LS_MUST_CHECK;

#endif
