/* control.h -- the control socket: HTTP/1.1 over a unix socket
 * (compatibility 9.1), served by libmicrohttpd, a thread a connection. */
#ifndef LS_CONTROL_H
#define LS_CONTROL_H

#include "daemon/daemon.h"

struct ls_control;
/* A stale socket file is removed (LS_EINVALID when it is no socket); mode as
 * given. Keeps d. */
enum ls_rc ls_control_start(struct ls_daemon *d, const char *path,
    uint32_t mode, struct ls_control **out, struct ls_err *e) LS_MUST_CHECK;
/* Ends open requests, removes the socket file. NULL is fine. */
void ls_control_stop(struct ls_control *c);

#endif
