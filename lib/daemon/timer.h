/* timer.h -- a due-time heap of timers that are embedded in their owners. */
#ifndef LS_TIMER_H
#define LS_TIMER_H

#include "base/err.h"

struct ls_timer {
	uint64_t due_ns; /* of ls_sys->mono_ns */
	size_t at;	 /* place in the heap + 1; 0 = not set */
	int kind;	 /* of the owner's: which of its timers this is */
};

struct ls_timers {
	struct ls_timer **v;
	size_t n, cap;
};

void ls_timers_fini(struct ls_timers *h);
/* Room for n timers in all, so that setting one cannot fail. */
enum ls_rc ls_timers_reserve(
    struct ls_timers *h, size_t n, struct ls_err *e) LS_MUST_CHECK;
/* Set, or move; _sooner leaves one that is set and due earlier. */
void ls_timer_set(struct ls_timers *h, struct ls_timer *t, uint64_t due_ns);
void ls_timer_sooner(struct ls_timers *h, struct ls_timer *t, uint64_t due_ns);
void ls_timer_clear(struct ls_timers *h, struct ls_timer *t);
/* The earliest, or NULL. */
struct ls_timer *ls_timers_first(const struct ls_timers *h);

#endif
