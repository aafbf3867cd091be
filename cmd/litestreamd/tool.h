/* tool.h -- a command of this program, run as a child for the MCP server. */
#ifndef LS_TOOL_H
#define LS_TOOL_H

#include "base/buf.h"
#include "base/call.h"

/* Has the shape of ls_mcp_run. */
enum ls_rc tool_run(const char *const *words, struct ls_cancel *cancel,
    struct ls_buf *out, int *status, struct ls_err *e) LS_MUST_CHECK;

#endif
