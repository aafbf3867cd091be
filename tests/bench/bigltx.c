/* bigltx.c -- makes a replica with much to compact: a folder whose level 1 holds
 * BYTES of pages (uncompressed) in FILES files, and the full copy before them.
 *
 *   bigltx DIR BYTES FILES KEEP
 *
 * The database grows with every file; an eighth of a file's pages are older
 * ones, written again. The first KEEP bytes of a page (0 to 4096) do not
 * compress, so a page takes about KEEP bytes in the file. */
#include "base/bytes.h"
#include "format/ltx.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PAGE = 4096, OLD = 8 };

static uint64_t seed = 88172645463325252u;

static enum ls_rc
to_file(void *arg, struct ls_span b, struct ls_err *e)
{
	if (b.n == 0 || fwrite(b.p, b.n, 1, arg) == 1)
		return LS_OK;
	return ls_err_set(e, LS_EIO, "write");
}

static void
make_page(uint8_t *page, uint32_t pgno, size_t keep)
{
	memset(page, 0, PAGE);
	memcpy(page, &pgno, sizeof pgno);
	for (size_t i = 8; i + 8 <= keep; i += 8) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memcpy(page + i, &seed, 8);
	}
}

/* Pages before+1..commit, and every step-th of those before (0: none). */
static enum ls_rc
write_file(struct ls_ltx_writer *w, const struct ls_ltx_header *h,
    uint32_t before, uint32_t step, size_t keep, struct ls_err *e)
{
	uint8_t page[PAGE];
	enum ls_rc rc = ls_ltx_writer_begin(w, h, NULL, e);

	for (uint32_t p = 1; rc == LS_OK && p <= h->commit; p++) {
		if (p == ls_lock_pgno(PAGE) ||
		    (p <= before && (step == 0 || p % step != 0)))
			continue;
		make_page(page, p, keep);
		rc = ls_ltx_writer_page(w, p, page, e);
	}
	return rc == LS_OK ? ls_ltx_writer_end(w, NULL, e) : rc;
}

static enum ls_rc
make(const char *dir, int level, uint64_t txid, uint32_t before,
    uint32_t commit, size_t keep, struct ls_err *e)
{
	const struct ls_ltx_header h = { .flags = LS_LTX_NO_CHECKSUM,
		.page_size = PAGE,
		.commit = commit,
		.min_txid = txid,
		.max_txid = txid,
		.timestamp_ms = 1700000000000 + (int64_t)txid };
	uint32_t old = (commit - before) / OLD;
	char path[4096], name[LS_LTX_NAME_MAX];
	struct ls_ltx_writer *w = NULL;
	FILE *f;
	enum ls_rc rc;

	(void)snprintf(path, sizeof path, "%s/ltx/%d/%s", dir, level,
	    ls_ltx_name(txid, txid, name));
	if ((f = fopen(path, "wb")) == NULL)
		return ls_err_set(e, LS_EIO, "%s", path);
	rc = ls_ltx_writer_new(to_file, f, &w, e);
	if (rc == LS_OK)
		rc = write_file(w, &h, before,
		    old && before > old ? before / old : 0, keep, e);
	ls_ltx_writer_free(w);
	if (fclose(f) != 0 && rc == LS_OK)
		rc = ls_err_set(e, LS_EIO, "%s", path);
	return rc;
}

static enum ls_rc
make_all(const char *dir, uint64_t bytes, uint64_t files, size_t keep,
    struct ls_err *e)
{
	static const char *const folders[] = { "", "/ltx", "/ltx/0", "/ltx/1" };
	uint64_t each = bytes / PAGE / files, grow = each * OLD / (OLD + 1);
	char path[4096];
	enum ls_rc rc;

	for (size_t i = 0; i < LS_COUNT(folders); i++) {
		(void)snprintf(path, sizeof path, "%s%s", dir, folders[i]);
		(void)mkdir(path, 0755);
	}
	rc = make(dir, 0, 1, 0, 1, keep, e);
	for (uint64_t i = 0; rc == LS_OK && i < files; i++)
		rc = make(dir, 1, 2 + i, (uint32_t)(1 + i * grow),
		    (uint32_t)(1 + (i + 1) * grow), keep, e);
	return rc;
}

int
main(int argc, char **argv)
{
	struct ls_err e = { 0 };

	if (argc != 5) {
		(void)fprintf(stderr, "usage: bigltx DIR BYTES FILES KEEP\n");
		return 2;
	}
	if (make_all(argv[1], strtoull(argv[2], NULL, 10),
		strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10),
		&e) != LS_OK) {
		(void)fprintf(stderr, "bigltx: %s\n", e.msg);
		return 1;
	}
	return 0;
}
