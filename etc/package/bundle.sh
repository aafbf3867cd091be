#!/usr/bin/env bash
# bundle.sh BUILD NAME LAUNCHER LIBRARY... -- make BUILD/NAME.tar.gz: the
# installed tree, with every library that the program links or loads by name
# (the LIBRARYs), their C library and its loader in lib/litestreamd. Static
# linking is not it: isa-l, Kerberos and others exist as shared libraries only,
# and these are the ones that the tests run with. Run by the target `bundle`.
set -euo pipefail
build=$1 name=$2 launcher=$3
shift 3
out=$build/bundle/$name
lib=$out/lib/litestreamd

rm -rf "$build/bundle"
cmake --install "$build" --strip --prefix "$out" >/dev/null
mkdir -p "$lib"
mv "$out/bin/litestreamd" "$lib/litestreamd"
install -s -m 755 "$launcher" "$out/bin/litestreamd"
# The extension lives in other programs, with their C library.
rm "$out/lib/litestream-vfs.so"
# Units name the place where the tree is usually unpacked.
sed -i "s,^ExecStart=[^ ]*,ExecStart=/usr/local/bin/litestreamd," \
	"$out"/lib/systemd/system/*.service

from=("$lib/litestreamd")
for l in "$@"; do
	from+=("$("${CC:-cc}" -print-file-name="$l")")
done
for l in "${from[@]:1}"; do
	install -m 644 "$l" "$lib/$(basename "$l")"
done
ldd "${from[@]}" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u |
	while read -r l; do
		install -m 644 "$l" "$lib/$(basename "$l")"
	done
# For places without certificates of their own (SSL_CERT_FILE): Mozilla's.
mkdir -p "$out/share/litestreamd"
if compgen -G "/usr/share/ca-certificates/mozilla/*.crt" >/dev/null; then
	cat /usr/share/ca-certificates/mozilla/*.crt \
		>"$out/share/litestreamd/ca-certificates.crt"
else
	echo "no package ca-certificates: the tarball has none" >&2
	exit 1
fi
# Their terms travel with them.
for l in "$lib"/lib*.so.*; do
	owner=$(dpkg-query --search "*/$(basename "$l")" 2>/dev/null |
		sed -n '1s/[:,].*//p') || continue
	[ -z "$owner" ] || install -D -m 644 "/usr/share/doc/$owner/copyright" \
		"$out/share/doc/litestreamd/licenses/$owner"
done
loader=$(ldd "$lib/litestreamd" |
	sed -n 's/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) .*/\1/p')
install -m 755 "$loader" "$lib/ld.so"
tar --sort=name --owner=0 --group=0 --numeric-owner -C "$build/bundle" \
	-czf "$build/$name.tar.gz" "$name"
echo "$build/$name.tar.gz"
