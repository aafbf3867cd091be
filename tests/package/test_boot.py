#!/usr/bin/env python3
"""The unit as systemd itself runs it: a bare Debian with the package is booted
by systemd-nspawn, set up with what `doctor` says, and asked. Only with LS_LONG=1,
as root, where nspawn can run."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import sandbox  # noqa: E402
from harness import Case, main  # noqa: E402
from proc import SLOW  # noqa: E402

BUILD = Path(Case.bin).resolve().parent
SETUP = """set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends systemd systemd-sysv dbus \\
    sqlite3 /deb/*.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
mkdir -p /var/lib/app /backup
useradd --system app
sqlite3 /var/lib/app/app.db 'PRAGMA journal_mode=WAL; CREATE TABLE t(a)'
chown -R app: /var/lib/app /backup
cat > /etc/litestream.yml <<'EOF'
socket: {enabled: true, path: /run/litestreamd/litestream.sock}
dbs: [{path: /var/lib/app/app.db, replica: {path: /backup/new/app}}]
EOF
mkdir -p /etc/systemd/system/litestreamd.service.d
litestreamd doctor | sed -n '/^\\[Service\\]/,$p' \\
    > /etc/systemd/system/litestreamd.service.d/local.conf
cat > /etc/systemd/system/probe.service <<'EOF'
[Unit]
After=litestreamd.service
[Service]
Type=oneshot
ExecStart=/bin/bash /probe
StandardOutput=file:/out
StandardError=inherit
ExecStopPost=/bin/systemctl poweroff -f
[Install]
WantedBy=multi-user.target
EOF
systemctl enable litestreamd probe
"""
PROBE = """
show() { systemctl show litestreamd -p "$1" --value; }
echo "state $(systemctl is-active litestreamd)"
sqlite3 /var/lib/app/app.db 'INSERT INTO t VALUES(1)'
litestreamd sync -wait /var/lib/app/app.db >/dev/null && echo stored 1
pid=$(show MainPID)
echo "user $(stat -c %U /proc/$pid)"
grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/$pid/status
! touch /proc/$pid/root/etc/x 2>/dev/null && echo /etc is read-only
before=$(show WatchdogTimestampMonotonic)
until [ "$(show WatchdogTimestampMonotonic)" != "$before" ]; do sleep 1; done
echo "the watchdog hears it, restarts $(show NRestarts)"
systemctl kill -s STOP litestreamd # alive, and doing nothing
until [ "$(show NRestarts)" = 1 ] && [ "$(systemctl is-active litestreamd)" = \\
    active ]; do sleep 1; done
echo restarted by the watchdog
sqlite3 /var/lib/app/app.db 'INSERT INTO t VALUES(2)'
litestreamd sync -wait /var/lib/app/app.db >/dev/null && echo stored 2
systemctl stop litestreamd
echo "end $(show Result) $(show ExecMainStatus)"
litestreamd restore -o /tmp/o.db file:///backup/new/app >/dev/null
echo "sum $(sqlite3 /tmp/o.db 'SELECT sum(a) FROM t')"
journalctl -u litestreamd --no-pager | tail -30
"""


class Boot(Case):
    def test_the_unit_under_systemd(self):
        bare = sandbox.bare(self)
        sandbox.need(self)
        if not shutil.which("systemd-nspawn"):
            self.skipTest("systemd-container is not installed")
        tree = self.tmp / "tree"
        subprocess.run(["cp", "-a", bare, tree], check=True)
        (tree / "deb").mkdir()
        subprocess.run(["cpack", "--config", BUILD / "CPackConfig.cmake",
                        "-G", "DEB", "-B", tree / "deb"], check=True,
                       stdout=subprocess.DEVNULL, cwd=self.tmp)
        (tree / "setup").write_text(SETUP)
        (tree / "probe").write_text(PROBE)
        inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child",
                  "bash", "-c"]
        subprocess.run([*inside, f"mount -t proc proc {tree}/proc; exec "
                        f"chroot {tree} bash /setup"], check=True,
                       timeout=400 * SLOW)
        boot = subprocess.run(
            [*inside[:2], *inside[5:], "umount -R /sys/fs/cgroup; mount -t "
             "cgroup2 none /sys/fs/cgroup; exec systemd-nspawn -q -D "
             f"{tree} --register=no --keep-unit --boot"], timeout=300 * SLOW,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace")
        if not (tree / "out").exists():
            self.skipTest("nothing boots here: " + boot.stderr[-300:])
        out = (tree / "out").read_text()
        for line in ("state active", "stored 1", "user app",
                     "CapEff:\t0000000000000000", "NoNewPrivs:\t1",
                     "Seccomp:\t2", "/etc is read-only",
                     "the watchdog hears it, restarts 0",
                     "restarted by the watchdog", "stored 2",
                     "end success 0", "sum 3"):
            self.assertRegex(out, f"(?m)^{re.escape(line)}$")


if __name__ == "__main__":
    main()
