#include "test.h"

#include "daemon/timer.h"

enum { N = 200 };

TEST(timers_come_out_in_order_whatever_is_moved_or_cleared)
{
	struct ls_timers h = { 0 };
	struct ls_timer t[N] = { 0 };
	struct ls_err e;
	uint64_t last = 0;
	size_t set = 0;

	CHECK_OK(ls_timers_reserve(&h, N, &e));
	for (int i = 0; i < 5000; i++) {
		struct ls_timer *x = &t[test_rand() % N];

		if (test_rand() % 3 == 0)
			ls_timer_clear(&h, x);
		else
			ls_timer_set(&h, x, test_rand() % 1000);
	}
	for (size_t i = 0; i < N; i++)
		set += t[i].at != 0;
	CHECK_EQ(h.n, set);
	for (struct ls_timer *x; (x = ls_timers_first(&h)) != NULL; set--) {
		CHECK(x->due_ns >= last);
		last = x->due_ns;
		ls_timer_clear(&h, x);
		CHECK_EQ(x->at, 0);
	}
	CHECK_EQ(set, 0);
	ls_timers_fini(&h);
}

TEST(timer_sooner_never_postpones)
{
	struct ls_timers h = { 0 };
	struct ls_timer t = { 0 };
	struct ls_err e;

	CHECK_OK(ls_timers_reserve(&h, 1, &e));
	ls_timer_sooner(&h, &t, 50);
	ls_timer_sooner(&h, &t, 70);
	CHECK_EQ(t.due_ns, 50);
	ls_timer_sooner(&h, &t, 20);
	CHECK_EQ(t.due_ns, 20);
	ls_timers_fini(&h);
}
