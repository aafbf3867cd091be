/* site.h -- what is served at `addr`: /metrics, /healthz, and the status page.
 *
 * For reading only, and no secret in it; whoever can connect may read. */
#ifndef LS_SITE_H
#define LS_SITE_H

#include "daemon/daemon.h"

struct ls_site;
/* Keeps d. LS_EINVALID, LS_EEXISTS and the like: one line says why. */
enum ls_rc ls_site_start(struct ls_daemon *d, const char *addr,
    struct ls_site **out, struct ls_err *e) LS_MUST_CHECK;
/* Ends open requests; NULL is fine. */
void ls_site_stop(struct ls_site *s);

#endif
