#include "capture/pagemap.h"

#include "base/bytes.h"
#include "crashsim.h"
#include "fault.h"
#include "format/crc64.h"
#include "format/ltx.h"

#include <errno.h>
#include <unistd.h>

enum { MODEL = 9000, BLOCK = 4096 };
#define MAP  T("litestreamd-pagemap")
#define REDO T("litestreamd-pagemap-redo")

/* The plain array that the map must equal. */
struct model {
	uint64_t v[MODEL];
	uint32_t n;
	uint64_t txid;
};

static void
check_equal(const struct ls_pagemap *m, const struct model *x)
{
	uint64_t sum = 0;
	bool whole = true;

	CHECK(ls_pagemap_valid(m));
	CHECK_EQ(ls_pagemap_count(m), x->n);
	for (uint32_t i = 0; i < x->n; i++) {
		sum ^= x->v[i];
		whole = whole && x->v[i] != 0;
		if (ls_pagemap_get(m, i + 1) != x->v[i])
			CHECK_EQ(ls_pagemap_get(m, i + 1), x->v[i]);
	}
	CHECK(ls_pagemap_get(m, 0) == 0 && ls_pagemap_get(m, x->n + 1) == 0);
	CHECK(ls_pagemap_xor(m) == (sum | LS_CHECKSUM_FLAG));
	CHECK(ls_pagemap_whole(m) == whole);
}

static void
model_resize(struct model *x, struct ls_pagemap *m, uint32_t n)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_pagemap_resize(m, n, &e));
	for (uint32_t i = x->n; i < n; i++)
		x->v[i] = 0;
	x->n = n;
}

static void
model_set(struct model *x, struct ls_pagemap *m, uint32_t pgno, uint64_t sum)
{
	ls_pagemap_set(m, pgno, sum);
	x->v[pgno - 1] = sum;
}

/* One transaction: a few pages near each other, now and then a resize. */
static void
change(struct model *x, struct ls_pagemap *m)
{
	uint32_t at, k = (uint32_t)(test_rand() % 40);

	if (test_rand() % 4 == 0)
		model_resize(x, m, (uint32_t)(test_rand() % MODEL));
	else if (test_rand() % 4 == 0)
		model_resize(x, m, x->n / 512 * 512);
	if (x->n == 0)
		return;
	at = (uint32_t)(test_rand() % x->n);
	for (uint32_t i = 0; i < k && at + i < x->n; i++)
		model_set(x, m, at + i + 1,
		    test_rand() % 8 ? test_rand() | LS_CHECKSUM_FLAG : 0);
}

static struct ls_pagemap *
open_map(void)
{
	struct ls_pagemap *m = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_pagemap_open(T(""), &m, &e));
	return m;
}

static struct ls_pagemap *
fresh(struct model *x, uint32_t n)
{
	struct ls_pagemap *m;

	(void)unlink(MAP);
	(void)unlink(REDO);
	m = open_map();
	CHECK(!ls_pagemap_valid(m) && ls_pagemap_count(m) == 0);
	ls_pagemap_reset(m, 4096);
	memset(x, 0, sizeof *x);
	model_resize(x, m, n);
	for (uint32_t i = 1; i <= n; i++)
		model_set(x, m, i, test_rand() | LS_CHECKSUM_FLAG);
	return m;
}

TEST(pagemap_model)
{
	struct ls_err e = { 0 };
	struct model *x = ls_alloc(sizeof *x);
	struct ls_pagemap *m;

	test_seed(1);
	m = fresh(x, 5000);
	for (uint64_t txid = 1; txid < 400; txid++) {
		change(x, m);
		if (test_rand() % 3 == 0)
			check_equal(m, x);
		if (test_rand() % 3 != 0)
			continue;
		CHECK_OK(ls_pagemap_save(m, txid, 77, &e));
		CHECK(!ls_exists(REDO));
		if (test_rand() % 2 == 0)
			continue;
		ls_pagemap_free(m);
		m = open_map();
		check_equal(m, x);
		CHECK_EQ(ls_pagemap_txid(m), txid);
		CHECK_EQ(ls_pagemap_lineage(m), 77);
		CHECK_EQ(ls_pagemap_page_size(m), 4096);
	}
	ls_pagemap_free(m);
	ls_free(x);
}

TEST(pagemap_shrink_and_regrow_forgets)
{
	struct ls_err e = { 0 };
	struct model *x = ls_alloc(sizeof *x);
	struct ls_pagemap *m;

	test_seed(2);
	m = fresh(x, 2000);
	CHECK_OK(ls_pagemap_save(m, 1, 1, &e));
	model_resize(x, m, 700);
	CHECK_OK(ls_pagemap_save(m, 2, 1, &e));
	model_resize(x, m, 1900);
	CHECK_OK(ls_pagemap_save(m, 3, 1, &e));
	ls_pagemap_free(m);
	m = open_map();
	check_equal(m, x);
	CHECK(ls_pagemap_get(m, 701) == 0 && ls_pagemap_get(m, 1900) == 0);
	ls_pagemap_free(m);
	ls_free(x);
}

TEST(pagemap_lock_page_stays_unknown)
{
	struct ls_err e = { 0 };
	struct ls_pagemap *m = open_map();
	uint32_t lock = ls_lock_pgno(65536);

	ls_pagemap_reset(m, 65536);
	CHECK_OK(ls_pagemap_resize(m, lock + 1, &e));
	for (uint32_t i = 1; i <= lock + 1; i++)
		ls_pagemap_set(m, i, LS_CHECKSUM_FLAG | i);
	CHECK(ls_pagemap_get(m, lock) == 0);
	CHECK(ls_pagemap_get(m, lock + 1) == (LS_CHECKSUM_FLAG | (lock + 1)));
	CHECK(ls_pagemap_whole(m));
	ls_pagemap_free(m);
}

TEST(pagemap_saves_only_what_changed)
{
	struct ls_err e = { 0 };
	struct model *x = ls_alloc(sizeof *x);
	struct ls_pagemap *m;
	struct stat a, b;

	test_seed(3);
	m = fresh(x, 8000);
	CHECK_OK(ls_pagemap_save(m, 1, 1, &e));
	CHECK_EQ(ls_file_size(MAP), (2 + 16) * BLOCK);
	CHECK_EQ(stat(MAP, &a), 0);
	model_set(x, m, 4000, 5);
	CHECK_OK(ls_pagemap_save(m, 2, 1, &e)); /* in place */
	CHECK_EQ(stat(MAP, &b), 0);
	CHECK(a.st_ino == b.st_ino);
	fault_arm(1, EIO); /* nothing changed: not one call */
	CHECK_OK(ls_pagemap_save(m, 2, 1, &e));
	fault_disarm();
	model_resize(x, m, 10); /* a big file for a small map: a new one */
	CHECK_OK(ls_pagemap_save(m, 3, 1, &e));
	model_resize(x, m, 8000);
	CHECK_OK(ls_pagemap_save(m, 4, 1, &e));
	ls_pagemap_free(m);
	m = open_map();
	check_equal(m, x);
	ls_pagemap_reset(m, 512);
	CHECK(!ls_pagemap_get(m, 1) && ls_pagemap_valid(m));
	ls_pagemap_invalidate(m);
	CHECK_RC(ls_pagemap_save(m, 5, 1, &e), LS_EINVALID);
	CHECK_OK(ls_pagemap_wipe(m, &e));
	CHECK(!ls_exists(MAP));
	ls_pagemap_free(m);
	ls_free(x);
}

/* A state, saved as TXID 1; then a change of the kind that is asked for. */
static struct ls_pagemap *
two_states(struct model *before, struct model *after, int kind)
{
	struct ls_err e = { 0 };
	struct ls_pagemap *m = fresh(before, 4000);

	CHECK_OK(ls_pagemap_save(m, 1, 9, &e));
	*after = *before;
	if (kind == 1) /* more than half */
		for (uint32_t i = 1; i <= after->n; i += 7)
			model_set(after, m, i, i);
	if (kind == 2)
		model_resize(after, m, 2100);
	if (kind == 3)
		model_resize(after, m, 4700);
	for (uint32_t i = 100; i <= 1000; i += 300)
		model_set(after, m, i, i);
	return m;
}

TEST(pagemap_fault_sweep)
{
	struct model *a = ls_alloc(2 * sizeof *a), *b = a + 1;

	test_seed(4);
	for (int kind = 0, n = 1; kind < 4; n++) {
		struct ls_err e = { 0 };
		struct ls_pagemap *m = two_states(a, b, kind), *again;
		int fds = test_open_fds();
		enum ls_rc rc;

		fault_arm(n, ENOSPC);
		rc = ls_pagemap_save(m, 2, 9, &e);
		fault_disarm();
		CHECK_EQ(test_open_fds(), fds);
		CHECK(!ls_exists(T("litestreamd-pagemap.tmp")));
		CHECK(!ls_exists(T("litestreamd-pagemap-redo.tmp")));
		again = open_map();
		CHECK(ls_pagemap_valid(again));
		check_equal(again, ls_pagemap_txid(again) == 1 ? a : b);
		ls_pagemap_free(again);
		/* The map in memory has lost nothing and saves later. */
		CHECK(fault_fired() ? rc != LS_OK : rc == LS_OK);
		model_set(b, m, 1, 4711);
		CHECK_OK(ls_pagemap_save(m, 3, 9, &e));
		ls_pagemap_free(m);
		m = open_map();
		CHECK_EQ(ls_pagemap_txid(m), 3);
		check_equal(m, b);
		ls_pagemap_free(m);
		if (!fault_fired()) {
			CHECK(n > 5);
			kind++, n = 0;
		}
	}
	ls_free(a);
}

TEST(pagemap_crash_at_every_call)
{
	struct model *a = ls_alloc(2 * sizeof *a), *b = a + 1;

	uint64_t old;

	test_seed(5);
	for (int kind = 0, n = 1; kind < 8; n++) {
		struct ls_err e = { 0 };
		struct ls_pagemap *m = two_states(a, b, kind % 4);
		enum ls_rc rc;
		bool hit;

		crash_arm(n, kind >= 4);
		rc = ls_pagemap_save(m, 2, 9, &e);
		hit = crash_disarm();
		CHECK(hit || rc == LS_OK);
		ls_pagemap_free(m);
		m = open_map();
		CHECK(ls_pagemap_valid(m));
		CHECK(rc != LS_OK || ls_pagemap_txid(m) == 2);
		if (ls_pagemap_txid(m) == 1)
			*b = *a;
		check_equal(m, b);
		/* And again while the leftovers lie there. */
		old = b->v[1];
		model_set(b, m, 2, 4711);
		crash_arm(n, kind >= 4);
		rc = ls_pagemap_save(m, 3, 9, &e);
		(void)crash_disarm();
		ls_pagemap_free(m);
		m = open_map();
		CHECK(ls_pagemap_valid(m));
		CHECK(rc != LS_OK || ls_pagemap_txid(m) == 3);
		if (ls_pagemap_txid(m) != 3)
			b->v[1] = old;
		check_equal(m, b);
		CHECK_OK(ls_pagemap_save(m, 4, 9, &e));
		ls_pagemap_free(m);
		m = open_map();
		check_equal(m, b);
		ls_pagemap_free(m);
		if (!hit) {
			CHECK(n > 5);
			kind++, n = 0;
		}
	}
	ls_free(a);
}

TEST(pagemap_stale_redo_is_ignored)
{
	struct model *a = ls_alloc(2 * sizeof *a), *b = a + 1;
	struct ls_pagemap *m = NULL;
	struct ls_err e = { 0 };
	struct ls_span s = { NULL, 0 };
	uint8_t *copy;

	test_seed(6);
	/* Get hold of a redo: stop right after its rename. */
	for (int n = 1; s.n == 0; n++) {
		ls_pagemap_free(m);
		m = two_states(a, b, 0);
		crash_arm(n, false);
		CHECK(ls_pagemap_save(m, 2, 9, &e) != LS_OK);
		CHECK(crash_disarm());
		if (ls_exists(REDO))
			s = test_read_file(REDO);
	}
	copy = ls_alloc(s.n);
	memcpy(copy, s.p, s.n);

	/* Cut or changed, it is no redo; the file is still the old state. */
	for (size_t at = 0; at < s.n; at += 97) {
		struct ls_pagemap *again;

		copy[at] ^= 0x10;
		test_write_file(REDO, copy, s.n);
		again = open_map();
		CHECK_EQ(ls_pagemap_txid(again), 1);
		check_equal(again, a);
		ls_pagemap_free(again);
		copy[at] ^= 0x10;
		test_write_file(REDO, copy, at);
		again = open_map();
		CHECK_EQ(ls_pagemap_txid(again), 1);
		ls_pagemap_free(again);
	}
	/* Over another file of the same size it is a stranger's. */
	ls_pagemap_free(m);
	m = fresh(b, 4000);
	CHECK_OK(ls_pagemap_save(m, 8, 9, &e));
	test_write_file(REDO, copy, s.n);
	ls_pagemap_free(m);
	m = open_map();
	CHECK_EQ(ls_pagemap_txid(m), 8);
	check_equal(m, b);
	ls_pagemap_free(m);
	ls_free(copy);
	ls_free(a);
}

TEST(pagemap_damage_is_no_map)
{
	struct model *x = ls_alloc(sizeof *x);
	struct ls_err e = { 0 };
	struct ls_pagemap *m;
	struct ls_span s;
	uint8_t *copy;

	test_seed(7);
	m = fresh(x, 1200);
	CHECK_OK(ls_pagemap_save(m, 1, 1, &e));
	ls_pagemap_free(m);
	s = test_read_file(MAP);
	copy = ls_alloc(s.n);
	memcpy(copy, s.p, s.n);
	for (size_t at = 0; at < s.n; at++) {
		bool slack = (at >= 32 && at < BLOCK) ||
			     (at >= BLOCK + 48 && at < 2 * BLOCK);

		if (at > 2 * BLOCK && at % 61 != 0)
			continue;
		copy[at] ^= 0x01;
		test_write_file(MAP, copy, s.n);
		copy[at] ^= 0x01;
		m = open_map();
		CHECK(ls_pagemap_valid(m) == slack);
		CHECK(slack || ls_pagemap_count(m) == 0);
		ls_pagemap_free(m);
	}
	for (size_t n = 0; n < s.n; n += 509) {
		test_write_file(MAP, copy, n);
		m = open_map();
		CHECK(!ls_pagemap_valid(m));
		ls_pagemap_free(m);
	}
	/* Another version, whole by its own CRC. */
	copy[11] = 2;
	ls_put_be64(copy + 24, ls_crc64(0, copy, 24));
	test_write_file(MAP, copy, s.n);
	m = open_map();
	CHECK(!ls_pagemap_valid(m));
	ls_pagemap_free(m);
	ls_free(copy);
	ls_free(x);
}

/* A state that claims four billion pages does not get the memory for them. */
TEST(pagemap_size_is_not_believed)
{
	struct model *x = ls_alloc(sizeof *x);
	struct ls_err e = { 0 };
	struct ls_pagemap *m;
	struct ls_span s;
	uint8_t *copy;

	m = fresh(x, 100);
	CHECK_OK(ls_pagemap_save(m, 1, 1, &e));
	ls_pagemap_free(m);
	s = test_read_file(MAP);
	copy = ls_alloc(s.n);
	memcpy(copy, s.p, s.n);
	ls_put_be32(copy + BLOCK, UINT32_MAX);
	ls_put_be64(copy + BLOCK + 40, ls_crc64(0, copy + BLOCK, 40));
	test_write_file(MAP, copy, s.n);
	m = open_map();
	CHECK(!ls_pagemap_valid(m));
	ls_pagemap_free(m);
	ls_free(copy);
	ls_free(x);
}

TEST(pagemap_open_fault_sweep)
{
	struct model *a = ls_alloc(2 * sizeof *a), *b = a + 1;
	struct ls_pagemap *m;
	struct ls_err e = { 0 };
	int n = 1;

	test_seed(8);
	do { /* stop with a redo lying there */
		m = two_states(a, b, 0);
		crash_arm(n++, false);
		CHECK(ls_pagemap_save(m, 2, 9, &e) != LS_OK);
		CHECK(crash_disarm());
		ls_pagemap_free(m);
	} while (!ls_exists(REDO));
	for (n = 1;; n++) {
		int fds = test_open_fds();
		enum ls_rc rc;

		m = NULL;
		fault_reads(1);
		fault_arm(n, EIO);
		rc = ls_pagemap_open(T(""), &m, &e);
		fault_disarm();
		fault_reads(0);
		CHECK_EQ(test_open_fds(), fds);
		if (!fault_fired())
			break;
		CHECK(rc != LS_OK && m == NULL);
	}
	CHECK(n > 5);
	CHECK_EQ(ls_pagemap_txid(m), 2);
	check_equal(m, b);
	ls_pagemap_free(m);
	ls_free(a);
}

TEST(pagemap_resize_without_memory_changes_nothing)
{
	for (int n = 1;; n++) {
		struct model *x = ls_alloc(sizeof *x);
		struct ls_err e = { 0 };
		struct ls_pagemap *m;
		enum ls_rc rc;

		test_seed(9);
		m = fresh(x, 100);
		fault_arm(n, ENOMEM);
		rc = ls_pagemap_resize(m, 8000, &e);
		fault_disarm();
		if (!fault_fired()) {
			CHECK_OK(rc);
			model_resize(x, m, 8000);
		} else {
			CHECK_EQ(rc, LS_ENOMEM);
		}
		check_equal(m, x);
		ls_pagemap_free(m);
		ls_free(x);
		if (!fault_fired())
			return;
	}
}
