#include "capture/posfile.h"

#include "base/bytes.h"
#include "crashsim.h"
#include "fault.h"
#include "format/crc64.h"

#include <errno.h>
#include <unistd.h>

static struct ls_posrec
sample(uint64_t txid)
{
	return (struct ls_posrec){ .txid = txid,
		.lineage = 0x1122334455667788,
		.page_size = 4096,
		.commit = 77,
		.salt = { 1, 0xfffffffe },
		.frame = 12,
		.sum = { 3, 4 },
		.filed = true,
		.wal_bytes = 1ull << 40,
		.db_dev = 5,
		.db_ino = 6,
		.has_db_checksum = true,
		.db_checksum = 0x8000000000000007,
		.timestamp_ms = -8,
		.db_mtime_ns = 9 };
}

static bool
same(const struct ls_posrec *a, const struct ls_posrec *b)
{
	return a->txid == b->txid && a->lineage == b->lineage &&
	       a->page_size == b->page_size && a->commit == b->commit &&
	       a->salt[0] == b->salt[0] && a->salt[1] == b->salt[1] &&
	       a->frame == b->frame && a->sum[0] == b->sum[0] &&
	       a->sum[1] == b->sum[1] && a->filed == b->filed &&
	       a->wal_bytes == b->wal_bytes && a->db_dev == b->db_dev &&
	       a->db_ino == b->db_ino &&
	       a->has_db_checksum == b->has_db_checksum &&
	       a->db_checksum == b->db_checksum &&
	       a->timestamp_ms == b->timestamp_ms &&
	       a->db_mtime_ns == b->db_mtime_ns;
}

TEST(posrec_round_trip)
{
	struct ls_posrec a = sample(1), b = { 0 };
	struct ls_err e = { 0 };
	bool found = true;

	CHECK_OK(ls_posrec_load(T(""), &b, &found, &e));
	CHECK(!found);
	fault_clock(0);
	CHECK_OK(ls_posrec_store(T(""), &a, &e));
	CHECK_OK(ls_posrec_load(T(""), &b, &found, &e));
	fault_disarm();
	CHECK(found && same(&a, &b));
	CHECK(b.saved_ms > 1500000000000);

	a.filed = a.has_db_checksum = false;
	CHECK_OK(ls_posrec_store(T(""), &a, &e));
	CHECK_OK(ls_posrec_load(T(""), &b, &found, &e));
	CHECK(found && same(&a, &b));

	CHECK_OK(ls_posrec_wipe(T(""), &e));
	CHECK_OK(ls_posrec_load(T(""), &b, &found, &e));
	CHECK(!found);
	CHECK_OK(ls_posrec_wipe(T(""), &e));
}

/* Every bit matters, every length but the right one is no record; a later
 * version, whole by its own rules, is none either. */
TEST(posrec_damage_is_no_record)
{
	struct ls_posrec a = sample(1), b = { .txid = 42 };
	struct ls_err e = { 0 };
	uint8_t raw[200] = { 0 };
	struct ls_span s;
	bool found;

	CHECK_OK(ls_posrec_store(T(""), &a, &e));
	s = test_read_file(T("litestreamd-position"));
	CHECK(s.n < sizeof raw);
	memcpy(raw, s.p, s.n);
	for (size_t bit = 0; bit < s.n * 8; bit++) {
		raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
		test_write_file(T("litestreamd-position"), raw, s.n);
		raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
		found = true;
		CHECK_OK(ls_posrec_load(T(""), &b, &found, &e));
		CHECK(!found && b.txid == 42);
	}
	for (uint8_t version = 0; version < 4; version++) {
		raw[11] = version;
		ls_put_be64(raw + s.n - 8, ls_crc64(0, raw, s.n - 8));
		test_write_file(T("litestreamd-position"), raw, s.n);
		CHECK_OK(ls_posrec_load(T(""), &b, &found, &e));
		CHECK(found == (version == 2));
	}
	memcpy(raw, s.p, s.n);
	for (size_t n = 0; n < sizeof raw; n++) {
		test_write_file(T("litestreamd-position"), raw, n);
		CHECK_OK(ls_posrec_load(T(""), &b, &found, &e));
		CHECK(found == (n == s.n));
	}
}

TEST(posrec_fault_sweep)
{
	for (int n = 1;; n++) {
		struct ls_posrec a = sample(1), b = sample(2), got = { 0 };
		struct ls_err e = { 0 };
		int fds = test_open_fds();
		bool found = false;
		enum ls_rc rc;

		CHECK_OK(ls_posrec_store(T(""), &a, &e));
		fault_arm(n, EIO);
		rc = ls_posrec_store(T(""), &b, &e);
		fault_disarm();
		CHECK_EQ(test_open_fds(), fds);
		CHECK(!ls_exists(T("litestreamd-position.tmp")));
		CHECK_OK(ls_posrec_load(T(""), &got, &found, &e));
		CHECK(found && (same(&got, &a) || same(&got, &b)));
		if (!fault_fired()) {
			CHECK(rc == LS_OK && same(&got, &b) && n > 4);
			return;
		}
		CHECK(rc != LS_OK && e.msg[0] != '\0');
	}
}

TEST(posrec_crash_at_every_call)
{
	for (int n = 1;; n++) {
		struct ls_posrec a = sample(1), b = sample(2), got = { 0 };
		struct ls_err e = { 0 };
		bool found = false, hit;
		enum ls_rc rc;

		CHECK_OK(ls_posrec_store(T(""), &a, &e));
		crash_arm(n, true);
		rc = ls_posrec_store(T(""), &b, &e);
		hit = crash_disarm();
		CHECK_OK(ls_posrec_load(T(""), &got, &found, &e));
		CHECK(found && (same(&got, &a) || same(&got, &b)));
		if (!hit) {
			CHECK(rc == LS_OK && same(&got, &b) && n > 4);
			return;
		}
	}
}

TEST(posrec_load_reports_a_disk_that_fails)
{
	for (int n = 1;; n++) {
		struct ls_posrec a = sample(3), got = { .txid = 42 };
		struct ls_err e = { 0 };
		int fds = test_open_fds();
		bool found = false;
		enum ls_rc rc;

		CHECK_OK(ls_posrec_store(T(""), &a, &e));
		fault_reads(1);
		fault_arm(n, EIO);
		rc = ls_posrec_load(T(""), &got, &found, &e);
		fault_disarm();
		fault_reads(0);
		CHECK_EQ(test_open_fds(), fds);
		if (!fault_fired()) {
			CHECK(rc == LS_OK && found && got.txid == 3);
			return;
		}
		CHECK(rc != LS_OK && !found && got.txid == 42);
	}
}
