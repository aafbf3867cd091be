/* s3fix.h -- a store at a scripted server, for the tests of the S3 driver. */
#ifndef LS_TEST_S3FIX_H
#define LS_TEST_S3FIX_H

#include "fault.h"
#include "httpd.h"
#include "test.h"

#include "base/bytes.h"
#include "store/net.h"
#include "store/s3.h"

struct fix {
	struct httpd *h;
	struct ls_net *net;
	struct ls_store *st;
};

/* A store at the scripted server. query: more URL parameters, or "". */
static inline struct fix
start_at(const char *path, const char *query, const struct httpd_step *steps,
    size_t n)
{
	struct fix f = { .h = httpd_start(steps, n) };
	struct ls_place p;
	struct ls_err e = { 0 };
	char url[600];

	(void)snprintf(url, sizeof url, "s3://bkt%s?endpoint=%s%s", path,
	    httpd_url(f.h), query);
	ls_place_init(&p);
	CHECK_OK(ls_place_from_url(url, &p, &e));
	p.access_key_id = ls_strdup("AK");
	p.secret_access_key = ls_strdup("SK");
	p.concurrency = 1; /* the script has one order */
	CHECK_OK(ls_net_new(&f.net, &e));
	CHECK_OK(ls_store_open(&p, f.net, &f.st, &e));
	ls_place_fini(&p);
	fault_clock(0); /* sleeps cost nothing */
	return f;
}

static inline struct fix
start(const struct httpd_step *steps, size_t n)
{
	return start_at("/db", "", steps, n);
}

static inline void
finish(struct fix *f)
{
	fault_disarm();
	ls_store_free(f->st);
	CHECK_STR(httpd_stop(f->h), "");
	ls_net_free(f->net);
}

/* Requests with it look as a strict server wants them. */
#define SIGNED                                                         \
	"x-amz-date\nauthorization\nhost\n!expect\n!accept-encoding\n" \
	"!content-md5\n!transfer-encoding\n"
#define EMPTY_HASH               \
	"x-amz-content-sha256: " \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
/* sha256("abc"), FIPS 180-2 */
#define ABC_HASH                 \
	"x-amz-content-sha256: " \
	"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static inline enum ls_rc
put_abc(struct fix *f, const struct ls_put *o, const struct ls_call *c,
    struct ls_err *e)
{
	return ls_store_put(f->st, "0000/k", LS_SPAN_STR("abc"), o, c, e);
}

#define ERR(s) "<Error><Code>" s "</Code><Message>why</Message></Error>"

#endif
