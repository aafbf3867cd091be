/* replaced by the first source */ typedef int ls_config_empty;
