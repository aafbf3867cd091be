#!/usr/bin/env bash
# The house style's gates, for what a compiler does not see. Every breach is
# one line "file:line: what"; the status says whether there was any.
#
# Limits: functions 80 lines and files 1,000 are the hard ones; reviewers ask
# for less. Needs universal-ctags and clang-format; shellcheck when it is here.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
found=$(mktemp)
trap 'rm -f "$found"' EXIT

if [ -e .git ]; then
	mapfile -t all < <(git ls-files --cached --others --exclude-standard |
		while read -r f; do [ -f "$f" ] && echo "$f"; done)
else
	mapfile -t all < <(find . -type f -not -path './build*' | sed 's,^\./,,')
fi
list() { printf '%s\n' "${all[@]}" | grep -E "$1"; }
mapfile -t code < <(list '^(lib|cmd|tests)/.*\.[ch]$')
mapfile -t product < <(list '^(lib|cmd)/.*\.[ch]$')
mapfile -t lib < <(list '^lib/.*\.[ch]$')
mapfile -t heap < <(printf '%s\n' "${lib[@]}" | grep -v '^lib/base/sys\.c$')
mapfile -t scripts < <(list '^(tests/(run|demo)|\.ci/run|.*\.sh)$')

# ban 'extended regex' 'why' FILE...: no line may match outside comments.
ban() {
	local what=$1 why=$2
	shift 2
	[ $# -gt 0 ] || return 0
	grep -nHE "$what" "$@" | grep -vE '^[^:]+:[0-9]+:[[:space:]]*(/?\*|//)' |
		sed -E "s|^([^:]+:[0-9]+):.*|\1: $why|" >>"$found"
}

need() {
	command -v "$1" >/dev/null || echo "$1: is not installed" >>"$found"
}

# ---- sizes ------------------------------------------------------------------
need ctags
ctags -x --c-kinds=f --_xformat='%{end} %n %F %N' "${code[@]}" |
	awk '$1 - $2 + 1 > 80 {
		print $3 ":" $2 ": function " $4 " has " $1 - $2 + 1 " lines"
	}' >>"$found"
wc -l "${code[@]}" | awk '$2 != "total" && $1 > 1000 {
	print $2 ":1: the file has " $1 " lines"
}' >>"$found"

# ---- what C allows and we do not --------------------------------------------
call='(^|[^A-Za-z0-9_.>])'
ban '#include "\.\./' 'an include goes upwards by path' "${code[@]}"
ban "${call}(sprintf|vsprintf|strcpy|strcat|strncat|atoi|atol|strtok|gets) ?\(" \
	'a banned call: unbounded, or without an error' "${code[@]}"
ban "${call}(system|popen|exit|_exit|abort|printf|puts|perror) ?\(" \
	'the library does not exit, print or run a shell' "${lib[@]}"
ban "${call}(malloc|calloc|realloc|strdup|strndup|asprintf) ?\(" \
	'heap goes through the seam of lib/base' "${heap[@]}"
ban '(^|[^A-Za-z])(TODO|FIXME|XXX|HACK)([^A-Za-z]|$)' 'unfinished work is not landed' "${product[@]}"

# ---- form -------------------------------------------------------------------
need clang-format
clang-format --dry-run --Werror "${code[@]}" 2>&1 |
	grep -E '^[^ ]+:[0-9]+:[0-9]+: error:' |
	sort -t: -k1,1 -u | sed -E 's/:[0-9]+: error:.*/: clang-format/' \
	>>"$found"
for d in lib/*/; do
	[ -f "${d}README.md" ] || echo "$d: has no README.md" >>"$found"
done
if command -v shellcheck >/dev/null; then
	shellcheck -x -f gcc "${scripts[@]}" >>"$found"
fi

# ---- words that mean something on one machine only --------------------------
# In pieces, so that this file does not find itself.
for word in '/wo''rk/' '\.\./sha''red' '\.lib''rary' '/far''m/'; do
	grep -nHIE "$word" "${all[@]}" |
		sed -E 's|^([^:]+:[0-9]+):.*|\1: names a place of one machine|' \
			>>"$found"
done

sort -u "$found"
if [ -s "$found" ]; then
	echo "style: $(sort -u "$found" | wc -l) breaches"
	exit 1
fi
echo "style: ${#code[@]} C files and ${#scripts[@]} scripts are in order"
