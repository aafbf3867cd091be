# Run by CPack after the installation: the conffile of the Debian package.
file(INSTALL ${CMAKE_CURRENT_LIST_DIR}/../../default/litestreamd
  DESTINATION /etc/default PERMISSIONS OWNER_READ OWNER_WRITE)
