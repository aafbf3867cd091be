#!/usr/bin/env python3
"""Set-ups that are broken, one a row: what is wrong with it, and what must be
said. The table is the specification: for each row one line names the cause, and
the same line (doctor, the log) or the "Try:" line beside it (a command's error)
the way out. A network file system and old SQLite builds: unit/daemon."""
import grp
import json
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from fakes3 import FakeS3  # noqa: E402
from harness import SLOW, WRAP, Case, connect, main  # noqa: E402
from proc import clean_env, free_port, upstream_binary  # noqa: E402

NOBODY = 65534
AWAKE = {"park-after": "0s"}  # a parked daemon holds nothing


class Setup:
    """One row's world: a database, a configuration, maybe a server. A sound
    one, until the row breaks it."""

    def __init__(self, case, number, name):
        self.case, self.name = case, name
        self.dir = case.tmp / f"{number:02d}"
        self.dir.mkdir()
        self.db = self.dir / "app.db"
        self.config = self.dir / "c.yml"
        (self.dir / "r").mkdir()
        self.replica = {"path": str(self.dir / "r")}
        self.entry, self.top = {}, {"shutdown-sync-timeout": "2s"}
        self.text = None  # of the configuration, as it stands
        self.env, self.args = {}, None
        self.user = None
        self.bin = case.bin
        self.server = None

    def database(self):
        if not self.db.exists():
            c = connect(self.db)
            c.execute("CREATE TABLE t(a)")
            c.execute("INSERT INTO t VALUES(1)")
            c.close()

    def s3(self, more="", url=None, **kw):
        """Replicate to a server of its own."""
        self.server = FakeS3(**kw).start()
        self.case.addCleanup(self.server.stop)
        self.env.update(self.server.env())
        self.replica = {"url": url or self.server.url(more=more)}
        return self.server

    def keyless(self):
        self.s3()
        self.env = {k: v for k, v in self.env.items() if "AWS_" not in k}

    def profile(self, text, name="default"):
        self.keyless()
        path = self.dir / "aws"
        path.write_text(text)
        self.env.update(AWS_CONFIG_FILE=path, AWS_PROFILE=name,
                        AWS_SHARED_CREDENTIALS_FILE=self.dir / "none")

    def write(self):
        if self.text is None:
            self.text = json.dumps({**self.top, "dbs": [
                {"path": str(self.db), "replica": self.replica,
                 **self.entry}]})
        self.config.write_text(self.text)

    def as_nobody(self):
        """The daemon runs as a user who owns nothing of this."""
        self.database()
        for p in (self.case.tmp, self.dir, self.db):
            p.chmod(0o755 if p.is_dir() else 0o644)
        if os.geteuid() == 0:
            self.user = NOBODY
            self.bin = shutil.copy(self.case.bin, self.dir / "litestreamd")

    def tmpfs(self, name, options):
        d = self.dir / name
        d.mkdir(exist_ok=True)
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs",
                            d], capture_output=True, text=True)
        if r.returncode:
            raise Skip(f"no tmpfs can be mounted: {r.stderr.strip()}")
        self.case.addCleanup(subprocess.run, ["umount", "-l", d], check=True)
        return d

    def run(self, *args):
        limit = {} if self.user is None else {
            "user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.run(
            [*WRAP, self.bin, *[str(a) for a in args]], text=True,
            capture_output=True, stdin=subprocess.DEVNULL, errors="replace",
            env=clean_env(HOME=self.dir, **self.env), timeout=120 * SLOW,
            **limit)


class Skip(Exception):
    pass


# ---- what is broken: each function breaks a Setup ---------------------------

def deny(*actions):
    def broken(s):
        s.s3().deny = set(actions)
    return broken


def server(**kw):
    """The server's own attributes: skew, region, ..."""
    def broken(s):
        fake = s.s3()
        for k, v in kw.items():
            setattr(fake, k, v)
    return broken


def env(**kw):
    def broken(s):
        s.s3()
        s.env.update(kw)
    return broken


def endpoint(form):
    def broken(s):
        s.env.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
        s.replica = {"url": "s3://bkt/p?endpoint=" + form.format(
            dead=free_port())}
    return broken


def replica(**kw):
    def broken(s):
        s.replica = kw
    return broken


def s3_with(**kw):
    def broken(s):
        s.s3()
        s.replica.update(kw)
    return broken


def config(text):
    def broken(s):
        s.text = text.format(d=s.dir, db=s.db)
    return broken


def entry(**kw):
    def broken(s):
        s.entry = kw
    return broken


def top(**kw):
    def broken(s):
        s.top.update(kw)
    return broken


def profile(text, name="default"):
    return lambda s: s.profile(text, name)


def expired(s):
    s.s3().expired = {"TOKEN"}
    s.env["AWS_SESSION_TOKEN"] = "TOKEN"


def moved(s):
    s.s3().answer = lambda r: (301, {}, b"<Error><Code>PermanentRedirect"
                               b"</Code><Message>elsewhere</Message></Error>")


def sick(s):
    s.s3().answer = lambda r: (503, {}, b"<Error><Code>ServiceUnavailable"
                               b"</Code><Message>down</Message></Error>")


def no_s3(s):
    s.s3().answer = lambda r: (200, {}, b"<html><body>Welcome<br></body>")


def deletes_nothing(s):
    s.s3().answer = lambda r: (204, {}, b"") if r.method == "DELETE" else None


def require_fencing(s):
    s.s3(more="&fencing=require").conditional = False


def self_signed(s):
    s.s3(tls=True)


def plain_to_tls(s):
    s.s3(tls=True)
    s.replica["url"] = s.replica["url"].replace("https://", "http://")


def tls_to_plain(s):
    s.s3()
    s.replica["url"] = s.replica["url"].replace("http://", "https://")


def dead_proxy(s):
    s.env.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b",
                 HTTPS_PROXY=f"http://127.0.0.1:{free_port()}")
    s.replica = {"url": "s3://bkt/p"}


def token_file(s):
    s.keyless()
    s.env.update(AWS_WEB_IDENTITY_TOKEN_FILE=s.dir / "none",
                 AWS_ROLE_ARN="arn:aws:iam::1:role/r")


def container(s):
    s.keyless()
    fake = FakeS3().start()
    s.case.addCleanup(fake.stop)
    fake.answer = lambda r: (404, {}, b'{"message": "no such task"}')
    s.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = \
        f"http://127.0.0.1:{fake.port}/v1"


def instance(s):
    s.keyless()
    fake = FakeS3().start()
    s.case.addCleanup(fake.stop)
    fake.answer = lambda r: (200, {}, b"T") if r.method == "PUT" else \
        (404, {}, b"")
    s.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://127.0.0.1:{fake.port}"
    s.env["AWS_EC2_METADATA_DISABLED"] = "false"


def readable_secret(s):
    s.s3()
    s.replica.update({"access-key-id": "AK", "secret-access-key": "SK"})


def content(data):
    def broken(s):
        s.db.write_bytes(data)
    return broken


def folder_db(s):
    s.db.mkdir()


def no_db(s):
    s.db = s.dir / "nope.db"
    s.database = lambda: None


def delete_mode(s):
    c = sqlite3.connect(s.db)
    c.execute("CREATE TABLE t(a)")
    c.close()


def read_only_file(s):
    s.as_nobody()
    s.dir.chmod(0o777)


def read_only_folder(s):
    s.as_nobody()
    s.db.chmod(0o666)


def meta_folder(s):
    s.as_nobody()
    s.db.chmod(0o666)
    s.dir.chmod(0o777)
    (s.dir / "m").mkdir()
    (s.dir / "m").chmod(0o555)
    s.entry = {"meta-path": str(s.dir / "m/meta")}


def locked_config(s):
    s.as_nobody()
    s.write()
    s.config.chmod(0o000)


def hidden_db(s):
    d = s.dir / "hidden"
    d.mkdir()
    s.db = d / "app.db"
    s.as_nobody()
    s.dir.chmod(0o755)
    d.chmod(0o700)
    if os.geteuid() != 0:
        d.chmod(0o000)
        s.case.addCleanup(d.chmod, 0o700)


def replica_denied(s):
    s.as_nobody()
    s.db.chmod(0o666)
    s.dir.chmod(0o777)
    (s.dir / "r").chmod(0o555)


def replica_is_file(s):
    s.replica = {"path": str(s.dir / "file")}
    (s.dir / "file").write_text("x")


def replica_missing(s):
    s.replica = {"path": str(s.dir / "not/mounted")}


def read_only_mount(s):
    d = s.tmpfs("ro", "size=1m")
    s.db = d / "app.db"
    s.database()
    subprocess.run(["mount", "-o", "remount,ro", d], check=True)


def full_disk(s):
    d = s.tmpfs("full", "size=1m")
    s.db = d / "app.db"
    s.database()
    room = os.statvfs(d).f_bavail * os.statvfs(d).f_frsize
    (d / "ballast").write_bytes(b"x" * (room - 8192))


def exclusive(s):
    s.database()
    c = sqlite3.connect(s.db, isolation_level=None)
    s.case.addCleanup(c.close)
    c.execute("PRAGMA locking_mode=EXCLUSIVE")
    c.execute("INSERT INTO t VALUES(2)")


def daemon_on_it(s, binary=None, **db):
    s.database()
    s.case.daemon({s.db: f"file://{s.dir}/other"}, db=db, binary=binary,
                  top=AWAKE).start().sync()


def other_daemon(s):
    """Of another configuration, with local state elsewhere."""
    daemon_on_it(s, **{"meta-path": str(s.dir / "elsewhere")})


def upstream(s):
    binary = upstream_binary()
    if not binary:
        raise Skip("upstream's binary is not installed")
    daemon_on_it(s, binary=binary)


def second_folder_writer(s):
    s.database()
    s.other = s.dir / "b.db"
    shutil.copy(s.db, s.other)
    s.case.daemon({s.other: f"file://{s.dir}/r"}, top=AWAKE).start().sync()


def backed_up(s):
    s.database()
    s.write()
    s.case.assertEqual(s.run("replicate", "-once", "-config",
                             s.config).returncode, 0)


DOCTOR, ONCE, RESTORE = "doctor", "replicate -once", "restore"
OVER = "restore over the database"
CHECK_KEY = r"check secret-access-key"
DBS2 = ("dbs:\n- path: {d}/a.db\n  replica: {{path: {d}/r}}\n"
        "- path: {d}/b.db\n  replica: {{path: {d}/r}}\n")
ROWS = [
    # ---- keys
    ("a wrong secret", env(AWS_SECRET_ACCESS_KEY="wrong"), DOCTOR,
     r"^fail +list .*403 SignatureDoesNotMatch", CHECK_KEY),
    ("a key id that nobody knows", env(AWS_ACCESS_KEY_ID="NOBODY"), DOCTOR,
     r"^fail +list .*InvalidAccessKeyId", r"check it and the endpoint"),
    ("no keys at all", Setup.keyless, DOCTOR,
     r"^fail +credentials .*no credentials for s3",
     r"set access-key-id and secret-access-key"),
    ("half a key", env(AWS_SECRET_ACCESS_KEY=""), DOCTOR,
     r"^fail +credentials .*AWS_ACCESS_KEY_ID is set, "
     r"AWS_SECRET_ACCESS_KEY is not", r"set both"),
    ("an expired session", expired, DOCTOR,
     r"^fail +list .*ExpiredToken", r"renew the credentials"),
    ("a profile that is in no file", profile("[default]\n", "who"), DOCTOR,
     r"^fail +credentials .*\"who\", which is in no file",
     r"unset AWS_PROFILE, or add the profile"),
    ("a profile for a browser", profile("[default]\nsso_session = x\n"),
     DOCTOR, r"^fail +credentials .*uses sso_session",
     r"credential_process = aws configure export-credentials"),
    ("a credential_process that fails",
     profile("[default]\ncredential_process = exit 3\n"), DOCTOR,
     r"^fail +credentials .*ended with status 3", r"by hand, as the user"),
    ("a web identity without its token", token_file, DOCTOR,
     r"^fail +credentials .*\(web identity\).*token file",
     r"check AWS_WEB_IDENTITY_TOKEN_FILE"),
    ("a container without a role", container, DOCTOR,
     r"^fail +credentials .*\(container\).*no such task",
     r"give the task or pod a role"),
    ("an instance without a role", instance, DOCTOR,
     r"^fail +credentials .*this instance has no role",
     r"attach an instance profile"),
    ("a policy without ListBucket", deny("s3:ListBucket"), DOCTOR,
     r"^fail +list .*403 AccessDenied", r"needs s3:ListBucket"),
    ("a policy without PutObject", deny("s3:PutObject"), DOCTOR,
     r"^fail +put .*403 AccessDenied", r"needs s3:PutObject"),
    ("a policy without GetObject", deny("s3:GetObject"), DOCTOR,
     r"^fail +get .*403 AccessDenied", r"needs s3:GetObject"),
    ("a policy without DeleteObject", deny("s3:DeleteObject"), DOCTOR,
     r"^fail +delete .*403 AccessDenied", r"needs s3:DeleteObject"),
    ("secrets that everybody can read", readable_secret, DOCTOR,
     r"^warn +configuration .*every user may read it", r"chmod 640"),
    # ---- the server
    ("a bucket that does not exist", lambda s: s.s3(buckets=("other",)),
     DOCTOR, r"^fail +list .*bucket \"bkt\" does not exist",
     r"create the bucket, or check its name"),
    ("a bucket elsewhere", moved, DOCTOR,
     r"^fail +list .*301 PermanentRedirect",
     r"another region or at another endpoint than us-east-1"),
    ("a clock two hours behind", server(skew=7200), DOCTOR,
     r"^fail +list .*RequestTimeTooSkewed: this machine's clock says",
     r"set the clock"),
    ("a clock ten minutes ahead", server(skew=-600), DOCTOR,
     r"^fail +clock .*is (9m5\d|10m\d+)s behind ours", r"set the clock"),
    ("a clock two minutes behind", server(skew=120), DOCTOR,
     r"^warn +clock .*(1m5\d|2m)\d?s ahead of ours", r"set the clock"),
    ("a server that is not there", endpoint("http://127.0.0.1:{dead}"),
     DOCTOR, r"^fail +list .*onnect to 127.0.0.1",
     r"check host and port of the endpoint"),
    ("a host name that is not there", endpoint("http://s3.nowhere.invalid"),
     DOCTOR, r"^fail +list .*Could not resolve host",
     r"check the name in the endpoint"),
    ("a proxy that is not there", dead_proxy, DOCTOR,
     r"^fail +list .*onnect to 127.0.0.1", r"proxy settings"),
    ("a certificate of one's own", self_signed, DOCTOR,
     r"^fail +list .*self.signed certificate",
     r"install the server's CA certificate, or set skip-verify"),
    ("http to a TLS port", plain_to_tls, DOCTOR, r"^fail +list ",
     r"(check whether the endpoint is http|check the network)"),
    ("https to a plain port", tls_to_plain, DOCTOR,
     r"^fail +list .*(SSL|TLS|wrong version)",
     r"check whether the endpoint is http:// or https://"),
    ("a server that is down", sick, DOCTOR,
     r"^fail +list .*503 ServiceUnavailable", r"server's own trouble"),
    ("a server that is no S3", no_s3, DOCTOR, r"^fail +list .*(XML|listing)",
     r"is it an S3 endpoint"),
    ("a bucket that keeps what is deleted", deletes_nothing, DOCTOR,
     r"^warn +delete .*is still there", r"versioning, object lock"),
    ("conditional writes are ignored", server(conditional=False), DOCTOR,
     r"^warn +conditional .*a second writer is not kept out",
     r"make sure that one daemon writes here"),
    ("... where they are required", require_fencing, DOCTOR,
     r"^fail +conditional ", r"set fencing: auto"),
    # ---- the configuration
    ("no configuration", lambda s: setattr(s, "config", s.dir / "no.yml"),
     DOCTOR, r"^fail +configuration .*config file not found",
     r"name the file with -config"),
    ("a configuration that is locked", locked_config, DOCTOR,
     r"^fail +configuration .*Permission denied", r"let this user read it"),
    ("no YAML", config("dbs: ["), DOCTOR, r"^fail +configuration .*c.yml:\d+: while parsing",
     r"correct that line"),
    ("a key that nobody knows",
     config("dbs:\n- path: {db}\n  replica:\n    urll: file:///x\n"), DOCTOR,
     r"^fail +configuration .*c.yml:4: unknown key \"dbs\[\].replica.urll\"",
     r"did you mean \"url\"\?"),
    ("a duration without a unit", top(**{"l0-retention": 300}), DOCTOR,
     r"^fail +configuration .*l0-retention: invalid duration \"300\"",
     r"write a number with a unit"),
    ("a level of no length", top(levels=[{"interval": "0s"}]), DOCTOR,
     r"^fail +configuration .*must be greater than 0", r"correct that line"),
    ("nine levels", top(levels=[{"interval": "1s"}] * 9), DOCTOR,
     r"^fail +configuration .*compaction level cannot exceed 8",
     r"correct that line"),
    ("an odd log format", top(logging={"type": "xml"}), DOCTOR,
     r"^fail +configuration .*none of: text, json, pretty",
     r"correct that line"),
    ("no replica", config("dbs:\n- path: {db}\n"), DOCTOR,
     r"^fail +configuration .*must specify replica", r"correct that line"),
    ("neither path nor dir", config("dbs:\n- replica: {{path: /x}}\n"),
     DOCTOR, r"^fail +configuration .*must specify either 'path' or 'dir'",
     r"correct that line"),
    ("no database", config("dbs: []\n"), DOCTOR,
     r"^fail +configuration .*it has no database", r"list the databases"),
    ("a folder entry that is not there", config(
        "dbs:\n- dir: {d}/none\n  pattern: '*.db'\n"
        "  replica: {{path: {d}/r}}\n"), DOCTOR,
     r"^fail +configuration .*/none: No such file", r"check dir:"),
    ("a folder entry without databases", config(
        "dbs:\n- dir: {d}/r\n  pattern: '*.db'\n"
        "  replica: {{path: {d}/r2}}\n"), DOCTOR,
     r"^warn +configuration .*no database is in its folders",
     r"check dir: and pattern:"),
    ("two databases in one place", config(DBS2), DOCTOR,
     r"^fail +configuration .*replica collision: databases .*a.db and .*b.db",
     r"correct that line"),
    ("two databases, one local state", config(
        "dbs:\n- path: {d}/a.db\n  meta-path: {d}/m\n  replica: {{path: "
        "{d}/r1}}\n- path: {d}/b.db\n  meta-path: {d}/m\n  replica: {{path: "
        "{d}/r2}}\n"), DOCTOR, r"^fail +configuration .*meta-path collision",
     r"correct that line"),
    ("url and path", replica(url="file:///x", path="/y"), DOCTOR,
     r"^fail +configuration .*cannot specify url & path",
     r"correct that line"),
    ("a scheme that nobody knows", replica(url="gopher://h/x"), DOCTOR,
     r"^fail +configuration .*unknown replica type.*gopher",
     r"correct that line"),
    *[(f"a store that comes later: {t}", replica(url=f"{t}://h/x"), DOCTOR,
       rf"^fail +configuration .*replica type \"{t}\" is not supported yet",
       r"use a file or s3 replica")
      for t in ("gs", "abs", "sftp", "webdav", "nats", "oss")],
    ("a parameter that nobody knows", replica(
        url="s3://b/p?storageclas=X"), DOCTOR,
     r"^fail +configuration .*unknown query parameter \"storageclas\"",
     r"correct that line"),
    ("keys in the URL", replica(url="s3://AK:SK@b/p"), DOCTOR,
     r"^fail +configuration .*an s3 URL cannot hold a user",
     r"put the keys into the configuration or the environment"),
    ("parts that are too small", s3_with(**{"part-size": "1MB"}), DOCTOR,
     r"^fail +configuration .*part size must be at least 5242880 bytes",
     r"correct that line"),
    ("a customer key of another size", s3_with(
        **{"sse-customer-key": "c2hvcnQ="}), DOCTOR,
     r"^fail +configuration .*(32 bytes)", r"correct that line"),
    ("a customer key without TLS", replica(
        url="s3://b/p?endpoint=http://s3.example.com&sseCustomerKey="
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D"), DOCTOR,
     r"^fail +configuration .*must not travel without TLS",
     r"correct that line"),
    ("age keys", top(age={"recipients": ["age1xyz"]}), DOCTOR,
     r"^fail +configuration .*age encryption is not currently supported",
     r"correct that line"),
    # ---- the database
    ("not a database", content(b"plain text, but long enough " * 9), DOCTOR,
     r"^fail +database .*is not a SQLite database", r"check the path"),
    ("an encrypted database", content(bytes(range(1, 252)) * 64), DOCTOR,
     r"^fail +database .*or it is encrypted", r"SQLCipher"),
    ("a folder", folder_db, DOCTOR, r"^fail +database .*is a folder",
     r"name a database file in it"),
    ("an empty file", content(b""), DOCTOR, r"^warn +database .*is empty",
     r"let the application create"),
    ("no database yet", no_db, DOCTOR, r"^warn +database .*is not there",
     r"check the path, or restore it"),
    ("not in WAL mode", delete_mode, DOCTOR,
     r"^warn +database .*is not in WAL mode", r"PRAGMA journal_mode=WAL"),
    ("a database that may not be written", read_only_file, DOCTOR,
     r"^fail +permissions .*app.db: cannot be written by user",
     r"run the daemon as .*User="),
    ("a folder that may not be written", read_only_folder, DOCTOR,
     r"^fail +permissions .*cannot be written by user",
     r"run the daemon as .*User="),
    ("a folder that may not be entered", hidden_db, DOCTOR,
     r"^fail +permissions .*Permission denied", r"enter the folders above"),
    ("local state that may not be made", meta_folder, DOCTOR,
     r"^fail +permissions .*/m: cannot be written by user",
     r"run the daemon as .*User="),
    ("a read-only mount", read_only_mount, DOCTOR,
     r"^fail +permissions .*is on a read-only mount", r"mount it read-write"),
    ("a full disk", full_disk, DOCTOR,
     r"^fail +space .*are free: capture pauses below",
     r"free space there, or set meta-path"),
    ("an application that keeps it to itself", exclusive, DOCTOR,
     r"^fail +lock .*process \d+ \(.*\) holds it exclusively",
     r"take PRAGMA locking_mode=EXCLUSIVE out"),
    ("another daemon", other_daemon, DOCTOR,
     r"^fail +lock .*process \d+ \(litestreamd\), another replication daemon",
     r"stop the other one"),
    ("Litestream itself", upstream, DOCTOR,
     r"^fail +lock .*process \d+ \(litestream\), another replication daemon",
     r"stop the other one"),
    # ---- the folder it goes to
    ("a replica that is a file", replica_is_file, DOCTOR,
     r"^fail +store .*is not a folder", r"name a folder"),
    ("a replica that may not be written", replica_denied, DOCTOR,
     r"^fail +put .*Permission denied", r"give the daemon's user"),
    ("a replica that is not mounted", replica_missing, DOCTOR,
     r"^warn +put .*the folder is not there", r"not mounted"),
    ("a replica on the same disk", lambda s: None, DOCTOR,
     r"^warn +file-system .*on the same file system as .*app.db",
     r"replicate to another disk"),
    # ---- the same, without asking the doctor
    ("a second daemon starts", daemon_on_it, ONCE,
     r"held by process \d+", r"one daemon replicates a database"),
    ("a second daemon on one folder", second_folder_writer, ONCE,
     r"process \d+ writes to this folder", r"only one daemon may replicate"),
    ("replicating with a wrong secret",
     env(AWS_SECRET_ACCESS_KEY="wrong"), ONCE,
     r"SignatureDoesNotMatch", CHECK_KEY),
    ("replicating to a missing bucket",
     lambda s: s.s3(buckets=("other",)), ONCE,
     r"bucket \"bkt\" does not exist", r"create the bucket"),
    ("replicating with a clock that is off", server(skew=7200), ONCE,
     r"RequestTimeTooSkewed", r"set the clock"),
    ("restoring without keys", Setup.keyless, RESTORE,
     r"no credentials for s3", r"set access-key-id"),
    ("restoring from an unknown certificate", self_signed, RESTORE,
     r"self.signed certificate", r"install the server's CA"),
    ("restoring over a database", backed_up, OVER,
     r"already exists and is not empty: .*Use -force", "Use -force"),
]


class Broken(Case):
    def build(self):
        """Every row's world. Rows of processes: on this thread (harness)."""
        made = []
        for i, (name, broken, how, cause, cure) in enumerate(ROWS):
            s = Setup(self, i, name)
            try:
                broken(s)
                s.database()
                if not s.config.exists() and s.config.name == "c.yml":
                    s.write()
            except Skip as why:
                print(f"SKIP: {name}: {why}", flush=True)
                continue
            made.append((s, how, cause, cure))
        return made

    @staticmethod
    def look(s, how):
        if how == DOCTOR:
            return s.run("doctor", "-config", s.config)
        if how == ONCE:
            return s.run("replicate", "-once", "-config", s.config)
        out = [] if how == OVER else ["-o", s.dir / "o.db"]
        return s.run("restore", "-config", s.config, *out, s.db)

    def judge(self, s, how, cause, cure, r):
        lines = r.stdout.splitlines() + r.stderr.splitlines()
        shown = f"{s.name}\n{r.stdout}\n{r.stderr}"
        hits = [x for x in lines if re.search(cause, x)]
        self.assertTrue(hits, f"no line like {cause!r}: {shown}")
        self.assertTrue([x for x in hits if re.search(cure, x)] or (
            how != DOCTOR and [x for x in lines if x.startswith("Try: ") and
                               re.search(cure, x)]),
            f"no way out like {cure!r}: {shown}")
        warning = cause.startswith("^warn")
        if how != DOCTOR:
            self.assertEqual(r.returncode, 1, shown)
        elif not warning:
            self.assertEqual(r.returncode, 1, shown)
        for x in lines if how == DOCTOR else []:
            if x.startswith(("warn", "fail")):
                self.assertRegex(x, r"; \S", "a finding without a way out")

    def test_every_row(self):
        made = self.build()
        with ThreadPoolExecutor(8) as pool:
            ran = [pool.submit(self.look, s, how) for s, how, *_ in made]
        for (s, how, cause, cure), r in zip(made, ran):
            with self.subTest(s.name):
                self.judge(s, how, cause, cure, r.result())

    def test_there_are_enough(self):
        self.assertGreaterEqual(len(ROWS), 40)
        self.assertEqual(len({r[0] for r in ROWS}), len(ROWS))

    def test_a_sound_one_passes(self):
        s = Setup(self, 0, "sound")
        fake = s.s3()
        s.database()
        s.write()
        s.config.chmod(0o600)
        r = self.look(s, DOCTOR)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        self.assertNotIn("fail", r.stdout)
        for check in ("configuration", "space", "permissions", "database",
                      "sqlite", "lock", "guard", "credentials", "list", "put",
                      "get", "conditional", "multipart", "delete", "clock",
                      "limits", "file-system"):
            self.assertRegex(r.stdout, rf"(?m)^(ok|warn) +{check} ")
        self.assertEqual(fake.objects, {}, "something was left in the store")
        self.assertFalse((s.dir / ".app.db-litestream").exists())
        self.assertIn(f"ReadWritePaths={s.dir}\n", r.stdout)

    def test_json_and_report(self):
        s = Setup(self, 0, "forms")
        s.s3()
        hush = "hush-hush-SECRET"
        s.env["AWS_SECRET_ACCESS_KEY"] = hush
        s.env["AWS_SESSION_TOKEN"] = "hush-hush-TOKEN"
        s.replica.update({"access-key-id": "AK", "secret-access-key": hush})
        s.top = {"exec": "app --password hush-hush-EXEC"}
        s.database()
        s.write()
        r = s.run("doctor", "-json", "-config", s.config)
        doc = json.loads(r.stdout)
        self.assertEqual((doc["ok"], r.returncode), (False, 1))
        self.assertIn("ReadWritePaths=", doc["systemd_drop_in"])
        for f in doc["findings"]:
            self.assertEqual(set(f), {"grade", "check", "subject", "found",
                                      "do"})
            self.assertIn(f["grade"], ("ok", "warn", "fail"))
            self.assertTrue(f["grade"] == "ok" or f["do"], f)
        self.assertIn("SignatureDoesNotMatch", r.stdout)
        report = s.run("doctor", "-report", "-config", s.config)
        self.assertEqual(report.returncode, 1)
        for word in ("litestreamd ", "SQLite ", "findings:", str(s.db),
                     "region ", "AWS_SESSION_TOKEN"):
            self.assertIn(word, report.stdout)
        for out in (r.stdout, r.stderr, report.stdout, report.stderr):
            self.assertNotIn("hush", out)

    def test_drop_in_for_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to give a database away")
        s = Setup(self, 0, "user")
        s.database()
        os.chown(s.db, NOBODY, NOBODY)
        s.top = {"socket": {"enabled": True, "path": "/run/x.sock"}}
        s.write()
        s.config.chmod(0o600)
        r = self.look(s, DOCTOR)
        user = pwd.getpwuid(NOBODY).pw_name
        group = grp.getgrgid(NOBODY).gr_name
        self.assertIn(f"[Service]\nUser={user}\nGroup={group}\n", r.stdout)
        self.assertRegex(r.stdout, rf"warn +permissions .*cannot be read by "
                         rf"{user}, .*; chgrp")
        self.assertRegex(r.stdout, r"warn +permissions .*/run/x.sock: only "
                         r"root .*; socket.path: /run/litestreamd/")

    def test_one_of_several_and_urls(self):
        s = Setup(self, 0, "one")
        s.database()
        url = s.s3().url("elsewhere")
        s.write()
        r = s.run("doctor", "-config", s.config, s.dir / "who.db")
        self.assertRegex(r.stdout, r"fail +configuration .*who.db: database "
                         r"not found in config; add it")
        self.assertEqual(r.returncode, 1)
        r = s.run("doctor", url)
        self.assertEqual(r.returncode, 0, r.stdout)
        self.assertRegex(r.stdout, r"ok +put +s3://bkt/elsewhere at ")
        self.assertNotIn("configuration", r.stdout)
        r = s.run("doctor", "-config", s.config, url)
        self.assertIn("cannot specify a replica URL and the -config flag",
                      r.stderr)


if __name__ == "__main__":
    main()
