#!/usr/bin/env python3
"""Secrets planted in every place they can come from appear in no log (trace
level), error text, process list, metric, status page or answer of the control
socket, whether requests work or fail; and what reaches the server is signed,
not shown."""
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from fakes3 import FakeS3  # noqa: E402
from harness import Case, connect, main  # noqa: E402
from proc import free_port  # noqa: E402

SECRET, TOKEN = "planted-SECRET-key", "planted-TOKEN"
KEY = "cGxhbnRlZC1jdXN0b21lci1rZXktMDEyMzQ1Njc4OTA="  # base64, 32 bytes


class Secrets(Case):
    def setUp(self):
        super().setUp()
        self.s3 = FakeS3(keys={"AK": SECRET}).start()
        self.addCleanup(self.s3.stop)
        self.db = self.tmp / "app.db"
        self.c = connect(self.db)
        self.addCleanup(self.c.close)
        self.c.execute("CREATE TABLE t(b)")
        self.url = self.s3.url("app")

    def file(self, name, text):
        path = self.tmp / name
        path.write_text(text)
        return path

    def sources(self):
        """(name, environment, replica keys): each a place of its own."""
        keys = (f"aws_access_key_id = AK\naws_secret_access_key = {SECRET}\n"
                f"aws_session_token = {TOKEN}\n")
        answer = json.dumps({"AccessKeyId": "AK", "SecretAccessKey": SECRET,
                             "Token": TOKEN, "SessionToken": TOKEN,
                             "Version": 1})
        machine = FakeS3().start()
        self.addCleanup(machine.stop)
        machine.answer = self.machine
        self.answer = answer.encode()
        at = f"http://127.0.0.1:{machine.port}"
        return [
            ("configuration", {}, {"access-key-id": "AK",
                                   "secret-access-key": SECRET,
                                   "sse-customer-key": KEY}),
            ("environment", {"AWS_ACCESS_KEY_ID": "AK",
                             "AWS_SECRET_ACCESS_KEY": SECRET,
                             "AWS_SESSION_TOKEN": TOKEN}, {}),
            ("aliases", {"LITESTREAM_ACCESS_KEY_ID": "AK",
                         "LITESTREAM_SECRET_ACCESS_KEY": SECRET}, {}),
            ("file", {"AWS_SHARED_CREDENTIALS_FILE": self.file(
                "keys", f"[default]\n{keys}")}, {}),
            ("process", {"AWS_CONFIG_FILE": self.file(
                "conf", "[default]\ncredential_process = cat "
                f"{self.file('answer', answer)}\n")}, {}),
            ("container", {"AWS_CONTAINER_CREDENTIALS_FULL_URI":
                           f"{at}/v1?{TOKEN}",
                           "AWS_CONTAINER_AUTHORIZATION_TOKEN": TOKEN}, {}),
            ("instance", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": at,
                          "AWS_EC2_METADATA_DISABLED": "false"}, {}),
            ("web identity", {"AWS_ENDPOINT_URL_STS": at,
                              "AWS_ROLE_ARN": "arn:x",
                              "AWS_WEB_IDENTITY_TOKEN_FILE": self.file(
                                  "token", TOKEN)}, {}),
        ]

    def machine(self, r):
        """Whatever hands out keys."""
        if r.method == "POST":
            self.assertIn(f"WebIdentityToken={TOKEN}", r.body.decode())
            return 200, {}, (
                "<R><AssumeRoleWithWebIdentityResult><Credentials>"
                f"<AccessKeyId>AK</AccessKeyId><SecretAccessKey>{SECRET}"
                f"</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>"
                "<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>"
                "</AssumeRoleWithWebIdentityResult></R>").encode()
        if r.path == "/latest/api/token":
            return 200, {}, TOKEN.encode()
        if r.path.endswith("/security-credentials/"):
            return 200, {}, b"role"
        return 200, {}, self.answer

    def clean(self, what, text):
        for secret in (SECRET, TOKEN, KEY, "cGxhbnRlZC"):
            self.assertNotIn(secret, text, what)

    def served(self, daemon, port):
        out = [raw.decode() for _, raw in (
            daemon.call("GET", p) for p in ("/info", "/list"))]
        for path in ("/", "/metrics", "/healthz"):
            try:
                with urllib.request.urlopen(
                        f"http://127.0.0.1:{port}{path}") as f:
                    out.append(f.read().decode())
            except urllib.error.HTTPError as e:
                out.append(e.read().decode())
        return out

    def test_daemon(self):
        for name, env, keys in self.sources():
            with self.subTest(name):
                port = free_port()
                self.s3.objects.clear()
                url = self.url
                if "sse-customer-key" in keys:
                    keys = {**keys, "fencing": "auto"}
                daemon = self.daemon(
                    {self.db: url}, env=env, replica=keys,
                    top={"addr": f"127.0.0.1:{port}",
                         "logging": {"level": "trace"}},
                    db={"meta-path": str(self.tmp / f"meta-{name[:4]}")})
                daemon.start()
                self.c.execute("INSERT INTO t VALUES(1)")
                daemon.sync()
                said = self.served(daemon, port)
                self.s3.keys = {"AK": "changed meanwhile"}
                self.c.execute("INSERT INTO t VALUES(2)")
                daemon.wait_log("SignatureDoesNotMatch")
                said += self.served(daemon, port)
                pid = daemon.proc.pid
                said.append(Path(f"/proc/{pid}/cmdline").read_text())
                self.s3.keys = {"AK": SECRET}
                daemon.sync()
                self.assertEqual(daemon.stop(), 0)
                self.clean(name, "\n".join([*said, daemon.text()]))

    def test_commands(self):
        for name, env, keys in self.sources():
            with self.subTest(name):
                self.s3.keys = {"AK": "another one"}
                config = self.file("c.yml", json.dumps({"dbs": [{
                    "path": str(self.db), "replica": {"url": self.url,
                                                      **keys}}]}))
                for cmd in (["restore", "-o", self.tmp / "o.db"],
                            ["doctor"], ["doctor", "-json"],
                            ["doctor", "-report"], ["ltx"], ["points"],
                            ["verify"]):
                    r = self.run_cli(cmd[0], "-config", config, *cmd[1:],
                                     self.db, env=env, ok=False)
                    self.assertEqual(r.returncode, 1)
                    self.assertIn("SignatureDoesNotMatch", r.stdout +
                                  r.stderr)
                    self.clean((name, cmd), r.stdout + r.stderr)

    def test_urls(self):
        """A URL is not the place for a key; what is there is not repeated."""
        for url in (f"s3://AK:{SECRET}@bkt/p",
                    f"s3://bkt/p?endpoint=http://u:{SECRET}@127.0.0.1:1",
                    f"s3://bkt/p?secretAccessKey={SECRET}",
                    f"sftp://u:{SECRET}@host/p", f"nats://u:{SECRET}@host/p",
                    f"s3://bkt/p?sseCustomerKey={SECRET}"):
            for cmd in (["restore", "-o", self.tmp / "o.db", url],
                        ["doctor", url], ["ltx", url],
                        ["replicate", "-once", self.db, url]):
                r = self.run_cli(*cmd, ok=False)
                self.assertEqual(r.returncode, 1, cmd)
                self.clean(cmd, r.stdout + r.stderr)


if __name__ == "__main__":
    main()
