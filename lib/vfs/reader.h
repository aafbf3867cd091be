/* reader.h -- one connection's view: transactions, reads, travel. Knows
 * nothing of SQLite's interface. One thread at a time. */
#ifndef LS_VFS_READER_H
#define LS_VFS_READER_H

#include "vfs/db.h"

struct ls_reader;
/* Load what o asks for; waits while nothing is stored at all. */
enum ls_rc ls_reader_open(const struct ls_vfs_opts *o, struct ls_reader **out,
    struct ls_err *e) LS_MUST_CHECK;
/* NULL is fine. After a fork it only forgets. */
void ls_reader_close(struct ls_reader *r);

/* From here to the end every read sees one state. */
enum ls_rc ls_reader_begin(struct ls_reader *r, struct ls_err *e) LS_MUST_CHECK;
void ls_reader_end(struct ls_reader *r);
bool ls_reader_in_transaction(const struct ls_reader *r);
/* n bytes of the database file at off. LS_ESHORT: it ends before; the rest of
 * buf is zero. */
enum ls_rc ls_reader_read(struct ls_reader *r, void *buf, size_t n,
    uint64_t off, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_reader_size(
    struct ls_reader *r, uint64_t *bytes, struct ls_err *e) LS_MUST_CHECK;

/* Travel: "LATEST" (any case) returns. LS_EBUSY inside a transaction. */
enum ls_rc ls_reader_set_time(
    struct ls_reader *r, const char *when, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_reader_set_txid(
    struct ls_reader *r, const char *txid, struct ls_err *e) LS_MUST_CHECK;
/* The target time while travelling by time, else that of the state shown. */
enum ls_rc ls_reader_time(
    struct ls_reader *r, char out[static 40], struct ls_err *e) LS_MUST_CHECK;
/* TXID of the state that is shown. */
enum ls_rc ls_reader_txid(
    struct ls_reader *r, uint64_t *txid, struct ls_err *e) LS_MUST_CHECK;
struct ls_vdb *ls_reader_db(struct ls_reader *r);
/* A reference to the state that is shown. */
enum ls_rc ls_reader_state(
    struct ls_reader *r, struct ls_ver **out, struct ls_err *e) LS_MUST_CHECK;

/* What SQLite is shown as the change counter of a state. */
uint32_t ls_change_counter(const struct ls_ver *v);

#endif
