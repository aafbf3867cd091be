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

/* What SQLite is shown as the change counter now. */
uint32_t ls_reader_counter(const struct ls_reader *r);
/* By how much schema cookies are shown higher than they are. */
uint32_t ls_reader_raised(const struct ls_reader *r);

/* ---- writing (write.c) ----------------------------------------------------*/

/* Off: pushes first, and fails when that does. On again ends what stopped the
 * writing before (a fence). LS_EBUSY inside a write transaction. */
enum ls_rc ls_reader_set_write(
    struct ls_reader *r, bool on, struct ls_err *e) LS_MUST_CHECK;
bool ls_reader_may_write(const struct ls_reader *r);
/* Inside a transaction: write from here on. LS_EDENIED: not allowed, or not in
 * the past; else as ls_own_reserve. */
enum ls_rc ls_reader_reserve(
    struct ls_reader *r, struct ls_err *e) LS_MUST_CHECK;
/* Lets go of what is not committed, and of the slot; the transaction goes on
 * reading what it began with, or committed. */
void ls_reader_unreserve(struct ls_reader *r);
enum ls_rc ls_reader_write(struct ls_reader *r, const void *buf, size_t n,
    uint64_t off, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_reader_truncate(
    struct ls_reader *r, uint64_t bytes, struct ls_err *e) LS_MUST_CHECK;
/* Phase one (SQLITE_FCNTL_SYNC): whole in the buffer, or, with interval 0, in
 * the store. super: name of the super-journal, or NULL. SQLite says it at the
 * end of a rollback too: then nothing is done. */
enum ls_rc ls_reader_prepare(
    struct ls_reader *r, const char *super, struct ls_err *e) LS_MUST_CHECK;
/* xSync: what was prepared is on the disk. */
enum ls_rc ls_reader_flush(struct ls_reader *r, struct ls_err *e) LS_MUST_CHECK;
/* Phase two (SQLITE_FCNTL_COMMIT_PHASETWO): everybody sees it. */
enum ls_rc ls_reader_commit(
    struct ls_reader *r, struct ls_err *e) LS_MUST_CHECK;

#endif
