/* replicate.c -- `replicate`: run the daemon, and the application with -exec.
 *
 * Signals are read from a signalfd on the scheduler's thread: SIGINT and SIGTERM
 * stop (and are passed to the child, whose end is waited for first); a second
 * one gives up the final sync; SIGTSTP lets go of all guards first. SIGHUP reads
 * the configuration file again, on a thread of its own, since that takes a while
 * with ten thousand databases; without a file it stops as the others do.
 * The exit status is the child's, unless the final sync failed; a child that
 * dies of the signal that was passed on to it has stopped as it should: 0.
 */
#include "app.h"
#include "capture/capture.h"
#include "child.h"
#include "cli.h"
#include "cmd.h"
#include "daemon/control.h"
#include "daemon/daemon.h"
#include "daemon/heartbeat.h"
#include "daemon/mcp.h"
#include "daemon/notify.h"
#include "daemon/site.h"
#include "logsink.h"
#include "tool.h"

#include "base/file.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct flags {
	const char *config, *exec, *level;
	bool no_expand, restore, once, force_snapshot, enforce_retention;
};

struct run {
	struct flags f;
	struct ls_config cfg;
	struct ls_net *net;
	struct ls_daemon *d;
	struct ls_control *control;
	struct ls_site *site;
	struct ls_mcp *mcp;
	struct ls_heartbeat *heartbeat;
	struct child child;
	int passed;    /* the last signal that was passed on to it */
	bool has_file; /* a configuration file, to be read again */
	pthread_mutex_t reload_mu;
	pthread_t reload_thread;
	bool reloading, reload_again, reload_join;
	struct rlimit files; /* the limit of open files we were given */
	int sig_fd;
	struct ls_err child_err; /* it could not be started; rc LS_OK: it was */
};

/* ---- arguments ------------------------------------------------------------*/

static int
check_flags(const struct flags *f, int n)
{
	if (f->once && f->exec[0] != '\0')
		return cli_error(NULL, "cannot specify -once flag with -exec");
	if (f->force_snapshot && !f->once)
		return cli_error(
		    NULL, "cannot specify -force-snapshot flag without -once");
	if (f->enforce_retention && !f->once)
		return cli_error(NULL,
		    "cannot specify -enforce-retention flag without -once");
	if (n > 0 && f->config[0] != '\0')
		return cli_error(
		    NULL, "cannot specify a replica URL and the -config flag");
	return CLI_GO;
}

static int
check_words(char **w, int n)
{
	if (n == 1)
		return cli_error(
		    NULL, "must specify at least one replica URL for %s", w[0]);
	for (int i = 1; i < n; i++)
		if (w[i][0] == '-')
			return cli_error(NULL,
			    "flag \"%s\" must be positioned before DB_PATH and "
			    "REPLICA_URL arguments",
			    w[i]);
	if (n > 2)
		return cli_error(NULL,
		    "multiple replicas on a single database are no longer "
		    "supported");
	return CLI_GO;
}

static enum ls_rc
set_level(struct ls_config *cfg, const char *level, struct ls_err *e)
{
	ls_free(cfg->logging.level);
	if ((cfg->logging.level = ls_strdup(level)) != NULL)
		return LS_OK;
	ls_config_fini(cfg);
	return ls_err_nomem(e);
}

static enum ls_rc
load_file(const struct run *r, struct ls_config *cfg, struct ls_err *e)
{
	enum ls_rc rc = ls_config_load(
	    *r->f.config ? r->f.config : ls_config_default_path(),
	    !r->f.no_expand, cfg, e);

	if (rc != LS_OK)
		return rc;
	for (size_t i = 0; r->f.restore && i < cfg->n_dbs; i++)
		cfg->dbs[i].restore_if_db_not_exists = true;
	return r->f.level[0] ? set_level(cfg, r->f.level, e) : LS_OK;
}

static enum ls_rc
load(struct run *r, char **w, int n, struct ls_err *e)
{
	enum ls_rc rc;

	if (r->f.level[0] != '\0')
		(void)setenv("LOG_LEVEL", r->f.level, 1);
	r->has_file = n == 0;
	if (r->has_file)
		return load_file(r, &r->cfg, e);
	if ((rc = ls_config_defaults(&r->cfg, e)) != LS_OK)
		return rc;
	if ((rc = ls_config_add_cli_db(&r->cfg, w[0], w[1], e)) != LS_OK) {
		ls_config_fini(&r->cfg);
		return rc;
	}
	r->cfg.dbs[0].restore_if_db_not_exists = r->f.restore;
	return set_level(&r->cfg, r->f.level[0] ? r->f.level : "INFO", e);
}

/* ---- restore-if-db-not-exists ---------------------------------------------*/

static enum ls_rc
restore_from(struct ls_replica *rep, const struct ls_db_config *db,
    const struct ls_call *c, struct ls_err *e)
{
	static const struct ls_target newest = { 0, 0 };
	const struct ls_restore_opts o = {
		.output = db->path, .parallelism = 8, .par = &ls_par_threads
	};
	struct ls_files all = { 0 };
	struct ls_plan plan = { 0 };
	struct ls_restored done;
	enum ls_rc rc;

	ls_info("attempting restore before replication",
	    LS_ATTRS(LS_S("path", db->path)));
	rc = ls_replica_list_all(rep, &ls_par_threads, &all, c, e);
	if (rc == LS_OK)
		rc = ls_plan_make(rep, &all, &newest, &plan, c, e);
	if (rc == LS_ENOTFOUND) {
		ls_info("no backup found, starting fresh",
		    LS_ATTRS(LS_S("path", db->path)));
		rc = LS_OK;
	} else if (rc == LS_OK) {
		rc = ls_restore(rep, &plan, &o, &done, c, e);
		if (rc == LS_OK)
			ls_info("database restored",
			    LS_ATTRS(LS_S("path", db->path),
				LS_T("txid", done.txid),
				LS_U("size", done.bytes)));
	}
	ls_plan_fini(&plan);
	ls_files_fini(&all);
	return rc;
}

/* Signals are blocked while databases are restored, before the daemon reads
 * them: one that comes then cancels the restore and is left for the daemon. */
struct patience {
	struct ls_cancel cancel;
	int sig_fd, over_fd;
	pthread_t thread;
};

static void *
watch_signals(void *arg)
{
	struct patience *p = arg;
	struct pollfd fds[] = { { p->sig_fd, POLLIN, 0 },
		{ p->over_fd, POLLIN, 0 } };

	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	if (fds[0].revents != 0)
		ls_cancel_set(&p->cancel);
	return NULL;
}

static enum ls_rc
restore_all(struct run *r, const struct ls_config *cfg, const struct ls_call *c,
    struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < cfg->n_dbs; i++) {
		const struct ls_db_config *db = &cfg->dbs[i];
		struct ls_store *st = NULL;
		struct ls_replica *rep = NULL;

		if (!db->restore_if_db_not_exists || ls_exists(db->path) ||
		    (r->d != NULL && ls_daemon_has(r->d, db->path)))
			continue;
		if ((rc = ls_store_open(&db->place, r->net, &st, e)) == LS_OK &&
		    (rc = ls_replica_new(st, &rep, e)) == LS_OK)
			rc = restore_from(rep, db, c, e);
		ls_replica_free(rep);
		ls_store_free(st);
		if (rc != LS_OK)
			(void)ls_err_wrap(e, rc, "restore %s", db->path);
	}
	return rc;
}

static enum ls_rc
restore_missing(struct run *r, struct ls_err *e)
{
	struct patience p = { .sig_fd = r->sig_fd };
	const struct ls_call c = { &p.cancel, 0 };
	bool wanted = false;
	enum ls_rc rc;

	for (size_t i = 0; i < r->cfg.n_dbs; i++)
		wanted |= r->cfg.dbs[i].restore_if_db_not_exists &&
			  !ls_exists(r->cfg.dbs[i].path);
	if (!wanted)
		return LS_OK;
	if ((rc = ls_cancel_init(&p.cancel, e)) != LS_OK)
		return rc;
	if ((p.over_fd = eventfd(0, EFD_CLOEXEC)) < 0 ||
	    pthread_create(&p.thread, NULL, watch_signals, &p) != 0) {
		rc = ls_err_sys(e, errno, "watch signals");
	} else {
		rc = restore_all(r, &r->cfg, &c, e);
		(void)eventfd_write(p.over_fd, 1);
		(void)pthread_join(p.thread, NULL);
	}
	if (p.over_fd >= 0)
		(void)close(p.over_fd);
	ls_cancel_fini(&p.cancel);
	return rc;
}

/* ---- reload ---------------------------------------------------------------*/

static enum ls_rc
reload_once(struct run *r, struct ls_reloaded *done, struct ls_err *e)
{
	struct ls_config cfg;
	char differ[256];
	enum ls_rc rc;

	if ((rc = load_file(r, &cfg, e)) != LS_OK)
		return rc;
	ls_config_log_warnings(&cfg);
	ls_config_differ(&r->cfg, &cfg, differ, sizeof differ);
	if (differ[0] != '\0')
		ls_warn("these settings take effect at a restart",
		    LS_ATTRS(LS_S("keys", differ)));
	if ((rc = restore_all(r, &cfg, NULL, e)) == LS_OK)
		rc = ls_daemon_reload(r->d, &cfg, done, e);
	ls_config_fini(&cfg);
	return rc;
}

static void *
reload(void *arg)
{
	struct run *r = arg;

	for (bool again = true; again;) {
		struct ls_reloaded n = { 0 };
		struct ls_err e = { 0 };

		if (reload_once(r, &n, &e) == LS_OK)
			ls_info("configuration reloaded",
			    LS_ATTRS(LS_U("added", n.added),
				LS_U("removed", n.removed),
				LS_U("changed", n.changed),
				LS_U("kept", n.kept)));
		else
			ls_error(n.added + n.removed + n.changed + n.kept > 0
				     ? "configuration reloaded, but for"
				     : "configuration not reloaded, nothing "
				       "changed",
			    LS_ATTRS(LS_E(&e)));
		(void)pthread_mutex_lock(&r->reload_mu);
		again = r->reload_again;
		r->reload_again = false;
		r->reloading = again;
		(void)pthread_mutex_unlock(&r->reload_mu);
	}
	return NULL;
}

/* On a thread of its own; a wish that comes meanwhile is for afterwards. */
static void
start_reload(struct run *r)
{
	(void)pthread_mutex_lock(&r->reload_mu);
	if (r->reloading) {
		r->reload_again = true;
	} else {
		if (r->reload_join)
			(void)pthread_join(r->reload_thread, NULL);
		r->reload_join = r->reloading =
		    pthread_create(&r->reload_thread, NULL, reload, r) == 0;
		if (!r->reloading)
			ls_error("cannot start a thread to reload", NULL);
	}
	(void)pthread_mutex_unlock(&r->reload_mu);
}

/* ---- signals and the child ------------------------------------------------*/

static void
on_child(struct run *r)
{
	if (!child_ended(&r->child))
		return;
	ls_info("subprocess exited, litestream shutting down",
	    LS_ATTRS(LS_I("status", r->child.status)));
	ls_daemon_stop(r->d);
}

static void
on_signal(void *arg)
{
	struct run *r = arg;
	struct signalfd_siginfo s;

	while (read(r->sig_fd, &s, sizeof s) == (ssize_t)sizeof s) {
		int sig = (int)s.ssi_signo;

		if (sig == SIGCHLD) {
			on_child(r);
		} else if (sig == SIGTSTP) {
			ls_daemon_suspend(r->d);
		} else if (sig == SIGCONT) {
			ls_daemon_resume(r->d);
		} else if (sig == SIGHUP && r->has_file && !r->f.once) {
			start_reload(r);
		} else if (r->child.pid > 0) {
			/* Its end stops us: the final sync has all it wrote. */
			ls_info("signal received, litestream shutting down",
			    LS_ATTRS(LS_SIG("signal", sig)));
			ls_info("sending signal to exec process", NULL);
			child_signal(&r->child, sig);
			r->passed = sig;
			ls_info("waiting for exec process to close", NULL);
		} else {
			ls_info("signal received, litestream shutting down",
			    LS_ATTRS(LS_SIG("signal", sig)));
			ls_notify("STOPPING=1");
			ls_daemon_stop(r->d);
		}
	}
}

static enum ls_rc
take_signals(struct run *r, struct ls_err *e)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGTSTP,
		SIGCONT };
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof sigs / sizeof sigs[0]; i++)
		(void)sigaddset(&set, sigs[i]);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 ||
	    (r->sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		return ls_err_sys(e, errno, "signalfd");
	return LS_OK;
}

/* ---- running ----------------------------------------------------------------*/

/* An open database has up to eight descriptors. The soft limit is for programs
 * that use select(). */
static void
raise_files(const struct run *r)
{
	const struct rlimit all = { r->files.rlim_max, r->files.rlim_max };

	if (r->files.rlim_max != 0)
		(void)setrlimit(RLIMIT_NOFILE, &all);
}

static void
on_ready(void *arg)
{
	struct run *r = arg;
	const char *command = r->f.exec[0] ? r->f.exec : r->cfg.exec;

	ls_notify("READY=1");
	if (command == NULL || *command == '\0' || r->f.once)
		return;
	/* It gets the limit of open files that was meant for it. */
	(void)setrlimit(RLIMIT_NOFILE, &r->files);
	if (child_start(&r->child, command, &r->child_err) != LS_OK)
		ls_daemon_stop(r->d);
	raise_files(r);
}

/* What was open all at once is not needed any more: without this the heap keeps
 * its largest size for ever. */
static void
on_quiet(void *arg)
{
	struct run *r = arg;

	ls_net_trim(r->net, 5000);
	(void)malloc_trim(0);
}

static void
say_start(struct run *r)
{
	ls_info("litestream",
	    LS_ATTRS(LS_S("version", LS_VERSION),
		LS_S("level",
		    r->cfg.logging.level ? r->cfg.logging.level : "")));
	ls_config_log_warnings(&r->cfg);
	if (r->cfg.n_dbs == 0 && r->cfg.n_dirs == 0)
		ls_error("no databases specified in configuration", NULL);
}

static void
say_replica(const struct ls_db_config *db)
{
	const struct ls_place *p = &db->place;
	const struct ls_attr name = LS_S("db", ls_basename(db->path)),
			     type = LS_S("type", p->type),
			     every =
				 LS_D("sync-interval", db->sync_interval_ns),
			     path = LS_S("path", p->path ? p->path : "");

	ls_info("initialized db", LS_ATTRS(LS_S("path", db->path)));
	if (strcmp(p->type, "s3") != 0)
		ls_info("replicating to", LS_ATTRS(name, type, every, path));
	else
		ls_info("replicating to",
		    LS_ATTRS(name, type, every, LS_S("bucket", p->bucket), path,
			LS_S("region", p->region ? p->region : ""),
			LS_S("endpoint", p->endpoint ? p->endpoint : "")));
}

static void
say_databases(const struct run *r)
{
	for (size_t i = 0; i < r->cfg.n_dbs; i++)
		say_replica(&r->cfg.dbs[i]);
	for (size_t i = 0; r->f.once && i < r->cfg.n_dbs; i++) {
		const struct ls_attr *a =
		    LS_ATTRS(LS_S("path", r->cfg.dbs[i].path));

		ls_info("syncing database", a);
		if (r->f.force_snapshot)
			ls_info("taking snapshot", a);
		if (r->f.enforce_retention)
			ls_info("enforcing retention", a);
	}
}

static void
start_control(struct run *r)
{
	struct ls_err e = { 0 };

	if (r->cfg.socket.enabled &&
	    ls_control_start(r->d, r->cfg.socket.path,
		r->cfg.socket.permissions, &r->control, &e) != LS_OK)
		ls_warn("cannot start the control socket", LS_ATTRS(LS_E(&e)));
}

/* A port that is taken must not keep databases from being replicated. */
static void
start_site(struct run *r)
{
	struct ls_err e = { 0 };

	if (r->cfg.addr != NULL && r->cfg.addr[0] != '\0' && !r->f.once &&
	    ls_site_start(r->d, r->cfg.addr, &r->site, &e) != LS_OK)
		ls_error("cannot start metrics server", LS_ATTRS(LS_E(&e)));
}

static void
start_mcp(struct run *r)
{
	struct ls_err e = { 0 };

	if (r->cfg.mcp_addr != NULL && r->cfg.mcp_addr[0] != '\0' &&
	    !r->f.once &&
	    ls_mcp_start(r->cfg.mcp_addr, r->cfg.file, tool_run, &r->mcp, &e) !=
		LS_OK)
		ls_error("cannot start MCP server", LS_ATTRS(LS_E(&e)));
}

static void
start_heartbeat(struct run *r)
{
	const char *url = r->cfg.heartbeat_url;
	struct ls_err e = { 0 };

	if (url != NULL && url[0] != '\0' && !r->f.once &&
	    ls_heartbeat_start(r->d, r->net, url, r->cfg.heartbeat_interval_ns,
		&r->heartbeat, &e) != LS_OK)
		ls_error("cannot start the heartbeat", LS_ATTRS(LS_E(&e)));
}

static void
say_once(enum ls_rc rc)
{
	if (rc == LS_OK)
		ls_info("one-shot replication complete", NULL);
	ls_info("replication complete, litestream shutting down", NULL);
}

static enum ls_rc
run_all(struct run *r, struct ls_err *e)
{
	struct ls_daemon_opts o = { r->f.once, r->f.force_snapshot,
		r->f.enforce_retention, 0 };
	enum ls_rc rc;

	if (getrlimit(RLIMIT_NOFILE, &r->files) == 0)
		raise_files(r);
	o.files = (size_t)r->files.rlim_max;
	if ((rc = ls_capture_init(e)) != LS_OK ||
	    (rc = ls_net_new(&r->net, e)) != LS_OK ||
	    (rc = restore_missing(r, e)) != LS_OK)
		return rc;
	say_databases(r);
	if ((rc = ls_daemon_new(&r->cfg, &o, r->net, &r->d, e)) != LS_OK)
		return rc;
	ls_daemon_poll(r->d, r->sig_fd, on_signal, r);
	ls_daemon_ready(r->d, on_ready, r);
	ls_daemon_quiet(r->d, on_quiet, r);
	start_control(r);
	start_site(r);
	start_mcp(r);
	start_heartbeat(r);
	rc = ls_daemon_run(r->d, e);
	if (r->reload_join)
		(void)pthread_join(r->reload_thread, NULL);
	ls_control_stop(r->control);
	ls_site_stop(r->site);
	ls_heartbeat_stop(r->heartbeat);
	ls_mcp_stop(r->mcp);
	if (ls_daemon_hangs(r->d)) {
		ls_error("a step does not end, leaving it behind", NULL);
		(void)cli_fail(e);
		(void)fflush(NULL);
		_exit(1); /* the spool survives it as it survives a crash */
	}
	if (r->f.once)
		say_once(rc);
	ls_info("litestream shut down", NULL);
	return rc;
}

/* In the words of Go. */
static int
child_failed(const struct run *r)
{
	const char *when = r->passed ? "cannot wait for exec process: " : "";

	if (r->child.killed != 0)
		(void)cli_error(
		    NULL, "%ssignal: %s", when, strsignal(r->child.killed));
	else
		(void)cli_error(
		    NULL, "%sexit status %d", when, r->child.status);
	return r->child.status;
}

static int
verdict(struct run *r, enum ls_rc rc, const struct ls_err *e)
{
	if (rc != LS_OK)
		return cli_fail(e);
	if (r->child_err.rc != LS_OK)
		return cli_fail(&r->child_err);
	if (!r->child.ended || r->child.status == 0 ||
	    (r->child.killed != 0 && r->child.killed == r->passed))
		return 0;
	return child_failed(r);
}

int
cmd_replicate(int argc, char **argv)
{
	static const char *const args[] = { "", "DB_PATH REPLICA_URL", NULL };
	static const char *const examples[] = { "replicate",
		"replicate -config /path/to/litestream.yml",
		"replicate /path/to/db s3://mybucket/db",
		"replicate -exec \"myapp -v\" /path/to/db s3://mybucket/db",
		NULL };
	struct run r = { .f = { .config = "", .exec = "", .level = "" },
		.reload_mu = PTHREAD_MUTEX_INITIALIZER,
		.sig_fd = -1 };
	const struct cli_flag flags[] = { CLI_CONFIG(r.f.config),
		{ "enforce-retention", CLI_BOOL, &r.f.enforce_retention, NULL,
		    "With -once: then delete what retention allows.", NULL },
		{ "exec", CLI_STR, &r.f.exec, "CMD",
		    "Run CMD as a child; end when it ends, with its status.",
		    NULL },
		{ "force-snapshot", CLI_BOOL, &r.f.force_snapshot, NULL,
		    "With -once: store a snapshot of each database too.",
		    NULL },
		{ "log-level", CLI_STR, &r.f.level,
		    "trace|debug|info|warn|error",
		    "Log nothing less than this; default info.", NULL },
		CLI_NO_EXPAND(r.f.no_expand),
		{ "once", CLI_BOOL, &r.f.once, NULL,
		    "Replicate everything once, then end.", NULL },
		{ "restore-if-db-not-exists", CLI_BOOL, &r.f.restore, NULL,
		    "Restore databases that are missing before starting.",
		    NULL } };
	const struct cli_spec spec = { .name = "replicate",
		.intro = "Runs the daemon: replicates the databases of the\n"
			 "configuration file, or one given database.",
		.args = args,
		CLI_FLAGS(flags),
		.examples = examples };
	struct ls_err e = { 0 };
	enum ls_rc rc;
	char **w;
	int n, code;

	if ((code = cli_parse(&spec, argc, argv, &w, &n)) != CLI_GO ||
	    (code = check_flags(&r.f, n)) != CLI_GO ||
	    (code = check_words(w, n)) != CLI_GO)
		return code;
	/* From the first moment on a signal means: stop as it should be. */
	if (take_signals(&r, &e) != LS_OK)
		return cli_fail(&e);
	(void)mallopt(M_ARENA_MAX, 2); /* an arena a thread costs more than
					* waiting for a lock now and then */
	if (load(&r, w, n, &e) != LS_OK)
		return cli_fail(&e);
	logsink_config(&r.cfg);
	say_start(&r);
	rc = run_all(&r, &e);
	code = verdict(&r, rc, &e);
	ls_daemon_free(r.d);
	ls_net_free(r.net);
	ls_config_fini(&r.cfg);
	return code;
}
