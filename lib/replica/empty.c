/* replaced by the first source */ typedef int ls_replica_empty;
