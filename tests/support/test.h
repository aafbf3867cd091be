/* test.h -- the unit tests' frame: TEST(name) { ... CHECK(x); }.
 *
 * One program a folder of lib/. Run all, or those whose name holds a word:
 * `unit_base publish`. Each test gets an empty folder, T("name") is a path in
 * it, and it is removed afterwards. */
#ifndef LS_TEST_H
#define LS_TEST_H

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
	const char *name, *file;
	void (*run)(void);
	struct test *next;
};
void test_add(struct test *t);

#define TEST(fn)                                                           \
	static void test_##fn(void);                                       \
	__attribute__((constructor)) static void test_add_##fn(void)       \
	{                                                                  \
		static struct test t = { #fn, __FILE__, test_##fn, NULL }; \
		test_add(&t);                                              \
	}                                                                  \
	static void test_##fn(void)

/* A failed check ends the test (longjmp), the next one runs. */
_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
    LS_PRINTF(3, 4);
#define CHECK(x) \
	((x) ? (void)0 : test_fail(__FILE__, __LINE__, "CHECK(%s)", #x))
#define CHECK_OK(call)                                                     \
	do {                                                               \
		enum ls_rc rc_ = (call);                                   \
		if (rc_ != LS_OK)                                          \
			test_fail(__FILE__, __LINE__, "%s: %s: %s", #call, \
			    ls_rc_name(rc_), e.msg);                       \
	} while (0) /* needs a `struct ls_err e` in scope */
#define CHECK_RC(call, want)                                                 \
	do {                                                                 \
		enum ls_rc rc_ = (call), want_ = (want);                     \
		if (rc_ != want_)                                            \
			test_fail(__FILE__, __LINE__, "%s: got %s, want %s", \
			    #call, ls_rc_name(rc_), ls_rc_name(want_));      \
	} while (0)
#define CHECK_EQ(a, b)                                                        \
	do {                                                                  \
		long long a_ = (long long)(a), b_ = (long long)(b);           \
		if (a_ != b_)                                                 \
			test_fail(__FILE__, __LINE__, "%s = %lld, %s = %lld", \
			    #a, a_, #b, b_);                                  \
	} while (0)
#define CHECK_STR(a, b)                                              \
	do {                                                         \
		const char *a_ = (a), *b_ = (b);                     \
		if (strcmp(a_, b_) != 0)                             \
			test_fail(__FILE__, __LINE__,                \
			    "%s = \"%s\", want \"%s\"", #a, a_, b_); \
	} while (0)

/* Path of name in the test's folder; a ring of 16 static strings. */
const char *T(const char *name);
int test_open_fds(void);
void test_write_file(const char *path, const void *p, size_t n);
/* Whole file into a buffer of the test's (freed at its end). */
struct ls_span test_read_file(const char *path);
/* Deterministic random bytes and numbers. */
void test_seed(uint64_t seed);
uint64_t test_rand(void);
void test_rand_bytes(void *p, size_t n);

#endif
