/* pagemap_impl.h -- what pagemap.c and pagemap_file.c share. */
#ifndef LS_PAGEMAP_IMPL_H
#define LS_PAGEMAP_IMPL_H

#include "capture/pagemap.h"

enum {
	PM_BLOCK = 4096,	   /* what is dirty, and written, as one */
	PM_ENTRIES = PM_BLOCK / 8, /* pages a block covers */
};

struct ls_pagemap {
	char *meta, *path, *redo;
	uint64_t *v;	/* by pgno - 1; whole blocks */
	uint8_t *dirty; /* a byte a block */
	size_t cap;	/* blocks that v and dirty have room for */
	size_t ndirty;
	uint32_t n;	  /* pages */
	uint32_t unknown; /* entries of 0 among them */
	uint32_t page_size;
	bool valid;
	uint64_t xor ;
	/* Of the file: 0, or its random id (see pagemap_file.c), and what the
	 * last load or save left in it. */
	uint64_t file_id, txid, lineage;
	uint32_t saved_n;
	size_t file_blocks;
	uint64_t last_id; /* a new file's differs from it */
};

static inline size_t
pagemap_blocks(uint32_t npages)
{
	return ((size_t)npages + PM_ENTRIES - 1) / PM_ENTRIES;
}

void pagemap_mark(struct ls_pagemap *m, size_t block);
/* Room for that many blocks. LS_ENOMEM, LS_ERANGE. */
enum ls_rc pagemap_reserve(
    struct ls_pagemap *m, size_t blocks, struct ls_err *e) LS_MUST_CHECK;
/* Empty and invalid, without a file. */
void pagemap_empty(struct ls_pagemap *m);
/* Fill the empty map from its file, if that is whole. */
enum ls_rc pagemap_load(struct ls_pagemap *m, struct ls_err *e) LS_MUST_CHECK;

#endif
