"""Two leaders on one store: the later one fences the earlier, which then acknowledges nothing."""

import threading

import psycopg

from conftest import Server

# The leader has stepped down, could not find out, or closed the connection.
FENCED = {"57P01", "57P03", "40003", None}


def test_an_older_leader_acknowledges_nothing(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    shape = ["--nodes", "1", "--slices-per-node", "2", "--store", str(store)]
    older = Server(tmp_path / "older", tmp_path, shape).start()
    newer = Server(tmp_path / "newer", tmp_path, shape)
    acknowledged, refused = set(), []
    started = threading.Event()

    def write():
        try:
            with older.connect() as connection:
                for number in range(100_000):
                    connection.execute(f"INSERT INTO numbers VALUES ({number})")
                    acknowledged.add(number)
                    if number == 20:
                        started.set()
        except psycopg.Error as error:
            refused.append(error.sqlstate)

    try:
        older.execute("CREATE TABLE numbers (n INTEGER)")
        writer = threading.Thread(target=write)
        writer.start()
        assert started.wait(30)
        newer.start()
        writer.join(timeout=60)
        assert not writer.is_alive(), "the older leader neither acknowledges nor refuses"
        assert refused and refused[0] in FENCED, refused
        found = {n for n, in newer.execute("SELECT n FROM numbers")}
        assert acknowledged <= found, f"lost: {sorted(acknowledged - found)[:10]}"
        assert len(found - acknowledged) <= 1, "more than the one in doubt came from nowhere"
        newer.execute("INSERT INTO numbers VALUES (-1)")
        assert newer.execute("SELECT count(*) FROM numbers") == [(len(found) + 1,)]
        newer.stop()
    finally:
        older.close()
        newer.close()
