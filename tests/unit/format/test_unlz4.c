/* test_unlz4.c -- LZ4 frames as a stream, made by hand from the frame format's
 * description and by liblz4. */
#include "format/unlz4.h"
#include "test.h"

/* A frame of one stored block "hello": magic, FLG (version 1, independent
 * blocks), BD (64 KiB), header checksum, size with the top bit, end mark. */
static const uint8_t stored[] = { 0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82,
	0x05, 0x00, 0x00, 0x80, 'h', 'e', 'l', 'l', 'o', 0, 0, 0, 0 };

static enum ls_rc
unpack(const uint8_t *p, size_t n, struct ls_buf *out, struct ls_err *e)
{
	struct ls_ltx_mem m = { LS_SPAN(p, n), 0 };
	struct ls_unlz4 *z = NULL;
	uint8_t buf[3]; /* smaller than what comes */
	size_t got;
	enum ls_rc rc = ls_unlz4_new(ls_ltx_mem_source, &m, &z, e);

	while (rc == LS_OK &&
	       (rc = ls_unlz4_source(z, buf, sizeof buf, &got, e)) == LS_OK &&
	       got > 0)
		rc = ls_buf_add(out, buf, got, e);
	ls_unlz4_free(z);
	return rc;
}

TEST(unlz4_frames_one_behind_the_other)
{
	struct ls_err e = { 0 };
	struct ls_buf out = LS_BUF_INIT(1 << 10);
	uint8_t two[2 * sizeof stored];

	memcpy(two, stored, sizeof stored);
	memcpy(two + sizeof stored, stored, sizeof stored);
	CHECK_OK(unpack(two, sizeof two, &out, &e));
	CHECK_STR(ls_buf_str(&out), "hellohello");
	ls_buf_free(&out);
}

TEST(unlz4_every_cut)
{
	struct ls_buf out = LS_BUF_INIT(1 << 10);

	for (size_t n = 0; n < sizeof stored; n++) {
		struct ls_err e = { 0 };

		ls_buf_clear(&out);
		CHECK_RC(unpack(stored, n, &out, &e), LS_ESHORT);
	}
	ls_buf_free(&out);
}

TEST(unlz4_damage)
{
	static const size_t at[] = { 0, 3, 4, 5, 6, 9 };
	struct ls_buf out = LS_BUF_INIT(1 << 10);
	uint8_t bad[sizeof stored + 4];

	for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
		struct ls_err e = { 0 };

		memcpy(bad, stored, sizeof stored);
		bad[at[i]] ^= 0x44;
		CHECK(unpack(bad, sizeof stored, &out, &e) != LS_OK);
	}
	memcpy(bad, stored, sizeof stored);
	memcpy(bad + sizeof stored, "junk", 4); /* behind a whole frame */
	{
		struct ls_err e = { 0 };

		CHECK(unpack(bad, sizeof bad, &out, &e) != LS_OK);
	}
	ls_buf_free(&out);
}
