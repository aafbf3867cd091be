/* logsink.h -- where log records go: text, json or pretty lines on stdout or
 * stderr, in the shapes of upstream (Go's slog, tint). */
#ifndef LS_LOGSINK_H
#define LS_LOGSINK_H

#include "config/config.h"

#include <stdio.h>

struct logsink {
	FILE *f;
	enum ls_log_type type;
	bool source;	    /* add file:line */
	bool color;	    /* pretty on a terminal */
	struct ls_buf line; /* each record is one write */
};

/* Install the process's sink, or change it. level: a word or NULL (info);
 * $LOG_LEVEL wins over it. Before threads start. */
void logsink_set(
    FILE *f, enum ls_log_type type, const char *level, bool source);
/* From the configuration. */
void logsink_config(const struct ls_config *cfg);

/* The line of one record at a time, appended to out; for the sink and its
 * tests. */
enum ls_rc logsink_format(const struct logsink *s,
    const struct ls_log_record *r, int64_t now_ns, struct ls_buf *out,
    struct ls_err *e) LS_MUST_CHECK;

#endif
