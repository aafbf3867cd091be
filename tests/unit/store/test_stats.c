#include "test.h"

#include "store/stats.h"

TEST(operations_are_counted_by_result_and_time)
{
	static struct ls_op_stats s;

	ls_op_ended(&s, LS_OK, 3, 100, 10 * LS_MS); /* at a bound: in it */
	ls_op_ended(&s, LS_OK, 1, 11, 61 * LS_SEC); /* behind the last */
	ls_op_ended(&s, LS_EDENIED, 1, 7, 11 * LS_MS);
	ls_op_ended(&s, LS_ENOTFOUND, 1, 7, 0); /* an answer, no failure */
	CHECK_EQ(s.n, 4);
	CHECK_EQ(s.bytes, 111);
	CHECK_EQ(s.errors[LS_EDENIED], 1);
	CHECK_EQ(s.errors[LS_ENOTFOUND], 0);
	CHECK_EQ(s.bucket[0], 2);
	CHECK_EQ(s.bucket[1], 1);
	CHECK_EQ(s.bucket[LS_OP_BOUNDS], 1);
	CHECK_EQ(s.ns, 21 * LS_MS + 61 * LS_SEC);
}

TEST(requests_are_told_apart_and_none_is_lost)
{
	struct ls_req_stats s = { 0 };
	struct ls_req_stat v[LS_REQ_MAX];
	uint64_t all = 0;
	size_t n;

	CHECK_EQ(ls_req_read(&s, v), 0);
	for (int turn = 0; turn < 2; turn++)
		for (int code = 400; code < 430; code++)
			ls_req_count(&s, LS_OP_PUT, code);
	ls_req_count(&s, LS_OP_GET, 400);
	n = ls_req_read(&s, v);
	CHECK_EQ(n, LS_REQ_MAX);
	for (size_t i = 0; i < n; i++)
		all += v[i].n;
	CHECK_EQ(all, 61);
	CHECK_EQ(v[0].op, LS_OP_PUT);
	CHECK_EQ(v[0].code, 400);
	CHECK_EQ(v[0].n, 2);
	CHECK_EQ(v[LS_REQ_MAX - 1].op, LS_OPS);
	CHECK_EQ(v[LS_REQ_MAX - 1].code, LS_REQ_OTHER);
	CHECK_EQ(v[LS_REQ_MAX - 1].n, 61 - 2 * (LS_REQ_MAX - 1));
}

TEST(request_codes_have_names)
{
	char t[LS_REQ_CODE_MAX];

	CHECK_STR(ls_req_code(503, t), "503");
	CHECK_STR(ls_req_code(LS_OK, t), "ok");
	CHECK_STR(ls_req_code(LS_ETIMEOUT, t), "timeout");
	CHECK_STR(ls_req_code(LS_REQ_OTHER, t), "other");
}
