/* index.h -- versions of a database: for every page, which stored file holds
 * its newest frame, and where. */
#ifndef LS_VFS_INDEX_H
#define LS_VFS_INDEX_H

#include "replica/replica.h"
#include "vfs/cache.h"

#include <pthread.h>
#include <stdatomic.h>

/* A descriptor that outlives the file's name: the write buffer, of which
 * versions keep what they show. Counted; the last one closes it. */
struct ls_local {
	_Atomic uint32_t refs;
	int fd;
};
struct ls_local *ls_local_new(int fd); /* takes fd, also when NULL comes back */
struct ls_local *ls_local_ref(struct ls_local *l);
void ls_local_unref(struct ls_local *l); /* NULL is fine */

/* One file that an index points into: stored, or a transaction in the write
 * buffer. Immutable once shared. */
struct ls_vfile {
	struct ls_file f; /* as listed */
	struct ls_ltx_header h;
	char key[LS_KEY_MAX];
	char etag[128];	    /* "" when the store has none */
	uint64_t size;	    /* bytes of the object */
	struct ls_zdict *z; /* of a zstd file, else NULL */
	uint64_t checksum;  /* of its content: the last 8 bytes */
	uint32_t serial;    /* names it in caches; never used again */
	/* Not stored yet: pages lie here as they are, and f.max_txid is the
	 * transaction's number in the buffer. A reference. */
	struct ls_local *local;
	uint64_t refs; /* guarded by the set's mutex */
	struct ls_vfile *next;
};

/* The files that are alive. One that is opened again while it is still here
 * keeps its serial, so what is cached of it stays good. */
struct ls_vfiles {
	pthread_mutex_t mu;
	uint32_t serial;
	size_t n;
	struct ls_vfile *hash[256];
};
void ls_vfiles_init(struct ls_vfiles *s);
void ls_vfiles_fini(struct ls_vfiles *s); /* empty by then */
/* The file as listed (level, TXIDs, size and time equal), with one more
 * reference, or NULL. */
struct ls_vfile *ls_vfiles_find(struct ls_vfiles *s, const struct ls_file *f);
/* A new one with one reference and all but serial, refs and next copied from
 * like (z is shared); when somebody was faster, theirs. NULL: no memory. */
struct ls_vfile *ls_vfiles_add(
    struct ls_vfiles *s, const struct ls_vfile *like);
void ls_vfile_ref(struct ls_vfiles *s, struct ls_vfile *f, uint64_t n);
void ls_vfile_unref(struct ls_vfiles *s, struct ls_vfile *f, uint64_t n);

/* Where a page is: 47 bits of offset and 17 of size. */
struct ls_where {
	struct ls_vfile *file; /* NULL: no such page */
	uint64_t at;
};
static inline uint64_t
ls_where_off(const struct ls_where *w)
{
	return w->at >> 17;
}
static inline uint32_t
ls_where_size(const struct ls_where *w)
{
	return (uint32_t)(w->at & ((1u << 17) - 1));
}

enum { LS_CHUNK = 512 }; /* pages */
struct ls_chunk;

/* The state at one TXID, or what was written here on top of it. Immutable once
 * published; reference counted. */
struct ls_ver {
	_Atomic uint32_t refs;
	struct ls_vfiles *files;
	struct ls_cache *cache; /* of this page size; a reference */
	uint64_t txid;
	int64_t timestamp_ms; /* of the newest file */
	uint64_t lineage;     /* 0: unknown */
	uint32_t epoch;	      /* counts replaced histories */
	uint32_t page_size, commit;
	uint64_t build; /* larger: built later */
	uint64_t
	    content; /* equal: the same pages, whatever files they are in */
	struct ls_file tip; /* the file that ends at txid, as listed */
	size_t nchunks;
	struct ls_chunk **chunk;
};

/* An empty state. Keeps files. Takes a reference of cache (NULL is fine). */
enum ls_rc ls_ver_new(struct ls_vfiles *files, uint32_t page_size,
    struct ls_cache *cache, struct ls_ver **out,
    struct ls_err *e) LS_MUST_CHECK;
/* A state that equals v and can be changed. */
enum ls_rc ls_ver_copy(const struct ls_ver *v, struct ls_ver **out,
    struct ls_err *e) LS_MUST_CHECK;
/* Put the pages of a file over an unpublished state that it continues; takes
 * over its commit and, of a stored one, TXID and time. LS_ECORRUPT: it grows the database without
 * all the pages, or breaks a rule of the format. LS_EGAP: other page size. The
 * caller checks TXIDs and lineage. */
enum ls_rc ls_ver_apply(struct ls_ver *v, struct ls_vfile *file,
    const struct ls_ltx_index *idx, struct ls_err *e) LS_MUST_CHECK;
/* LS_ECORRUPT names a page that no file has. */
enum ls_rc ls_ver_check(const struct ls_ver *v, struct ls_err *e) LS_MUST_CHECK;
/* A file that was merged or copied out of v's is no younger than v; one of a
 * history that was begun anew, under the same TXIDs, is. A snapshot of v's own
 * TXID may be taken later. */
bool ls_ver_predates(const struct ls_vfile *f, const struct ls_ver *v);
/* Take from `newer` where pages lie whose newest content at v->txid is the same
 * there: those whose file ends at or before it. v is unpublished. */
enum ls_rc ls_ver_rescue(struct ls_ver *v, const struct ls_ver *newer,
    struct ls_err *e) LS_MUST_CHECK;
/* Point v, unpublished, at the pages that `over` has in the write buffer from
 * transaction `from` on, and take its size: v is the stored state beneath. */
enum ls_rc ls_ver_overlay(struct ls_ver *v, const struct ls_ver *over,
    uint64_t from, struct ls_err *e) LS_MUST_CHECK;
/* false when the state has no such page (the lock page, past the end). */
bool ls_ver_find(const struct ls_ver *v, uint32_t pgno, struct ls_where *out);
/* Do both have the chunk that begins at pgno from the very same table? */
bool ls_ver_shares(
    const struct ls_ver *a, const struct ls_ver *b, uint32_t pgno);
struct ls_ver *ls_ver_ref(struct ls_ver *v);
void ls_ver_unref(struct ls_ver *v); /* NULL is fine */

#endif
