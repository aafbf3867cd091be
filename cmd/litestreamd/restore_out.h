/* restore_out.h -- what `restore` prints. */
#ifndef LS_RESTORE_OUT_H
#define LS_RESTORE_OUT_H

#include "replica/replica.h"

/* -dry-run: the plan, as text or JSON. The exit code. */
int restore_print_plan(const struct ls_plan *plan, const char *source,
    const char *target, const char *type, enum ls_layout layout, bool json);
/* -json: what was done. The exit code. */
int restore_print_result(const char *path, const char *type, uint64_t txid,
    uint64_t ms, const char *integrity);

#endif
