/* replaced by the first source */ typedef int ls_store_empty;
