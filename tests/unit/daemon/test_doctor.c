/* test_doctor.c -- what doctor says of machines that tests cannot have, and
 * what it must never say. Set-ups that can be had: integration/test_broken.py.
 */
#include "daemon/doctor.h"
#include "fault.h"

#include "base/bytes.h"

#include <errno.h>

#include <linux/magic.h>

static struct ls_sys fake;
static long fs_magic;
static uint64_t blocks, blocks_free;

static int
fake_statfs(const char *path, struct statfs *st)
{
	(void)path;
	memset(st, 0, sizeof *st);
	st->f_type = (__typeof__(st->f_type))fs_magic;
	return 0;
}

static int
fake_statvfs(const char *path, struct statvfs *st)
{
	(void)path;
	memset(st, 0, sizeof *st);
	st->f_frsize = 4096;
	st->f_blocks = blocks;
	st->f_bavail = blocks_free;
	st->f_files = st->f_favail = 100000;
	return 0;
}

static void
put(const char *name, const char *text)
{
	test_write_file(T(name), text, strlen(text));
}

/* A header and nothing else: enough to be looked at. */
static void
put_database(uint32_t version)
{
	uint8_t h[4096] = "SQLite format 3";

	h[16] = 0x10, h[18] = h[19] = 2;
	ls_put_be32(h + 96, version);
	test_write_file(T("a.db"), h, sizeof h);
}

static void
examine(struct ls_doctor *d)
{
	struct ls_err e = { 0 };
	char text[2000];

	(void)snprintf(text, sizeof text,
	    "dbs:\n- path: %s\n  replica: {path: %s}\n", T("a.db"), T("r"));
	put("c.yml", text);
	*d = (struct ls_doctor){ .config = T("c.yml") };
	fake = ls_sys_real;
	fake.statfs = fake_statfs;
	fake.statvfs = fake_statvfs;
	ls_sys = &fake;
	CHECK_OK(ls_doctor_run(d, &e));
	ls_sys = &ls_sys_real;
}

/* The line of a check, "" when there is none; static storage. */
static const char *
line_of(const struct ls_doctor *d, const char *check)
{
	static char buf[2000];

	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->v[i].check, check) == 0) {
			char *s = ls_finding_line(&d->v[i]);

			(void)snprintf(buf, sizeof buf, "%s", s);
			ls_free(s);
			return buf;
		}
	return "";
}

static void
expect(const struct ls_doctor *d, const char *check, const char *grade,
    const char *found, const char *cure)
{
	const char *s = line_of(d, check);

	if (strncmp(s, grade, strlen(grade)) != 0 || strstr(s, found) == NULL ||
	    strstr(s, cure) == NULL)
		test_fail(__FILE__, __LINE__, "%s: \"%s\" lacks %s, %s, %s",
		    check, s, grade, found, cure);
}

TEST(doctor_network_file_systems)
{
	static const struct {
		long magic;
		const char *grade, *found, *cure;
	} rows[] = {
		{ NFS_SUPER_MAGIC, "fail", "NFS", "disk of this machine" },
		{ 0xfe534d42, "fail", "SMB", "disk of this machine" },
		{ (long)(int)0xff534d42, "fail", "SMB", "disk" },
		{ 0x01021997, "fail", "9p", "disk of this machine" },
		{ 0x65735546, "warn", "FUSE", "known to be local" },
		{ TMPFS_MAGIC, "warn", "tmpfs", "restore-if-db-not-exists" },
		{ OVERLAYFS_SUPER_MAGIC, "warn", "container", "volume" },
		{ EXT4_SUPER_MAGIC, "ok", "local", "" },
	};
	struct ls_doctor d;

	put_database(3053002);
	blocks = blocks_free = 1 << 20;
	for (size_t i = 0; i < LS_COUNT(rows); i++) {
		fs_magic = rows[i].magic;
		examine(&d);
		expect(&d, "file-system", rows[i].grade, rows[i].found,
		    rows[i].cure);
		ls_doctor_fini(&d);
	}
}

TEST(doctor_space)
{
	struct ls_doctor d;

	put_database(3053002);
	fs_magic = EXT4_SUPER_MAGIC;
	blocks = 10 << 20; /* 40 GiB, of which 1% stays in reserve */
	blocks_free = 1000;
	examine(&d);
	expect(&d, "space", "fail", "capture pauses below", "meta-path");
	CHECK_EQ(ls_doctor_worst(&d), LS_GRADE_FAIL);
	ls_doctor_fini(&d);
	blocks_free = (10 << 20) / 100 + 1; /* but no room for a copy */
	examine(&d);
	expect(&d, "space", "warn", "first copy", "meta-path");
	ls_doctor_fini(&d);
	blocks_free = 4882813; /* 20e9 bytes */
	examine(&d);
	expect(&d, "space", "ok", "20 GB", "");
	ls_doctor_fini(&d);
}

TEST(doctor_knows_the_wal_reset_bug)
{
	static const struct {
		uint32_t version;
		const char *grade;
	} rows[] = { { 3006023, "ok" }, { 3007000, "warn" },
		{ 3040001, "warn" }, { 3044005, "warn" }, { 3044006, "ok" },
		{ 3045000, "warn" }, { 3050006, "warn" }, { 3050007, "ok" },
		{ 3051002, "warn" }, { 3051003, "ok" }, { 3053000, "ok" } };
	struct ls_doctor d;

	fs_magic = EXT4_SUPER_MAGIC;
	blocks = blocks_free = 1 << 20;
	for (size_t i = 0; i < LS_COUNT(rows); i++) {
		char v[20];

		(void)snprintf(v, sizeof v, "%u.%u.%u",
		    rows[i].version / 1000000, rows[i].version / 1000 % 1000,
		    rows[i].version % 1000);
		put_database(rows[i].version);
		examine(&d);
		expect(&d, "sqlite", rows[i].grade, v, "");
		ls_doctor_fini(&d);
	}
}

TEST(doctor_drop_in)
{
	struct ls_doctor d;
	char want[1000], dir[900];

	put_database(3053000);
	(void)snprintf(dir, sizeof dir, "%s", T("a.db"));
	*strrchr(dir, '/') = '\0';
	examine(&d);
	/* One folder: the replica lies in it, and the local state. */
	(void)snprintf(want, sizeof want, "ReadWritePaths=%s\n", dir);
	CHECK(strstr(d.drop_in, want) != NULL);
	CHECK(strncmp(d.drop_in, "[Service]\n", 10) == 0);
	/* The unit has a /tmp of its own, where the tests' folders are not. */
	CHECK_EQ(strncmp(dir, "/tmp/", 5) == 0,
	    strstr(d.drop_in, "PrivateTmp=no\n") != NULL);
	ls_doctor_fini(&d);
}

/* Wherever a secret or a user in a URL can come from. */
TEST(doctor_texts_hold_no_secret)
{
	static const char *const bad[] = { "s3://AKID:hush-hush@bucket/x",
		"sftp://user:hush-hush@host/x",
		"s3://b/x?endpoint=https://u:hush-hush@host",
		"s3://b/x?endpoint=http://127.0.0.1:1&sseCustomerKey=hush-hush",
		"s3://b/x?hush-hush=1&endpoint=ftp://u:hush-hush@h" };
	struct ls_err e = { 0 };
	struct ls_doctor d;
	char text[2000];

	CHECK(setenv("AWS_EC2_METADATA_DISABLED", "true", 1) == 0);
	CHECK(setenv("AWS_SECRET_ACCESS_KEY", "hush-hush", 1) == 0);
	for (size_t i = 0; i < 2 * LS_COUNT(bad); i++) {
		const char *url = bad[i / 2];

		(void)snprintf(text, sizeof text,
		    "dbs:\n- path: /none/a.db\n  replica:\n    url: %s\n", url);
		put("c.yml", text);
		d = (struct ls_doctor){ .config = T("c.yml"),
			.what = i % 2 ? url : NULL };
		CHECK_OK(ls_doctor_run(&d, &e));
		CHECK(d.n > 0);
		for (size_t k = 0; k < d.n; k++) {
			char *s = ls_finding_line(&d.v[k]);

			if (strstr(s, "hush") != NULL ||
			    strchr(s, '\n') != NULL)
				test_fail(__FILE__, __LINE__, "%s", s);
			ls_free(s);
		}
		ls_doctor_fini(&d);
	}
	CHECK(unsetenv("AWS_SECRET_ACCESS_KEY") == 0);
}

/* Every allocation may fail: no crash, no leak (ASan), no half an answer. */
TEST(doctor_under_memory_faults)
{
	put_database(3053000);
	put("c.yml", "");
	for (int n = 1;; n++) {
		struct ls_err e = { 0 };
		struct ls_doctor d = { .config = T("c.yml") };
		enum ls_rc rc;
		char text[500];

		(void)snprintf(text, sizeof text,
		    "dbs:\n- path: %s\n  replica: {path: %s}\n", T("a.db"),
		    T("r"));
		put("c.yml", text);
		fault_arm(n, ENOMEM);
		rc = ls_doctor_run(&d, &e);
		if (fault_fired() == 0) {
			fault_disarm();
			ls_doctor_fini(&d);
			CHECK_EQ(rc, LS_OK);
			return;
		}
		fault_disarm();
		ls_doctor_fini(&d);
	}
}
