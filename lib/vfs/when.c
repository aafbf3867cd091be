/* when.c -- points in time as people write them. See when.h.
 *
 * Upstream takes what a natural-language library takes; the forms here are
 * those that its manual and its tests show, and Go durations. A month and a
 * year are calendar months and years: "1 month ago" on the 31st is the last
 * day of a shorter month. (test: relative_times)
 */
#include "vfs/when.h"

#include "base/bytes.h"
#include "base/sys.h"
#include "base/units.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { WORDS = 16, WORD = 24 };
#define DAY_S 86400ll

static const struct {
	const char *name;
	int64_t seconds; /* or, when negative, months */
} units[] = {
	{ "second", 1 },
	{ "sec", 1 },
	{ "s", 1 },
	{ "minute", 60 },
	{ "min", 60 },
	{ "m", 60 },
	{ "hour", 3600 },
	{ "hr", 3600 },
	{ "h", 3600 },
	{ "day", DAY_S },
	{ "d", DAY_S },
	{ "week", 7 * DAY_S },
	{ "w", 7 * DAY_S },
	{ "month", -1 },
	{ "year", -12 },
	{ "y", -12 },
};

/* ---- dates ----------------------------------------------------------------*/

/* "2026-11-22", then perhaps [ T]hh:mm[:ss[.f]] without a zone: as RFC 3339 in
 * UTC. */
static bool
plain_date(const char *s, int64_t *ns)
{
	char full[LS_TIME_MAX + 16];
	size_t n = strlen(s);
	const char *fill;

	if (n < 10 || n > 30 || s[4] != '-' || s[7] != '-')
		return false;
	if (n == 10)
		fill = "T00:00:00Z";
	else if (n == 16)
		fill = ":00Z";
	else
		fill = "Z";
	if (n > 10 && s[10] != ' ' && s[10] != 'T' && s[10] != 't')
		return false;
	(void)snprintf(full, sizeof full, "%s%s", s, fill);
	if (n > 10)
		full[10] = 'T';
	return ls_time_parse(full, ns, NULL) == LS_OK;
}

static int64_t
months_back(int64_t now_ns, int64_t months)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30,
		31 };
	time_t t = (time_t)(now_ns / (int64_t)LS_SEC);
	struct tm tm;
	int64_t m;
	int last;

	(void)gmtime_r(&t, &tm);
	m = (int64_t)tm.tm_year * 12 + tm.tm_mon - months;
	tm.tm_year = (int)(m / 12);
	tm.tm_mon = (int)(m % 12);
	last = days[tm.tm_mon];
	if (tm.tm_mon == 1 &&
	    (tm.tm_year % 4 == 0 &&
		(tm.tm_year % 100 != 0 || tm.tm_year % 400 == 100)))
		last = 29;
	tm.tm_mday = LS_MIN(tm.tm_mday, last);
	return (int64_t)timegm(&tm) * (int64_t)LS_SEC +
	       now_ns % (int64_t)LS_SEC;
}

/* ---- "2 hours ago" --------------------------------------------------------*/

static bool
unit_of(const char *w, int64_t *unit)
{
	size_t n = strlen(w);

	for (size_t i = 0; i < LS_COUNT(units); i++) {
		size_t k = strlen(units[i].name);

		if (strncmp(w, units[i].name, k) == 0 &&
		    (n == k || (n == k + 1 && w[k] == 's'))) {
			*unit = units[i].seconds;
			return true;
		}
	}
	return false;
}

/* Split into words; a number and the letters behind it are two. */
static int
split(const char *s, char w[][WORD])
{
	int n = 0;

	while (*s != '\0') {
		size_t k = 0;
		bool digit = isdigit((unsigned char)*s) != 0;

		if (isspace((unsigned char)*s) || *s == ',') {
			s++;
			continue;
		}
		if (n == WORDS)
			return -1;
		while (*s != '\0' && !isspace((unsigned char)*s) && *s != ',' &&
		       k + 1 < WORD &&
		       digit == (isdigit((unsigned char)*s) != 0))
			w[n][k++] = (char)tolower((unsigned char)*s++);
		w[n++][k] = '\0';
	}
	return n;
}

static bool
one_step(const char *count, const char *unit, int64_t *at_ns)
{
	int64_t n, u;

	if (strcmp(count, "a") == 0 || strcmp(count, "an") == 0 ||
	    strcmp(count, "one") == 0)
		n = 1;
	else if (isdigit((unsigned char)count[0]) && strlen(count) <= 9)
		n = strtoll(count, NULL, 10);
	else
		return false;
	if (!unit_of(unit, &u))
		return false;
	if (u < 0 && n * -u > 12 * 2000)
		return false;
	if (u < 0)
		*at_ns = months_back(*at_ns, n * -u);
	else if (__builtin_mul_overflow(n * u, (int64_t)LS_SEC, &n) ||
		 __builtin_sub_overflow(*at_ns, n, at_ns))
		return false;
	return true;
}

static bool
ago(const char *s, int64_t now_ns, int64_t *ns)
{
	char w[WORDS][WORD];
	int n = split(s, w), i;

	if (n < 3 || strcmp(w[n - 1], "ago") != 0)
		return false;
	for (i = 0; i + 1 < n - 1; i += 2) {
		if (i > 0 && strcmp(w[i], "and") == 0)
			i++;
		if (i + 1 >= n - 1 || !one_step(w[i], w[i + 1], &now_ns))
			return false;
	}
	*ns = now_ns;
	return i == n - 1;
}

static bool
named(const char *s, int64_t now_ns, int64_t *ns)
{
	int64_t day = DAY_S * (int64_t)LS_SEC;

	if (strcasecmp(s, "now") == 0)
		*ns = now_ns;
	else if (strcasecmp(s, "today") == 0)
		*ns = now_ns - now_ns % day;
	else if (strcasecmp(s, "yesterday") == 0)
		*ns = now_ns - day;
	else
		return false;
	return true;
}

enum ls_rc
ls_when_parse(const char *s, int64_t now_ns, int64_t *unix_ns, struct ls_err *e)
{
	int64_t ns;

	if (ls_time_parse(s, &ns, NULL) != LS_OK && !plain_date(s, &ns) &&
	    !named(s, now_ns, &ns) && !ago(s, now_ns, &ns)) {
		if (s[0] != '-' || ls_dur_parse(s, &ns, NULL) != LS_OK)
			return ls_err_set(e, LS_EINVALID,
			    "invalid timestamp (expected RFC3339 or relative "
			    "time like '5 minutes ago'): %s",
			    s);
		ns += now_ns;
	}
	*unix_ns = ns;
	return LS_OK;
}
