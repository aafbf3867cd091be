/* journal.h -- the write buffer's file: committed transactions that the store
 * has not got yet. One thread at a time, except for ls_local reads.
 *
 * Format (big-endian, ours alone): a head of LS_JHEAD bytes, then entries. An
 * entry is a head of the same size and, of a transaction, its page numbers (u32
 * each), the name of its super-journal, its pages, and a CRC-64 of all that.
 */
#ifndef LS_VFS_JOURNAL_H
#define LS_VFS_JOURNAL_H

#include "vfs/index.h"

enum { LS_JHEAD = 128, LS_JSUPER_MAX = 1024 };

/* A state of the store. txid 0: nothing is stored. */
struct ls_jbase {
	uint64_t txid, lineage;
	int64_t timestamp_ms;
	uint32_t page_size, commit;
};

struct ls_jrec { /* one transaction; ls_jrec_fini */
	uint64_t seq;
	uint32_t page_size, commit;
	int64_t timestamp_ms;
	uint32_t n, *pgno; /* heap, ascending */
	uint64_t at, end;  /* of the entry in the file */
	uint64_t pages_at; /* of the first page */
	/* Not replayed unless the store has it: COMMIT waited for that. */
	bool store_decides;
	bool stored; /* the reader's mark */
};
void ls_jrec_fini(struct ls_jrec *r);

/* What a file holds that the store may not have. ls_jfound_fini. */
struct ls_jfound {
	struct ls_jbase base;
	struct ls_jrec *rec;
	size_t n;
	/* A file for base.txid + 1 with the transactions up to this one was
	 * made, and perhaps sent. 0: none. */
	uint64_t sealed;
	/* What the one before us left the store at (ls_journal_leave); 0: he
	 * did not say. */
	uint64_t left_txid;
};
void ls_jfound_fini(struct ls_jfound *f);

struct ls_journal;
/* Lock <path>.lock and keep it to the end; read what path holds, if it is
 * there. id: of the replica, by which a buffer of another one is told apart.
 * LS_ELOCKED: another process has it. LS_EINVALID: it belongs to another
 * replica. LS_ECORRUPT: it is no buffer. Gives *out and *found. */
enum ls_rc ls_journal_open(const char *path, const char *id,
    struct ls_journal **out, struct ls_jfound *found,
    struct ls_err *e) LS_MUST_CHECK;
/* NULL is fine. The file goes too when `empty` is said. */
void ls_journal_close(struct ls_journal *j, bool empty);
/* Before the close, beside the lock: the store is at txid. Best effort. */
void ls_journal_leave(struct ls_journal *j, uint64_t txid);
const char *ls_journal_path(const struct ls_journal *j); /* borrowed */
/* Where the file for the store is made: beside the buffer. */
const char *ls_journal_put_path(const struct ls_journal *j);
/* Bytes of the file; 0 when there is none. */
uint64_t ls_journal_size(const struct ls_journal *j);
/* The descriptor of the file, borrowed; NULL when there is none. */
struct ls_local *ls_journal_file(struct ls_journal *j);

/* Make the file anew, on top of base, with the entries of keep (rewritten: at,
 * end and pages_at move; sealed is forgotten). On an error the old one is
 * whole. With something to keep it is on the disk when this returns. */
enum ls_rc ls_journal_begin(struct ls_journal *j, const struct ls_jbase *base,
    struct ls_jrec *const *keep, size_t nkeep, struct ls_err *e) LS_MUST_CHECK;
/* Append a transaction. page gives the bytes of r->pgno[i]; borrowed until the
 * next call. Fills at, end, pages_at. On an error the file is as it was.
 * super: absolute path of the super-journal, or NULL. */
typedef enum ls_rc ls_jpage(
    void *arg, uint32_t pgno, const uint8_t **page, struct ls_err *e);
enum ls_rc ls_journal_append(struct ls_journal *j, struct ls_jrec *r,
    const char *super, ls_jpage *page, void *arg,
    struct ls_err *e) LS_MUST_CHECK;
/* Take back r, the last transaction. LS_OK: it will not be replayed. */
enum ls_rc ls_journal_undo(struct ls_journal *j, const struct ls_jrec *r,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_journal_sync(
    struct ls_journal *j, struct ls_err *e) LS_MUST_CHECK;
/* Note that the file for the store holds the transactions up to seq. Synced. */
enum ls_rc ls_journal_seal(
    struct ls_journal *j, uint64_t seq, struct ls_err *e) LS_MUST_CHECK;
/* Note that the store has the transactions up to seq, and is at base. */
enum ls_rc ls_journal_done(struct ls_journal *j, uint64_t seq,
    const struct ls_jbase *base, struct ls_err *e) LS_MUST_CHECK;
/* Give the file another name, "<path>.conflict-<time>": it is evidence, and
 * nothing here reads it again. *as: heap. */
enum ls_rc ls_journal_set_aside(
    struct ls_journal *j, char **as, struct ls_err *e) LS_MUST_CHECK;

#endif
