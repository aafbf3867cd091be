#!/usr/bin/env bash
# run.sh TARGET PROGRAM [SECONDS] -- fuzz one target from its corpus, which stays
# as it is. Without SECONDS: the same 20,000 inputs each time, so that the gate
# tells of a change and not of luck. An input that fails is shown in base64: once
# mended, it belongs to corpus/TARGET.
set -euo pipefail
corpus=$(cd "$(dirname "$0")" && pwd)/corpus/$1
program=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" && mkdir found
how=(-runs=20000 -seed=1)
[ -z "${3-}" ] || how=(-max_total_time="$3")
"$program" "${how[@]}" -max_len=100000 -rss_limit_mb=2048 -print_final_stats=1 \
	found "$corpus" >log 2>&1 || {
	tail -n 60 log
	exit 1
}
grep -E '^Done|^stat::' log
