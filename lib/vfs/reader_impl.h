/* reader_impl.h -- inside reader.c and write.c. */
#ifndef LS_VFS_READER_IMPL_H
#define LS_VFS_READER_IMPL_H

#include "vfs/dirty.h"
#include "vfs/own.h"
#include "vfs/reader.h"

/* A connection's write transaction (write.c). */
struct ls_writing {
	bool on;		/* the slot is ours */
	bool first;		/* no commit since it was taken */
	bool prepared;		/* phase one is done, ... */
	uint64_t seq;		/* of this transaction */
	struct ls_dirty *dirty; /* NULL: nothing was written */
	uint32_t size;		/* of the file, in pages */
	uint32_t low;		/* the smallest that it was */
	bool unsure;		/* and the store has yet to be asked */
	uint32_t counter;	/* that SQLite wrote */
	bool wal;		/* and that this is a database in WAL mode */
};

struct ls_reader {
	struct ls_vdb *d;
	unsigned generation;
	uint64_t poll_ns;
	bool pinned;
	struct ls_pin pin;
	struct ls_ver *travel; /* a reference; NULL: follow */
	int64_t time_ns;       /* as asked for; 0: not by time */
	uint8_t *page;
	uint32_t page_n;
	/* reader.c (2): what SQLite is shown as the change counter, and of
	 * which content. */
	uint32_t counter;
	uint64_t seen;
	/* Of which history, and what its schema cookies are shown raised by. */
	uint32_t epoch, raised;
	/* reader.c (3), (4) */
	uint32_t last, run, strays, ahead, window, misses;
	/* Writing. */
	/* url is NULL; write and hydrate: to begin once it follows. */
	struct ls_vfs_opts write_opts;
	bool may_write;
	struct ls_writing w;
};

/* LS_EIO after a fork. */
enum ls_rc ls_reader_check(
    const struct ls_reader *r, struct ls_err *e) LS_MUST_CHECK;
/* Page pgno of *v as it is, into r->page; v may be replaced. */
enum ls_rc ls_reader_page(struct ls_reader *r, struct ls_ver **v, uint32_t pgno,
    struct ls_err *e) LS_MUST_CHECK;
/* What SQLite must see of page 1. */
void ls_reader_show_header(
    const struct ls_reader *r, uint8_t *page, const struct ls_ver *v);
/* As ls_reader_read while something was written. */
enum ls_rc ls_write_read(struct ls_reader *r, uint8_t *buf, size_t n,
    uint64_t off, struct ls_err *e) LS_MUST_CHECK;
/* Let this connection write. */
enum ls_rc ls_write_enable(struct ls_reader *r, struct ls_err *e) LS_MUST_CHECK;
/* Give up what is not committed, and the slot. */
void ls_write_end(struct ls_reader *r);

#endif
