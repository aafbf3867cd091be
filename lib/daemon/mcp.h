/* mcp.h -- the Model Context Protocol at `mcp-addr`: seven tools, upstream's
 * (compatibility 9.2), each a command of this program.
 *
 * Streamable HTTP without server-sent events, revisions 2024-11-05 and
 * 2025-03-26; format: modelcontextprotocol.io/specification/2025-03-26. Nobody
 * is asked who they are: whoever can connect may restore and reset. A browser
 * that was lured here is refused (its Origin is not this machine's). */
#ifndef LS_MCP_H
#define LS_MCP_H

#include "base/buf.h"
#include "base/call.h"

/* Run a command of this program: words end with NULL and begin with its name.
 * What it writes to stdout and stderr goes to out. LS_OK: it ran, *status is
 * its exit status. cancel: end it. On any thread. */
typedef enum ls_rc ls_mcp_run(const char *const *words,
    struct ls_cancel *cancel, struct ls_buf *out, int *status,
    struct ls_err *e);

struct ls_mcp;
/* config: file that tools read when they are not told one, or NULL; kept. */
enum ls_rc ls_mcp_start(const char *addr, const char *config, ls_mcp_run *run,
    struct ls_mcp **out, struct ls_err *e) LS_MUST_CHECK;
/* Cancels what runs; NULL is fine. */
void ls_mcp_stop(struct ls_mcp *m);

#endif
