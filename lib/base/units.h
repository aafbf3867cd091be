/* units.h -- times, durations and sizes as text, as upstream (Go) has them. */
#ifndef LS_UNITS_H
#define LS_UNITS_H

#include "base/buf.h"

enum { LS_TIME_MAX = 40, LS_DUR_MAX = 40 };

/* RFC 3339 with up to nanoseconds, in UTC, trailing zeros of the fraction
 * trimmed (Go's RFC3339Nano). */
char *ls_time_nano(int64_t unix_ns, char out[static LS_TIME_MAX]);
/* RFC 3339 with exactly three decimals: 2006-01-02T15:04:05.000Z. */
char *ls_time_milli(int64_t unix_ns, char out[static LS_TIME_MAX]);
/* RFC 3339 in whole seconds. */
char *ls_time_sec(int64_t unix_ns, char out[static LS_TIME_MAX]);
/* Parse RFC 3339 (fraction of any length, Z or an offset). LS_EINVALID. */
enum ls_rc ls_time_parse(
    const char *s, int64_t *unix_ns, struct ls_err *e) LS_MUST_CHECK;

/* Go's ParseDuration: "1h30m", "500ms", "1.5s", "-2s", "0"; units ns us ms s m
 * h. LS_EINVALID for anything else, a bare number too. */
enum ls_rc ls_dur_parse(
    const char *s, int64_t *ns, struct ls_err *e) LS_MUST_CHECK;
/* Go's Duration.String: "1m30s", "1.5s", "0s". */
char *ls_dur_format(int64_t ns, char out[static LS_DUR_MAX]);

/* Byte sizes as go-humanize parses them: "5MB" = 5e6, "5MiB" = 5 * 2^20, also
 * K M G T, decimals, commas, case ignored. */
enum ls_rc ls_size_parse(
    const char *s, int64_t *bytes, struct ls_err *e) LS_MUST_CHECK;
/* As go-humanize prints them: "0 B", "82 kB", "4.2 MB" (SI). */
char *ls_size_format(uint64_t bytes, char out[static LS_DUR_MAX]);

#endif
