/* client.h -- one request to the running daemon: HTTP/1.1 over its unix
 * socket, JSON both ways. */
#ifndef LS_CLIENT_H
#define LS_CLIENT_H

#include "cli.h"

#include <jansson.h>

enum { CLIENT_MAX_BYTES = 16 << 20 };

/* Flags that all client commands have. */
struct client_opts {
	const char *socket; /* LS_SOCKET_PATH */
	int timeout_s;
	bool json;
};
#define CLIENT_SOCKET(o)                                     \
	{                                                    \
		"socket", CLI_STR, &(o).socket, "PATH",      \
		    "The daemon's control socket; default\n" \
		    "/var/run/litestream.sock.",             \
		    NULL                                     \
	}
#define CLIENT_TIMEOUT(o, def)                                         \
	{                                                              \
		"timeout", CLI_INT, &(o).timeout_s, "SECONDS",         \
		    "How long to wait; default " def " seconds.", NULL \
	}

/* Request name ("sync": POST /sync with the body, taken; GET without one).
 * Gives *out, an object. Errors: `failed to connect to control socket: ...`,
 * or `<name> failed: <the daemon's error>`. */
enum ls_rc client_call(const struct client_opts *o, const char *name,
    json_t *body, json_t **out, struct ls_err *e) LS_MUST_CHECK;

/* A field of an answer: text ("" when it is not there), number (0). */
const char *client_str(const json_t *o, const char *key);
long long client_int(const json_t *o, const char *key);

/* What a command on one database begins with: flags, exactly one path, made
 * absolute into *path (heap). CLI_GO or the exit code. hint_args: behind the
 * program's name in `Try:`. positive: -timeout must be greater than 0. */
int client_begin(const struct cli_spec *s, int argc, char **argv,
    struct client_opts *o, bool positive, const char *hint_args, char **path);

#endif
