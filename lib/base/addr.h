/* addr.h -- a place to listen at, as text: "host:port", "[::1]:port", ":port".
 */
#ifndef LS_ADDR_H
#define LS_ADDR_H

#include "base/err.h"

enum { LS_ADDR_HOST_MAX = 256, LS_ADDR_PORT_MAX = 32 };
struct ls_addr {
	char host[LS_ADDR_HOST_MAX]; /* "" = all interfaces; no brackets */
	char port[LS_ADDR_PORT_MAX]; /* a number up to 65535 */
};
/* LS_EINVALID: there is no port, or it is none, or colons are left over. */
enum ls_rc ls_addr_parse(
    const char *text, struct ls_addr *out, struct ls_err *e) LS_MUST_CHECK;

#endif
