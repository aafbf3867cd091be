/* log.c -- records to the sink. See log.h. */
#include "base/log.h"

#include "base/sys.h"

#include <pthread.h>

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static ls_log_sink *the_sink;
static void *the_arg;
enum ls_level ls_log_min = LS_ERROR;

void
ls_log_set(ls_log_sink *sink, void *arg, enum ls_level min)
{
	(void)pthread_mutex_lock(&mu);
	the_sink = sink;
	the_arg = arg;
	ls_log_min = min;
	(void)pthread_mutex_unlock(&mu);
}

void
ls_log_emit(enum ls_level level, const char *file, int line, const char *msg,
    const struct ls_attr *attrs)
{
	struct ls_log_record r = { level, file, line, msg, attrs };

	(void)pthread_mutex_lock(&mu); /* whole lines, in one order */
	if (the_sink != NULL)
		the_sink(&r, the_arg);
	(void)pthread_mutex_unlock(&mu);
}

bool
ls_log_due(struct ls_log_limit *l, uint64_t every_ns)
{
	uint64_t now = ls_sys->mono_ns();

	if (l->last_ns != 0 && now - l->last_ns < every_ns) {
		l->muted++;
		return false;
	}
	l->last_ns = now;
	return true;
}
