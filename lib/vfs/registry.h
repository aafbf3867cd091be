/* registry.h -- the replicas that this process has open, and its network. */
#ifndef LS_VFS_REGISTRY_H
#define LS_VFS_REGISTRY_H

#include "store/store.h"
#include "vfs/scratch.h"
#include "vfs/opts.h"

/* First member of what is registered. */
struct ls_vdb_link {
	struct ls_vdb_link *next;
	char *key; /* heap, its owner's */
	unsigned refs;
	bool closing; /* still storing what was committed; nobody joins it */
};

/* Counts forks: what was opened under another number belongs to the parent. */
unsigned ls_registry_generation(void);
void ls_registry_lock(void);
void ls_registry_unlock(void);
/* What tells one shared state from another; gives a heap string. */
char *ls_registry_key(const struct ls_vfs_opts *o);
/* The rest with the lock. */
/* Waits for the end of one that is closing, so that a connection sees what
 * another one of the process committed. */
struct ls_vdb_link *ls_registry_find(const char *key);
void ls_registry_add(struct ls_vdb_link *l);
void ls_registry_remove(struct ls_vdb_link *l);
/* Connections and credentials of this process; borrowed. */
enum ls_rc ls_registry_net(struct ls_net **out, struct ls_err *e) LS_MUST_CHECK;
/* The disk cache in a folder; borrowed, it stays for the life of the process, as
 * what it knows of the folder's size is one for all. */
enum ls_rc ls_registry_disk(const char *dir, uint64_t most,
    struct ls_disk **out, struct ls_err *e) LS_MUST_CHECK;
/* The temporary file of this process, of at least so many bytes; borrowed, it
 * stays. */
enum ls_rc ls_registry_scratch(
    uint64_t most, struct ls_scratch **out, struct ls_err *e) LS_MUST_CHECK;
/* Without the lock: close the sockets when nothing is open any more. */
void ls_registry_trim(void);

#endif
