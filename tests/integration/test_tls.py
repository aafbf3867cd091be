#!/usr/bin/env python3
"""Whom we trust: a server with a certificate of our own authority is refused,
unless one of the variables names that authority's certificate, or the replica
says skip-verify. And a refusal names the reason."""
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import tls  # noqa: E402
from harness import Case, main  # noqa: E402

class Trust(Case):
    def setUp(self):
        super().setUp()
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed")
        self.server = tls.Server(self.tmp)
        self.addCleanup(self.server.stop)
        self.cert = self.server.cert

    def ltx(self, more="", ok=True, **env):
        unset = {k: "" for k in tls.CA_VARIABLES}
        return self.run_cli("ltx", self.server.url() + more, ok=ok,
                            env={**tls.KEYS, **unset, **env})

    def test_unknown_authority_is_refused(self):
        r = self.ltx(ok=False)
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, r"Error: .*certificate")

    def test_each_variable_names_the_authority(self):
        for name in tls.CA_VARIABLES:
            with self.subTest(name):
                self.ltx(**{name: str(self.cert)})

    def test_the_first_variable_wins(self):
        r = self.ltx(ok=False, AWS_CA_BUNDLE=str(self.tmp / "none.pem"),
                     SSL_CERT_FILE=str(self.cert))
        self.assertEqual(r.returncode, 1)

    def test_skip_verify(self):
        self.ltx("&skipVerify=true")


if __name__ == "__main__":
    main()
