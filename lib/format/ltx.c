/* ltx.c -- LTX headers, trailers, file names and the completeness rule.
 *
 *  (1) ONE SET OF RULES. Decoding and the writer check headers with the same
 *      function, so nothing is written that would not be read.
 *      (test: header_rules)
 *  (2) RESERVED BYTES ARE OURS ONLY BEHIND THE TAG. Other contents are ignored
 *      as upstream ignores them. (test: header_reserved)
 * Not here: pages (frame.c), writing (ltx_write.c), reading (ltx_read.c). */
#include "format/ltx.h"

#include "base/bytes.h"
#include "format/crc64.h"
#include "format/frame.h"

#include <stdio.h>

static const char magic[4] = { 'L', 'T', 'X', '1' };
static const char tag[4] = { 'L', 'S', 'D', '1' };

enum { TAG_AT = 80, DB_CHECKSUM_AT = 84, WAL_SUM_AT = 92 };

bool
ls_page_size_valid(uint64_t n)
{
	return n >= LS_PAGE_MIN && n <= LS_PAGE_MAX && (n & (n - 1)) == 0;
}

uint32_t
ls_lock_pgno(uint32_t page_size)
{
	return 0x40000000u / page_size + 1;
}

void
ls_ltx_header_encode(
    const struct ls_ltx_header *h, uint8_t out[static LS_LTX_HEADER])
{
	memset(out, 0, LS_LTX_HEADER);
	memcpy(out, magic, 4);
	ls_put_be32(out + 4, h->flags);
	ls_put_be32(out + 8, h->page_size);
	ls_put_be32(out + 12, h->commit);
	ls_put_be64(out + 16, h->min_txid);
	ls_put_be64(out + 24, h->max_txid);
	ls_put_be64(out + 32, (uint64_t)h->timestamp_ms);
	ls_put_be64(out + 40, h->pre_apply);
	ls_put_be64(out + 48, (uint64_t)h->wal_offset);
	ls_put_be64(out + 56, (uint64_t)h->wal_size);
	ls_put_be32(out + 64, h->salt1);
	ls_put_be32(out + 68, h->salt2);
	ls_put_be64(out + 72, h->node_id);
	if (!h->has_db_checksum)
		return;
	memcpy(out + TAG_AT, tag, 4);
	ls_put_be64(out + DB_CHECKSUM_AT, h->db_checksum);
	ls_put_be32(out + WAL_SUM_AT, h->wal_sum[0]);
	ls_put_be32(out + WAL_SUM_AT + 4, h->wal_sum[1]);
}

static enum ls_rc
check_flags(uint32_t flags, struct ls_err *e)
{
	uint32_t known = LS_LTX_NO_CHECKSUM | LS_LTX_ZSTD;

	if ((flags & ~known) == 0)
		return LS_OK;
	(void)ls_err_set(e, LS_EUNSUPPORTED, "unknown LTX header flags 0x%x",
	    flags & ~known);
	return ls_err_hint(e, LS_EUNSUPPORTED,
	    "use the version that wrote it, or a newer one");
}

static enum ls_rc
check_pre_apply(const struct ls_ltx_header *h, struct ls_err *e)
{
	if (h->flags & LS_LTX_NO_CHECKSUM || h->min_txid == 1) {
		if (h->pre_apply != 0)
			return ls_err_set(e, LS_ECORRUPT,
			    "LTX header: pre-apply checksum must be zero");
		return LS_OK;
	}
	if (!(h->pre_apply & LS_CHECKSUM_FLAG))
		return ls_err_set(
		    e, LS_ECORRUPT, "LTX header: no pre-apply checksum");
	return LS_OK;
}

enum ls_rc
ls_ltx_header_check(const struct ls_ltx_header *h, struct ls_err *e)
{
	enum ls_rc rc;

	if ((rc = check_flags(h->flags, e)) != LS_OK)
		return rc;
	if (!ls_page_size_valid(h->page_size))
		return ls_err_set(e, LS_ECORRUPT,
		    "LTX header: invalid page size %u", h->page_size);
	if (h->min_txid == 0 || h->min_txid > h->max_txid)
		return ls_err_set(e, LS_ECORRUPT,
		    "LTX header: invalid TXID range %016llx-%016llx",
		    (unsigned long long)h->min_txid,
		    (unsigned long long)h->max_txid);
	if (h->wal_offset < 0 || h->wal_size < 0)
		return ls_err_set(
		    e, LS_ECORRUPT, "LTX header: negative WAL offset or size");
	if (h->wal_offset == 0 &&
	    (h->wal_size != 0 || h->salt1 != 0 || h->salt2 != 0))
		return ls_err_set(e, LS_ECORRUPT,
		    "LTX header: WAL size or salt without an offset");
	return check_pre_apply(h, e);
}

enum ls_rc
ls_ltx_header_decode(
    struct ls_span in, struct ls_ltx_header *h, struct ls_err *e)
{
	const uint8_t *p = in.p;
	struct ls_ltx_header d;
	enum ls_rc rc;

	if (in.n < LS_LTX_HEADER)
		return ls_err_set(e, LS_ESHORT,
		    "LTX header is cut off after %zu bytes", in.n);
	if (memcmp(p, magic, 4) != 0)
		return ls_err_set(e, LS_ECORRUPT, "invalid LTX file");
	d = (struct ls_ltx_header){
		.flags = ls_be32(p + 4),
		.page_size = ls_be32(p + 8),
		.commit = ls_be32(p + 12),
		.min_txid = ls_be64(p + 16),
		.max_txid = ls_be64(p + 24),
		.timestamp_ms = (int64_t)ls_be64(p + 32),
		.pre_apply = ls_be64(p + 40),
		.wal_offset = (int64_t)ls_be64(p + 48),
		.wal_size = (int64_t)ls_be64(p + 56),
		.salt1 = ls_be32(p + 64),
		.salt2 = ls_be32(p + 68),
		.node_id = ls_be64(p + 72),
		.has_db_checksum = memcmp(p + TAG_AT, tag, 4) == 0,
	};
	if (d.has_db_checksum) {
		d.db_checksum = ls_be64(p + DB_CHECKSUM_AT);
		d.wal_sum[0] = ls_be32(p + WAL_SUM_AT);
		d.wal_sum[1] = ls_be32(p + WAL_SUM_AT + 4);
	}
	if ((rc = ls_ltx_header_check(&d, e)) != LS_OK)
		return rc;
	*h = d;
	return LS_OK;
}

void
ls_ltx_trailer_decode(
    const uint8_t *p, uint64_t *post_apply, uint64_t *file_checksum)
{
	*post_apply = ls_be64(p);
	*file_checksum = ls_be64(p + 8);
}

char *
ls_ltx_name(uint64_t min, uint64_t max, char out[static LS_LTX_NAME_MAX])
{
	(void)snprintf(out, LS_LTX_NAME_MAX, "%016llx-%016llx.ltx",
	    (unsigned long long)min, (unsigned long long)max);
	return out;
}

/* 16 digits; upper case only where allowed. */
static bool
parse_hex(const char *s, bool upper, uint64_t *out)
{
	uint64_t v = 0;

	for (int i = 0; i < 16; i++) {
		unsigned d;

		if (s[i] >= '0' && s[i] <= '9')
			d = (unsigned)(s[i] - '0');
		else if (s[i] >= 'a' && s[i] <= 'f')
			d = (unsigned)(s[i] - 'a') + 10;
		else if (upper && s[i] >= 'A' && s[i] <= 'F')
			d = (unsigned)(s[i] - 'A') + 10;
		else
			return false;
		v = v << 4 | d;
	}
	*out = v;
	return true;
}

bool
ls_ltx_name_parse(const char *name, uint64_t *min, uint64_t *max)
{
	uint64_t a, b;

	if (!parse_hex(name, false, &a) || name[16] != '-' ||
	    !parse_hex(name + 17, false, &b) || strcmp(name + 33, ".ltx") != 0)
		return false;
	if (a == 0 || a > b)
		return false;
	*min = a;
	*max = b;
	return true;
}

char *
ls_txid_text(uint64_t txid, char out[static LS_TXID_TEXT])
{
	(void)snprintf(out, LS_TXID_TEXT, "%016llx", (unsigned long long)txid);
	return out;
}

enum ls_rc
ls_txid_parse(const char *s, uint64_t *txid, struct ls_err *e)
{
	if (strlen(s) != 16 || !parse_hex(s, true, txid))
		return ls_err_set(e, LS_EINVALID, "invalid txid format");
	return LS_OK;
}

enum ls_rc
ls_ltx_complete(const uint32_t *pgnos, size_t n, uint32_t prev, uint32_t commit,
    uint32_t page_size, struct ls_err *e)
{
	struct ls_complete c;
	enum ls_rc rc;

	ls_complete_init(&c, prev, commit, page_size);
	for (size_t i = 0; i < n; i++)
		if ((rc = ls_complete_page(&c, pgnos[i], e)) != LS_OK)
			return rc;
	return ls_complete_end(&c, e);
}

static uint32_t
after(const struct ls_complete *c, uint32_t pgno)
{
	return pgno + (pgno + 1 == c->lock ? 2 : 1);
}

void
ls_complete_init(
    struct ls_complete *c, uint32_t prev, uint32_t commit, uint32_t page_size)
{
	c->lock = ls_lock_pgno(page_size);
	c->commit = commit;
	c->want = prev >= commit ? 0 : after(c, prev);
}

static enum ls_rc
missing(const struct ls_complete *c, struct ls_err *e)
{
	return ls_err_set(e, LS_ECORRUPT,
	    "page %u is missing: the file is not complete up to page %u",
	    c->want, c->commit);
}

enum ls_rc
ls_complete_page(struct ls_complete *c, uint32_t pgno, struct ls_err *e)
{
	if (c->want == 0 || pgno < c->want)
		return LS_OK;
	if (c->want > c->commit || pgno > c->commit)
		return LS_OK;
	if (pgno > c->want)
		return missing(c, e);
	/* At commit 2^32 - 1 the successor wraps: 0 means nothing is wanted. */
	c->want = after(c, pgno);
	return LS_OK;
}

enum ls_rc
ls_complete_end(const struct ls_complete *c, struct ls_err *e)
{
	return c->want == 0 || c->want > c->commit ? LS_OK : missing(c, e);
}
