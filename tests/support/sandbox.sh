#!/usr/bin/env bash
# sandbox.sh LOWER SCRIPT [FOLDER...] -- run a bash script in a machine to throw
# away: an overlay over LOWER ("/": a copy of this machine, or a debootstrap
# tree), with /proc, /dev, /sys, the network of this machine and the FOLDERs
# (read-only). Every process and every change is gone afterwards. Root only.
#
# The upper layer is a tmpfs, since it must not lie below LOWER.
set -euo pipefail
if [ "$1" != inside ]; then
	exec unshare --mount --pid --fork --kill-child "$0" inside "$@"
fi
lower=$2 script=$3
shift 3
top=$(mktemp -d)
# This mount namespace dies with us, the empty folder does not.
mount -t tmpfs -o mode=755 sandbox "$top"
root=$top/root
mkdir "$top/upper" "$top/work" "$root"
mount -t overlay -o "lowerdir=$lower,upperdir=$top/upper,workdir=$top/work" \
	sandbox "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
for f in "$@"; do
	mkdir -p "$root$f"
	mount --rbind "$f" "$root$f"
	mount -o remount,bind,ro "$root$f"
done
cp "$script" "$root/sandbox-script"
cd /
exec chroot "$root" /bin/bash /sandbox-script
