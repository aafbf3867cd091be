/* app.h -- the application beside the daemon: a child process (this program
 * itself, executed anew: SQLite's locks must not cross a fork) that runs the
 * SQL it is told, and the means to compare what was captured with the file. */
#ifndef APP_H
#define APP_H

#include "capture/capture.h"
#include "test.h"

#include <sys/types.h>

struct app {
	pid_t pid;
	FILE *in, *out;
};

/* An application with an open connection on T(db). */
void app_start(struct app *a, const char *db);
/* Run SQL there; SQLite's result code. */
int app_sql(struct app *a, const char *fmt, ...) LS_PRINTF(2, 3);
/* First column of the first row, as a number. */
long long app_int(struct app *a, const char *sql);
void app_ok(struct app *a, const char *fmt, ...) LS_PRINTF(2, 3);
/* Microseconds that the statement took, its code in *rc. */
long app_timed(struct app *a, int *rc, const char *sql);
void app_close(struct app *a); /* closes its connection and ends */
void app_kill(struct app *a);  /* SIGKILL */
/* A writer that commits, spills, deletes, checkpoints and rolls back without
 * being told, until app_close. */
void app_storm(struct app *a, const char *db, unsigned seed);

struct ls_capture *cap_open(const char *db); /* T(db), defaults */
enum ls_rc cap_try(const char *db, struct ls_capture **out, struct ls_err *e);
void cap_close(struct ls_capture *c);
void cap_abandon(struct ls_capture *c); /* as a kill -9: nothing is saved */
/* Step until nothing is left; gives the number of files. */
int cap_drain(struct ls_capture *c);
struct ls_captured cap_step(struct ls_capture *c);
void cap_truncate(struct ls_capture *c); /* until all is in the file */
struct ls_ltx_header cap_header(struct ls_capture *c, uint64_t txid);

/* Every page of the merged local LTX files equals the database file, and the
 * sizes too. Only while no connection of this process is open on it. */
void check_merged_is_file(const char *db);
/* The merged files equal a consistent view of the database. */
void check_merged_is_view(struct ls_capture *c, const char *db);

#endif
