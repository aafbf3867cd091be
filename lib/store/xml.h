/* xml.h -- the XML that S3 servers send, through expat.
 *
 * Elements are known by their path of local names ("Error/Code"). A document
 * type declaration is refused (no entities but XML's own five), as is nesting
 * deeper than 16 or a text longer than LS_XML_TEXT_MAX. */
#ifndef LS_XML_H
#define LS_XML_H

#include "base/buf.h"

enum { LS_XML_TEXT_MAX = 8192, LS_XML_PATH_MAX = 256 };

/* One element ended: its path and text (borrowed). An error ends the parse. */
typedef enum ls_rc ls_xml_fn(
    void *arg, const char *path, const char *text, struct ls_err *e);
/* LS_ECORRUPT when it is not well-formed or beyond the limits. White space
 * before the document is skipped: servers send it to keep a line open. */
enum ls_rc ls_xml_parse(struct ls_span doc, ls_xml_fn *fn, void *arg,
    struct ls_err *e) LS_MUST_CHECK;
/* Append s with & < > " ' and control characters escaped. */
enum ls_rc ls_xml_escape(
    struct ls_buf *b, const char *s, struct ls_err *e) LS_MUST_CHECK;

#endif
