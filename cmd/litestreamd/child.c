/* child.c -- the application as a child of `replicate -exec`. See child.h. */
#include "child.h"

#include "base/buf.h"
#include "base/sys.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

enum { WORDS_MAX = 256 };

extern char **environ;

struct words {
	char *v[WORDS_MAX + 1];
	size_t n;
};

static void
words_free(struct words *w)
{
	while (w->n > 0)
		ls_free(w->v[--w->n]);
}

/* One word from *s into out; quotes are removed. False: a quote is not closed.
 */
static bool
word(const char **s, struct ls_buf *out, struct ls_err *e)
{
	char quote = '\0';

	for (; **s != '\0' && (quote != '\0' || !strchr(" \t\n", **s));
	     (*s)++) {
		char c = **s;

		if (quote != '\0' && c == quote) {
			quote = '\0';
			continue;
		}
		if (quote == '\0' && (c == '\'' || c == '"')) {
			quote = c;
			continue;
		}
		if (c == '\\' && quote != '\'' && (*s)[1] != '\0')
			c = *++*s;
		if (ls_buf_add(out, &c, 1, e) != LS_OK)
			return false;
	}
	return quote == '\0';
}

static enum ls_rc
split(const char *command, struct words *w, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(1 << 20);
	enum ls_rc rc = LS_OK;
	const char *s = command;

	while (rc == LS_OK) {
		s += strspn(s, " \t\n");
		if (*s == '\0')
			break;
		ls_buf_clear(&b);
		if (!word(&s, &b, e))
			rc = ls_err_set(e, LS_EINVALID,
			    "cannot parse exec command: quote not closed: %s",
			    command);
		else if (w->n == WORDS_MAX)
			rc = ls_err_set(e, LS_EINVALID,
			    "exec command has more than %d words", WORDS_MAX);
		else if ((w->v[w->n] = ls_strdup(ls_buf_str(&b))) == NULL)
			rc = ls_err_nomem(e);
		else
			w->v[++w->n] = NULL;
	}
	ls_buf_free(&b);
	if (rc == LS_OK && w->n == 0)
		rc = ls_err_set(e, LS_EINVALID, "exec command is empty");
	return rc;
}

enum ls_rc
child_start(struct child *c, const char *command, struct ls_err *e)
{
	struct words w = { .n = 0 };
	posix_spawnattr_t attr;
	sigset_t none, dfl;
	enum ls_rc rc;
	int err;

	if ((rc = split(command, &w, e)) != LS_OK) {
		words_free(&w);
		return rc;
	}
	(void)sigemptyset(&none);
	(void)sigemptyset(&dfl);
	(void)sigaddset(&dfl, SIGPIPE);
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &dfl);
	(void)posix_spawnattr_setflags(
	    &attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	err = posix_spawnp(&c->pid, w.v[0], NULL, &attr, w.v, environ);
	(void)posix_spawnattr_destroy(&attr);
	if (err != 0) {
		c->pid = 0;
		rc =
		    ls_err_sys(e, err, "cannot start exec command: %s", w.v[0]);
	}
	words_free(&w);
	return rc;
}

bool
child_ended(struct child *c)
{
	int how;

	if (c->pid <= 0 || waitpid(c->pid, &how, WNOHANG) != c->pid)
		return false;
	c->pid = 0;
	c->ended = true;
	c->killed = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
	c->status = c->killed ? 128 + c->killed : WEXITSTATUS(how);
	return true;
}

void
child_signal(const struct child *c, int sig)
{
	if (c->pid > 0)
		(void)kill(c->pid, sig);
}
