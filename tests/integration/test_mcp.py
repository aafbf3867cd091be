#!/usr/bin/env python3
"""The MCP server, spoken to as a client would: streamable HTTP and JSON-RPC as
of revision 2025-03-26. Upstream's binary passes most of it: set LITESTREAMD."""
import http.client
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import Case, connect, is_upstream, main, wait_until  # noqa
from proc import can_connect, free_port  # noqa: E402

TOOLS = {"litestream_databases": set(), "litestream_info": set(),
         "litestream_ltx": {"path"}, "litestream_reset": {"path"},
         "litestream_restore": {"path"}, "litestream_status": set(),
         "litestream_version": set()}


class Mcp(Case):
    def setUp(self):
        super().setUp()
        self.up = is_upstream(self.bin)
        self.port = free_port()
        self.db, self.url = self.tmp / "app.db", f"file://{self.tmp}/r"
        c = connect(self.db)
        self.addCleanup(c.close)
        c.execute("CREATE TABLE t(x)")
        env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        if self.up:  # it runs what is called litestream in PATH
            env["PATH"] = f"{Path(self.bin).parent}:{os.environ['PATH']}"
        self.d = self.daemon({self.db: self.url}, env=env, top={
            "mcp-addr": f"127.0.0.1:{self.port}"}).start()
        self.d.sync()
        wait_until(lambda: can_connect(self.port), 20, "MCP port")
        self.session = None
        self.number = 0

    def http(self, method, body=None, headers=None, path="/"):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, dict(r.getheaders()), r.read().decode()
        finally:
            c.close()

    def post(self, doc, **more):
        h = {"Content-Type": "application/json",
             "Accept": "application/json, text/event-stream", **more}
        if self.session:
            h["Mcp-Session-Id"] = self.session
        return self.http("POST", doc if isinstance(doc, str)
                         else json.dumps(doc), h)

    def rpc(self, method, params=None, want=200):
        self.number += 1
        doc = {"jsonrpc": "2.0", "id": self.number, "method": method}
        if params is not None:
            doc["params"] = params
        status, head, text = self.post(doc)
        self.assertEqual(status, want, text)
        self.assertEqual(head["Content-Type"], "application/json")
        doc = json.loads(text)
        self.assertEqual((doc["jsonrpc"], doc["id"]), ("2.0", self.number))
        return head, doc

    def initialize(self):
        head, doc = self.rpc("initialize", {
            "protocolVersion": "2025-03-26", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"}})
        self.session = head["Mcp-Session-Id"]
        status, _, text = self.post({"jsonrpc": "2.0",
                                     "method": "notifications/initialized"})
        self.assertEqual((status, text), (202, ""))
        return doc["result"]

    def tool(self, name, ok=True, **args):
        _, doc = self.rpc("tools/call", {"name": f"litestream_{name}",
                                         "arguments": args})
        part, = doc["result"]["content"]
        self.assertEqual(part["type"], "text")
        self.assertEqual(doc["result"].get("isError", False), not ok,
                         part["text"])
        return part["text"]

    def test_handshake_and_tools(self):
        r = self.initialize()
        self.assertEqual(r["protocolVersion"], "2025-03-26")
        self.assertEqual(r["serverInfo"], {"name": "Litestream MCP Server",
                                           "version": "1.0.0"})
        self.assertIn("tools", r["capabilities"])
        self.assertEqual(self.rpc("ping")[1]["result"], {})
        tools = self.rpc("tools/list")[1]["result"]["tools"]
        self.assertEqual({t["name"]: set(t["inputSchema"].get("required", []))
                          for t in tools}, TOOLS)
        for t in tools:
            self.assertEqual(t["inputSchema"]["type"], "object")
            self.assertTrue(t["description"])
        restore, = [t for t in tools if t["name"] == "litestream_restore"]
        self.assertEqual(
            {k: v["type"] for k, v in
             restore["inputSchema"]["properties"].items()},
            {"path": "string", "o": "string", "config": "string",
             "txid": "string", "timestamp": "string",
             "parallelism": "string", "if_db_not_exists": "boolean",
             "if_replica_exists": "boolean"})

    def test_older_revision(self):
        _, doc = self.rpc("initialize", {"protocolVersion": "2024-11-05",
                                         "capabilities": {}})
        self.assertEqual(doc["result"]["protocolVersion"], "2024-11-05")
        _, doc = self.rpc("initialize", {"protocolVersion": "2999-01-01"})
        self.assertEqual(doc["result"]["protocolVersion"], "2025-03-26")

    def test_reading_tools(self):
        self.initialize()
        conf = str(self.d.config)
        version = self.run_cli("version").stdout
        self.assertEqual(self.tool("version"), version)
        self.assertEqual(
            self.tool("databases", config=conf),
            self.run_cli("databases", "-config", conf).stdout)
        self.assertEqual(self.tool("ltx", path=str(self.db), config=conf),
                         self.run_cli("ltx", "-config", conf, self.db).stdout)
        self.assertEqual(self.tool("ltx", path=self.url, config=conf),
                         self.run_cli("ltx", self.url).stdout)
        self.assertIn(str(self.db), self.tool("status", config=conf))
        self.assertIn(str(self.db), self.tool("status", config=conf,
                                              path=str(self.db)))
        text = self.tool("info", config=conf)
        self.assertTrue(text.startswith("=== Litestream Status Report ==="))
        for part in (version.strip(), conf, str(self.db), "min_txid"):
            self.assertIn(part, text)

    def test_the_daemons_configuration_is_the_default(self):
        if self.up:
            self.skipTest("it takes /etc/litestream.yml")
        self.initialize()
        self.assertIn(str(self.db), self.tool("databases"))
        self.assertIn(str(self.d.config), self.tool("info"))
        self.assertEqual(self.tool("ltx", path=str(self.db)),
                         self.run_cli("ltx", self.url).stdout)

    def test_restore(self):
        self.initialize()
        out = self.tmp / "out.db"
        self.tool("restore", path=self.url, o=str(out),
                  txid=f"{1:016x}", parallelism="2")
        self.assert_whole(out)
        text = self.tool("restore", ok=False, path=self.url, o=str(out))
        self.assertIn("already exists", text)
        self.assertTrue(text.endswith(": exit status 1"), text)

    def test_boolean_flags(self):
        if self.up:
            self.skipTest("its flags do not work")
        self.initialize()
        out = self.tmp / "out.db"
        self.tool("restore", path=self.url, o=str(out),
                  if_db_not_exists=False, if_replica_exists=True)
        before = out.read_bytes()
        self.tool("restore", path=self.url, o=str(out), if_db_not_exists=True)
        self.assertEqual(out.read_bytes(), before)
        empty = f"file://{self.tmp}/nothing"
        self.tool("restore", path=empty, o=str(self.tmp / "n.db"),
                  if_replica_exists=True)
        self.assertFalse((self.tmp / "n.db").exists())
        self.tool("restore", ok=False, path=empty, o=str(self.tmp / "n.db"),
                  if_replica_exists=False)

    def test_reset(self):
        self.initialize()
        self.d.call("POST", "/stop", {"path": str(self.db)})
        meta = self.tmp / ".app.db-litestream"
        self.assertTrue(list(meta.rglob("*.ltx")))
        self.tool("reset", path=str(self.db), config=str(self.d.config))
        self.assertFalse(list(meta.rglob("*.ltx")))

    def test_a_path_is_no_flag(self):
        if self.up:
            self.skipTest("ours is meant")
        self.initialize()
        text = self.tool("ltx", ok=False, path="-h")
        self.assertNotIn("Usage", text)
        out = self.tmp / "out.db"
        self.tool("restore", ok=False, path=f"-o={out}")
        self.assertFalse(out.exists())
        text = self.tool("ltx", ok=False, path=str(self.db), config="-json")
        self.assertIn("-json", text)  # a file of that name

    def test_what_is_wrong(self):
        self.initialize()
        _, doc = self.rpc("tools/call", {"name": "litestream_nope",
                                         "arguments": {}})
        self.assertEqual(doc["error"]["code"], -32602)
        self.assertEqual(self.rpc("nope")[1]["error"]["code"], -32601)
        self.tool("ltx", ok=False)
        self.tool("reset", ok=False, path=5)
        status, _, text = self.post("{not json")
        self.assertEqual((status, json.loads(text)["error"]["code"]),
                         (400, -32700))
        status, _, text = self.post({"id": 1, "method": "ping"})
        self.assertEqual(json.loads(text)["error"]["code"], -32600)
        self.assertEqual(self.post({"jsonrpc": "2.0", "id": 1,
                                    "method": "ping"},
                                   **{"Content-Type": "text/plain"})[0], 400)
        for body in ("[" * 100000, "[]", '"x"', "") + (
                () if self.up else ("null",)):
            self.assertEqual(self.post(body)[0], 400)
        if not self.up:
            self.assertEqual(self.http("GET")[0], 405)
        status, _, _ = self.http("DELETE",
                                 headers={"Mcp-Session-Id": self.session})
        self.assertEqual(status, 200)
        self.session = None
        status, _, text = self.post({"jsonrpc": "2.0", "id": 1,
                                     "method": "tools/list"})
        self.assertEqual((status, text), (400, "Invalid session ID\n"))

    def test_another_origin_is_refused(self):
        if self.up:
            self.skipTest("it takes any")
        self.initialize()
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        for bad in ("http://evil.example", "http://localhost.evil.example",
                    "null", "http://evil.example:80@localhost"):
            self.assertEqual(self.post(ping, Origin=bad)[0], 403, bad)
        for good in ("http://localhost:3000", "http://127.0.0.1",
                     "http://[::1]:8080"):
            self.assertEqual(self.post(ping, Origin=good)[0], 200, good)

    def test_stop_ends_a_tool(self):
        """A restore that never ends must not keep the daemon from stopping."""
        if self.up:
            self.skipTest("ours is meant")
        import socket
        import threading
        self.initialize()
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        silent.settimeout(30)
        url = (f"s3://b/x?endpoint=http://127.0.0.1:"
               f"{silent.getsockname()[1]}&region=us-east-1")

        def call():
            try:
                self.tool("ltx", path=url)
            except (OSError, http.client.HTTPException, AssertionError):
                pass
        t = threading.Thread(target=call)
        t.start()
        conn, _ = silent.accept()  # the tool has asked
        self.assertEqual(self.d.stop(timeout=15), 0)
        t.join(20)
        conn.settimeout(20)
        while conn.recv(65536):  # and it is gone
            pass
        conn.close()


if __name__ == "__main__":
    main()
