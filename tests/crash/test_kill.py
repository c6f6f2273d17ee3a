"""`kill -9` of the server at random instants: no acknowledged row is lost, no load is partial."""

import random
import threading
import time

import psycopg

from conftest import Server

KILLS = 30
ROWS_PER_COPY = 20_000


def test_kill_during_copy_and_insert(tmp_path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    files = tmp_path / "files"
    files.mkdir()
    (files / "rows.csv").write_text("".join(f"{n},row {n}\n" for n in range(ROWS_PER_COPY)))
    server = Server(tmp_path / "cluster", files,
                    ["--nodes", "2", "--slices-per-node", "2"]).start()
    server.execute("CREATE TABLE copied (n INTEGER, note VARCHAR(20)) DISTKEY (n)")
    server.execute("CREATE TABLE inserted (n BIGINT, batch BIGINT) DISTKEY (n)")
    acknowledged, unknown, copies, copies_unknown, batch = set(), set(), 0, 0, 0
    try:
        for _ in range(KILLS):
            threading.Timer(dice.uniform(0.0, 1.5), server.process.kill).start()
            try:
                with server.connect() as connection:
                    while True:
                        batch += 1
                        values = ", ".join(f"({n}, {batch})" for n in range(10))
                        unknown.add(batch)
                        connection.execute(f"INSERT INTO inserted VALUES {values}")
                        unknown.discard(batch)
                        acknowledged.add(batch)
                        if batch % 3 == 0:
                            copies_unknown += 1
                            connection.execute(f"COPY copied FROM '{files}/rows.csv' CSV")
                            copies_unknown -= 1
                            copies += 1
            except psycopg.OperationalError:
                pass
            server.process.wait()
            started = time.monotonic()
            server.start()
            assert time.monotonic() - started < 10
            found = dict(server.execute("SELECT batch, count(*) FROM inserted GROUP BY batch"))
            assert set(found.values()) <= {10}, f"seed {seed}: a batch is partial"
            assert acknowledged <= set(found), f"seed {seed}: acknowledged rows were lost"
            assert set(found) <= acknowledged | unknown, f"seed {seed}: rows from nowhere"
            rows = server.execute("SELECT count(*), count(DISTINCT n) FROM copied")[0]
            assert rows[0] % ROWS_PER_COPY == 0, f"seed {seed}: a COPY is partial"
            assert copies <= rows[0] // ROWS_PER_COPY <= copies + copies_unknown
        assert len(acknowledged) > KILLS and copies > 0
        server.stop()
    finally:
        server.close()
