/* test_list.c -- how many requests a listing takes, and that it is whole. */
#include "unit/store/s3fix.h"

#include "replica/replica.h"

#include <stdarg.h>

#define QUERY "/bkt?encoding-type=url&list-type=2&prefix=db%2F"

/* An answer of ListObjectsV2; more: it says that it is truncated. */
struct answer {
	struct ls_buf b;
};

static void
add(struct answer *a, const char *fmt, ...)
{
	struct ls_err e = { 0 };
	char key[200];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(key, sizeof key, fmt, ap);
	va_end(ap);
	CHECK_OK(ls_buf_addf(&a->b, &e,
	    "<Contents><Key>db/%s</Key><LastModified>2024-01-02T03:04:05.000Z"
	    "</LastModified><ETag>e</ETag><Size>300</Size></Contents>",
	    key));
}

static void
add_file(struct answer *a, int level, unsigned min, unsigned max)
{
	add(a, "%04x/%016x-%016x.ltx", (unsigned)level, min, max);
}

static struct answer
begin(void)
{
	struct answer a = { LS_BUF_INIT(1 << 20) };
	struct ls_err e = { 0 };

	CHECK_OK(ls_buf_adds(&a.b,
	    "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazon"
	    "aws.com/doc/2006-03-01/'>",
	    &e));
	return a;
}

static const char *
end(struct answer *a, bool more)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_buf_addf(&a->b, &e,
	    "<IsTruncated>%s</IsTruncated>%s"
	    "</ListBucketResult>",
	    more ? "true" : "false",
	    more ? "<NextContinuationToken>t</NextContinuationToken>" : ""));
	return ls_buf_str(&a->b);
}

/* The files listed are those of want. */
static void
check(const struct httpd_step *steps, size_t n, const struct ls_file *want,
    size_t nwant)
{
	struct fix f = start(steps, n);
	struct ls_files got = { 0 };
	struct ls_replica *r = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_replica_new(f.st, &r, &e));
	CHECK_OK(ls_replica_list_all(r, NULL, &got, NULL, &e));
	CHECK_EQ(got.n, nwant);
	for (size_t i = 0; i < nwant; i++) {
		CHECK_EQ(got.v[i].level, want[i].level);
		CHECK_EQ(got.v[i].min_txid, want[i].min_txid);
		CHECK_EQ(got.v[i].max_txid, want[i].max_txid);
		CHECK_EQ(got.v[i].size, 300);
	}
	ls_files_fini(&got);
	ls_replica_free(r);
	finish(&f);
}

/* Keys of others before, between and behind; it ends at the first behind. */
TEST(one_page_lists_all_levels)
{
	static const struct ls_file want[] = {
		{ .level = 0, .min_txid = 1, .max_txid = 1 },
		{ .level = 0, .min_txid = 2, .max_txid = 2 },
		{ .level = 3, .min_txid = 1, .max_txid = 2 },
		{ .level = 9, .min_txid = 1, .max_txid = 1 },
	};
	struct answer a = begin();

	add(&a, "!before/%016x-%016x.ltx", 1u, 1u);
	add_file(&a, 0, 1, 1);
	add_file(&a, 0, 2, 2);
	add(&a, "0000/junk");
	add(&a, "0000x/%016x-%016x.ltx", 1u, 1u);
	add_file(&a, 3, 1, 2);
	add_file(&a, 9, 1, 1);
	add(&a, "000a/%016x-%016x.ltx", 1u, 1u);
	add(&a, "generations/1");
	const struct httpd_step steps[] = { { "GET", QUERY,
	    .reply = end(&a, true) } };
	check(steps, 1, want, LS_COUNT(want));
	ls_buf_free(&a.b);
}

/* A page that ends within level 0 or 1: the rest is listed by levels. */
static void
full_page(unsigned of_level_0)
{
	static struct ls_file want[1100];
	struct httpd_step steps[11] = { { "GET", QUERY } };
	struct answer a = begin(), b = begin(), none = begin();
	int first = of_level_0 >= 1000 ? 0 : 1;
	char target[11][200];
	unsigned n = 0, w = 0, at = 1;

	for (unsigned i = 1; i <= of_level_0 + 20; i++) {
		want[w++] = (struct ls_file){ .min_txid = i, .max_txid = i };
		if (i <= of_level_0 && n < 1000)
			add_file(&a, 0, i, i), n++;
		if (first == 0 && i >= 1000)
			add_file(&b, 0, i, i);
		if (first == 1 && i == of_level_0)
			break;
	}
	for (unsigned i = 0; first == 1 && i < 30; i++) {
		want[w++] = (struct ls_file){
			.level = 1, .min_txid = 2 * i + 1, .max_txid = 2 * i + 2
		};
		if (n < 1000)
			add_file(&a, 1, 2 * i + 1, 2 * i + 2), n++,
			    at = 2 * i + 1;
		if (n == 1000 && 2 * i + 1 >= at)
			add_file(&b, 1, 2 * i + 1, 2 * i + 2);
	}
	CHECK_EQ(n, 1000);
	steps[0].reply = end(&a, true);
	for (int l = first; l < LS_LEVELS; l++) {
		struct httpd_step *s = &steps[1 + l - first];

		(void)snprintf(target[l], sizeof target[l], "%s%04x%%2F", QUERY,
		    (unsigned)l);
		if (l == first)
			(void)snprintf(target[l] + strlen(target[l]), 60,
			    "&start-after=db%%2F%04x%%2F%016x", (unsigned)l,
			    first == 0 ? 1000u : at);
		*s = (struct httpd_step){ "GET", target[l],
			.reply = l == first	  ? end(&b, false)
				 : l == first + 1 ? end(&none, false)
						  : ls_buf_str(&none.b) };
	}
	check(steps, (size_t)(LS_LEVELS - first + 1), want, w);
	ls_buf_free(&a.b);
	ls_buf_free(&b.b);
	ls_buf_free(&none.b);
}

TEST(more_than_a_page_goes_on_by_levels)
{
	full_page(1000);
	full_page(990);
}

/* Whose key is good for the levels only lists them one by one. */
TEST(denied_as_a_whole_is_listed_by_levels)
{
	static const struct ls_file want[] = {
		{ .level = 2, .min_txid = 1, .max_txid = 4 }
	};
	struct httpd_step steps[11] = { { "GET", QUERY, .status = 403,
	    .reply = "<Error><Code>AccessDenied</Code></Error>" } };
	struct answer one = begin(), none = begin();
	char target[LS_LEVELS][100];

	add_file(&one, 2, 1, 4);
	(void)end(&one, false);
	(void)end(&none, false);
	for (int l = 0; l < LS_LEVELS; l++) {
		(void)snprintf(target[l], sizeof target[l], "%s%04x%%2F", QUERY,
		    (unsigned)l);
		steps[1 + l] = (struct httpd_step){ "GET", target[l],
			.reply = ls_buf_str(l == 2 ? &one.b : &none.b) };
	}
	check(steps, LS_LEVELS + 1, want, 1);
	ls_buf_free(&one.b);
	ls_buf_free(&none.b);
}
