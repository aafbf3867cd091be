/* uri.h -- percent-encoding, as RFC 3986 and SigV4 ask for it. */
#ifndef LS_URI_H
#define LS_URI_H

#include "base/buf.h"

/* Append s with every byte but A-Z a-z 0-9 - . _ ~ as %XX (upper case);
 * slashes stay when keep_slash. This is AWS's UriEncode. */
enum ls_rc ls_uri_encode(struct ls_buf *b, const char *s, bool keep_slash,
    struct ls_err *e) LS_MUST_CHECK;
/* Decode n bytes into a heap string; '+' is a space when query. LS_EINVALID
 * for a broken escape or an escaped NUL. */
enum ls_rc ls_uri_decode(const char *s, size_t n, bool query, char **out,
    struct ls_err *e) LS_MUST_CHECK;

#endif
