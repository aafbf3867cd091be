/* replaced by the first source */ typedef int ls_capture_empty;
