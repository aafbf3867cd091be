#!/usr/bin/env python3
"""Every provider as its users write it: which host is asked, how the bucket is
named, what is signed, and that a database comes back whole. The server stands
behind a proxy, so that names and TLS are the real ones; it computes every
signature itself (support/fakes3.py)."""
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from fakes3 import FakeS3  # noqa: E402
from harness import Case, connect, main, wait_until  # noqa: E402

README = Path(__file__).resolve().parents[2] / "README.md"
ACTIONS = {f"s3:{a}" for a in (
    "GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload",
    "ListBucket", "ListBucketMultipartUploads")}
ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/ap"
KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
KEY_MD5 = "cLyPS3KoaSFGi/joRB3OUQ=="  # echo $KEY | base64 -d | md5
AWS = "s3.us-east-1.amazonaws.com"
# name, URL (skipVerify is added), host, path before the key, region
ROWS = [
    ("aws", "s3://bkt/app", f"bkt.{AWS}", "/", "us-east-1"),
    ("aws region", "s3://bkt/app?region=eu-west-3",
     "bkt.s3.eu-west-3.amazonaws.com", "/", "eu-west-3"),
    ("aws host", "s3://bkt.s3.us-west-2.amazonaws.com/app",
     "bkt.s3.us-west-2.amazonaws.com", "/", "us-west-2"),
    ("aws host without region", "s3://bkt.s3.amazonaws.com/app",
     f"bkt.{AWS}", "/", "us-east-1"),
    ("aws dotted bucket", "s3://my.bkt/app", AWS, "/my.bkt/", "us-east-1"),
    ("aws path style", "s3://bkt/app?forcePathStyle=true", AWS, "/bkt/",
     "us-east-1"),
    ("aws china", "s3://bkt/app?region=cn-north-1",
     "bkt.s3.cn-north-1.amazonaws.com.cn", "/", "cn-north-1"),
    ("aws access point", f"s3://{ARN}/app",
     "ap-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", "/",
     "eu-west-1"),
    ("r2", "s3://bkt/app?endpoint=https://acc.r2.cloudflarestorage.com",
     "acc.r2.cloudflarestorage.com", "/bkt/", "auto"),
    ("r2 without scheme", "s3://bkt/app?endpoint=acc.r2.cloudflarestorage.com",
     "acc.r2.cloudflarestorage.com", "/bkt/", "auto"),
    ("b2 host", "s3://bkt.s3.us-west-004.backblazeb2.com/app",
     "s3.us-west-004.backblazeb2.com", "/bkt/", "us-west-004"),
    ("b2 endpoint", "s3://bkt/app?endpoint=https://s3.us-west-004."
     "backblazeb2.com&region=us-west-004",
     "s3.us-west-004.backblazeb2.com", "/bkt/", "us-west-004"),
    ("digitalocean", "s3://bkt.nyc3.digitaloceanspaces.com/app",
     "bkt.nyc3.digitaloceanspaces.com", "/", "nyc3"),
    ("hetzner", "s3://bkt/app?endpoint=https://fsn1.your-objectstorage.com"
     "&region=fsn1", "fsn1.your-objectstorage.com", "/bkt/", "fsn1"),
    ("tigris fly", "s3://bkt/app?endpoint=https://fly.storage.tigris.dev",
     "fly.storage.tigris.dev", "/bkt/", "auto"),
    ("tigris t3", "s3://bkt/app?endpoint=https://t3.storage.dev",
     "t3.storage.dev", "/bkt/", "auto"),
    ("filebase", "s3://bkt.s3.filebase.com/app", "s3.filebase.com", "/bkt/",
     "us-east-1"),
    ("scaleway", "s3://bkt.s3.fr-par.scw.cloud/app",
     "bkt.s3.fr-par.scw.cloud", "/", "fr-par"),
    ("supabase", "s3://bkt/app?endpoint=https://ref.supabase.co/storage/v1/s3"
     "&region=eu-central-1", "ref.supabase.co", "/storage/v1/s3/bkt/",
     "eu-central-1"),
    ("google", "s3://bkt/app?endpoint=https://storage.googleapis.com"
     "&region=auto", "storage.googleapis.com", "/bkt/", "auto"),
    ("any, virtual hosts", "s3://bkt/app?endpoint=https://s3.example.com"
     "&forcePathStyle=false", "bkt.s3.example.com", "/", "us-east-1"),
]
# What may be sent; everything that begins with x-amz- is signed, and the host.
PLAIN = {"host", "user-agent", "authorization", "content-length", "range",
         "if-match", "if-none-match", "content-md5", "x-amz-date",
         "x-amz-content-sha256", "x-amz-meta-litestream-timestamp",
         "x-amz-copy-source"}


class Providers(Case):
    def setUp(self):
        super().setUp()
        self.s3 = FakeS3(buckets=("bkt", "my.bkt", "ap-123456789012")).start()
        self.addCleanup(self.s3.stop)
        self.env = {**self.s3.env(),
                    "HTTPS_PROXY": f"http://127.0.0.1:{self.s3.port}"}
        self.db = self.tmp / "app.db"
        c = connect(self.db)
        c.execute("CREATE TABLE t(b)")
        c.execute("INSERT INTO t VALUES(randomblob(20000))")
        c.close()

    def there_and_back(self, url, *flags):
        """Replicate once, restore, compare; the requests of both."""
        self.s3.log.clear()
        self.s3.objects.clear()
        meta = self.tmp / ".app.db-litestream"
        subprocess.run(["rm", "-rf", meta, self.tmp / "o.db"], check=True)
        self.run_cli("replicate", "-once", *flags, self.db, url, env=self.env)
        self.restore(url, self.tmp / "o.db", env=self.env)
        self.assert_same(self.tmp / "o.db", self.checkpointed(self.db))
        return list(self.s3.log)

    def verified(self, url):
        return url + ("&" if "?" in url else "?") + "skipVerify=true"

    def test_hosts_paths_and_signatures(self):
        for name, url, host, before, region in ROWS:
            with self.subTest(name):
                log = self.there_and_back(self.verified(url))
                for r in log:
                    self.assertEqual((r.host, r.region, r.tls),
                                     (host, region, True), r)
                    self.assertTrue(r.path.startswith(before) or
                                    r.path + "/" == before, r)
                    extra = r.names() - PLAIN
                    want = set()
                    if name.startswith("tigris"):
                        want = {"x-tigris-consistent"}
                        self.assertEqual(r.get("x-tigris-consistent"), "true")
                    self.assertEqual(extra, want, r)
                puts = [r.path for r in log if r.method == "PUT" and
                        r.status == 200 and "probe" not in r.path]
                self.assertEqual(puts, [f"{before}app/0000/0000000000000001-"
                                        "0000000000000001.ltx"])

    def test_no_request_leaves_by_itself(self):
        """No list, no get and no delete is sent but what a run needs, and the
        signed set is the least that strict servers ask for."""
        log = self.there_and_back(self.verified("s3://bkt/app"))
        for r in log:
            signed = r.get("authorization").split("SignedHeaders=")[1]
            signed = set(signed.split(",")[0].split(";"))
            self.assertEqual(signed, {"host"} | {
                n for n in r.names() if n.startswith("x-amz-")})

    def test_minio_by_host_and_port(self):
        log = self.there_and_back(f"s3://bkt.127.0.0.1:{self.s3.port}/app")
        for r in log:
            self.assertEqual((r.host, r.region, r.tls),
                             (f"127.0.0.1:{self.s3.port}", "us-east-1",
                              False))
            self.assertTrue(r.path.startswith("/bkt"), r)

    def objects_made(self, log):
        return [r for r in log if r.status == 200 and r.key and
                ".litestream-probe" not in r.key and
                (r.method == "PUT" and "partNumber" not in r.query or
                 r.method == "POST" and "uploads" in r.query)]

    def grow(self):
        c = connect(self.db)
        c.execute("INSERT INTO t VALUES(randomblob(6000000))")
        c.close()

    def test_storage_class(self):
        self.grow()  # the snapshot is a multipart upload
        log = self.there_and_back(self.verified(
            "s3://bkt/app?storageClass=STANDARD_IA"), "-force-snapshot")
        made = self.objects_made(log)
        self.assertIn("POST", {r.method for r in made})
        for r in made:
            self.assertEqual(r.get("x-amz-storage-class"), "STANDARD_IA", r)
        for r in log:
            if r.method in ("GET", "HEAD", "DELETE"):
                self.assertNotIn("x-amz-storage-class", r.names(), r)

    def most_parts_at_once(self, url):
        """Of a snapshot of about eight parts; each waits until as many as
        `expect` were on their way at once, or a while."""
        came = threading.Condition()
        seen = {"now": 0, "most": 0}

        def gate(r):
            if "partNumber" not in r.query:
                return None
            with came:
                seen["now"] += 1
                seen["most"] = max(seen["most"], seen["now"])
                came.notify_all()
                came.wait_for(lambda: seen["most"] > 3, 0.25)
                seen["now"] -= 1
            return None
        self.s3.answer = gate
        self.addCleanup(setattr, self.s3, "answer", None)
        log = self.there_and_back(self.verified(url), "-force-snapshot")
        self.assertGreater(len([r for r in log if "partNumber" in r.query]), 6)
        return seen["most"]

    def test_s3_parts_at_once(self):
        """As many as `concurrency` says, R2 two, and never more than memory
        has room for; what was put together from them restores."""
        c = connect(self.db)
        c.execute("INSERT INTO t VALUES(randomblob(40000000))")
        c.close()
        for url, want in (
                ("s3://bkt/app", 3), ("s3://bkt/app?concurrency=1", 1),
                ("s3://bkt/app?concurrency=2&partSize=6000000", 2),
                ("s3://bkt/app?endpoint=https://a.r2.cloudflarestorage.com",
                 2)):
            with self.subTest(url):
                self.assertEqual(self.most_parts_at_once(url), want)

    def test_sse_kms(self):
        self.grow()
        log = self.there_and_back(self.verified(
            "s3://bkt/app?sseKmsKeyId=arn:aws:kms:x:1:key/k"),
            "-force-snapshot")
        made = self.objects_made(log)
        self.assertIn("POST", {r.method for r in made})
        for r in made:
            self.assertEqual(r.get("x-amz-server-side-encryption"), "aws:kms")
            self.assertEqual(
                r.get("x-amz-server-side-encryption-aws-kms-key-id"),
                "arn:aws:kms:x:1:key/k")
        for r in log:
            if r.method in ("GET", "HEAD") or "partNumber" in r.query:
                self.assertFalse([n for n in r.names()
                                  if "server-side" in n], r)

    def test_sse_customer_key(self):
        self.grow()
        path = self.tmp / "key"
        path.write_text(KEY + "\n")
        config = self.tmp / "c.yml"
        config.write_text(
            f"dbs:\n- path: {self.db}\n  replica:\n    url: s3://bkt/app\n"
            f"    skip-verify: true\n    sse-customer-key-path: {path}\n")
        self.run_cli("replicate", "-once", "-force-snapshot", "-config",
                     config, env=self.env)
        self.run_cli("restore", "-config", config, "-o", self.tmp / "o.db",
                     self.db, env=self.env)
        self.assert_same(self.tmp / "o.db", self.checkpointed(self.db))
        head = "x-amz-server-side-encryption-customer-"
        n = 0
        for r in self.s3.log:
            if r.key and r.method != "DELETE" and "uploadId" not in r.query \
                    or "partNumber" in r.query:
                n += 1
                self.assertEqual(
                    [r.get(head + s) for s in ("algorithm", "key",
                                               "key-md5")],
                    ["AES256", KEY, KEY_MD5], r)
        self.assertGreater(n, 5)
        self.assertIn("partNumber", str([r.query for r in self.s3.log]))

    def test_read_only_keys_suffice(self):
        """restore, points, verify, ltx and the extension ask for nothing but
        GetObject and ListBucket."""
        url = self.s3.url("app")
        self.run_cli("replicate", "-once", self.db, url, env=self.env)
        self.s3.log.clear()
        self.s3.deny = {"s3:PutObject", "s3:DeleteObject",
                        "s3:AbortMultipartUpload",
                        "s3:ListBucketMultipartUploads"}
        self.restore(url, self.tmp / "o.db", env=self.env)
        self.assert_same(self.tmp / "o.db", self.checkpointed(self.db))
        for cmd in ("points", "verify", "ltx"):
            self.run_cli(cmd, url, env=self.env)
        self.run_cli("verify", "-deep", url, env=self.env)
        extension = Path(self.bin).parent / "litestream-vfs.so"
        if "LS_SLOW" not in os.environ:  # sqlite3 cannot load a sanitizer
            r = subprocess.run(
                ["sqlite3", "-cmd", f".load {extension}", "-cmd",
                 ".open file:x.db?vfs=litestream", ":memory:",
                 "SELECT length(b) FROM t"], capture_output=True, text=True,
                env={"PATH": "/usr/bin:/bin", "LITESTREAM_REPLICA_URL": url,
                     **self.s3.env()})
            self.assertEqual((r.stdout, r.returncode), ("20000\n", 0),
                             r.stderr)
        self.assertEqual({r.method for r in self.s3.log} - {"GET", "HEAD"},
                         set())
        self.assertEqual({r.status for r in self.s3.log} - {200, 206, 404},
                         set())

    def readme(self, begin, end):
        return re.findall(rf"<!-- {begin} -->(.*?)<!-- /{end} -->",
                          README.read_text(), re.S)[0]

    def test_stores_of_the_readme(self):
        key = self.tmp / "key"
        key.write_text(KEY)
        self.s3.buckets = {"my-bucket", "my-point-123456789012"}
        env = {**self.env, "http_proxy": self.env["HTTPS_PROXY"]}
        blocks = re.findall(r"```yaml\n# (.*?)\n(.*?)```",
                            self.readme("stores", "stores"), re.S)
        self.assertGreater(len(blocks), 12)
        for name, text in blocks:
            with self.subTest(name):
                text = text.replace("/etc/litestreamd/customer-key", str(key))
                config = self.tmp / "c.yml"
                config.write_text(
                    f"dbs:\n- path: {self.db}\n  meta-path: {self.tmp}/m\n  "
                    + text.rstrip().replace("\n", "\n  ") +
                    "\n    skip-verify: true\n")
                self.s3.objects.clear()
                subprocess.run(["rm", "-rf", self.tmp / "m"], check=True)
                self.run_cli("replicate", "-once", "-config", config, env=env)
                self.assertEqual([k for _, k in self.s3.objects],
                                 ["app/0000/0000000000000001-"
                                  "0000000000000001.ltx"])

    def allowed(self, what):
        doc = json.loads(self.readme(f"policy {what}", "policy").split(
            "```")[1][len("json"):])
        return {a for s in doc["Statement"] for a in s["Action"]}

    def test_policies_of_the_readme(self):
        """The first is what replicating takes, no more and no less; the
        second what reading takes."""
        write, read = self.allowed("write"), self.allowed("read")
        self.s3.deny = ACTIONS - write
        url = self.s3.url("app")
        daemon = self.daemon({self.db: url}, env=self.s3.env(), top={
            "levels": [{"interval": "1s"}], "l0-retention": "1s",
            "l0-retention-check-interval": "1s",
            "snapshot": {"interval": "1s", "retention": "1s"}}).start()
        c = connect(self.db)
        self.addCleanup(c.close)

        def used():
            c.execute("INSERT INTO t VALUES(1)")
            daemon.sync()
            return {r.action for r in self.s3.log} >= write - {
                "s3:AbortMultipartUpload"}
        wait_until(used, 60, f"use of {write}", 0.3)
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual([r for r in self.s3.log if r.status == 403], [])
        r = self.run_cli("doctor", url, env=self.s3.env())
        self.assertEqual({x.action for x in self.s3.log}, write, r.stdout)
        self.s3.log.clear()
        self.s3.deny = ACTIONS - read
        self.restore(url, self.tmp / "o.db", env=self.s3.env())
        self.assertEqual({x.action for x in self.s3.log}, read)

    def test_a_bucket_in_another_region(self):
        """The server names it; what is asked after the first answer goes
        there (the levels are listed side by side)."""
        self.s3.region = "eu-central-1"
        log = self.there_and_back(self.verified("s3://bkt/app"))
        sent_away = [r for r in log if r.status == 301]
        self.assertEqual({r.action for r in sent_away}, {"s3:ListBucket"})
        self.assertEqual({r.host for r in log if r.status != 301},
                         {"bkt.s3.eu-central-1.amazonaws.com"})


if __name__ == "__main__":
    main()
