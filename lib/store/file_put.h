/* file_put.h -- the writing half of the file driver; see file_put.c. */
#ifndef LS_FILE_PUT_H
#define LS_FILE_PUT_H

#include "store/driver.h"

#include <sys/stat.h>

enum ls_rc ls_file_put(struct ls_store *st, const char *path,
    const struct ls_body *b, const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_file_copy(struct ls_store *st, const char *from, const char *to,
    const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_file_begin(struct ls_upload *u, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_file_write(
    struct ls_upload *u, struct ls_span bytes, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_file_commit(struct ls_upload *u, struct ls_err *e) LS_MUST_CHECK;
void ls_file_abort(struct ls_upload *u);

/* Delete if it still has this ETag. */
enum ls_rc ls_file_del_if(struct ls_store *st, const char *path,
    const char *etag, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* What a stat says of an object; its ETag is inode, size and mtime. */
void ls_file_got(const struct stat *sb, struct ls_got *g);

#endif
