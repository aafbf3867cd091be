/* opts.h -- what one connection asks for: the environment, and on top of it the
 * parameters of its file: URI. Read at every open. */
#ifndef LS_VFS_OPTS_H
#define LS_VFS_OPTS_H

#include "base/buf.h"
#include "vfs/keeper.h"

struct ls_vfs_opts {	   /* strings heap; ls_vfs_opts_fini */
	char *url;	   /* of the replica */
	char *time, *txid; /* to travel to, as written; NULL: the newest */
	uint64_t cache_bytes;
	char *disk_path; /* folder of the disk cache; NULL: none */
	uint64_t
	    disk_bytes;	  /* without a folder: of a temporary file; 0: none */
	uint64_t poll_ns; /* 0: looked for at the start of a transaction */
	bool hydrate;
	char *hydrate_path; /* NULL: a temporary file */
	bool write;
	uint64_t sync_ns; /* between pushes; 0: COMMIT waits for the store */
	char *buffer;	  /* path of the write buffer; NULL: a temporary one */
	/* Bounds of what waits for the store; 0: the default. */
	uint64_t buffer_bytes, buffer_age_ns;
	bool lease; /* write only as the holder of the lease */
	struct ls_keep_conf keep;
};

/* name: of the environment. NULL when unset. */
typedef const char *ls_env_fn(const char *name);
/* The parameters of a URI in order; false past the last. */
typedef bool ls_param_fn(
    void *arg, int i, const char **name, const char **value);

/* LS_EINVALID names what is wrong. Gives *o. */
enum ls_rc ls_vfs_opts_read(struct ls_vfs_opts *o, ls_env_fn *env,
    ls_param_fn *param, void *arg, struct ls_err *e) LS_MUST_CHECK;
void ls_vfs_opts_fini(struct ls_vfs_opts *o);

#endif
