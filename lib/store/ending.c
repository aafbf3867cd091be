/* ending.c -- see ending.h. (test: exit_at_any_time,
 * exit_does_not_wait_for_a_server) */
#include "store/ending.h"

#include "base/sys.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 2000 };

static atomic_bool over;
static atomic_int inside;

static void
at_exit(void)
{
	atomic_store(&over, true);
	for (int i = 0; atomic_load(&inside) > 0 && i < PATIENCE_MS; i++)
		(void)usleep(1000);
}

/* The threads that were inside are the parent's. */
static void
in_child(void)
{
	atomic_store(&inside, 0);
}

static void
watch(void)
{
	(void)pthread_atfork(NULL, NULL, in_child);
	(void)atexit(at_exit);
}

void
ls_ending_watch(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, watch);
}

bool
ls_ending(void)
{
	return atomic_load(&over);
}

/* Counted before it looks: who is not seen by at_exit sees that it ends. */
enum ls_rc
ls_ending_enter(struct ls_err *e)
{
	(void)atomic_fetch_add(&inside, 1);
	if (!atomic_load(&over))
		return LS_OK;
	ls_ending_leave();
	return ls_err_set(e, LS_ECANCELED, "the program is ending");
}

void
ls_ending_leave(void)
{
	(void)atomic_fetch_sub(&inside, 1);
}
