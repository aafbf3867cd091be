/* child.h -- the application as a child of `replicate -exec`. */
#ifndef LS_CHILD_H
#define LS_CHILD_H

#include "base/err.h"

#include <sys/types.h>

struct child {
	pid_t pid; /* 0 = none, or it ended */
	bool ended;
	int status; /* its exit status; 128 + signal when it was killed */
	int killed; /* ... by this signal; 0 = by none */
};

/* Split a command line into words as a shell does for quotes and backslashes
 * (no expansion, no shell), and start it. Its signal mask is empty. */
enum ls_rc child_start(
    struct child *c, const char *command, struct ls_err *e) LS_MUST_CHECK;
/* Collect it if it ended: true once. */
bool child_ended(struct child *c);
void child_signal(const struct child *c, int sig);

#endif
