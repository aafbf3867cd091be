/* replaced by the first source */ typedef int ls_format_empty;
