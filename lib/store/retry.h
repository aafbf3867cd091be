/* retry.h -- how long to wait before trying again: exponential back-off with
 * full jitter, Retry-After honoured. Pure: no clock, no randomness of its own.
 */
#ifndef LS_RETRY_H
#define LS_RETRY_H

#include <stdint.h>

enum { LS_RETRY_ATTEMPTS = 10 };

/* ns before attempt number `next` (2, 3, ...). after_ns is what the server
 * asked for (0: nothing), capped at 60 s; random is any 64 bits. */
uint64_t ls_retry_delay(unsigned next, uint64_t after_ns, uint64_t random);
/* ns of a Retry-After value: seconds, or an HTTP date relative to now (Unix
 * seconds); 0 when it is neither. */
uint64_t ls_retry_after(const char *value, int64_t now_s);

#endif
