/* files.h -- lists of stored files: shared inside lib/replica, and with lib/vfs.
 */
#ifndef LS_REPLICA_FILES_H
#define LS_REPLICA_FILES_H

#include "replica/replica.h"

/* Append a copy. LS_ENOMEM; LS_ERANGE past the ceiling of a listing. */
enum ls_rc ls_files_add(struct ls_files *f, const struct ls_file *file,
    struct ls_err *e) LS_MUST_CHECK;
/* qsort's comparison: level, min, max. */
int ls_file_order(const void *a, const void *b);
void ls_files_sort(struct ls_file *v, size_t n);
/* The file with the largest max TXID; NULL when there is none. */
struct ls_file *ls_files_newest(const struct ls_files *f);
/* All levels, of each the files with min TXID >= from[level] (NULL: all). */
enum ls_rc ls_replica_list_from(struct ls_replica *r, const struct ls_par *par,
    const uint64_t from[LS_LEVELS], struct ls_files *out,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* Append the files of a listing that a plan may use, in order: all but level-0
 * files of a stale writer (plan.c). */
enum ls_rc ls_plan_usable(const struct ls_files *all, struct ls_files *out,
    struct ls_err *e) LS_MUST_CHECK;
/* LS_ECORRUPT when the header is not that of the file's name. */
enum ls_rc ls_file_matches(const struct ls_file *f,
    const struct ls_ltx_header *h, const char *key,
    struct ls_err *e) LS_MUST_CHECK;
void ls_file_set_header(struct ls_file *f, const struct ls_ltx_header *h);

#endif
