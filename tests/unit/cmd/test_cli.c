/* test_cli.c -- flags as Go's flag package reads them. */
#include "test.h"

#include "cli.h"

#include <unistd.h>

static struct {
	bool json;
	const char *config;
	int n;
	int64_t dur;
	char got[32];
} v;

static const char *
parse_fn(const char *text, void *dst)
{
	if (strcmp(text, "bad") == 0)
		return "it is bad";
	(void)snprintf(dst, sizeof v.got, "%s", text);
	return NULL;
}

static const struct cli_flag flags[] = {
	{ "json", CLI_BOOL, &v.json, NULL, "J.", NULL },
	{ "config", CLI_STR, &v.config, "PATH", "C.\nTwo lines.", NULL },
	{ "n", CLI_INT, &v.n, "N", "N.", NULL },
	{ "dur", CLI_DUR, &v.dur, "D", "D.", NULL },
	{ "fn", CLI_FN, v.got, "F", "F.", parse_fn },
};
static const char *const args[] = { "DB_PATH", NULL };
static const char *const examples[] = { "thing /db", NULL };
static const struct cli_spec spec = { .name = "thing",
	.intro = "Does it.",
	.args = args,
	CLI_FLAGS(flags),
	.examples = examples };

static char **rest;
static int n_rest;

/* Parse words that are separated by blanks. */
static int
parse(const char *line)
{
	static char copy[256];
	static char *argv[32];
	int argc = 0;
	char *at;

	memset(&v, 0, sizeof v);
	(void)snprintf(copy, sizeof copy, "thing %s", line);
	for (char *p = strtok_r(copy, " ", &at); p != NULL;
	     p = strtok_r(NULL, " ", &at))
		argv[argc++] = p;
	return cli_parse(&spec, argc, argv, &rest, &n_rest);
}

/* The same with stdout and stderr in files of the test's folder. */
static int
parse_to_files(const char *line)
{
	int out = dup(1), err = dup(2), rc;

	(void)fflush(stdout);
	CHECK(freopen(T("out"), "w", stdout) && freopen(T("err"), "w", stderr));
	rc = parse(line);
	(void)fflush(stdout), (void)fflush(stderr);
	CHECK(dup2(out, 1) == 1 && dup2(err, 2) == 2);
	(void)close(out), (void)close(err);
	return rc;
}

static bool
in_file(const char *name, const char *text)
{
	struct ls_span s = test_read_file(T(name));

	return memmem(s.p, s.n, text, strlen(text)) != NULL;
}

TEST(flags_in_all_their_forms)
{
	CHECK_EQ(
	    parse("-json --config a -n=0x10 --dur=1m -fn x db more"), CLI_GO);
	CHECK(v.json && v.n == 16 && v.dur == 60ll * 1000000000);
	CHECK_STR(v.config, "a");
	CHECK_STR(v.got, "x");
	CHECK_EQ(n_rest, 2);
	CHECK_STR(rest[0], "db");
	CHECK_EQ(parse("-json=false -config= db"), CLI_GO);
	CHECK(!v.json && v.config[0] == '\0' && n_rest == 1);
}

TEST(flags_end_at_the_first_other_word)
{
	CHECK_EQ(parse("db -json"), CLI_GO);
	CHECK(!v.json && n_rest == 2);
	CHECK_EQ(parse("-json -- -n"), CLI_GO);
	CHECK(v.json && n_rest == 1);
	CHECK_STR(rest[0], "-n");
	CHECK_EQ(parse("-json - x"), CLI_GO);
	CHECK_EQ(n_rest, 2);
}

/* The reason on stderr, usage on stdout, the error again, exit 1. */
TEST(mistakes_are_told_as_go_does)
{
	static const char *const cases[][2] = {
		{ "-x", "flag provided but not defined: -x" },
		{ "--x=1", "flag provided but not defined: -x" },
		{ "-n", "flag needs an argument: -n" },
		{ "-n x", "invalid value \"x\" for flag -n: parse error" },
		{ "-n 99999999999",
		    "invalid value \"99999999999\" for flag -n: value out of "
		    "range" },
		{ "-json=maybe", "invalid boolean value \"maybe\" for -json: "
				 "parse error" },
		{ "-dur 5", "invalid value \"5\" for flag -dur: parse error" },
		{ "-fn bad", "invalid value \"bad\" for flag -fn: it is bad" },
		{ "---n 1", "bad flag syntax: ---n" },
		{ "-=1", "bad flag syntax: -=1" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char want[256];

		CHECK_EQ(parse_to_files(cases[i][0]), 1);
		(void)snprintf(want, sizeof want, "%s\nError: %s\n",
		    cases[i][1], cases[i][1]);
		if (!in_file("err", want))
			test_fail(__FILE__, __LINE__, "%s", cases[i][0]);
		CHECK(in_file("out", "Usage:"));
	}
}

TEST(help_is_no_error)
{
	static const char *const cases[] = { "-h", "--h", "-help", "--help",
		"-json -h" };

	cli_prog = "other";
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		CHECK_EQ(parse_to_files(cases[i]), 0);
		CHECK_EQ(test_read_file(T("err")).n, 0);
		CHECK(in_file("out", "\n\tother thing [arguments] DB_PATH\n"));
		CHECK(in_file("out", "\t-config PATH\n\t    C.\n\t    Two"));
		CHECK(in_file("out", "\t$ other thing /db\n"));
	}
	cli_prog = "litestreamd";
}
