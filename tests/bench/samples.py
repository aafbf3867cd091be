#!/usr/bin/env python3
"""Sample databases of three kinds, for what compresses: always the same bytes.

    tests/bench/samples.py log|blocks|shop PATH MB

log     JSON documents of a web service: words, addresses, random ids
blocks  a map of blocks on a disk: integers only, and an index over them
shop    customers, orders and lines with five indexes, written in time order

Ids, names, amounts and times are drawn, not repeated, so that what is left to
save is what is left in a real table of that kind.
"""
import json
import random
import sqlite3
import sys

WORDS = 4000


def vocabulary(rng):
    parts = ("ba ce di fo gu la me ni po ru sa te vi wo xu za tra ple stri "
             "con ter ing men al ous ex pro").split()
    return ["".join(rng.choice(parts) for _ in range(rng.randint(1, 4)))
            for _ in range(WORDS)]


def words(rng, vocab, n):
    """Some words are frequent, most are rare."""
    return " ".join(vocab[min(int(rng.paretovariate(0.7)), WORDS) - 1]
                    for _ in range(n))


def log(c, rng):
    c.execute("CREATE TABLE event(id INTEGER PRIMARY KEY, at INT, kind TEXT,"
              " body TEXT)")
    c.execute("CREATE INDEX event_at ON event(kind, at)")
    vocab, at = vocabulary(rng), 1_700_000_000_000
    kinds = ["http.request", "http.error", "job.done", "user.login", "mail"]
    while True:
        at += rng.randint(1, 4000)
        kind = rng.choices(kinds, (60, 5, 20, 10, 5))[0]
        body = {"trace": f"{rng.getrandbits(64):016x}", "host": "web-%02d"
                % rng.randint(1, 24), "user": rng.randint(1, 90_000),
                "addr": "%d.%d.%d.%d" % tuple(rng.choices(range(256), k=4)),
                "ms": round(rng.expovariate(0.02), 3)}
        if kind.startswith("http"):
            body["path"] = "/%s/%s/%d" % (
                rng.choice(("api", "static", "shop")),
                vocab[rng.randrange(300)], rng.randint(1, 10**6))
            body["status"] = rng.choice((200, 200, 200, 204, 304, 404, 500))
            body["agent"] = "Mozilla/5.0 (%s) rv:%d.0" % (
                rng.choice(("X11; Linux x86_64", "Windows NT 10.0; Win64",
                            "iPhone; CPU iPhone OS 17_2")),
                rng.randint(90, 130))
        else:
            body["message"] = words(rng, vocab, rng.randint(3, 60))
        yield c.execute("INSERT INTO event(at, kind, body) VALUES(?,?,?)",
                        (at, kind, json.dumps(body)))


def blocks(c, rng):
    c.execute("CREATE TABLE map(inode INT, block INT, at INT, gen INT,"
              " PRIMARY KEY(inode, block)) WITHOUT ROWID")
    c.execute("CREATE INDEX map_at ON map(at)")
    inode, gen, free = 1000, 1, rng.randrange(1 << 20)
    while True:
        inode += rng.randint(1, 5)
        gen += rng.random() < 0.3
        for block in range(1 + int(rng.paretovariate(0.6)) % 5000):
            if rng.random() < 0.2:  # fragments
                free = rng.randrange(1 << 31)
            free += 1
            yield c.execute("INSERT INTO map VALUES(?,?,?,?)",
                            (inode, block, free, gen))


def shop(c, rng):
    c.executescript("""
        CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, mail TEXT,
          street TEXT, city TEXT, since TEXT);
        CREATE INDEX customer_mail ON customer(mail);
        CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INT, at TEXT,
          state TEXT, total REAL, note TEXT);
        CREATE INDEX orders_customer ON orders(customer);
        CREATE INDEX orders_at ON orders(at);
        CREATE TABLE line(id INTEGER PRIMARY KEY, orders INT, product INT,
          amount INT, price REAL);
        CREATE INDEX line_orders ON line(orders);
        CREATE INDEX line_product ON line(product, orders);""")
    vocab, n, at = vocabulary(rng), 0, 1_600_000_000
    prices = [round(rng.uniform(1, 200), 2) for _ in range(20_000)]
    states = ("new", "paid", "sent", "done", "returned")
    while True:
        at += rng.randint(1, 90)
        day = "2024-%02d-%02dT%02d:%02d:%02dZ" % (
            at // 2_592_000 % 12 + 1, at // 86_400 % 28 + 1,
            at // 3600 % 24, at // 60 % 60, at % 60)
        if n == 0 or rng.random() < 0.2:
            n += 1
            first, last = rng.choice(vocab), rng.choice(vocab)
            c.execute("INSERT INTO customer VALUES(?,?,?,?,?,?)", (
                n, f"{first.title()} {last.title()}",
                f"{first}.{last}{rng.randint(1, 99)}@{rng.choice(vocab)}.com",
                f"{rng.choice(vocab).title()} St {rng.randint(1, 200)}",
                vocab[rng.randrange(200)].title(), day[:10]))
        lines = [(rng.randrange(20_000), rng.randint(1, 9))
                 for _ in range(rng.randint(1, 6))]
        order = c.execute("INSERT INTO orders VALUES(NULL,?,?,?,?,?)", (
            rng.randint(1, n), day, rng.choice(states),
            round(sum(prices[p] * k for p, k in lines), 2),
            words(rng, vocab, 8) if rng.random() < 0.2 else None)).lastrowid
        for product, amount in lines:
            yield c.execute("INSERT INTO line VALUES(NULL,?,?,?,?)", (
                order, product, amount, prices[product]))


def make(kind, path, size):
    """Write a database of `kind` of about size bytes."""
    c = sqlite3.connect(path, isolation_level=None)
    c.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;")
    rows = {"log": log, "blocks": blocks, "shop": shop}[kind](
        c, random.Random(7))
    for i, _ in enumerate(rows):
        if i == 0:
            c.execute("BEGIN")
        if i % 5000 == 0 and size < 4096 * c.execute(
                "PRAGMA page_count").fetchone()[0]:
            break
    c.execute("COMMIT")
    c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    c.close()


if __name__ == "__main__":
    make(sys.argv[1], sys.argv[2], int(sys.argv[3]) << 20)
