/* model.h -- a long life of a tiny database over a folder replica, under a
 * virtual clock: every state that it had, and restores compared with them. */
#ifndef MODEL_H
#define MODEL_H

#include "replica/maint.h"
#include "test.h"

enum { MD_PAGE = 512, MD_PAGES = 12 };
#define MD_HOUR	  (3600 * (int64_t)LS_SEC)
#define MD_MINUTE (60 * (int64_t)LS_SEC)
#define MD_T0	  (1700006400 * (int64_t)LS_SEC) /* 2023-11-15 00:00 */

struct md_state {
	int64_t ns;
	uint32_t commit, page_size;
	uint32_t changed; /* bit p - 1 */
	uint64_t lineage;
	uint8_t *pages;
};
struct md {
	struct ls_store *st;
	struct ls_replica *r;
	uint32_t page_size;
	uint64_t lineage;
	bool db_checksum; /* in the headers */
	int64_t now_ns;
	uint64_t n; /* newest TXID */
	size_t cap;
	struct md_state *s; /* [1..n] */
};

void md_open(struct md *m); /* in T("rep"), at MD_T0 */
void md_close(struct md *m);
void md_tick(struct md *m, int64_t ns); /* turn the clock */
/* The next TXID, put at level 0 at the present time. */
void md_commit(struct md *m);
/* As md_commit with every page, of another page size. */
void md_resize(struct md *m, uint32_t page_size);
/* Level-0 file of a TXID, from the model. */
void md_file(const struct md *m, uint64_t txid, struct ls_buf *out);
/* The newest state at level 9, from the model. */
void md_snapshot(struct md *m, struct ls_ltx_header *h);
/* Has txid a plan? */
bool md_plannable(struct md *m, uint64_t txid);
/* Restore and compare with the model; ends the test when it differs. */
void md_check(struct md *m, uint64_t txid);
/* Files of a level. */
size_t md_list(struct md *m, int level, struct ls_files *out);
void md_delete(struct md *m, int level, uint64_t min, uint64_t max);
uint64_t md_requests(struct md *m);

#endif
