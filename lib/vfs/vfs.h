/* vfs.h -- the VFS "litestream" for SQLite. The only header that cmd/ needs. */
#ifndef LS_VFS_H
#define LS_VFS_H

struct sqlite3;
struct sqlite3_api_routines;

/* Register the VFS and the functions of new connections with the SQLite that
 * is behind api. Reads no configuration. Gives an SQLite result code; *err a
 * text by sqlite3_mprintf. Call once a process; again does nothing. */
int ls_vfs_register(char **err, const struct sqlite3_api_routines *api);

#endif
