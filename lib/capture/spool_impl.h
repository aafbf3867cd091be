/* spool_impl.h -- what spool.c and spool_merge.c share. */
#ifndef LS_SPOOL_IMPL_H
#define LS_SPOOL_IMPL_H

#include "base/sys.h"
#include "capture/spool.h"

#define SPOOL_UNSYNCED ".unsynced"

struct ls_spool {
	char *meta;
	char *dir;    /* <meta>/ltx/0 */
	char *merged; /* <meta>/litestreamd-merge: see spool_merge.c */
	uint64_t oldest, newest, bytes;
	uint64_t unsynced; /* files from here to the newest are; 0 = none */
	bool dir_dirty;	   /* names given and not synced yet */
	bool merging;	   /* a decided merge is to be finished */
	int fd;		   /* the file being written, or -1 */
	uint64_t writing, written; /* its TXID and bytes */
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

struct spool_src { /* argument of spool_source: a file, front to back */
	int fd;
	uint64_t at;
};
enum ls_rc spool_source(
    void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e);

/* Heap strings, NULL when memory is out: the file of txid with that suffix, and
 * the path that it has now. */
char *spool_name(const struct ls_spool *s, uint64_t txid, const char *suffix);
char *spool_path(const struct ls_spool *s, uint64_t txid);
/* A new file with our mode and owner, for writing. */
enum ls_rc spool_create(const struct ls_spool *s, const char *path, int *fd,
    struct ls_err *e) LS_MUST_CHECK;
/* Remove the file of txid; the range is the caller's business. */
enum ls_rc spool_remove(
    struct ls_spool *s, uint64_t txid, struct ls_err *e) LS_MUST_CHECK;
/* Its size as far as it counts in s->bytes. */
uint64_t spool_size(const struct ls_spool *s, uint64_t txid);
/* Carry a decided merge out, if there is one. */
enum ls_rc spool_merge_finish(
    struct ls_spool *s, struct ls_err *e) LS_MUST_CHECK;
/* The same at open, where the merged file is looked at first. */
enum ls_rc spool_merge_recover(
    struct ls_spool *s, struct ls_err *e) LS_MUST_CHECK;

#endif
