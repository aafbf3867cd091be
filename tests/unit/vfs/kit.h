/* kit.h -- readers over the folder replica of the model database. */
#ifndef KIT_H
#define KIT_H

#include "fixture.h"
#include "vfs/reader.h"

/* A reader that looks for news at the start of each transaction. txid: travel
 * there, NULL: the newest. */
struct ls_reader *kit_open(const char *txid, uint64_t cache_bytes);
struct ls_reader *kit_hydrated(const char *path);
/* With a disk cache in T(dir). */
struct ls_reader *kit_cached(const char *dir, uint64_t cache_bytes);
enum ls_rc kit_try(const char *txid, struct ls_reader **r, struct ls_err *e);
/* Turn the clock so far that the next transaction looks. */
void kit_later(void);
/* Is the state that r shows now the model's at txid, byte for byte? Page 1 as
 * SQLite must see it. */
void kit_check(struct ls_reader *r, const struct fx *x, uint64_t txid);
/* One whole transaction that checks. */
void kit_see(struct ls_reader *r, const struct fx *x, uint64_t txid);
uint64_t kit_txid(struct ls_reader *r);
/* Remove a stored file. */
void kit_prune(int level, uint64_t min, uint64_t max);
uint64_t kit_gets(struct ls_reader *r);
uint64_t kit_lists(struct ls_reader *r);
int kit_threads(void);
/* Until there are no more than that. One that was joined is seen for a moment
 * yet: the kernel wakes who joins it before it takes it off the list. */
void kit_threads_end(int most);

#endif
