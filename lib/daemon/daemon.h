/* daemon.h -- the daemon: every configured database is captured, uploaded and
 * watched until it is told to stop.
 *
 * One scheduler thread (the caller of ls_daemon_run) owns inotify, timers and
 * the wake-up descriptor; workers run steps (pool.h). The functions below may
 * be called from any thread while it runs; they block only where said.
 */
#ifndef LS_DAEMON_H
#define LS_DAEMON_H

#include "base/call.h"
#include "config/config.h"

struct ls_daemon;

struct ls_daemon_opts {
	bool once;		/* one sync of everything, then end */
	bool force_snapshot;	/* with once: a level-9 snapshot of each too */
	bool enforce_retention; /* with once: then delete what may go */
	size_t files; /* descriptors that the process may have; 0 = 1,024 */
};

/* Takes the databases out of cfg (n_dbs becomes 0); keeps cfg's strings and net
 * until freed. */
enum ls_rc ls_daemon_new(struct ls_config *cfg, const struct ls_daemon_opts *o,
    struct ls_net *net, struct ls_daemon **out, struct ls_err *e) LS_MUST_CHECK;
void ls_daemon_free(struct ls_daemon *d);

/* Run until ls_daemon_stop (or, with once, until all is synced), do the final
 * sync within shutdown-sync-timeout, close everything. LS_OK: everything
 * committed is at the replicas. Otherwise what is missing was logged. */
enum ls_rc ls_daemon_run(struct ls_daemon *d, struct ls_err *e) LS_MUST_CHECK;
/* After ls_daemon_run: a local step did not come back in time; freeing would
 * wait for it. */
bool ls_daemon_hangs(struct ls_daemon *d);
/* Begin to stop; a second call gives up the final sync. Safe in any thread. */
void ls_daemon_stop(struct ls_daemon *d);
/* Before the process stops itself (SIGTSTP): let go of every guard, then send
 * SIGSTOP to the process, and go on when it continues. A stopped process that
 * held a guard would keep the application from recovering a torn wal-index. */
void ls_daemon_suspend(struct ls_daemon *d);
/* SIGCONT came: when it was sooner than the stop, there is none. */
void ls_daemon_resume(struct ls_daemon *d);
/* A descriptor of the caller's (a signalfd) to be polled by ls_daemon_run;
 * ready is called on its thread. Before ls_daemon_run. */
void ls_daemon_poll(
    struct ls_daemon *d, int fd, void (*ready)(void *arg), void *arg);
/* Called once, on the running thread, when every database had its first turn
 * at opening. Before ls_daemon_run. */
void ls_daemon_ready(struct ls_daemon *d, void (*fn)(void *arg), void *arg);

/* Called on the running thread when what was busy has become quiet: memory and
 * connections may be given back. Before ls_daemon_run. */
void ls_daemon_quiet(struct ls_daemon *d, void (*fn)(void *arg), void *arg);

/* Another configuration: its databases and dir entries take the place of those
 * that the last one named; what is the same goes on untouched, what was
 * registered stays. Other settings are not looked at. Takes databases and dir
 * entries out of cfg. Any thread. An error concerns one database of it; the
 * others were taken, unless the daemon is stopping (LS_ECANCELED). */
struct ls_reloaded {
	size_t added, removed, changed, kept; /* databases that are named */
};
enum ls_rc ls_daemon_reload(struct ls_daemon *d, struct ls_config *cfg,
    struct ls_reloaded *r, struct ls_err *e) LS_MUST_CHECK;
bool ls_daemon_has(struct ls_daemon *d, const char *path);

/* ---- control (compatibility 9.1) -------------------------------------------*/

struct ls_db_info {
	char *path;	   /* heap; ls_db_infos_free */
	const char *state; /* "replicating", "parked", "stopped", "fenced",
			       * "error"; static */
	const char *replica_type;
	uint64_t local_txid, replica_txid;
	int64_t last_sync_ns; /* wall clock of the last moment it was in sync;
			       * 0 = never */
	uint64_t wal_bytes;
	uint64_t wal_done;	      /* of it, captured */
	bool active, snapshotting;    /* a capture step runs; a snapshot does */
	int64_t step_ns, step_end_ns; /* wall: the last step; 0 = none */
	char error[256];	      /* why it is in error, or "" */
};
enum ls_rc ls_daemon_list(struct ls_daemon *d, struct ls_db_info **out,
    size_t *n, struct ls_err *e) LS_MUST_CHECK;
void ls_db_infos_free(struct ls_db_info *v, size_t n);

struct ls_sync_result {
	uint64_t txid, replica_txid;
	bool changed; /* the local TXID grew */
};
/* Capture now what is committed; with wait, until the replica has it. Blocks
 * until then or the deadline (LS_ETIMEOUT). LS_ENOTFOUND: not ours; LS_EINVALID:
 * stopped. */
enum ls_rc ls_daemon_sync(struct ls_daemon *d, const char *path, bool wait,
    uint64_t deadline_ns, struct ls_sync_result *out,
    struct ls_err *e) LS_MUST_CHECK;
/* Stop one database after its final sync, or start it again; *txid: its local
 * TXID; *already: nothing was to be done. Stop blocks until it is closed. */
enum ls_rc ls_daemon_stop_db(struct ls_daemon *d, const char *path,
    uint64_t deadline_ns, uint64_t *txid, bool *already,
    struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_daemon_start_db(struct ls_daemon *d, const char *path,
    uint64_t *txid, bool *already, struct ls_err *e) LS_MUST_CHECK;
/* Add a database with default settings; remove one after its final sync. */
enum ls_rc ls_daemon_register(struct ls_daemon *d, const char *path,
    const char *url, bool *already, struct ls_err *e) LS_MUST_CHECK;
enum ls_rc ls_daemon_unregister(struct ls_daemon *d, const char *path,
    uint64_t deadline_ns, uint64_t *txid, bool *already,
    struct ls_err *e) LS_MUST_CHECK;
size_t ls_daemon_count(struct ls_daemon *d);
int64_t ls_daemon_started_ns(struct ls_daemon *d); /* wall clock */

#endif
