/* posfile.h -- the durable position record, <meta>/litestreamd-position.
 *
 * It says how far the WAL is captured, with what is needed to prove on the
 * next start or wake-up that nothing happened in between (design 6). Losing it
 * is no loss of data: continuity is then unproven, and answered with a
 * difference. Hence a record that is absent, torn, or of another version is
 * "no record" and not an error. Format: posfile.c. */
#ifndef LS_POSFILE_H
#define LS_POSFILE_H

#include "base/err.h"

struct ls_posrec {
	uint64_t txid;	  /* newest local TXID that this position belongs to */
	uint64_t lineage; /* random, made once for this replica's history */
	uint32_t page_size, commit; /* commit: database size in pages */
	uint32_t salt[2];	    /* of the WAL generation */
	uint32_t frame;		    /* N: frames of it that are captured */
	/* Running checksum of frame N; for N = 0 the WAL header's. */
	uint32_t sum[2];
	/* The frame (N = 0: the header) was in the WAL file when recorded. */
	bool filed;
	bool clean;	    /* ... and all N frames were in the database file */
	uint64_t wal_bytes; /* size of the -wal file */
	uint64_t db_dev, db_ino; /* of the database file */
	bool has_db_checksum;
	uint64_t db_checksum; /* XOR of the page checksums */
	int64_t timestamp_ms; /* of the newest file: times never decrease */
	int64_t db_mtime_ns;  /* of the database file: a checkpoint moves it */
	int64_t saved_ms;     /* wall time when stored; set by _store */
};

/* *found false (and *rec untouched) when there is no usable record. Errors:
 * LS_ENOMEM, or the disk's when a file that is there cannot be read. */
enum ls_rc ls_posrec_load(const char *meta, struct ls_posrec *rec, bool *found,
    struct ls_err *e) LS_MUST_CHECK;
/* Durable when it returns LS_OK; after an error the old record or this one is
 * there, whole. The folder must exist. */
enum ls_rc ls_posrec_store(const char *meta, const struct ls_posrec *rec,
    struct ls_err *e) LS_MUST_CHECK;
/* Remove it; one that is not there is fine. */
enum ls_rc ls_posrec_wipe(const char *meta, struct ls_err *e) LS_MUST_CHECK;

#endif
