# package.cmake -- what is installed where, and the packages made of it:
# `cpack -G DEB` and the target `bundle` (a tarball for any Linux, bundle.sh).

include(GNUInstallDirs)
install(TARGETS litestreamd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS litestream-vfs LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})

# Manual pages and completions; a command's page is litestreamd-COMMAND.1.
install(DIRECTORY ${docs_dir}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1
  FILES_MATCHING PATTERN "*.1")
install(FILES ${docs_dir}/litestream.yml.5
  DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES ${docs_dir}/litestreamd.bash RENAME litestreamd
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${docs_dir}/_litestreamd
  DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${docs_dir}/litestreamd.fish
  DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

set(doc_dir ${CMAKE_INSTALL_DATADIR}/doc/litestreamd)
install(FILES README.md DESTINATION ${doc_dir})
install(FILES LICENSE DESTINATION ${doc_dir} RENAME copyright)
install(FILES etc/litestream.yml DESTINATION ${doc_dir}/examples)

# ---- systemd ----------------------------------------------------------------
# The program's path is known only when installing: --prefix may say another.
set(unit_dir lib/systemd/system)
foreach(unit litestreamd.service litestreamd@.service)
  install(CODE "set(bindir \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR})
    configure_file(${CMAKE_SOURCE_DIR}/systemd/${unit}.in
      ${CMAKE_BINARY_DIR}/systemd/${unit} @ONLY)")
  install(FILES ${CMAKE_BINARY_DIR}/systemd/${unit} DESTINATION ${unit_dir})
endforeach()
install(FILES systemd/sysusers.conf DESTINATION lib/sysusers.d
  RENAME litestreamd.conf)
install(FILES systemd/tmpfiles.conf DESTINATION lib/tmpfiles.d
  RENAME litestreamd.conf)

# ---- Debian -----------------------------------------------------------------
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME litestreamd)
set(CPACK_PACKAGE_VENDOR "litestreamd")
set(CPACK_PACKAGE_CONTACT "litestreamd maintainers \
<maintainers@users.noreply.r-seed-48015e7b.example>")
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS sqlite3)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(deb_dir ${CMAKE_SOURCE_DIR}/etc/package/debian)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${deb_dir}/conffiles
  ${deb_dir}/postinst ${deb_dir}/prerm ${deb_dir}/postrm)

# Libraries that are loaded by name (base/dl.h) are not seen by shlibdeps.
set(loaded libcurl.so.4 libcrypto.so.3 libmicrohttpd.so.12 libzstd.so.1)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "")
foreach(lib ${loaded})
  execute_process(OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND ${CMAKE_C_COMPILER} -print-file-name=${lib})
  file(REAL_PATH "${path}" path)
  execute_process(OUTPUT_VARIABLE owner ERROR_QUIET
    COMMAND dpkg-query --search "${path}")
  string(REGEX MATCH "^[^:,]+" owner "${owner}")
  list(APPEND CPACK_DEBIAN_PACKAGE_DEPENDS ${owner})
endforeach()
list(JOIN CPACK_DEBIAN_PACKAGE_DEPENDS ", " CPACK_DEBIAN_PACKAGE_DEPENDS)
# Only the package has the conffile: /etc is nobody else's to write to.
set(CPACK_INSTALL_SCRIPTS ${CMAKE_SOURCE_DIR}/etc/package/debian/default.cmake)
include(CPack)

# ---- any Linux --------------------------------------------------------------
add_executable(litestreamd-launch EXCLUDE_FROM_ALL etc/package/launch.c)
target_link_options(litestreamd-launch PRIVATE -static)
set(arch ${CMAKE_SYSTEM_PROCESSOR})
set(bundle litestreamd-${PROJECT_VERSION}-linux-${arch})
add_custom_target(bundle
  COMMAND ${CMAKE_SOURCE_DIR}/etc/package/bundle.sh ${CMAKE_BINARY_DIR}
  ${bundle} $<TARGET_FILE:litestreamd-launch> ${loaded}
  DEPENDS litestreamd litestreamd-launch docs litestream-vfs VERBATIM)

# ---- the extension for Python and Node --------------------------------------
set(vfs_packages ${CMAKE_BINARY_DIR}/packages)
add_custom_target(vfs_packages
  COMMAND ${CMAKE_COMMAND} -E make_directory ${vfs_packages}
  COMMAND ${CMAKE_STRIP} -o ${vfs_packages}/litestream-vfs.so
  $<TARGET_FILE:litestream-vfs>
  COMMAND python3 ${CMAKE_SOURCE_DIR}/etc/package/vfs/pack.py
  ${vfs_packages}/litestream-vfs.so ${PROJECT_VERSION}
  ${CMAKE_SOURCE_DIR}/LICENSE ${vfs_packages}
  COMMAND ${CMAKE_COMMAND} -E rm ${vfs_packages}/litestream-vfs.so
  DEPENDS litestream-vfs VERBATIM)
