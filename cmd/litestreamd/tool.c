/* tool.c -- a command of this program, run as a child. See tool.h.
 *
 * A child, not a call: a command prints, and may take memory and time. It is
 * this very program (/proc/self/exe), whatever lies in PATH. */
#include "tool.h"

#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 32 };

extern char **environ;

static enum ls_rc
start(const char *const *words, int out, pid_t *pid, struct ls_err *e)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	char *argv[WORDS_MAX + 2];
	sigset_t none, dfl;
	size_t n = 0;
	int err;

	argv[n++] = (char *)(uintptr_t) "litestream";
	for (; words[n - 1] != NULL && n < WORDS_MAX; n++)
		argv[n] = (char *)(uintptr_t)words[n - 1];
	argv[n] = NULL;
	(void)sigemptyset(&none);
	(void)sigemptyset(&dfl);
	(void)sigaddset(&dfl, SIGPIPE);
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &dfl);
	(void)posix_spawnattr_setflags(
	    &attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	(void)posix_spawn_file_actions_init(&files);
	(void)posix_spawn_file_actions_addopen(
	    &files, 0, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&files, out, 1);
	(void)posix_spawn_file_actions_adddup2(&files, out, 2);
	err = posix_spawn(pid, "/proc/self/exe", &files, &attr, argv, environ);
	(void)posix_spawn_file_actions_destroy(&files);
	(void)posix_spawnattr_destroy(&attr);
	return err == 0 ? LS_OK : ls_err_sys(e, err, "start a command");
}

/* All it writes, up to out's ceiling; LS_ECANCELED: it is to end. */
static enum ls_rc
read_all(int fd, struct ls_cancel *cancel, struct ls_buf *out, struct ls_err *e)
{
	struct pollfd p[] = { { fd, POLLIN, 0 }, { cancel->fd, POLLIN, 0 } };
	char part[4096];
	ssize_t n;

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return ls_err_sys(e, errno, "poll");
		if (p[1].revents != 0)
			return ls_err_set(
			    e, LS_ECANCELED, "the daemon is stopping");
		if (p[0].revents == 0)
			continue;
		if ((n = read(fd, part, sizeof part)) == 0)
			return LS_OK;
		if (n < 0 && errno != EINTR)
			return ls_err_sys(e, errno, "read");
		if (n > 0 && ls_buf_add(out, part, (size_t)n, e) != LS_OK)
			return ls_err_set(
			    e, LS_ERANGE, "the output is too long");
	}
}

enum ls_rc
tool_run(const char *const *words, struct ls_cancel *cancel, struct ls_buf *out,
    int *status, struct ls_err *e)
{
	int fd[2], how = 0;
	pid_t pid = 0;
	enum ls_rc rc;

	if (pipe2(fd, O_CLOEXEC) != 0)
		return ls_err_sys(e, errno, "pipe");
	rc = start(words, fd[1], &pid, e);
	(void)close(fd[1]);
	if (rc == LS_OK) {
		rc = read_all(fd[0], cancel, out, e);
		if (rc != LS_OK)
			(void)kill(pid, SIGKILL);
		while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
			;
		*status =
		    WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
	}
	(void)close(fd[0]);
	return rc;
}
