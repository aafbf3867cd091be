/* doctor_impl.h -- the parts of doctor, for its own files.
 *
 *   doctor.c        the walk over configuration, databases and places
 *   doctor_db.c     one database: file, locks, SQLite that wrote it
 *   doctor_host.c   the machine: file systems, space, limits, the drop-in
 *   doctor_store.c  one place: keys, requests, clock */
#ifndef LS_DOCTOR_IMPL_H
#define LS_DOCTOR_IMPL_H

#include "daemon/doctor.h"

#include <sys/types.h>

/* cure: NULL for what is fine. */
void ls_doctor_say(struct ls_doctor *d, enum ls_grade g, const char *check,
    const char *subject, const char *cure, const char *fmt, ...)
    LS_PRINTF(6, 7);
/* From an error: its message, its hint, or cure when it has none. */
void ls_doctor_err(struct ls_doctor *d, enum ls_grade g, const char *check,
    const char *subject, const char *cure, const struct ls_err *e);

void ls_doctor_database(struct ls_doctor *d, const struct ls_db_config *db);
void ls_doctor_place(
    struct ls_doctor *d, const struct ls_place *p, struct ls_net *net);

/* ---- doctor_host.c ---------------------------------------------------------*/

/* path, or the nearest folder above that exists: heap, NULL when memory is
 * out. */
char *ls_doctor_existing(const char *path);
/* What kind of file system path is on. live: SQLite locks and maps there. */
void ls_doctor_file_system(struct ls_doctor *d, const char *path, bool live);
/* Free space for at least want bytes. */
void ls_doctor_space(struct ls_doctor *d, const char *path, uint64_t want);
/* May this user use path so (R_OK, W_OK, X_OK)? Says so when not. */
bool ls_doctor_may(
    struct ls_doctor *d, const char *path, int mode, const char *owner_of);
void ls_doctor_limits(struct ls_doctor *d);
/* The name of a user: heap, or digits. */
char *ls_doctor_user(uid_t uid);
/* Name and id of a process: "app (123)". */
void ls_doctor_process(int pid, char *out, size_t size);
/* Fill d->drop_in. */
void ls_doctor_drop_in(struct ls_doctor *d);

#endif
