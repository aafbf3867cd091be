/* pack.h -- pages become an LTX file in the codec that is wanted, with as little
 * work as that takes. Over the writer (ltx.h) and dictionaries (zdict.h). */
#ifndef LS_PACK_H
#define LS_PACK_H

#include "format/ltx.h"

/* The dictionary that the files of one replica share, so that a later merge can
 * copy frames instead of making them again. Thread-safe. */
struct ls_zkeep;
enum ls_rc ls_zkeep_new(struct ls_zkeep **out, struct ls_err *e) LS_MUST_CHECK;
void ls_zkeep_free(struct ls_zkeep *k); /* NULL is fine */
/* One more reference, or NULL. */
struct ls_zdict *ls_zkeep_get(struct ls_zkeep *k);
/* Takes a reference of its own; an empty dictionary is not kept. */
void ls_zkeep_set(struct ls_zkeep *k, struct ls_zdict *z);

struct ls_codec { /* zeroed: LZ4 */
	bool zstd;
	struct ls_zkeep *keep; /* borrowed; NULL: every file by itself */
};

struct ls_packer;
/* As ls_ltx_writer_new. */
enum ls_rc ls_packer_new(ls_sink *sink, void *arg, struct ls_packer **out,
    struct ls_err *e) LS_MUST_CHECK;
/* Start a file; once a packer. A zstd file takes the dictionary `adopt`
 * (borrowed) if it is not NULL; else the first LS_ZSAMPLE bytes of pages wait
 * until one was chosen. Keeps c. */
enum ls_rc ls_packer_begin(struct ls_packer *p, const struct ls_ltx_header *h,
    const struct ls_codec *c, struct ls_zdict *adopt,
    struct ls_err *e) LS_MUST_CHECK;
/* Add a page; its frame is copied when `from`, the dictionary of its file
 * (NULL: LZ4), is that of the output. As ls_ltx_writer_page. */
enum ls_rc ls_packer_add(struct ls_packer *p, const struct ls_ltx_page *pg,
    const struct ls_zdict *from, struct ls_err *e) LS_MUST_CHECK;
/* As ls_ltx_writer_end. */
enum ls_rc ls_packer_end(
    struct ls_packer *p, uint64_t *size, struct ls_err *e) LS_MUST_CHECK;
void ls_packer_free(struct ls_packer *p); /* NULL is fine */

#endif
