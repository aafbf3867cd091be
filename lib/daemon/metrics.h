/* metrics.h -- what Prometheus reads, made piece by piece.
 *
 * Names, labels, types and help texts are upstream's (compatibility 9.3), so
 * that its dashboard works unchanged, and ours beside them. */
#ifndef LS_METRICS_H
#define LS_METRICS_H

#include "daemon/daemon.h"
#include "daemon/web.h"

#include <stdatomic.h>

#define LS_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Scrapes themselves; one a server. */
struct ls_metrics_count {
	_Atomic uint64_t in_flight, served, failed;
};

struct ls_metrics;
/* One scrape. Keeps d and count. */
enum ls_rc ls_metrics_new(struct ls_daemon *d, struct ls_metrics_count *count,
    struct ls_metrics **out, struct ls_err *e) LS_MUST_CHECK;
void ls_metrics_free(void *m);
/* A struct ls_metrics piece by piece: see ls_web_stream. */
enum ls_web_next ls_metrics_fill(void *m, struct ls_buf *b);

/* The rows, for documentation and its test; false behind the last. */
struct ls_metric_doc {
	const char *name, *type, *labels, *help;
};
bool ls_metrics_doc(size_t i, struct ls_metric_doc *out);

#endif
