/* s3_error.c -- what an S3 server's answer means: our code, whether to try
 * again, and words that help. See s3.h.
 *
 * Codes and statuses: "Error responses" of the S3 API reference; what other
 * servers do differently stands at the line that handles it. */
#include "store/s3.h"

#include "base/bytes.h"
#include "base/units.h"
#include "store/retry.h"
#include "store/xml.h"

#include <stdio.h>

/* ---- the body --------------------------------------------------------------*/

static enum ls_rc
on_element(void *arg, const char *path, const char *text, struct ls_err *e)
{
	struct ls_s3_error *x = arg;
	const struct {
		const char *path;
		char *to;
		size_t size;
	} want[] = {
		{ "Error/Code", x->code, sizeof x->code },
		{ "Error/Message", x->message, sizeof x->message },
		{ "Error/Region", x->region, sizeof x->region },
		{ "Error/RequestTime", x->request_time,
		    sizeof x->request_time },
		{ "Error/ServerTime", x->server_time, sizeof x->server_time },
	};

	(void)e;
	/* Some wrap it: ErrorResponse/Error/Code. */
	if (strncmp(path, "ErrorResponse/", 14) == 0)
		path += 14;
	for (size_t i = 0; i < LS_COUNT(want); i++)
		if (strcmp(path, want[i].path) == 0)
			(void)snprintf(want[i].to, want[i].size, "%s", text);
	return LS_OK;
}

void
ls_s3_error_parse(struct ls_span xml, struct ls_s3_error *out)
{
	memset(out, 0, sizeof *out);
	/* A proxy's HTML is no XML: then the status alone has to do. */
	(void)!ls_xml_parse(xml, on_element, out, NULL);
}

enum ls_rc
ls_s3_answer(enum ls_rc rc, struct ls_err *e)
{
	if (rc != LS_ECORRUPT)
		return rc;
	if (e != NULL)
		e->rc = LS_ESERVER;
	return LS_ESERVER;
}

/* ---- judging ---------------------------------------------------------------*/

struct in {
	const struct ls_store *st;
	const struct ls_s3_req *q;
	const struct ls_http_resp *r;
	const struct ls_s3_error *x;
	const char *region;
};

static bool
code_is(const struct in *in, const char *code)
{
	return strcmp(in->x->code, code) == 0;
}

/* "HTTP 403 AccessDenied: message" */
static enum ls_rc
say(const struct in *in, enum ls_rc rc, struct ls_err *e)
{
	return ls_err_set(e, rc, "HTTP %d%s%s%s%s", in->r->status,
	    in->x->code[0] ? " " : "", in->x->code,
	    in->x->message[0] ? ": " : "", in->x->message);
}

static struct ls_s3_verdict
verdict(enum ls_rc rc, enum ls_s3_next next)
{
	return (struct ls_s3_verdict){ rc, next, false };
}

/* Both clocks by name: whoever reads this has to set one of them. A request
 * that was signed in the past on purpose is simply late. */
static struct ls_s3_verdict
skewed(const struct in *in, struct ls_err *e)
{
	char ours[LS_TIME_MAX];
	int64_t now = ls_sys->wall_ns();
	const char *theirs =
	    in->x->server_time[0] ? in->x->server_time : in->r->date;

	if (in->q->sign_time_ns != 0)
		return verdict(
		    ls_err_set(e, LS_ETIMEOUT,
			"refused as too late: it was signed as of "
			"%s, the server's clock says %s",
			ls_time_sec(in->q->sign_time_ns, ours), theirs),
		    LS_S3_STOP);
	return verdict(
	    ls_err_hint(e,
		ls_err_set(e, LS_EDENIED,
		    "RequestTimeTooSkewed: this machine's clock says %s, the "
		    "server's %s",
		    ls_time_sec(now, ours), theirs),
		"set the clock of this machine (NTP)"),
	    LS_S3_STOP);
}

static struct ls_s3_verdict
denied(const struct in *in, struct ls_err *e)
{
	enum ls_rc rc;

	if (code_is(in, "RequestTimeTooSkewed"))
		return skewed(in, e);
	rc = say(in, LS_EDENIED, e);
	if (code_is(in, "SignatureDoesNotMatch"))
		(void)ls_err_hint(e, rc,
		    "check secret-access-key; else a proxy changes requests, "
		    "or the region (%s) is wrong",
		    in->region);
	else if (code_is(in, "InvalidAccessKeyId"))
		return verdict(/* a file may hold newer ones by now */
		    ls_err_hint(e, rc,
			"the server does not know this access-key-id: check it "
			"and the endpoint, or renew the keys"),
		    LS_S3_REFRESH);
	else if (in->q->what != NULL)
		(void)ls_err_hint(e, rc,
		    "the key needs %s on this bucket and prefix", in->q->what);
	return verdict(rc, LS_S3_STOP);
}

static struct ls_s3_verdict
not_found(const struct in *in, struct ls_err *e)
{
	if (!code_is(in, "NoSuchBucket"))
		return verdict(say(in, LS_ENOTFOUND, e), LS_S3_STOP);
	return verdict(
	    ls_err_hint(e,
		ls_err_set(e, LS_ENOBUCKET, "bucket \"%s\" does not exist",
		    in->st->place.bucket),
		"create the bucket, or check its name, region and endpoint"),
	    LS_S3_STOP);
}

static struct ls_s3_verdict
busy(const struct in *in, struct ls_err *e)
{
	bool slow = in->r->status == 429 || code_is(in, "SlowDown") ||
		    code_is(in, "TooManyRequests") ||
		    code_is(in, "Throttling") ||
		    code_is(in, "RequestLimitExceeded");
	struct ls_s3_verdict v;

	/* A 5xx may come from a proxy in front of a server that went on; being
	 * told to slow down is the server's own refusal. */
	v = verdict(say(in, slow ? LS_ETHROTTLED : LS_ESERVER, e), LS_S3_RETRY);
	v.open = !slow;
	return v;
}

/* Is it another region? Its name is in a header or in the body. */
static const char *
other_region(const struct in *in)
{
	if (in->r->region[0] != '\0' && strcmp(in->r->region, in->region) != 0)
		return in->r->region;
	if (in->x->region[0] != '\0' && strcmp(in->x->region, in->region) != 0)
		return in->x->region;
	return NULL;
}

static struct ls_s3_verdict
bad_request(const struct in *in, struct ls_err *e)
{
	static const char *const damaged[] = { "BadDigest", "IncompleteBody",
		"XAmzContentSHA256Mismatch", "RequestTimeout", "InternalError",
		"RequestCanceled" };
	static const char *const keys[] = { "InvalidAccessKeyId",
		"InvalidToken", "AuthorizationHeaderMalformed",
		"TokenRefreshRequired" };

	if (code_is(in, "ExpiredToken") || code_is(in, "TokenRefreshRequired"))
		return verdict(
		    ls_err_hint(e, say(in, LS_EDENIED, e),
			"the session token expired: renew the credentials"),
		    LS_S3_REFRESH);
	for (size_t i = 0; i < LS_COUNT(damaged); i++)
		if (code_is(in, damaged[i]))
			return verdict(say(in, LS_ENET, e), LS_S3_RETRY);
	for (size_t i = 0; i < LS_COUNT(keys); i++)
		if (code_is(in, keys[i]))
			return denied(in, e);
	if (code_is(in, "NotImplemented"))
		return verdict(say(in, LS_EUNSUPPORTED, e), LS_S3_STOP);
	return verdict(say(in, LS_EINVALID, e), LS_S3_STOP);
}

static struct ls_s3_verdict
moved(const struct in *in, struct ls_err *e)
{
	return verdict(
	    ls_err_hint(e, say(in, LS_EINVALID, e),
		"the bucket is in another region or at another endpoint than "
		"%s",
		in->region),
	    LS_S3_STOP);
}

static struct ls_s3_verdict
by_status(const struct in *in, struct ls_err *e)
{
	switch (in->r->status) {
	case 400: return bad_request(in, e);
	case 401:
	case 403:
		if (code_is(in, "ExpiredToken"))
			return bad_request(in, e);
		return denied(in, e);
	case 404: return not_found(in, e);
	case 405:
	case 501: return verdict(say(in, LS_EUNSUPPORTED, e), LS_S3_STOP);
	case 408: return verdict(say(in, LS_ENET, e), LS_S3_RETRY);
	case 409: /* two conditional writes at once, or a bucket in creation */
		return verdict(say(in, LS_EBUSY, e),
		    code_is(in, "ConditionalRequestConflict") ||
			    code_is(in, "OperationAborted")
			? LS_S3_RETRY
			: LS_S3_STOP);
	case 412:
		return verdict(
		    ls_err_set(e, in->q->if_absent ? LS_EEXISTS : LS_ECHANGED,
			in->q->if_absent ? "the object exists"
					 : "it is another object by now"),
		    LS_S3_STOP);
	case 416: return verdict(say(in, LS_ERANGE, e), LS_S3_STOP);
	case 429:
	case 500:
	case 502:
	case 503:
	case 504: return busy(in, e);
	case 507: /* MinIO: XMinioStorageFull */
		return verdict(say(in, LS_ENOSPC, e), LS_S3_STOP);
	default: break;
	}
	if (in->r->status / 100 == 3)
		return moved(in, e);
	if (in->r->status / 100 == 5)
		return busy(in, e);
	return verdict(say(in, LS_EINVALID, e), LS_S3_STOP);
}

struct ls_s3_verdict
ls_s3_judge(const struct ls_store *st, const struct ls_s3_req *q,
    const struct ls_http_resp *r, const struct ls_s3_error *x,
    const char *region, struct ls_err *e)
{
	const struct in in = { st, q, r, x, region };
	bool redirect = r->status == 301 || r->status == 307 ||
			r->status == 400 || r->status == 403;

	if (r->status / 100 == 2) { /* an error after the 200 was sent */
		struct ls_s3_verdict v;

		if (code_is(&in, "PreconditionFailed") ||
		    code_is(&in, "NoSuchUpload"))
			return verdict(say(&in,
					   q->if_absent && x->code[0] == 'P'
					       ? LS_EEXISTS
					       : LS_ENOTFOUND,
					   e),
			    LS_S3_STOP);
		v = busy(&in, e);
		return v;
	}
	if (redirect && other_region(&in) != NULL)
		return verdict(say(&in, LS_EINVALID, e), LS_S3_REGION);
	return by_status(&in, e);
}
