/* addr.c -- a place to listen at, as text. See addr.h. */
#include "base/addr.h"

#include <stdlib.h>
#include <string.h>

static bool
is_port(const char *s)
{
	size_t n = strspn(s, "0123456789");

	return n > 0 && n <= 5 && s[n] == '\0' && strtol(s, NULL, 10) <= 65535;
}

enum ls_rc
ls_addr_parse(const char *text, struct ls_addr *out, struct ls_err *e)
{
	const char *colon = strrchr(text, ':'), *host = text;
	size_t n = colon != NULL ? (size_t)(colon - text) : 0;

	if (colon == NULL || colon[1] == '\0')
		return ls_err_set(e, LS_EINVALID,
		    "must specify port for bind address: \"%.300s\"", text);
	if (!is_port(colon + 1))
		return ls_err_set(e, LS_EINVALID,
		    "\"%.40s\" is no port number, in bind address \"%.300s\"",
		    colon + 1, text);
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		host++;
		n -= 2;
	} else if (memchr(text, ':', n) != NULL) {
		return ls_err_hint(e,
		    ls_err_set(e, LS_EINVALID,
			"too many colons in bind address \"%.300s\"", text),
		    "an IPv6 address goes into brackets: \"[::1]:9090\"");
	}
	if (n >= sizeof out->host)
		return ls_err_set(e, LS_EINVALID,
		    "bind address is too long: \"%.300s\"", text);
	memcpy(out->host, host, n);
	out->host[n] = '\0';
	memcpy(out->port, colon + 1, strlen(colon));
	return LS_OK;
}
