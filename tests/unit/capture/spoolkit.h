/* spoolkit.h -- level-0 files for the spool's tests: pages of 512 bytes whose
 * content tells the TXID that wrote them. */
#ifndef LS_SPOOLKIT_H
#define LS_SPOOLKIT_H

#include "capture/spool.h"
#include "test.h"

enum { KIT_PAGES = 40, KIT_PAGE_SIZE = 512 };

/* What the database of a TXID holds: who wrote each page last, 0 = no page. */
struct kit_model {
	uint32_t commit;
	uint64_t by[KIT_PAGES + 1];
};
void kit_model(uint64_t txid, struct kit_model *x);

/* Write the file of txid, by the rule of kit_model. */
enum ls_rc kit_put(
    struct ls_spool *s, uint64_t txid, bool sync, struct ls_err *e);
struct ls_spool *kit_open(void); /* of T("m") */
void kit_wipe(void);
/* The files of the folder are exactly the run, each whole and of its name. */
void kit_check(struct ls_spool *s);
/* Applied in order, the files from oldest on give the state of TXID last. */
void kit_check_state(struct ls_spool *s, uint64_t last);
int kit_count(const char *dir); /* entries */

#endif
