/* retry.c -- how long to wait before trying again. See retry.h. */
#include "store/retry.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "store/http.h"

#include <ctype.h>
#include <stdlib.h>

#define FIRST	  (100 * LS_MS)
#define LONGEST	  (10 * LS_SEC)
#define AFTER_MAX (60 * LS_SEC)

uint64_t
ls_retry_delay(unsigned next, uint64_t after_ns, uint64_t random)
{
	unsigned doublings = next > 2 ? next - 2 : 0;
	uint64_t cap = doublings > 7 ? LONGEST : FIRST << doublings;
	uint64_t wait = random % (LS_MIN(cap, LONGEST) + 1);

	/* On top of what the server asks, so that not all return at once. */
	return LS_MIN(after_ns, AFTER_MAX) + wait;
}

uint64_t
ls_retry_after(const char *value, int64_t now_s)
{
	int64_t at;

	if (isdigit((unsigned char)value[0])) {
		unsigned long n = strtoul(value, NULL, 10);

		return LS_MIN((uint64_t)n, (uint64_t)86400) * LS_SEC;
	}
	at = value[0] != '\0' ? ls_http_date(value) : -1;
	if (at <= now_s)
		return 0;
	return LS_MIN((uint64_t)(at - now_s), (uint64_t)86400) * LS_SEC;
}
