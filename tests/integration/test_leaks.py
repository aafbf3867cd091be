#!/usr/bin/env python3
"""Secrets are planted wherever they can come from, and looked for wherever
something comes out: the log at its most talkative, errors, status commands,
the process list, metrics, the status page, MCP, and a core file.

The store is hostile: it refuses every request and says in its error what it was
sent, as some servers and proxies do."""
import base64
import http.client
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import Case, connect, is_upstream, main, wait_until  # noqa
from proc import clean_env, end, free_port, spawn  # noqa: E402


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.server.seen.append(str(self.headers) + self.path)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # in front, where a long message is not cut
        token = [v for k, v in self.headers.items()
                 if k.lower().endswith(("-token", "customer-key"))]
        said = f"{token} {self.requestline}\n{self.headers}".replace(
            "&", "&amp;").replace("<", "&lt;")
        body = (f"<Error><Code>AccessDenied</Code><Message>You sent {said}"
                f"</Message></Error>").encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *args):
        pass


def plant(name):
    """A word that is found again: 32 characters, no two alike."""
    return f"PLANTED{name}{os.urandom(16).hex()}"[:40]


class Secrets(Case):
    def setUp(self):
        super().setUp()
        if is_upstream(self.bin):
            self.skipTest("ours is meant")
        self.srv = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        self.srv.seen = []
        threading.Thread(target=self.srv.serve_forever, daemon=True).start()
        self.addCleanup(self.srv.server_close)
        self.addCleanup(self.srv.shutdown)
        self.port, self.mcp = free_port(), free_port()
        self.db = self.tmp / "app.db"
        c = connect(self.db)
        self.addCleanup(c.close)
        c.execute("CREATE TABLE t(x)")
        self.secrets, self.out = {}, {}

    def secret(self, name):
        self.secrets[name] = plant(name)
        return self.secrets[name]

    def url(self, query=""):
        return (f"s3://bucket/p?endpoint=http://127.0.0.1:"
                f"{self.srv.server_port}&region=us-east-1{query}")

    def get(self, port, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        head = {"Content-Type": "application/json", "Mcp-Session-Id":
                "mcp-session-00000000-0000-4000-8000-000000000000"}
        c.request("POST" if body else "GET", path, body, head)
        text = c.getresponse().read().decode()
        c.close()
        return text

    def gather(self, env, replica, top=None, url=None):
        """Run a daemon and everything that tells of it."""
        d = self.daemon(
            {self.db: url or self.url()}, env=env, replica=replica,
            top={"addr": f"127.0.0.1:{self.port}",
                 "mcp-addr": f"127.0.0.1:{self.mcp}",
                 "logging": {"level": "trace"},
                 "shutdown-sync-timeout": "0s", **(top or {})}).start()
        wait_until(lambda: self.srv.seen, 30, "a request")
        wait_until(lambda: json.loads(
            d.call("GET", "/list")[1])["databases"][0].get("error"), 60,
            "an error")
        conf = ["-config", str(d.config)]
        for cmd in (["list", "-socket", d.sock, "-json"],
                    ["list", "-socket", d.sock], ["info", "-socket", d.sock],
                    ["status", *conf], ["databases", *conf],
                    ["databases", *conf, "-json"], ["ltx", *conf, self.db],
                    ["verify", *conf, self.db], ["points", *conf, self.db],
                    ["doctor", *conf, "-report"],
                    ["restore", *conf, "-o", self.tmp / "o.db", self.db]):
            r = self.run_cli(*cmd, ok=False, env=env)
            self.out[cmd[0]] = self.out.get(cmd[0], "") + r.stdout + r.stderr
        for path in ("/", "/metrics", "/healthz"):
            self.out[path] = self.get(self.port, path)
        self.out["mcp"] = self.get(self.mcp, "/", json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params":
             {"name": "litestream_info", "arguments": {}}}))
        self.out["ps"] = subprocess.run(
            ["ps", "-o", "args=", "-p", str(d.proc.pid)],
            capture_output=True, text=True).stdout
        self.assertIn("AccessDenied", self.out["/healthz"])  # it does tell
        d.stop()
        self.out["log"] = d.text()

    def nothing_told(self):
        for where, text in self.out.items():
            self.assertTrue(text, where)
            for name, word in self.secrets.items():
                for form in {word, urllib.parse.quote(word),
                             base64.b64encode(word.encode()).decode()}:
                    i = text.find(form)
                    self.assertEqual(
                        i, -1, f"{name} in {where}: "
                        f"...{text[max(0, i - 150):i + 60]!r}")

    def test_configuration(self):
        self.secrets["sse"] = base64.b64encode(os.urandom(32)).decode()
        self.gather({}, {
            "access-key-id": "AKIAEXAMPLE",
            "sse-customer-key": self.secrets["sse"],
            "secret-access-key": self.secret("config")},
            {"heartbeat-url": f"http://u:{self.secret('hbpass')}@127.0.0.1:"
                              f"{self.srv.server_port}/"
                              f"{self.secret('hbkey')}?a=1"})
        self.nothing_told()  # the heartbeat is not sent: nothing is in sync

    def test_environment_and_token(self):
        env = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
               "AWS_SECRET_ACCESS_KEY": self.secret("env"),
               "AWS_SESSION_TOKEN": self.secret("token")}
        self.gather(env, {})
        # it is used, so that this test can find it
        self.assertIn(self.secrets["token"], "".join(self.srv.seen))
        self.nothing_told()

    def test_profile(self):
        ini = self.tmp / "credentials"
        ini.write_text("[default]\naws_access_key_id = AKIAEXAMPLE\n"
                       f"aws_secret_access_key = {self.secret('profile')}\n"
                       f"aws_session_token = {self.secret('ptoken')}\n")
        self.gather({"AWS_SHARED_CREDENTIALS_FILE": ini,
                     "AWS_CONFIG_FILE": self.tmp / "none"}, {})
        self.assertIn(self.secrets["ptoken"], "".join(self.srv.seen))
        self.nothing_told()

    def test_credential_process(self):
        doc = json.dumps({"Version": 1, "AccessKeyId": "AKIAEXAMPLE",
                          "SecretAccessKey": self.secret("process"),
                          "SessionToken": self.secret("prtoken")})
        (self.tmp / "doc").write_text(doc)
        conf = self.tmp / "config"
        conf.write_text(
            f"[default]\ncredential_process = cat {self.tmp}/doc\n")
        self.gather({"AWS_SHARED_CREDENTIALS_FILE": self.tmp / "none",
                     "AWS_CONFIG_FILE": conf}, {})
        self.assertIn(self.secrets["prtoken"], "".join(self.srv.seen))
        self.nothing_told()

    def test_urls(self):
        """User information and query of a URL, right or wrong, in every place
        that takes one."""
        n = 0
        for bad in ("s3://AK:{}@bucket/p", "s3://bucket/p?secret={}",
                    "s3://bucket/p?secret-access-key={}",
                    "s3://bucket/p?endpoint=http://u:{}@127.0.0.1:1",
                    "s3://bucket/p?sse-customer-key={}",
                    "s3://bucket/p?password={}", "sftp://u:{}@host/p",
                    "webdav://u:{}@host/p", "nats://u:{}@host/p"):
            n += 1
            url = bad.format(self.secret(f"url{n}"))
            conf = self.tmp / f"u{n}.yml"
            conf.write_text(json.dumps({"dbs": [
                {"path": str(self.db), "replica": {"url": url}}]}))
            out = ""
            for cmd in (["databases", "-config", conf], ["ltx", url],
                        ["replicate", "-once", self.db, url],
                        ["doctor", "-config", conf, "-report"],
                        ["restore", "-o", self.tmp / "x.db", url]):
                r = self.run_cli(*cmd, ok=False,
                                 env={"AWS_ACCESS_KEY_ID": "a",
                                      "AWS_SECRET_ACCESS_KEY": "b"})
                out += r.stdout + r.stderr
            self.out[bad] = out
        d = self.daemon({self.db: f"file://{self.tmp}/r"}).start()
        for i in range(1, n + 1):
            url = json.loads((self.tmp / f"u{i}.yml").read_text())
            body = {"path": str(self.tmp / f"new{i}.db"),
                    "replica_url": url["dbs"][0]["replica"]["url"]}
            self.out[f"register {i}"] = d.call("POST", "/register",
                                               body)[1].decode()
        self.out["list"] = d.call("GET", "/list")[1].decode()
        d.stop()
        self.out["log"] = d.text()
        self.nothing_told()

    def test_core_file(self):
        """A crash leaves no core: every secret would be in it, whichever
        pages were left out, since the environment is too."""
        def crash(**more):
            where = self.tmp / f"core{len(more)}"
            where.mkdir()
            with open(where / "log", "wb") as log:
                p = spawn(["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh",
                           self.bin, "replicate", self.db,
                           f"file://{self.tmp}/r"], cwd=where, stdout=log,
                          stderr=log, env=clean_env(
                              AWS_SECRET_ACCESS_KEY=self.secret("core"),
                              **more))
            self.procs.append(p)
            wait_until(lambda: b"replicating to" in
                       (where / "log").read_bytes(), 20, "start")
            # The kernel gives the files of a process that keeps its memory
            # to itself to root.
            wait_until(lambda: (where / "log").stat().st_size, 5, "log")
            p.send_signal(signal.SIGSEGV)
            p.wait(30)
            return [f for f in where.iterdir() if f.name != "log"]
        pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
        self.assertEqual(crash(), [])
        if not re.match(r"[|/]", pattern) and "Sanitizer" not in str(
                os.environ.get("ASAN_OPTIONS")):
            # and this is how one is had, so that the above proves something
            if not os.environ.get("LS_WRAP") and \
                    "ASAN_OPTIONS" not in os.environ:
                self.assertEqual(len(crash(LITESTREAMD_COREDUMP="1")), 1)

    def test_memory_is_nobody_elses(self):
        if os.geteuid() != 0:
            self.skipTest("needs to become somebody else")
        home = self.tmp / "home"
        home.mkdir()
        os.chmod(self.tmp, 0o755)
        db = home / "x.db"
        c = connect(db)
        c.execute("CREATE TABLE t(x)")
        c.close()
        subprocess.run(["chown", "-R", "65534", home], check=True)
        with open(self.tmp / "log", "wb") as log:
            p = spawn(["setpriv", "--reuid=65534", "--clear-groups",
                       self.bin, "replicate", db, f"file://{home}/r"],
                      stdout=log, stderr=log, env=clean_env())
        self.procs.append(p)
        wait_until(lambda: list(home.glob("r/ltx/0/*.ltx")), 30,
                   "a file; it works as somebody else too")
        for name in ("environ", "mem", "maps"):
            self.assertEqual(os.stat(f"/proc/{p.pid}/{name}").st_uid, 0, name)
        self.assertEqual(end(p), 0)


if __name__ == "__main__":
    main()
