/* chain.h -- the opened files of a plan: headers, indexes, and which file has
 * the newest version of each page. Inside lib/replica only. */
#ifndef LS_REPLICA_CHAIN_H
#define LS_REPLICA_CHAIN_H

#include "replica/files.h"

enum {
	LS_CHAIN_SMALL = 1 << 20, /* smaller files are one GET */
	LS_CHAIN_KEEP = 16 << 20, /* whole small files kept, all together */
	LS_CHAIN_TAIL = 64 << 10, /* first guess of index and trailer */
};

struct ls_chain_file {
	struct ls_file f;
	char key[LS_KEY_MAX];
	char etag[128];
	uint64_t size;
	struct ls_ltx_header h;
	struct ls_zdict *z; /* of a zstd file, else NULL */
	uint64_t head_crc;  /* of the header and the dictionary */
	/* Read as a stream: legacy frames do not tell their size. */
	bool stream;
	bool part;    /* only what is wanted is read (decode.c) */
	bool dropped; /* below a change of page size: not part of the state */
	bool foreign; /* of another history, or gone: plan without it */
	struct ls_buf whole; /* all bytes, or empty */
	struct ls_ltx_index idx;
	uint64_t wins; /* pages whose newest version is here */
	/* CRC and length of what follows the last frame, up to the file
	 * checksum, and that checksum. Not for streams. */
	uint64_t tail_crc, tail_len, checksum;
	enum ls_rc rc;
	struct ls_err *err; /* heap, only after a failure */
};

struct ls_chain {
	struct ls_replica *r;
	const struct ls_call *c;
	struct ls_chain_file *v; /* oldest first */
	size_t n;
	size_t first; /* index of the first that is not dropped */
	/* Per page 1..commit: 1 + index of its file, 0 none. */
	uint32_t *winner;
	uint32_t commit, page_size;
	_Atomic uint64_t kept; /* bytes in `whole` of all files */
};

/* Open the files of a plan, k at once, and find the winners. LS_ENOTFOUND or
 * LS_EGAP with `foreign` set in some files: a plan without those may work.
 * LS_ECORRUPT names a page that no file has. Keeps c. ls_chain_close also
 * after an error. */
enum ls_rc ls_chain_open(struct ls_chain *ch, struct ls_replica *r,
    const struct ls_plan *p, const struct ls_par *par, unsigned k,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;
void ls_chain_close(struct ls_chain *ch);
/* As ls_chain_open; when files turn out foreign, gone or damaged, lists again,
 * makes a new plan to the same TXID without them and tries that. */
enum ls_rc ls_chain_settle(struct ls_chain *ch, struct ls_replica *r,
    const struct ls_plan *p, const struct ls_par *par, unsigned k,
    const struct ls_call *c, struct ls_err *e) LS_MUST_CHECK;

/* A source (format/ltx.h) over one file of a chain, read in blocks. */
struct ls_ranged {
	struct ls_chain *ch;
	const struct ls_chain_file *cf;
	size_t block;
	struct ls_buf buf;
	size_t used;   /* of buf */
	uint64_t next; /* offset behind buf */
};
void ls_ranged_init(struct ls_ranged *s, struct ls_chain *ch,
    const struct ls_chain_file *cf, size_t block);
enum ls_rc ls_ranged_source(
    void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e);
void ls_ranged_fini(struct ls_ranged *s);

/* One range of a file, replacing what buf holds; only of the object that was
 * opened (If-Match). */
enum ls_rc ls_chain_get(struct ls_chain *ch, const struct ls_chain_file *cf,
    uint64_t off, uint64_t len, struct ls_buf *buf,
    struct ls_err *e) LS_MUST_CHECK;

#endif
