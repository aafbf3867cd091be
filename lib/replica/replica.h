/* replica.h -- what is stored: one database's LTX files in one place.
 *
 * A handle is thread-safe except where said. Files are named by level and TXID
 * range; keys come from the store's layout. All listings are validated; names
 * that are not LTX files are ignored.
 */
#ifndef LS_REPLICA_H
#define LS_REPLICA_H

#include "base/call.h"
#include "format/ltx.h"
#include "store/store.h"

enum { LS_KEY_MAX = 64 };
/* Key of a file, and prefix of a level ("0000/" or "ltx/0/"). */
char *ls_ltx_key(enum ls_layout layout, int level, uint64_t min, uint64_t max,
    char out[static LS_KEY_MAX]);
char *ls_level_prefix(
    enum ls_layout layout, int level, char out[static LS_KEY_MAX]);

struct ls_file { /* one stored LTX file */
	int level;
	uint64_t min_txid, max_txid;
	uint64_t size;
	int64_t created_ns; /* as listed: mtime or LastModified */
	/* From the header, 0 until it was read (ls_replica_headers). */
	int64_t timestamp_ms;
	uint64_t lineage;
	uint32_t commit, page_size;
	bool has_header;
};
struct ls_files { /* heap inside; ls_files_fini */
	struct ls_file *v;
	size_t n, cap;
};
void ls_files_fini(struct ls_files *f);

struct ls_replica;
/* Keeps st (the caller frees it afterwards). */
enum ls_rc ls_replica_new(struct ls_store *st, struct ls_replica **out,
    struct ls_err *e) LS_MUST_CHECK;
void ls_replica_free(struct ls_replica *r);
/* Give back what it remembers of headers; they are read again when needed. */
void ls_replica_forget(struct ls_replica *r);
struct ls_store *ls_replica_store(struct ls_replica *r);

/* Files of one level in TXID order, those with min_txid >= from. Appends. */
enum ls_rc ls_replica_list(struct ls_replica *r, int level, uint64_t from,
    struct ls_files *out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* All ten levels, in parallel when par allows; sorted by level, min, max. */
enum ls_rc ls_replica_list_all(struct ls_replica *r, const struct ls_par *par,
    struct ls_files *out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* Fill timestamp, lineage, commit, page size of a file by a ranged GET of its
 * header; remembered in the handle (bounded). */
enum ls_rc ls_replica_header(struct ls_replica *r, struct ls_file *f,
    struct ls_ltx_header *h, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* The newest TXID over all levels (0: empty) and the header of its file. */
enum ls_rc ls_replica_newest(struct ls_replica *r, const struct ls_par *par,
    uint64_t *txid, struct ls_ltx_header *h, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

/* ---- plan (compatibility 7.1) ---------------------------------------------*/

struct ls_target { /* at most one is set; none = newest */
	uint64_t txid;
	int64_t before_ns; /* newest state committed at or before; 0 = none */
};
struct ls_plan {
	struct ls_files files; /* oldest first; the first has min_txid 1 */
	uint64_t txid;	       /* that it reaches */
};
/* Chooses over all levels of an already made listing. LS_ENOTFOUND
 * "transaction not available" (upstream's words); LS_EGAP "non-contiguous ltx
 * files: have up to X but next file starts at Y". Never crosses lineages or a
 * change of page size where headers say so. Pure: no request is made when
 * target has no time. */
enum ls_rc ls_plan_make(struct ls_replica *r, const struct ls_files *all,
    const struct ls_target *t, struct ls_plan *out, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
void ls_plan_fini(struct ls_plan *p);
/* Oldest and newest restorable time of a listing; both 0 when empty. */
enum ls_rc ls_replica_bounds(struct ls_replica *r, const struct ls_files *all,
    int64_t *oldest_ns, int64_t *newest_ns, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;

/* ---- restore ---------------------------------------------------------------*/

struct ls_restore_opts {
	const char *output;   /* path of the database to make */
	unsigned parallelism; /* transfers and decoders at once, >= 1 */
	const struct ls_par *par;
	int integrity; /* 0 none, 1 quick, 2 full */
	/* Called now and then from one thread: bytes of the plan done, of all. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *progress_arg;
};
struct ls_restored {
	uint64_t txid, bytes;
	uint32_t page_size, commit;
	size_t files;
	bool checksum_proved; /* the database checksum was there and right */
};
/* Plan -> "<output>.tmp", preallocated, pages written at their places in
 * parallel; every file's checksum verified; fsync, rename, fsync of the folder.
 * On any error nothing is left under either name. */
enum ls_rc ls_restore(struct ls_replica *r, const struct ls_plan *plan,
    const struct ls_restore_opts *o, struct ls_restored *out,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* Give every page of the plan's state, ascending, to fn (no file is made): for
 * the page map of lib/capture. */
enum ls_rc ls_restore_pages(struct ls_replica *r, const struct ls_plan *plan,
    enum ls_rc (*fn)(
	void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e),
    void *arg, struct ls_ltx_header *out_header, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* PRAGMA quick_check / integrity_check of a file (1, 2); LS_ECORRUPT with the
 * first line of the answer. */
enum ls_rc ls_check_database(
    const char *path, int mode, struct ls_err *e) LS_MUST_CHECK;

/* ---- upload with fencing (design: upload.c) ---------------------------------
 * One thread at a time per handle. */

struct ls_uploader;
/* l0_retention_ns: how long a level-0 object stays at least (<= 0: longer than
 * a quarter of an hour); it bounds how old an acknowledgement may be. Keeps r.
 * No request is made. */
enum ls_rc ls_uploader_new(struct ls_replica *r, int64_t l0_retention_ns,
    struct ls_uploader **out, struct ls_err *e) LS_MUST_CHECK;
void ls_uploader_free(struct ls_uploader *u);
/* How the levels are listed: keeps par (NULL, the default: one by one). */
void ls_uploader_set_par(struct ls_uploader *u, const struct ls_par *par);
/* Is it the stored bytes' fault, so that the same call fails again? */
bool ls_rc_damaged(enum ls_rc rc);

/* List the newest TXID (0 when empty) and its header, with the lineage of the
 * chain where it has none itself, all else zero (page_size 0 tells) where it is
 * damaged; starts the proof that we are newest. Needed once before the first put; the errors of a put need none.
 * Ends the fenced state: never to be called for that without the user's word.
 * For a folder it takes the folder's lock first: LS_ELOCKED. h may be NULL. */
enum ls_rc ls_uploader_sync(struct ls_uploader *u, uint64_t *txid,
    struct ls_ltx_header *h, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* What the replica is known to hold durably (0 before a sync or put). */
uint64_t ls_uploader_acked(const struct ls_uploader *u);
/* LTX time of that file: how far back its commit is. 0: there is none. */
int64_t ls_uploader_acked_ms(const struct ls_uploader *u);
/* Is the last acknowledgement young enough to prove that nobody is newer? If
 * not, what begins with that check has to list. */
bool ls_uploader_proved(const struct ls_uploader *u);
/* Put the local file of TXID acked + 1 at level 0, whole. LS_OK: durable, and
 * no other writer was newer. LS_EFENCED: another writer's object or a newer
 * TXID is there: message names it; the caller stops this database, and every
 * later put is LS_EFENCED without a request. LS_EINVALID: out of order, or the
 * file is not that of one TXID. LS_EUNSUPPORTED: fencing is required and the
 * store cannot. LS_EGAP: objects that were there are gone. After any error the
 * object may be there or not: call again with the same file, byte for byte;
 * ambiguous answers are settled by reading back before anything is sent. */
enum ls_rc ls_uploader_put(struct ls_uploader *u, uint64_t txid,
    const char *path, const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
/* After a failed put: may the object be stored all the same? */
bool ls_uploader_maybe(const struct ls_uploader *u);
/* Is the level-0 object of txid the very file at path? LS_ENOTFOUND: there is
 * no such object, or file. LS_EINVALID: the file is another TXID's. */
enum ls_rc ls_uploader_same(struct ls_uploader *u, uint64_t txid,
    const char *path, bool *same, const struct ls_call *c,
    struct ls_err *e) LS_MUST_CHECK;
/* A pause is ahead (the database is parked): lets go of the folder's lock and
 * its descriptor. The next put takes it again and proves anew. */
void ls_uploader_rest(struct ls_uploader *u);

/* What an uploader must not forget. */
struct ls_uploader_memo {
	uint64_t acked, acked_boot_ns, proof_boot_ns;
	int64_t acked_ms, proof_wall_ns;
};
/* May it be freed, and another one go on from the memo? False before a sync,
 * after an error, when fenced, while it holds a folder's lock, and where so much
 * is stored that the end of the last listing is worth keeping. */
bool ls_uploader_leave(const struct ls_uploader *u, struct ls_uploader_memo *m);
/* In the place of ls_uploader_sync, for a new one: goes on as the one that left
 * the memo would have, and takes no other writer's files for ours. */
void ls_uploader_resume(
    struct ls_uploader *u, const struct ls_uploader_memo *m);

#endif
