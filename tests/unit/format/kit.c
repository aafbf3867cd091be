/* kit.c -- see kit.h. */
#include "kit.h"

#include "base/bytes.h"

enum ls_rc
kit_sink(void *arg, struct ls_span bytes, struct ls_err *e)
{
	struct kit_sink *k = arg;

	k->largest = LS_MAX(k->largest, bytes.n);
	if (k->room != 0 && k->b.n + bytes.n > k->room)
		return ls_err_set(e, LS_EIO, "sink is full");
	return ls_buf_add(&k->b, bytes.p, bytes.n, e);
}

enum ls_rc
kit_source(void *arg, uint8_t *buf, size_t n, size_t *got, struct ls_err *e)
{
	struct kit_source *k = arg;
	size_t left = k->s.n - k->at;

	(void)e;
	n = LS_MIN(n, left);
	if (k->chunk != 0)
		n = LS_MIN(n, k->chunk);
	if (n > 0)
		memcpy(buf, k->s.p + k->at, n);
	k->at += n;
	*got = n;
	return LS_OK;
}

void
kit_page(uint8_t *out, uint32_t page_size, uint32_t pgno, uint64_t v)
{
	uint64_t x = pgno * 0x9e3779b97f4a7c15u + v * 0xd1342543de82ef95u + 1;

	memset(out, 0, page_size);
	for (uint32_t i = 0; i + 8 <= page_size; i += 8) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		if ((i & 127) < 64)
			memcpy(out + i, &x, 8);
	}
}

struct ls_ltx_header
kit_header(uint32_t page_size, uint32_t commit, uint64_t min, uint64_t max)
{
	return (struct ls_ltx_header){
		.flags = LS_LTX_NO_CHECKSUM,
		.page_size = page_size,
		.commit = commit,
		.min_txid = min,
		.max_txid = max,
		.timestamp_ms = 1700000000000 + (int64_t)max,
	};
}

enum ls_rc
kit_write(const struct ls_ltx_header *h, const uint32_t *pgnos, size_t n,
    uint64_t v, struct ls_buf *out, struct ls_err *e)
{
	static uint8_t page[LS_PAGE_MAX];
	struct kit_sink k = KIT_SINK;
	struct ls_ltx_writer *w = NULL;
	uint64_t size = 0;
	enum ls_rc rc;

	if ((rc = ls_ltx_writer_new(kit_sink, &k, &w, e)) != LS_OK ||
	    (rc = ls_ltx_writer_begin(w, h, NULL, e)) != LS_OK)
		goto out;
	for (size_t i = 0; i < n; i++) {
		kit_page(page, h->page_size, pgnos[i], v);
		if ((rc = ls_ltx_writer_page(w, pgnos[i], page, e)) != LS_OK)
			goto out;
	}
	rc = ls_ltx_writer_end(w, &size, e);
	if (rc == LS_OK && size != k.b.n)
		rc = ls_err_set(e, LS_EINVALID, "size is wrong");
out:
	ls_ltx_writer_free(w);
	if (rc == LS_OK)
		*out = k.b;
	else
		ls_buf_free(&k.b);
	return rc;
}

void
kit_text(uint8_t *out, uint32_t page_size, uint32_t pgno, uint64_t v)
{
	enum { WORDS = 1500 };
	uint64_t x = pgno * 0x9e3779b97f4a7c15u + v * 0xd1342543de82ef95u + 1;
	uint32_t at = 0;

	while (at < page_size) {
		char word[64];
		int n;

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		n = snprintf(word, sizeof word, "field-%x%llu ",
		    (unsigned)(x % WORDS) * 2654435769u,
		    (unsigned long long)(x >> 54));
		n = LS_MIN(n, (int)(page_size - at));
		memcpy(out + at, word, (size_t)n);
		at += (uint32_t)n;
	}
}

struct ls_zdict *
kit_dict(uint64_t v)
{
	static uint8_t sample[LS_ZSAMPLE_MIN];
	struct ls_zdict *z = NULL;
	struct ls_err e = { 0 };

	for (uint32_t i = 0; i < sizeof sample / 512; i++)
		kit_text(sample + i * 512, 512, i + 1, v);
	CHECK_OK(ls_zdict_choose(
	    LS_SPAN(sample, sizeof sample), 512, 64 << 20, NULL, &z, &e));
	CHECK(ls_zdict_bytes(z).n > 0);
	return z;
}

void
kit_write_text(const struct ls_ltx_header *h, struct ls_zdict *z,
    uint32_t first, uint32_t n, uint64_t v, struct ls_buf *out)
{
	static uint8_t page[LS_PAGE_MAX];
	struct ls_ltx_writer *w = NULL;
	struct kit_sink k = { *out, 0, 0 };
	struct ls_err e = { 0 };

	CHECK_OK(ls_ltx_writer_new(kit_sink, &k, &w, &e));
	CHECK_OK(ls_ltx_writer_begin(w, h, z, &e));
	for (uint32_t i = first; i < first + n; i++) {
		kit_text(page, h->page_size, i, v);
		CHECK_OK(ls_ltx_writer_page(w, i, page, &e));
	}
	CHECK_OK(ls_ltx_writer_end(w, NULL, &e));
	ls_ltx_writer_free(w);
	*out = k.b;
}

enum ls_rc
kit_verify(struct ls_span file, struct ls_err *e)
{
	struct ls_ltx_mem m = { file, 0 };

	return ls_ltx_verify(ls_ltx_mem_source, &m, NULL, e);
}

void
kit_sign(struct ls_span file, const struct ls_ltx_index *idx)
{
	static uint8_t page[LS_PAGE_MAX];
	uint64_t crc = ls_crc64(0, file.p, LS_LTX_HEADER), end = LS_LTX_HEADER;
	uint32_t page_size = ls_be32(file.p + 8);
	struct ls_err e = { 0 };

	for (size_t i = 0; i < idx->n; i++) {
		struct ls_ltx_entry x = idx->v[i];

		CHECK_OK(ls_ltx_frame_decode(LS_SPAN(file.p + x.off, x.size),
		    NULL, x.pgno, page_size, page, &e));
		crc = ls_crc64(crc, file.p + x.off, 10);
		crc = ls_crc64(crc, page, page_size);
		end = x.off + x.size;
	}
	crc = ls_crc64(crc, file.p + end, file.n - end - 8);
	crc |= LS_CHECKSUM_FLAG;
	ls_put_be64((uint8_t *)(uintptr_t)file.p + file.n - 8, crc);
}

const char *
kit_path(const char *name)
{
	static char path[4][1024];
	static unsigned at;
	char *p = path[at++ % 4];
	const char *slash = strrchr(__FILE__, '/');

	(void)snprintf(p, sizeof path[0], "%.*s/%s", (int)(slash - __FILE__),
	    __FILE__, name);
	return p;
}

struct ls_span
kit_data(const char *name)
{
	char rel[256];

	(void)snprintf(rel, sizeof rel, "data/%s", name);
	return test_read_file(kit_path(rel));
}
