/* xml.c -- the XML that S3 servers send. See xml.h; the only file that
 * includes expat. */
#include "store/xml.h"

#include "base/bytes.h"

#include <expat.h>

#include <ctype.h>
#include <limits.h>

enum { DEPTH_MAX = 16 };

struct parse {
	XML_Parser x;
	ls_xml_fn *fn;
	void *arg;
	char path[LS_XML_PATH_MAX];
	size_t len[DEPTH_MAX]; /* of the path around each open element */
	unsigned depth;
	struct ls_buf text;
	enum ls_rc rc;
	struct ls_err *e;
};

static void
stop(struct parse *p, enum ls_rc rc)
{
	p->rc = rc;
	(void)XML_StopParser(p->x, XML_FALSE);
}

static void
on_start(void *arg, const XML_Char *name, const XML_Char **attrs)
{
	struct parse *p = arg;
	const char *local = strrchr(name, ':');
	size_t n, at = strlen(p->path);

	(void)attrs;
	if (p->rc != LS_OK)
		return; /* expat may go on for a call or two after a stop */
	local = local ? local + 1 : name;
	n = strlen(local);
	if (p->depth == DEPTH_MAX || at + n + 2 > sizeof p->path) {
		stop(p, ls_err_set(p->e, LS_ECORRUPT,
			    "XML answer is nested too deep"));
		return;
	}
	p->len[p->depth++] = at;
	if (at > 0)
		p->path[at++] = '/';
	memcpy(p->path + at, local, n + 1);
	ls_buf_clear(&p->text);
}

static void
on_text(void *arg, const XML_Char *s, int n)
{
	struct parse *p = arg;

	if (p->rc != LS_OK)
		return;
	if (p->text.n + (size_t)n > LS_XML_TEXT_MAX)
		stop(p, ls_err_set(p->e, LS_ECORRUPT,
			    "XML answer holds an overlong text"));
	else if (ls_buf_add(&p->text, s, (size_t)n, p->e) != LS_OK)
		stop(p, LS_ENOMEM);
}

static void
on_end(void *arg, const XML_Char *name)
{
	struct parse *p = arg;
	enum ls_rc rc;

	(void)name;
	if (p->rc != LS_OK)
		return;
	rc = p->fn(p->arg, p->path, ls_buf_str(&p->text), p->e);
	p->path[p->len[--p->depth]] = '\0';
	ls_buf_clear(&p->text);
	if (rc != LS_OK)
		stop(p, rc);
}

static void
on_doctype(void *arg, const XML_Char *name, const XML_Char *sysid,
    const XML_Char *pubid, int subset)
{
	(void)name, (void)sysid, (void)pubid, (void)subset;
	stop(arg, ls_err_set(((struct parse *)arg)->e, LS_ECORRUPT,
		      "XML answer with a document type"));
}

enum ls_rc
ls_xml_parse(struct ls_span doc, ls_xml_fn *fn, void *arg, struct ls_err *e)
{
	struct parse p = { .fn = fn, .arg = arg, .rc = LS_OK, .e = e };

	while (doc.n > 0 && isspace(doc.p[0]))
		doc.p++, doc.n--;
	if (doc.n > INT_MAX)
		return ls_err_set(e, LS_ERANGE, "XML answer too long");
	if ((p.x = XML_ParserCreate(NULL)) == NULL)
		return ls_err_nomem(e);
	ls_buf_init(&p.text, LS_XML_TEXT_MAX + 1);
	XML_SetUserData(p.x, &p);
	XML_SetElementHandler(p.x, on_start, on_end);
	XML_SetCharacterDataHandler(p.x, on_text);
	XML_SetStartDoctypeDeclHandler(p.x, on_doctype);
	if (XML_Parse(p.x, (const char *)doc.p, (int)doc.n, 1) !=
		XML_STATUS_OK &&
	    p.rc == LS_OK)
		p.rc = ls_err_set(e, LS_ECORRUPT,
		    "malformed XML answer at byte %ld: %s",
		    (long)XML_GetCurrentByteIndex(p.x),
		    XML_ErrorString(XML_GetErrorCode(p.x)));
	XML_ParserFree(p.x);
	ls_buf_free(&p.text);
	return p.rc;
}

enum ls_rc
ls_xml_escape(struct ls_buf *b, const char *s, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (; rc == LS_OK && *s != '\0'; s++) {
		if (strchr("&<>\"'", *s) != NULL || (unsigned char)*s < 0x20)
			rc = ls_buf_addf(b, e, "&#%d;", (unsigned char)*s);
		else
			rc = ls_buf_add(b, s, 1, e);
	}
	return rc;
}
