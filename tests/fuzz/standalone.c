/* standalone.c -- replay folders of inputs through a fuzz target, without
 * libFuzzer: fuzz_x_replay FOLDER... Fails when there is nothing to replay. */
#include "base/file.h"

#include <dirent.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int
replay(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *x;
	int n = 0;

	while (d != NULL && (x = readdir(d)) != NULL) {
		struct ls_buf b = LS_BUF_INIT((size_t)1 << 26);
		struct ls_err e = { .msg = "" };
		char path[4096];
		uint8_t *exact; /* so that ASan sees reads behind the end */

		if (x->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof path, "%s/%s", folder, x->d_name);
		if (ls_read_file(path, b.max, &b, &e) != LS_OK) {
			(void)fprintf(stderr, "%s\n", e.msg);
			return -1;
		}
		exact = ls_alloc(b.n);
		if (b.n > 0)
			memcpy(exact, b.p, b.n);
		(void)LLVMFuzzerTestOneInput(exact, b.n);
		ls_free(exact);
		ls_buf_free(&b);
		n++;
	}
	if (d != NULL)
		(void)closedir(d);
	return n;
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int n = replay(argv[i]);

		(void)printf("%s: %d inputs\n", argv[i], n);
		if (n <= 0)
			return 1;
	}
	return argc > 1 ? 0 : 1;
}
