/* app.h -- what the commands share: configuration from flags, the replica that
 * a DB or URL on the command line means, tables and JSON on stdout, and
 * cancelling by signal. */
#ifndef LS_APP_H
#define LS_APP_H

#include "config/config.h"
#include "replica/replica.h"

#include <jansson.h>

/* Load the file of -config, or the default one, and log its warnings. */
enum ls_rc app_config(const char *path, bool no_expand, struct ls_config *cfg,
    struct ls_err *e) LS_MUST_CHECK;

/* What `DB | URL` stands for. */
struct app_source {
	struct ls_config cfg;
	bool is_url;
	const struct ls_db_config *db; /* in cfg; NULL with a URL */
	const struct ls_place *place;  /* settled; borrowed from here */
	struct ls_place own;
	struct ls_net *net;
	struct ls_store *store;
	struct ls_replica *replica;
};
/* Resolve arg; errors in upstream's words. Zeroed or failed sources need no
 * fini. No request is made. */
enum ls_rc app_source_open(struct app_source *s, const char *arg,
    const char *config, bool no_expand, struct ls_err *e) LS_MUST_CHECK;
void app_source_close(struct app_source *s);

/* Rows of cells, the first being the head; printed as Go's tabwriter does
 * (padding 2). */
struct app_table {
	size_t cols, n, cap;
	char **cells; /* heap, row by row */
	bool failed;  /* memory was out: app_table_print says so */
};
void app_table_init(struct app_table *t, size_t cols, ...);
void app_table_row(struct app_table *t, ...); /* cols strings; copied */
/* Prints and frees; the exit code. */
int app_table_print(struct app_table *t);

/* A JSON string, also of bytes that are not UTF-8 ('?' stands for them). */
json_t *app_json_text(const char *s);
/* Takes v (NULL: memory was out); indented by 2. The exit code. */
int app_json_print(json_t *v);

/* SIGINT and SIGTERM set the cancel from here on; a second one ends the
 * process as usual. */
enum ls_rc app_cancel_on_signal(
    struct ls_cancel *c, struct ls_err *e) LS_MUST_CHECK;

#endif
