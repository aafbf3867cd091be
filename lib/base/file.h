/* file.h -- whole-or-nothing files, folders, small helpers over the seam. */
#ifndef LS_FILE_H
#define LS_FILE_H

#include "base/buf.h"
#include "base/sys.h"

/* Open; LS_ENOTFOUND when there is none. The caller closes *fd. */
enum ls_rc ls_open(const char *path, int flags, mode_t mode, int *fd,
    struct ls_err *e) LS_MUST_CHECK;
/* All n bytes or an error; LS_ESHORT when the file ends before. */
enum ls_rc ls_pread_all(
    int fd, void *buf, size_t n, uint64_t off, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_pwrite_all(int fd, const void *buf, size_t n, uint64_t off,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_write_all(
    int fd, const void *buf, size_t n, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_fsync(int fd, const char *path, struct ls_err *e) LS_MUST_CHECK;
/* Sync a folder, and the folder that holds path. */
enum ls_rc ls_fsync_dir(const char *dir, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_fsync_dir_of(const char *path, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_rename(
    const char *from, const char *to, struct ls_err *e) LS_MUST_CHECK;
/* Create dir and its missing parents with mode; an existing one is fine. */
enum ls_rc ls_mkdirs(
    const char *dir, mode_t mode, struct ls_err *e) LS_MUST_CHECK;
/* Read a whole file of at most max bytes into out (appended). */
enum ls_rc ls_read_file(const char *path, size_t max, struct ls_buf *out,
    struct ls_err *e) LS_MUST_CHECK;
/* Write body to path: temporary file "<path>.tmp", fsync, rename, fsync of
 * the folder. On any error path is as it was and no temporary file is left. */
enum ls_rc ls_publish(const char *path, struct ls_span body, mode_t mode,
    struct ls_err *e) LS_MUST_CHECK;
bool ls_exists(const char *path);
/* Size of a file, or -1. */
int64_t ls_file_size(const char *path);
/* Remove a file or a whole tree; one that is not there is fine. */
enum ls_rc ls_remove_tree(const char *path, struct ls_err *e) LS_MUST_CHECK;
/* "dir" and "file" of "dir/file"; gives heap strings ("." without a slash). */
char *ls_dirname(const char *path);
const char *ls_basename(const char *path); /* borrowed, inside path */
/* Absolute, cleaned path: ~ and ~/ expanded, . and .. resolved by text. Gives
 * a heap string, NULL when memory is out. */
char *ls_abspath(const char *path);

#endif
