/* output.h -- making the file of a restore: shared by restore.c, legacy.c and
 * follow.c inside lib/replica only. Defined in restore.c. */
#ifndef LS_REPLICA_OUTPUT_H
#define LS_REPLICA_OUTPUT_H

#include "replica/replica.h"

/* Create the folders above output (0700) when they are missing. */
enum ls_rc ls_output_parents(
    const char *output, struct ls_err *e) LS_MUST_CHECK;
/* A new, empty file at tmp; a leftover there is replaced. The caller closes
 * *fd. */
enum ls_rc ls_output_create(
    const char *tmp, int *fd, struct ls_err *e) LS_MUST_CHECK;
/* Rename tmp to output and sync the folder; when that fails the final name is
 * taken back. */
enum ls_rc ls_output_publish(
    const char *tmp, const char *output, struct ls_err *e) LS_MUST_CHECK;

#endif
