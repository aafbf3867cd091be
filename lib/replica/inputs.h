/* inputs.h -- stored files as the inputs of a merge, in bounded memory, and the
 * merged file put into the store. Inside lib/replica; compact.c and base.c. */
#ifndef LS_REPLICA_INPUTS_H
#define LS_REPLICA_INPUTS_H

#include "format/merge.h"
#include "replica/compact.h"
#include "replica/files.h"

#include <stdatomic.h>

struct ls_inputs;
struct ls_input {
	struct ls_inputs *in;
	struct ls_file f;
	char key[LS_KEY_MAX];
	char etag[128];
	uint64_t size; /* 0: not known yet */
	struct ls_ltx_header h;
	char *path; /* the same bytes, local; NULL when there are none */
	struct ls_buf buf;
	size_t used;   /* of buf */
	uint64_t next; /* offset behind buf */
	enum ls_rc rc;
	struct ls_err *err; /* heap, only after a failure */
};

struct ls_inputs {
	struct ls_replica *r;
	const struct ls_compact_opts *o;
	const struct ls_call *c;
	struct ls_input *v;
	size_t n;
	size_t block; /* of one read, at most */
	_Atomic uint64_t fetched;
};

/* How many files may be merged at once. */
size_t ls_inputs_limit(uint32_t page_size);
/* Open files and read their headers, o->parallelism at once. Keeps o and c.
 * ls_inputs_close also after an error. */
enum ls_rc ls_inputs_open(struct ls_inputs *in, struct ls_replica *r,
    const struct ls_file *files, size_t n, const struct ls_compact_opts *o,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
void ls_inputs_close(struct ls_inputs *in);

struct ls_stored {
	struct ls_ltx_header h;
	uint64_t size;
	bool copied; /* on the server */
};
/* Merge inputs first..first+n-1 into a file of a level. A single one that would
 * be the same file is copied on the server where that saves something. Nothing
 * is left on failure. LS_EFENCED: the name is taken by another writer's file. */
enum ls_rc ls_inputs_store(struct ls_inputs *in, size_t first, size_t n,
    const struct ls_merge_opts *m, int level, struct ls_stored *out,
    struct ls_err *e) LS_MUST_CHECK;
/* LS_EFENCED, naming the file, when a listing goes beyond newest (0: any) and
 * beyond what now, if not NULL, says afterwards. */
enum ls_rc ls_files_fenced(struct ls_replica *r, const struct ls_files *files,
    uint64_t newest, ls_newest_fn *now, void *arg,
    struct ls_err *e) LS_MUST_CHECK;
/* Copy a stored file to another level under its own range, on the server.
 * LS_EUNSUPPORTED when the store cannot. One that is there already and the
 * same is fine. */
enum ls_rc ls_file_to_level(struct ls_replica *r, const struct ls_file *f,
    int level, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

#endif
