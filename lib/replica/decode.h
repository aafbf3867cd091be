/* decode.h -- fetch and decode the files of a chain into a database file.
 * Inside lib/replica only. */
#ifndef LS_REPLICA_DECODE_H
#define LS_REPLICA_DECODE_H

#include "replica/chain.h"

/* Write every page at its place in fd, o->parallelism transfers at once, and
 * verify all that can be: see decode.c. Frees the chain's indexes. *proved: the
 * database checksum was there and is right. The lock page is not written. */
enum ls_rc ls_decode_chain(struct ls_chain *ch, int fd,
    const struct ls_restore_opts *o, bool *proved,
    struct ls_err *e) LS_MUST_CHECK;

#endif
