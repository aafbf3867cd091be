/* test.c -- the unit tests' frame. See test.h. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <unistd.h>

static struct test *tests;
static jmp_buf failed;
static char folder[] = "/tmp/ls-test-XXXXXX";
static struct ls_buf kept[64];
static size_t kept_n;
#define LS_COUNT_KEPT (sizeof kept / sizeof kept[0])
static uint64_t rnd = 88172645463325252ull;

void
test_add(struct test *t)
{
	struct test **p = &tests;

	while (*p != NULL)
		p = &(*p)->next;
	*p = t;
}

_Noreturn void
test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	(void)printf("    %s:%d: ", file, line);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)printf("\n");
	longjmp(failed, 1);
}

const char *
T(const char *name)
{
	static char ring[16][512];
	static unsigned at;
	char *p = ring[at++ % 16];

	(void)snprintf(p, sizeof ring[0], "%s/%s", folder, name);
	return p;
}

int
test_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		(void)closedir(d);
	return n;
}

void
test_write_file(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "wb");

	if (f == NULL || fwrite(p, 1, n, f) != n || fclose(f) != 0)
		test_fail(__FILE__, __LINE__, "cannot write %s", path);
}

struct ls_span
test_read_file(const char *path)
{
	struct ls_err e = { 0 };
	struct ls_buf *b = &kept[kept_n++ % LS_COUNT_KEPT];

	ls_buf_free(b);
	ls_buf_init(b, (size_t)1 << 32);
	if (ls_read_file(path, (size_t)1 << 32, b, &e) != LS_OK)
		test_fail(__FILE__, __LINE__, "%s", e.msg);
	return ls_buf_span(b);
}

void
test_seed(uint64_t seed)
{
	rnd = seed * 2862933555777941757ull + 3037000493ull;
}

uint64_t
test_rand(void)
{
	rnd ^= rnd << 13, rnd ^= rnd >> 7, rnd ^= rnd << 17;
	return rnd;
}

void
test_rand_bytes(void *p, size_t n)
{
	uint8_t *b = p;

	while (n-- > 0)
		*b++ = (uint8_t)(test_rand() >> 24);
}

static void
empty_folder(void)
{
	struct ls_err e;

	ls_sys = &ls_sys_real;
	ls_log_set(NULL, NULL, LS_ERROR);
	if (ls_remove_tree(folder, &e) != LS_OK)
		(void)fprintf(stderr, "%s\n", e.msg);
}

static int
run_one(struct test *t)
{
	volatile int bad = 0;

	(void)mkdir(folder, 0700);
	test_seed(1);
	if (setjmp(failed) == 0)
		t->run();
	else
		bad = 1;
	empty_folder();
	while (kept_n > 0 && kept_n-- <= LS_COUNT_KEPT)
		ls_buf_free(&kept[kept_n]);
	(void)printf("%s %s\n", bad ? "FAIL" : "ok  ", t->name);
	(void)fflush(stdout);
	return bad;
}

int
main(int argc, char **argv)
{
	int run = 0, bad = 0;

	if (mkdtemp(folder) == NULL)
		return perror(folder), 2;
	for (struct test *t = tests; t != NULL; t = t->next) {
		if (argc > 1 && strstr(t->name, argv[1]) == NULL)
			continue;
		bad += run_one(t), run++;
	}
	(void)printf("%d passed, %d failed\n", run - bad, bad);
	return run == 0 || bad != 0;
}
