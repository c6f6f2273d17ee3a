"""A wide table of web events and 43 queries over it, this server beside DuckDB on its own table:
query by query interleaved in one run, equal threads, warm, medians; answers are compared. Prints
ratios: below 1 is faster. The queries have the shapes of ClickBench; those with a LIMIT order by
enough columns to have one answer.

    cargo xtask bench events --rows 10000000 --runs 3
"""

import argparse
import pathlib
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e")]

import duckdb  # noqa: E402

from conftest import Server  # noqa: E402
from measure import cache, interleaved, report, timed  # noqa: E402
from test_tpch import assert_same  # noqa: E402

# Name, type, and how DuckDB makes it from a row's number `i`. Skewed as real events are: few
# sites and users make most of the rows, most phrases are empty.
COLUMNS = (
    ("watch_id", "BIGINT", "(hash(i) >> 1)::BIGINT"),
    ("counter_id", "INTEGER", "(power(random(), 4) * 6000)::INTEGER"),
    ("event_date", "DATE", "DATE '2025-07-01' + (i * 31 // {rows})::INTEGER"),
    ("event_time", "TIMESTAMP",
     "TIMESTAMP '2025-07-01' + to_seconds((i * 31 * 86400 // {rows})::BIGINT)"),
    ("user_id", "BIGINT", "(hash((power(random(), 3) * {rows} / 6)::BIGINT) >> 2)::BIGINT"),
    ("session_id", "BIGINT", "(i // 7)"),
    ("client_ip", "INTEGER", "(hash((power(random(), 2) * {rows} / 10)::BIGINT) >> 34)::INTEGER"),
    ("region_id", "INTEGER", "(power(random(), 3) * 5000)::INTEGER"),
    ("os", "SMALLINT", "(power(random(), 2) * 90)::SMALLINT"),
    ("browser", "SMALLINT", "(power(random(), 2) * 80)::SMALLINT"),
    ("is_mobile", "SMALLINT", "(random() < 0.2)::SMALLINT"),
    ("phone_model", "VARCHAR(64)",
     "CASE WHEN random() < 0.9 THEN '' ELSE 'model ' || (power(random(), 2) * 160)::INTEGER END"),
    ("phone", "SMALLINT", "(power(random(), 8) * 70)::SMALLINT"),
    ("search_phrase", "VARCHAR(256)",
     "CASE WHEN random() < 0.85 THEN '' ELSE 'how to find ' || "
     "hash((power(random(), 2) * {rows} / 20)::BIGINT)::VARCHAR END"),
    ("search_engine", "SMALLINT", "(power(random(), 5) * 60)::SMALLINT"),
    ("adv_engine", "SMALLINT",
     "CASE WHEN random() < 0.97 THEN 0 ELSE (random() * 60)::SMALLINT END"),
    ("url", "VARCHAR(512)",
     "'http://site' || (power(random(), 4) * 3000)::INTEGER || '.example/section' || "
     "(random() * 50)::INTEGER || '/page' || (power(random(), 3) * {rows} / 15)::INTEGER "
     "|| CASE WHEN random() < 0.001 THEN '?google' ELSE '' END"),
    ("referer", "VARCHAR(512)",
     "CASE WHEN random() < 0.2 THEN '' ELSE 'https://www.from' || "
     "(power(random(), 4) * 2000)::INTEGER || '.example/' || (random() * 1000)::INTEGER END"),
    ("title", "VARCHAR(256)",
     "CASE WHEN random() < 0.003 THEN 'Google ' ELSE 'Title ' END || "
     "(power(random(), 3) * {rows} / 30)::INTEGER"),
    ("traffic_source", "SMALLINT", "(power(random(), 2) * 10 - 1)::SMALLINT"),
    ("is_refresh", "SMALLINT", "(random() < 0.1)::SMALLINT"),
    ("dont_count", "SMALLINT", "(random() < 0.05)::SMALLINT"),
    ("is_link", "SMALLINT", "(random() < 0.1)::SMALLINT"),
    ("is_download", "SMALLINT", "(random() < 0.02)::SMALLINT"),
    ("url_hash", "BIGINT", "(hash((power(random(), 3) * {rows} / 15)::BIGINT) >> 1)::BIGINT"),
    ("referer_hash", "BIGINT", "(hash((power(random(), 4) * 20000)::BIGINT) >> 1)::BIGINT"),
    ("resolution_width", "SMALLINT", "(800 + (random() * 30)::INTEGER * 64)::SMALLINT"),
    ("window_width", "SMALLINT", "(600 + (random() * 1900)::INTEGER)::SMALLINT"),
    ("window_height", "SMALLINT", "(400 + (random() * 1200)::INTEGER)::SMALLINT"),
    ("price", "DECIMAL(12, 2)", "(power(random(), 6) * 10000)::DECIMAL(12, 2)"),
)

ONE_SITE = ("counter_id = 62 AND event_date >= '2025-07-01' AND event_date <= '2025-07-31' "
            "AND dont_count = 0 AND is_refresh = 0")
QUERIES = (
    "SELECT COUNT(*) FROM hits",
    "SELECT COUNT(*) FROM hits WHERE adv_engine <> 0",
    "SELECT SUM(adv_engine), COUNT(*), AVG(resolution_width::FLOAT8) FROM hits",
    "SELECT AVG(user_id::FLOAT8) FROM hits",
    "SELECT COUNT(DISTINCT user_id) FROM hits",
    "SELECT COUNT(DISTINCT search_phrase) FROM hits",
    "SELECT MIN(event_date), MAX(event_date) FROM hits",
    "SELECT adv_engine, COUNT(*) FROM hits WHERE adv_engine <> 0 GROUP BY adv_engine "
    "ORDER BY COUNT(*) DESC, adv_engine",
    "SELECT region_id, COUNT(DISTINCT user_id) AS u FROM hits GROUP BY region_id "
    "ORDER BY u DESC, region_id LIMIT 10",
    "SELECT region_id, SUM(adv_engine), COUNT(*) AS c, AVG(resolution_width::FLOAT8), "
    "COUNT(DISTINCT user_id) FROM hits GROUP BY region_id ORDER BY c DESC, region_id LIMIT 10",
    "SELECT phone_model, COUNT(DISTINCT user_id) AS u FROM hits WHERE phone_model <> '' "
    "GROUP BY phone_model ORDER BY u DESC, phone_model LIMIT 10",
    "SELECT phone, phone_model, COUNT(DISTINCT user_id) AS u FROM hits WHERE phone_model <> '' "
    "GROUP BY phone, phone_model ORDER BY u DESC, phone, phone_model LIMIT 10",
    "SELECT search_phrase, COUNT(*) AS c FROM hits WHERE search_phrase <> '' "
    "GROUP BY search_phrase ORDER BY c DESC, search_phrase LIMIT 10",
    "SELECT search_phrase, COUNT(DISTINCT user_id) AS u FROM hits WHERE search_phrase <> '' "
    "GROUP BY search_phrase ORDER BY u DESC, search_phrase LIMIT 10",
    "SELECT search_engine, search_phrase, COUNT(*) AS c FROM hits WHERE search_phrase <> '' "
    "GROUP BY search_engine, search_phrase ORDER BY c DESC, 1, 2 LIMIT 10",
    "SELECT user_id, COUNT(*) AS c FROM hits GROUP BY user_id ORDER BY c DESC, user_id LIMIT 10",
    "SELECT user_id, search_phrase, COUNT(*) AS c FROM hits GROUP BY user_id, search_phrase "
    "ORDER BY c DESC, 1, 2 LIMIT 10",
    "SELECT user_id, search_phrase, COUNT(*) AS c FROM hits WHERE is_mobile = 1 "
    "GROUP BY user_id, search_phrase ORDER BY 1, 2 LIMIT 10",
    "SELECT user_id, EXTRACT(minute FROM event_time) AS m, search_phrase, COUNT(*) AS c FROM hits "
    "GROUP BY user_id, m, search_phrase ORDER BY c DESC, 1, 2, 3 LIMIT 10",
    "SELECT user_id FROM hits WHERE user_id = 435090932899640449",
    "SELECT COUNT(*) FROM hits WHERE url LIKE '%google%'",
    "SELECT search_phrase, MIN(url), COUNT(*) AS c FROM hits WHERE url LIKE '%google%' "
    "AND search_phrase <> '' GROUP BY search_phrase ORDER BY c DESC, search_phrase LIMIT 10",
    "SELECT search_phrase, MIN(url), MIN(title), COUNT(*) AS c, COUNT(DISTINCT user_id) FROM hits "
    "WHERE title LIKE '%Google%' AND url NOT LIKE '%.google.%' AND search_phrase <> '' "
    "GROUP BY search_phrase ORDER BY c DESC, search_phrase LIMIT 10",
    "SELECT * FROM hits WHERE url LIKE '%google%' ORDER BY event_time, watch_id LIMIT 10",
    "SELECT search_phrase FROM hits WHERE search_phrase <> '' "
    "ORDER BY event_time, search_phrase LIMIT 10",
    "SELECT search_phrase FROM hits WHERE search_phrase <> '' ORDER BY search_phrase LIMIT 10",
    "SELECT search_phrase FROM hits WHERE search_phrase <> '' "
    "ORDER BY event_time DESC, search_phrase LIMIT 10",
    "SELECT counter_id, AVG(LENGTH(url)::FLOAT8) AS l, COUNT(*) AS c FROM hits WHERE url <> '' "
    "GROUP BY counter_id HAVING COUNT(*) > 1000 ORDER BY l DESC, counter_id LIMIT 25",
    "SELECT SPLIT_PART(referer, '/', 3) AS k, AVG(LENGTH(referer)::FLOAT8) AS l, COUNT(*) AS c, "
    "MIN(referer) FROM hits WHERE referer <> '' GROUP BY k HAVING COUNT(*) > 1000 "
    "ORDER BY l DESC, k LIMIT 25",
    "SELECT " + ", ".join(f"SUM(resolution_width + {n})" for n in range(90)) + " FROM hits",
    "SELECT search_engine, client_ip, COUNT(*) AS c, SUM(is_refresh), "
    "AVG(resolution_width::FLOAT8) FROM hits WHERE search_phrase <> '' "
    "GROUP BY search_engine, client_ip ORDER BY c DESC, 1, 2 LIMIT 10",
    "SELECT watch_id, client_ip, COUNT(*) AS c, SUM(is_refresh), AVG(resolution_width::FLOAT8) "
    "FROM hits WHERE search_phrase <> '' GROUP BY watch_id, client_ip "
    "ORDER BY c DESC, 1, 2 LIMIT 10",
    "SELECT watch_id, client_ip, COUNT(*) AS c, SUM(is_refresh), AVG(resolution_width::FLOAT8) "
    "FROM hits GROUP BY watch_id, client_ip ORDER BY c DESC, 1, 2 LIMIT 10",
    "SELECT url, COUNT(*) AS c FROM hits GROUP BY url ORDER BY c DESC, url LIMIT 10",
    "SELECT 1 AS one, url, COUNT(*) AS c FROM hits GROUP BY one, url ORDER BY c DESC, url LIMIT 10",
    "SELECT client_ip, client_ip - 1 AS a, client_ip - 2 AS b, client_ip - 3 AS d, COUNT(*) AS c "
    "FROM hits GROUP BY client_ip, a, b, d ORDER BY c DESC, client_ip LIMIT 10",
    f"SELECT url, COUNT(*) AS v FROM hits WHERE {ONE_SITE} AND url <> '' GROUP BY url "
    "ORDER BY v DESC, url LIMIT 10",
    f"SELECT title, COUNT(*) AS v FROM hits WHERE {ONE_SITE} AND title <> '' GROUP BY title "
    "ORDER BY v DESC, title LIMIT 10",
    f"SELECT url, COUNT(*) AS v FROM hits WHERE {ONE_SITE} AND is_link <> 0 AND is_download = 0 "
    "GROUP BY url ORDER BY v DESC, url LIMIT 10 OFFSET 100",
    "SELECT traffic_source, search_engine, adv_engine, CASE WHEN search_engine = 0 "
    "AND adv_engine = 0 THEN referer ELSE '' END AS src, url AS dst, COUNT(*) AS v FROM hits "
    f"WHERE {ONE_SITE} GROUP BY 1, 2, 3, 4, 5 ORDER BY v DESC, 1, 2, 3, 4, 5 LIMIT 10 OFFSET 100",
    f"SELECT url_hash, event_date, COUNT(*) AS v FROM hits WHERE {ONE_SITE} "
    "AND traffic_source IN (-1, 6) GROUP BY url_hash, event_date "
    "ORDER BY v DESC, 1, 2 LIMIT 10 OFFSET 100",
    f"SELECT window_width, window_height, COUNT(*) AS v FROM hits WHERE {ONE_SITE} "
    "GROUP BY window_width, window_height ORDER BY v DESC, 1, 2 LIMIT 10 OFFSET 1000",
    f"SELECT DATE_TRUNC('minute', event_time) AS m, COUNT(*) AS v FROM hits WHERE {ONE_SITE} "
    "GROUP BY m ORDER BY m LIMIT 10 OFFSET 1000",
)


def make_data(directory, rows):
    if (directory / "done").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SELECT setseed(0.5)")
    items = ", ".join(f"{made.format(rows=rows)} AS {name}" for name, _, made in COLUMNS)
    connection.execute(
        f"COPY (SELECT {items} FROM range({rows}) AS numbers(i)) TO '{directory}/hits.parquet' "
        "(FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE 262144)")
    (directory / "done").touch()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=lambda text: list(map(int, text.split(","))),
                        default=list(range(1, len(QUERIES) + 1)))
    options = parser.parse_args()
    directory = cache() / f"events{options.rows}"
    make_data(directory, options.rows)
    work = pathlib.Path(tempfile.mkdtemp(prefix="blueshift-bench-"))
    server = Server(work / "cluster", directory, []).start()
    try:
        columns = ", ".join(f"{name} {kind}" for name, kind, _ in COLUMNS)
        duck = duckdb.connect(str(work / "duck.db"), config={"threads": options.threads})
        duck.execute(f"CREATE TABLE hits ({columns})")
        theirs, _ = timed(lambda: duck.execute(
            f"INSERT INTO hits SELECT * FROM '{directory}/hits.parquet'"))
        duck.execute("CHECKPOINT")
        server.execute(f"CREATE TABLE hits ({columns}) DISTSTYLE EVEN "
                       "SORTKEY (counter_id, event_date)")
        mine, _ = timed(lambda: server.execute(
            f"COPY hits FROM '{directory}/hits.parquet' FORMAT AS PARQUET"))
        print(f"load ours {mine:.2f} s  duckdb {theirs:.2f} s  ratio {mine / theirs:.2f}")
        with server.connect() as connection:
            systems = {"ours": lambda text: connection.execute(text).fetchall(),
                       "duckdb": lambda text: duck.execute(text).fetchall()}
            queries = {f"Q{number}": QUERIES[number - 1] for number in options.queries}
            medians = interleaved(systems, queries, options.runs,
                                  lambda _name, _text, rows, theirs: assert_same(rows, theirs))
        report(medians, ["duckdb"])
        print(f"server resident {server.resident_kb() / 1000:.0f} MB")
        server.stop()
    finally:
        server.close()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
