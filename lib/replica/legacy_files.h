/* legacy_files.h -- WAL segments of a v0.3 replica: shared by legacy.c and
 * legacy_restore.c only. */
#ifndef LS_LEGACY_FILES_H
#define LS_LEGACY_FILES_H

#include "replica/legacy.h"

struct ls_legacy_segment {
	uint32_t index;	      /* of the WAL since the generation began */
	unsigned char digits; /* of the offset in the name */
	uint64_t offset;      /* in the WAL, uncompressed */
	uint64_t size;	      /* compressed */
	int64_t created_ns;
};
struct ls_legacy_segments { /* heap inside */
	struct ls_legacy_segment *v;
	size_t n, cap;
};
/* All of a generation, by index and offset; *out must be zeroed. */
enum ls_rc ls_legacy_segments(struct ls_store *st, const char *generation,
    struct ls_legacy_segments *out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
void ls_legacy_segments_fini(struct ls_legacy_segments *s);

#endif
