#include "test.h"

#include "daemon/pool.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

struct job {
	struct ls_work w;
	sem_t *begun, *go, *done;
};

static void
wait_job(struct ls_work *w)
{
	struct job *j = (struct job *)w;

	if (j->begun != NULL)
		(void)sem_post(j->begun);
	if (j->go != NULL)
		(void)sem_wait(j->go);
	(void)sem_post(j->done);
}

/* Remote work that never ends must not keep local work from being done. */
TEST(local_lane_runs_while_the_remote_lane_is_stuck)
{
	enum { REMOTE = 3 };
	struct ls_pool *p = NULL;
	struct ls_err e;
	struct job stuck[REMOTE + 2], local;
	sem_t begun, go, done;

	(void)sem_init(&begun, 0, 0);
	(void)sem_init(&go, 0, 0);
	(void)sem_init(&done, 0, 0);
	CHECK_OK(ls_pool_new(1, REMOTE, &p, &e));
	for (int i = 0; i < REMOTE + 2; i++) {
		stuck[i] =
		    (struct job){ { wait_job, NULL }, &begun, &go, &done };
		ls_pool_push(p, LS_LANE_REMOTE, &stuck[i].w);
	}
	for (int i = 0; i < REMOTE; i++)
		(void)sem_wait(&begun);
	CHECK(sem_trywait(&begun) != 0); /* the lane's limit holds */
	local = (struct job){ { wait_job, NULL }, NULL, NULL, &done };
	ls_pool_push(p, LS_LANE_LOCAL, &local.w);
	(void)sem_wait(&done);
	for (int i = 0; i < REMOTE + 2; i++)
		(void)sem_post(&go);
	for (int i = 0; i < REMOTE + 2; i++)
		(void)sem_wait(&done);
	ls_pool_free(p);
}

/* Two pieces of work come while one thread idles: the second gets a thread of
 * its own, however long the first takes. */
TEST(an_idle_thread_is_promised_one_piece_only)
{
	for (int turn = 0; turn < 50; turn++) {
		struct ls_pool *p = NULL;
		struct ls_err e;
		struct job first, second;
		struct timespec limit;
		sem_t begun, go, done;

		(void)sem_init(&begun, 0, 0);
		(void)sem_init(&go, 0, 0);
		(void)sem_init(&done, 0, 0);
		CHECK_OK(ls_pool_new(1, 2, &p, &e));
		second = (struct job){ { wait_job, NULL }, NULL, NULL, &done };
		ls_pool_push(p, LS_LANE_REMOTE, &second.w);
		(void)sem_wait(&done);
		for (int i = 0; i < 1000; i++)
			(void)sched_yield(); /* most likely its thread idles */
		first = (struct job){ { wait_job, NULL }, &begun, &go, &done };
		second = (struct job){ { wait_job, NULL }, NULL, NULL, &done };
		ls_pool_push(p, LS_LANE_REMOTE, &first.w);
		ls_pool_push(p, LS_LANE_REMOTE, &second.w);
		(void)clock_gettime(CLOCK_REALTIME, &limit);
		limit.tv_sec += 20;
		CHECK_EQ(sem_timedwait(&done, &limit), 0); /* the second's */
		(void)sem_post(&go);
		(void)sem_wait(&done);
		ls_pool_free(p);
	}
}

/* Three at once need three threads; when all is done one is left, and the next
 * three find as many again. */
TEST(idle_threads_end_and_come_back)
{
	struct ls_pool *p = NULL;
	struct ls_err e;
	struct job j[3];
	sem_t begun, go, done;

	(void)sem_init(&begun, 0, 0);
	(void)sem_init(&go, 0, 0);
	(void)sem_init(&done, 0, 0);
	CHECK_OK(ls_pool_new(1, 3, &p, &e));
	ls_pool_set_idle(p, LS_MS);
	for (int turn = 0; turn < 5; turn++) {
		for (int i = 0; i < 3; i++) {
			j[i] = (struct job){ { wait_job, NULL }, &begun, &go,
				&done };
			ls_pool_push(p, LS_LANE_REMOTE, &j[i].w);
		}
		for (int i = 0; i < 3; i++)
			(void)sem_wait(&begun);
		CHECK_EQ(ls_pool_threads(p), 4);
		for (int i = 0; i < 3; i++)
			(void)sem_post(&go);
		for (int i = 0; i < 3; i++)
			(void)sem_wait(&done);
		while (ls_pool_threads(p) > 2)
			(void)sched_yield();
	}
	ls_pool_free(p);
}
