/* cmds.c -- one row a command; see cmd.h. */
#include "cmd.h"

#include <stddef.h>

const struct cmd cmds[] = {
	{ "databases", cmd_databases,
	    "list the databases of the "
	    "configuration" },
	{ "doctor", cmd_doctor, "look for what is wrong with a set-up" },
	{ "info", cmd_info, "show the running daemon" },
	{ "list", cmd_list, "list the databases of the running daemon" },
	{ "ltx", cmd_ltx, "list the files of a replica" },
	{ "points", cmd_points, "list what a replica can be restored to" },
	{ "register", cmd_register, "add a database to the running daemon" },
	{ "replicate", cmd_replicate, "run the daemon" },
	{ "reset", cmd_reset, "remove the local state of a database" },
	{ "restore", cmd_restore, "rebuild a database from its replica" },
	{ "start", cmd_start, "start replicating a database" },
	{ "status", cmd_status, "show the local state of databases" },
	{ "stop", cmd_stop, "stop replicating a database" },
	{ "sync", cmd_sync, "replicate a database now" },
	{ "unregister", cmd_unregister,
	    "remove a database from the running daemon" },
	{ "verify", cmd_verify, "check that a replica is whole" },
	{ "version", cmd_version, "print the version" },
	{ "wal", cmd_wal, NULL },
	{ NULL, NULL, NULL },
};
