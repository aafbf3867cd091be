/* units.c -- times, durations and sizes as text. See units.h. */
#include "base/units.h"

#include "base/bytes.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#define NS 1000000000ll

static int64_t
floor_sec(int64_t ns)
{
	return ns / NS - (ns % NS < 0);
}

static size_t
whole_seconds(int64_t ns, char *out)
{
	time_t t = (time_t)floor_sec(ns);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	return strftime(out, LS_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
}

char *
ls_time_nano(int64_t ns, char out[static LS_TIME_MAX])
{
	size_t n = whole_seconds(ns, out);
	long long frac = ns - floor_sec(ns) * NS;

	if (frac != 0) {
		n +=
		    (size_t)snprintf(out + n, LS_TIME_MAX - n, ".%09lld", frac);
		while (out[n - 1] == '0')
			n--;
	}
	memcpy(out + n, "Z", 2);
	return out;
}

char *
ls_time_milli(int64_t ns, char out[static LS_TIME_MAX])
{
	size_t n = whole_seconds(ns, out);
	long long frac = ns - floor_sec(ns) * NS;

	(void)snprintf(out + n, LS_TIME_MAX - n, ".%03lldZ", frac / 1000000);
	return out;
}

char *
ls_time_sec(int64_t ns, char out[static LS_TIME_MAX])
{
	size_t n = whole_seconds(ns, out);

	memcpy(out + n, "Z", 2);
	return out;
}

/* Exactly n digits at *s, moved past them. */
static bool
digits(const char **s, int n, int *out)
{
	*out = 0;
	for (; n > 0; n--, (*s)++) {
		if (!isdigit((unsigned char)**s))
			return false;
		*out = *out * 10 + (**s - '0');
	}
	return true;
}

static bool
lit(const char **s, char c)
{
	return **s == c && (*s)++;
}

static bool
parse_zone(const char **s, int64_t *off)
{
	int h, m, sign;

	*off = 0;
	if (lit(s, 'Z') || lit(s, 'z'))
		return true;
	if (**s != '+' && **s != '-')
		return false;
	sign = *(*s)++ == '-' ? -1 : 1;
	if (!digits(s, 2, &h) || !lit(s, ':') || !digits(s, 2, &m) || h > 23 ||
	    m > 59)
		return false;
	*off = sign * (h * 3600 + m * 60);
	return true;
}

static bool
parse_frac(const char **s, int64_t *ns)
{
	int64_t unit = NS / 10;

	*ns = 0;
	if (!lit(s, '.') && !lit(s, ','))
		return true;
	if (!isdigit((unsigned char)**s))
		return false;
	for (; isdigit((unsigned char)**s); (*s)++, unit /= 10)
		*ns += (**s - '0') * unit;
	return true;
}

enum ls_rc
ls_time_parse(const char *str, int64_t *unix_ns, struct ls_err *e)
{
	static const int days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30,
		31 };
	const char *s = str;
	struct tm tm = { 0 };
	int64_t ns, off;

	if (digits(&s, 4, &tm.tm_year) && lit(&s, '-') &&
	    digits(&s, 2, &tm.tm_mon) && lit(&s, '-') &&
	    digits(&s, 2, &tm.tm_mday) && (lit(&s, 'T') || lit(&s, 't')) &&
	    digits(&s, 2, &tm.tm_hour) && lit(&s, ':') &&
	    digits(&s, 2, &tm.tm_min) && lit(&s, ':') &&
	    digits(&s, 2, &tm.tm_sec) && parse_frac(&s, &ns) &&
	    parse_zone(&s, &off) && *s == '\0' && tm.tm_mon >= 1 &&
	    tm.tm_mon <= 12 && tm.tm_mday >= 1 &&
	    tm.tm_mday <= days[tm.tm_mon - 1] && tm.tm_hour < 24 &&
	    tm.tm_min < 60 && tm.tm_sec < 60 && tm.tm_year >= 1678 &&
	    tm.tm_year < 2262) {
		tm.tm_year -= 1900, tm.tm_mon -= 1;
		*unix_ns = ((int64_t)timegm(&tm) - off) * NS + ns;
		return LS_OK;
	}
	return ls_err_set(e, LS_EINVALID, "invalid time \"%s\"", str);
}

static const struct unit {
	const char *name;
	double ns;
} units[] = { { "ns", 1 }, { "us", 1e3 }, { "\xc2\xb5s", 1e3 }, { "ms", 1e6 },
	{ "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 } };

static const struct unit *
unit_at(const char **s)
{
	size_t n = strcspn(*s, "0123456789.");

	for (size_t i = 0; i < LS_COUNT(units); i++)
		if (strlen(units[i].name) == n &&
		    memcmp(units[i].name, *s, n) == 0) {
			*s += n;
			return &units[i];
		}
	return NULL;
}

/* One "<number><unit>"; exact in whole numbers, rounded in the fraction. */
static bool
dur_part(const char **s, int64_t *total)
{
	const char *p = *s;
	const struct unit *u;
	int64_t whole = 0, add;
	double frac = 0, scale = 1;
	int seen = 0;

	for (; isdigit((unsigned char)*p); p++, seen++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, *p - '0', &whole))
			return false;
	if (*p == '.')
		for (p++; isdigit((unsigned char)*p); p++, seen++)
			frac += (*p - '0') * (scale /= 10);
	if (seen == 0 || (u = unit_at(&p)) == NULL ||
	    __builtin_mul_overflow(whole, (int64_t)u->ns, &add) ||
	    __builtin_add_overflow(add, (int64_t)llround(frac * u->ns), &add) ||
	    __builtin_add_overflow(*total, add, total))
		return false;
	*s = p;
	return true;
}

enum ls_rc
ls_dur_parse(const char *str, int64_t *ns, struct ls_err *e)
{
	const char *s = str;
	int64_t total = 0;
	int sign = 1;

	if (*s == '-' || *s == '+')
		sign = *s++ == '-' ? -1 : 1;
	if (strcmp(s, "0") == 0) {
		*ns = 0;
		return LS_OK;
	}
	if (*s == '\0')
		goto bad;
	while (*s != '\0')
		if (!dur_part(&s, &total))
			goto bad;
	*ns = sign * total;
	return LS_OK;
bad:
	return ls_err_hint(e,
	    ls_err_set(e, LS_EINVALID, "invalid duration \"%s\"", str),
	    "write a number with a unit, for example 1s, 500ms, 5m, 24h");
}

char *
ls_dur_format(int64_t ns, char out[static LS_DUR_MAX])
{
	uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	const char *sign = ns < 0 ? "-" : "";
	char frac[16];
	uint64_t h, m, sub;
	const char *name;
	uint64_t div;

	if (v == 0)
		return memcpy(out, "0s", 3);
	h = v / 3600000000000u, m = v / 60000000000u % 60;
	div = v >= 1000000000u ? 1000000000u
	      : v >= 1000000u  ? 1000000u
	      : v >= 1000u     ? 1000u
			       : 1u;
	name = div == 1000000000u ? "s"
	       : div == 1000000u  ? "ms"
	       : div == 1000u	  ? "\xc2\xb5s"
				  : "ns";
	sub = div == 1000000000u ? v % 60000000000u : v;
	(void)snprintf(frac, sizeof frac, ".%09llu",
	    (unsigned long long)((sub % div) * (1000000000u / div)));
	for (size_t n = strlen(frac); n > 1 && frac[n - 1] == '0';)
		frac[--n] = '\0';
	if (frac[1] == '\0')
		frac[0] = '\0';
	if (h > 0)
		(void)snprintf(out, LS_DUR_MAX, "%s%lluh%llum%llu%ss", sign,
		    (unsigned long long)h, (unsigned long long)m,
		    (unsigned long long)(sub / div), frac);
	else if (m > 0)
		(void)snprintf(out, LS_DUR_MAX, "%s%llum%llu%ss", sign,
		    (unsigned long long)m, (unsigned long long)(sub / div),
		    frac);
	else
		(void)snprintf(out, LS_DUR_MAX, "%s%llu%s%s", sign,
		    (unsigned long long)(sub / div), frac, name);
	return out;
}

static const struct {
	const char *name;
	double mult;
} sizes[] = { { "", 1 }, { "b", 1 }, { "k", 1e3 }, { "kb", 1e3 }, { "m", 1e6 },
	{ "mb", 1e6 }, { "g", 1e9 }, { "gb", 1e9 }, { "t", 1e12 },
	{ "tb", 1e12 }, { "ki", 0x1p10 }, { "kib", 0x1p10 }, { "mi", 0x1p20 },
	{ "mib", 0x1p20 }, { "gi", 0x1p30 }, { "gib", 0x1p30 },
	{ "ti", 0x1p40 }, { "tib", 0x1p40 } };

enum ls_rc
ls_size_parse(const char *s, int64_t *bytes, struct ls_err *e)
{
	char num[64], *end;
	size_t n = 0;
	const char *p = s;
	double v;

	for (; n < sizeof num - 1 &&
	       (isdigit((unsigned char)*p) || *p == '.' || *p == ',');
	     p++)
		if (*p != ',')
			num[n++] = *p;
	num[n] = '\0';
	while (*p == ' ')
		p++;
	v = strtod(num, &end);
	for (size_t i = 0; n > 0 && *end == '\0' && i < LS_COUNT(sizes); i++)
		if (strcasecmp(p, sizes[i].name) == 0 &&
		    v * sizes[i].mult < 9.2e18) {
			*bytes = (int64_t)(v * sizes[i].mult);
			return LS_OK;
		}
	return ls_err_hint(e,
	    ls_err_set(e, LS_EINVALID,
		*s ? "invalid size \"%s\"" : "empty size string%s", s),
	    "write a number with a unit, for example 5MB, 16MiB, 1GB");
}

char *
ls_size_format(uint64_t bytes, char out[static LS_DUR_MAX])
{
	static const char *const names[] = { "B", "kB", "MB", "GB", "TB", "PB",
		"EB" };
	double v = (double)bytes;
	size_t i = 0;

	if (bytes < 10) {
		(void)snprintf(
		    out, LS_DUR_MAX, "%llu B", (unsigned long long)bytes);
		return out;
	}
	for (; v >= 1000 && i + 1 < LS_COUNT(names); i++)
		v /= 1000;
	v = floor(v * 10 + 0.5) / 10;
	(void)snprintf(
	    out, LS_DUR_MAX, v < 10 ? "%.1f %s" : "%.0f %s", v, names[i]);
	return out;
}
