/* mhd_lazy.h -- libmicrohttpd, mapped when something is served.
 *
 * It brings a TLS library and eight more along, 2.3 MB that a daemon without a
 * control socket never uses. See also store/curl_lazy.h. */
#ifndef LS_MHD_LAZY_H
#define LS_MHD_LAZY_H

#include "base/err.h"

#include <microhttpd.h>

/* clang-format off */
#define LS_MHD_CALLS(X)                                           \
	X(start_daemon)                                           \
	X(stop_daemon)                                            \
	X(set_connection_option)                                  \
	X(lookup_connection_value) X(create_response_from_buffer) \
	X(create_response_from_callback)                          \
	X(add_response_header) X(queue_response) X(destroy_response)
/* clang-format on */

struct ls_mhd {
#define X(name) __typeof__(&MHD_##name) name;
	LS_MHD_CALLS(X)
#undef X
};
extern struct ls_mhd ls_mhd;

/* Load, once; thread-safe. LS_EUNSUPPORTED: not installed. */
enum ls_rc ls_mhd_load(struct ls_err *e) LS_MUST_CHECK;

#endif
