"""The SQLite extension litestream-vfs, for Python's sqlite3.

    import sqlite3, litestream_vfs
    loader = sqlite3.connect(":memory:")
    litestream_vfs.load(loader)
    db = sqlite3.connect("file:app.db?vfs=litestream&replica=...", uri=True)
"""
from pathlib import Path

ENTRY = "sqlite3_litestreamvfs_init"


def loadable_path():
    """Where the extension is, for other ways to load it."""
    path = Path(__file__).with_name("litestream-vfs.so")
    if not path.is_file():
        raise FileNotFoundError(f"no extension at {path}")
    return str(path)


def load(conn):
    """Load it through an open connection. It stays for the whole process, also
    when that connection is closed."""
    path = loadable_path()
    conn.enable_load_extension(True)
    try:
        conn.execute("SELECT load_extension(?, ?)", (path, ENTRY))
    finally:
        conn.enable_load_extension(False)
