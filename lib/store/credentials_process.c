/* credentials_process.c -- credentials that a program of the user's prints. See
 * credentials_impl.h. Format: "Process credential provider" of the AWS SDK
 * reference, version 1.
 *
 * (1) THE PROGRAM CANNOT HOLD US: after 60 s, or when the call is cancelled, its
 *     process group is killed. It gets no input, and its stderr is ours.
 *     (test: credentials_process_that_hangs)
 * (2) ONLY ITS OWN CHILD IS WAITED FOR, by pid: in somebody's process (the
 *     extension) other children are none of our business. Where SIGCHLD is
 *     ignored there is no status: then what it printed decides.
 */
#include "base/buf.h"
#include "store/credentials_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MAX = 65536, POLL_MS = 50 };
#define PATIENCE (60 * LS_SEC)

extern char **environ;

static enum ls_rc
start(const char *command, int out, pid_t *pid, struct ls_err *e)
{
	char *argv[] = { "sh", "-c", NULL, NULL };
	char *copy = ls_strdup(command);
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, dfl;
	int err;

	if (copy == NULL)
		return ls_err_nomem(e);
	argv[2] = copy;
	(void)sigemptyset(&none);
	(void)sigemptyset(&dfl);
	(void)sigaddset(&dfl, SIGPIPE);
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &dfl);
	(void)posix_spawnattr_setpgroup(&attr, 0);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
						  POSIX_SPAWN_SETSIGDEF |
						  POSIX_SPAWN_SETPGROUP);
	(void)posix_spawn_file_actions_init(&fa);
	err =
	    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	if (err == 0)
		err = posix_spawn_file_actions_adddup2(&fa, out, 1);
	if (err == 0)
		err = posix_spawn(pid, "/bin/sh", &fa, &attr, argv, environ);
	(void)posix_spawn_file_actions_destroy(&fa);
	(void)posix_spawnattr_destroy(&attr);
	ls_free(copy);
	return err == 0 ? LS_OK : ls_err_sys(e, err, "start /bin/sh");
}

/* Is there time left? */
static enum ls_rc
patient(uint64_t until, const struct ls_call *c, struct ls_err *e)
{
	if (ls_sys->mono_ns() > until)
		return ls_err_set(
		    e, LS_EDENIED, "the program did not end within 60 s");
	return ls_call_check(c, e);
}

static enum ls_rc
read_all(int fd, uint64_t until, struct ls_buf *out, const struct ls_call *c,
    struct ls_err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char some[4096];
	ssize_t n = 1;
	enum ls_rc rc;

	while (n != 0) {
		if ((rc = patient(until, c, e)) != LS_OK)
			return rc;
		if (poll(&p, 1, POLL_MS) <= 0)
			continue;
		n = ls_sys->read(fd, some, sizeof some);
		if (n < 0 && errno != EINTR)
			return ls_err_sys(e, errno, "read its output");
		if (n > 0)
			rc = ls_buf_add(out, some, (size_t)n, e);
		explicit_bzero(some, sizeof some);
		if (rc != LS_OK)
			return rc;
	}
	return LS_OK;
}

/* Its end, by itself or by us. *status is 0 when nobody can tell, see (2). */
static enum ls_rc
wait_for(pid_t pid, uint64_t until, enum ls_rc rc, int *status,
    const struct ls_call *c, struct ls_err *e)
{
	bool killed = false;
	pid_t got;
	int how = 0;

	for (;;) {
		if (rc != LS_OK && !killed)
			killed = kill(-pid, SIGKILL) == 0;
		got = waitpid(pid, &how, rc == LS_OK ? WNOHANG : 0);
		if (got == pid || (got < 0 && errno != EINTR))
			break;
		if (rc == LS_OK && (rc = patient(until, c, e)) == LS_OK)
			ls_sys->sleep_ns(POLL_MS * LS_MS / 10);
	}
	if (got < 0)
		how = 0;
	*status = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
	return rc;
}

static enum ls_rc
run(const char *command, struct ls_buf *out, const struct ls_call *c,
    struct ls_err *e)
{
	uint64_t until = ls_sys->mono_ns() + PATIENCE;
	int fd[2], status = 0;
	pid_t pid = 0;
	enum ls_rc rc;

	if (pipe2(fd, O_CLOEXEC) != 0)
		return ls_err_sys(e, errno, "pipe");
	rc = start(command, fd[1], &pid, e);
	(void)ls_sys->close(fd[1]);
	if (rc == LS_OK) {
		rc = read_all(fd[0], until, out, c, e);
		rc = wait_for(pid, until, rc, &status, c, e);
		if (rc == LS_OK && status != 0)
			rc = ls_err_set(e, LS_EDENIED,
			    "the program ended with status %d", status);
	}
	(void)ls_sys->close(fd[0]);
	return rc;
}

enum ls_rc
ls_creds_from_process(struct ls_creds *out, const struct ls_creds_ask *a,
    const char *command, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(ANSWER_MAX);
	enum ls_rc rc = run(command, &b, a->call, e);

	if (rc == LS_OK)
		rc = ls_creds_json(out, ls_buf_span(&b), "SessionToken",
		    "credential_process", e);
	if (rc == LS_ESERVER)
		rc = ls_err_wrap(e, LS_EDENIED, "what it printed");
	ls_creds_wipe(&b);
	if (rc == LS_OK || rc == LS_ECANCELED || rc == LS_ETIMEOUT)
		return rc;
	return ls_err_hint(e, ls_err_wrap(e, rc, "credential_process"),
	    "run the command of credential_process by hand, as the user of the "
	    "daemon");
}
