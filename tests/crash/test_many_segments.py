"""A catalog of 100,000 segments: ready in ten seconds after a `kill -9`, and still writing."""

import copy
import time

import commit_log
from conftest import Server, figure

SEGMENTS = 100_000
RECORDS = 20
RESTART_S_MAX = 10


def find_segment(store):
    """The newest transaction that added a segment with a file, and that segment's entry."""
    for path in reversed(commit_log.records(store)):
        for transaction in commit_log.read(path)[1]:
            for operation in transaction["ops"]:
                for segment in operation.get("AddSegments", {}).get("segments", []):
                    if "data/" in segment.get("p", ""):
                        return operation["AddSegments"]["table"], segment
    raise AssertionError("no record adds a segment that has a file")


def test_restart_with_100_000_segments(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "rows.csv").write_text("".join(f"{n},{n}\n" for n in range(50_000)))
    server = Server(tmp_path / "cluster", files, ["--nodes", "2", "--slices-per-node", "2"]).start()
    try:
        server.execute("CREATE TABLE small (k INTEGER)")
        server.execute("INSERT INTO small VALUES (1)")
        server.execute("CREATE TABLE large (k INTEGER, v INTEGER) DISTSTYLE EVEN")
        server.execute(f"COPY large FROM '{files}/rows.csv' CSV")
        server.stop()
        store = server.data / "store"
        table, entry = find_segment(store)
        number = 10_000_000
        for _ in range(RECORDS):
            segments = []
            for _ in range(SEGMENTS // RECORDS):
                number += 1
                segment = copy.deepcopy(entry)
                # The next number is the catalog's to give.
                segment.pop("u", None)
                segment["p"] = f"data/{table}/1-{number}-0000-0.seg"
                segments.append(segment)
            commit_log.append(store, [{"id": number, "at_us": 0, "ops": [
                {"AddSegments": {"table": table, "segments": segments, "identity_next": []}}]}])
        slowest = 0
        for turn in range(3):
            started = time.monotonic()
            server.start()
            assert server.execute("SELECT count(*) FROM small") == [(turn + 1,)]
            slowest = max(slowest, time.monotonic() - started)
            server.execute("INSERT INTO small VALUES (2)")
            resident = server.resident_kb()
            server.kill()
        assert slowest < RESTART_S_MAX, f"a restart took {slowest:.1f} s"
        figure("100,000 segments", restart_and_query_s=round(slowest, 2),
               resident_mb=resident // 1000)
    finally:
        server.close()
