/* cmd.h -- the commands: one row each; dispatch, `help` and the README's
 * table and cmd/docs use the rows (cmds.c). A command gets its own name as argv[0]
 * and returns the exit code. */
#ifndef LS_CMD_H
#define LS_CMD_H

struct cmd {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary; /* NULL: not listed (old names) */
};
extern const struct cmd cmds[]; /* ends with a NULL name */

int cmd_databases(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_ltx(int argc, char **argv);
int cmd_points(int argc, char **argv);
int cmd_register(int argc, char **argv);
int cmd_replicate(int argc, char **argv);
int cmd_reset(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_start(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_sync(int argc, char **argv);
int cmd_unregister(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_wal(int argc, char **argv);

#endif
