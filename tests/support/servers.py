"""Real object stores on loopback, with all their state in a temporary folder:
Ceph RGW from Debian's packages, and MinIO where it is installed.

    servers.py up STATE      start a shared Ceph RGW, write STATE when ready
    servers.py down STATE    stop it
    servers.py run STATE COMMAND...
                             run a command against it, and once more against
                             MinIO where that is installed; the place is in
                             LS_TEST_S3_URL, ..._KEY and ..._SECRET. Status
                             77: there is no server
`up` leaves a supervisor behind that owns the daemons as its children. It ends
with them when told to, or when the process that ran `up` (ctest) is gone, so a
killed test run leaves nothing. STATE says {"available": false, "why"} where
the packages are missing; under CI=true that is a failure instead.
"""
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from proc import (CI, cache_dir, can_connect, clean_env, end,  # noqa: E402
                  find_program, free_port, spawn, wait_until)
from s3 import S3  # noqa: E402

CEPH_PROGRAMS = ["radosgw", "ceph-mon", "ceph-osd", "ceph", "radosgw-admin",
                 "ceph-authtool", "monmaptool"]
CEPH_CONF = """
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:127.0.0.1:{mon2}/0,v1:127.0.0.1:{mon1}/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv4 = true
ms_bind_port_min = {osd_lo}
ms_bind_port_max = {osd_hi}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_crush_chooseleaf_type = 0
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 1
mon_data_avail_crit = 0
run_dir = {d}
admin_socket = {d}/$name.asok
pid_file = {d}/$name.pid
log_file = {d}/$name.log
crash_dir = {d}
mon_data = {d}/mon
osd_data = {d}/osd
mgr_data = {d}/mgr
keyring = {d}/$name.keyring
[osd]
osd_objectstore = {store}
memstore_device_bytes = {bytes}
bluestore_block_size = {bytes}
osd_op_num_shards = 2
osd_memory_target = 939524096
[client.rgw]
rgw_data = {d}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 64
rgw_enable_usage_log = false
rgw_dns_name = localhost
"""


class Ceph:
    """mon, osd and rgw of one node. Ready after 12 to 20 s."""
    key, secret = "CEPHKEY", "CEPHSECRET"

    def __init__(self, store="memstore", size=2 << 30):
        self.store, self.size = store, size
        self.children = []
        self.dir = None

    @staticmethod
    def missing():
        return [p for p in CEPH_PROGRAMS if not shutil.which(p)]

    def start(self):
        self.dir = Path(tempfile.mkdtemp(prefix="ls-ceph-"))
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _call(self, *cmd):
        r = subprocess.run([str(c) for c in cmd], env=clean_env(
            CEPH_CONF=self.dir / "ceph.conf"), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        if r.returncode:
            raise RuntimeError(f"{cmd[0]}: {r.stderr.decode()[-500:]}")

    def _daemon(self, *cmd):
        with open(self.dir / f"{cmd[0]}.out", "wb") as out:
            self.children.append(spawn(
                [*cmd, "-f", "-c", self.dir / "ceph.conf"], env=clean_env(),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out))

    def _keys(self):
        d, tool = self.dir, "ceph-authtool"
        caps = {"client.admin": ["mon", "allow *", "osd", "allow *",
                                 "mgr", "allow *"],
                "client.rgw": ["mon", "allow rw", "osd", "allow rwx"],
                "osd.0": ["mon", "allow profile osd", "osd", "allow *"]}
        self._call(tool, "--create-keyring", d / "tmp.keyring", "--gen-key",
                   "-n", "mon.", "--cap", "mon", "allow *")
        for name, pairs in caps.items():
            args = [x for i in range(0, len(pairs), 2)
                    for x in ("--cap", pairs[i], pairs[i + 1])]
            ring = d / f"{name}.keyring"
            self._call(tool, "--create-keyring", ring, "--gen-key", "-n",
                       name, *args)
            self._call(tool, d / "tmp.keyring", "--import-keyring", ring)

    def _start(self):
        d = self.dir
        for sub in ("mon", "osd", "mgr", "rgw"):
            (d / sub).mkdir()
        self.port, mon1, mon2 = free_port(), free_port(), free_port()
        lo = 10000 + os.getpid() * 97 % 20000
        fsid = str(uuid.uuid4())
        (d / "ceph.conf").write_text(CEPH_CONF.format(
            d=d, fsid=fsid, port=self.port, mon1=mon1, mon2=mon2, osd_lo=lo,
            osd_hi=lo + 90, store=self.store, bytes=self.size))
        self._keys()
        self._call("monmaptool", "--create", "--fsid", fsid, "--addv", "a",
                   f"[v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]", d / "monmap")
        self._call("ceph-mon", "--mkfs", "-i", "a", "--monmap", d / "monmap",
                   "--keyring", d / "tmp.keyring", "-c", d / "ceph.conf")
        self._daemon("ceph-mon", "-i", "a")
        osd = str(uuid.uuid4())
        self._call("ceph", "-c", d / "ceph.conf", "osd", "new", osd)
        self._call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, "-c",
                   d / "ceph.conf")
        self._daemon("ceph-osd", "-i", "0")
        self._daemon("radosgw", "-n", "client.rgw")
        wait_until(lambda: can_connect(self.port), 90, "answer of radosgw",
                   0.1)
        self._call("radosgw-admin", "-n", "client.rgw", "-c",
                   d / "ceph.conf", "user", "create", "--uid=t",
                   "--display-name=t", f"--access-key={self.key}",
                   f"--secret-key={self.secret}")

    def client(self):
        return S3(self.port, self.key, self.secret)

    def stop(self):
        while self.children:
            end(self.children.pop(), timeout=5)
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)


class Minio:
    key, secret = "minioadmin", "minioadmin"

    def __init__(self):
        self.child = self.dir = None

    @staticmethod
    def binary():
        return find_program("LS_MINIO", cache_dir() / "minio/minio", "minio")

    def start(self):
        self.dir = Path(tempfile.mkdtemp(prefix="ls-minio-"))
        self.port = free_port()
        (self.dir / "data").mkdir()
        with open(self.dir / "log", "wb") as out:
            self.child = spawn(
                [self.binary(), "server", "--quiet", "--address",
                 f"127.0.0.1:{self.port}", self.dir / "data"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=clean_env(MINIO_ROOT_USER=self.key, MINIO_BROWSER="off",
                              MINIO_ROOT_PASSWORD=self.secret,
                              MINIO_UPDATE="off", HOME=self.dir))
        try:
            wait_until(self._ready, 30, "answer of minio", 0.05)
        except BaseException:
            self.stop()
            raise
        return self

    def _ready(self):
        try:
            return can_connect(self.port) and \
                self.client().request("GET", "")[0] == 200
        except OSError:
            return False

    def client(self):
        return S3(self.port, self.key, self.secret)

    def stop(self):
        if self.child:
            end(self.child, timeout=5)
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)


def shared(state):
    """The client of the Ceph that `up` started, or None with the reason."""
    try:
        s = json.loads(Path(state).read_text())
    except (OSError, ValueError):
        return None, f"no server state at {state}"
    if not s.get("available"):
        return None, s.get("why", "not available")
    return S3(s["port"], s["key"], s["secret"]), None


def _publish(state, value):
    tmp = Path(f"{state}.tmp")
    tmp.write_text(json.dumps(value))
    tmp.rename(state)


def serve(state, watched):
    """The supervisor: owns the daemons until SIGTERM or the end of watched."""
    r, w = os.pipe()
    os.set_blocking(w, False)
    signal.set_wakeup_fd(w)
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: None)
    watch = os.pidfd_open(watched)
    ceph = Ceph().start()
    try:
        _publish(state, {"available": True, "pid": os.getpid(),
                         "port": ceph.port, "key": ceph.key,
                         "secret": ceph.secret})
        select.select([r, watch], [], [])
    finally:
        ceph.stop()
        Path(state).unlink(missing_ok=True)


def up(state):
    Path(state).unlink(missing_ok=True)
    missing = Ceph.missing()
    if missing:
        why = "Ceph RGW is not installed: no " + ", ".join(missing)
        _publish(state, {"available": False, "why": why})
        print(("FAIL: " if CI else "SKIP: ") + why)
        return 1 if CI else 0
    with open(f"{state}.log", "wb") as log:
        child = subprocess.Popen(
            [sys.executable, __file__, "serve", state, str(os.getppid())],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log)
    wait_until(lambda: Path(state).exists() or child.poll() is not None, 150,
               "Ceph RGW", 0.1)
    if child.poll() is not None:
        print(Path(f"{state}.log").read_text()[-2000:])
        return 1
    return 0


def down(state):
    try:
        pid = json.loads(Path(state).read_text()).get("pid")
    except OSError:
        return 0
    if pid:
        gone = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        if not select.select([gone], [], [], 60)[0]:
            print(f"the server's supervisor, process {pid}, did not end")
            return 1
    else:
        Path(state).unlink()
    return 0


def run(state, command):
    found = []
    s3, why = shared(state)
    if s3:
        found.append(("Ceph RGW", s3, None))
    else:
        print(f"SKIP: {why}")
    if Minio.binary():
        m = Minio().start()
        found.append(("MinIO", m.client(), m))
    status = 0 if found else 77
    for name, client, own in found:
        print(f"against {name}", flush=True)
        bucket = f"run{os.getpid()}"
        client.make_bucket(bucket)
        env = clean_env(LS_TEST_S3_URL=client.url(bucket, "t"),
                        LS_TEST_S3_KEY=client.key,
                        LS_TEST_S3_SECRET=client.secret)
        status = subprocess.run(command, env=env).returncode or status
        if own:
            own.stop()
    return status


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[1] == "run":
        sys.exit(run(sys.argv[2], sys.argv[3:]))
    elif len(sys.argv) == 4 and sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    elif len(sys.argv) == 3 and sys.argv[1] in ("up", "down"):
        sys.exit({"up": up, "down": down}[sys.argv[1]](sys.argv[2]))
    else:
        sys.exit(__doc__)
