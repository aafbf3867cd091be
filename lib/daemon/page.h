/* page.h -- the status page: one HTML table, made piece by piece.
 *
 * It is whole without a script: what needs attention comes first, and the form
 * filters. The script sorts, filters as one types, and refreshes. Nothing is
 * loaded from elsewhere, and no secret is in it. */
#ifndef LS_PAGE_H
#define LS_PAGE_H

#include "daemon/daemon.h"
#include "daemon/web.h"

struct ls_page;
/* q: part of a path, state: a word; NULL or "" = all. Keeps d, copies both. */
enum ls_rc ls_page_new(struct ls_daemon *d, const char *q, const char *state,
    struct ls_page **out, struct ls_err *e) LS_MUST_CHECK;
void ls_page_free(void *p);
enum ls_web_next ls_page_fill(void *p, struct ls_buf *b);
/* To be sent with it: what a browser may load. */
extern const struct ls_web_header ls_page_headers[];

/* "0 s", "1.2 s", "59 s", "3 min", "2 h", "4 d"; rounded down. For tests. */
enum { LS_AGE_MAX = 24 };
const char *ls_page_age(uint64_t ns, char out[static LS_AGE_MAX]);

#endif
