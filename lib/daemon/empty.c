/* replaced by the first source */ typedef int ls_daemon_empty;
