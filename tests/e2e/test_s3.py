"""Durable bytes in an S3-compatible store, and COPY from one."""

import os
import pathlib
import socket
import subprocess
import sys
import time

import boto3
import pytest

from conftest import MODES, PROGRAM, Server

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = pathlib.Path(sys.executable).parent / "ministack"
    log = open(tmp_path_factory.mktemp("s3") / "log", "w")
    process = subprocess.Popen([program], stdout=log, stderr=log, env={
        **os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)})
    url = f"http://127.0.0.1:{port}"
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1",
                          aws_access_key_id="test", aws_secret_access_key="test")
    for _ in range(100):
        try:
            client.create_bucket(Bucket="warehouse")
            break
        except Exception:
            time.sleep(0.1)
    client.create_bucket(Bucket="landing")
    yield url, client
    process.terminate()
    process.wait()


@pytest.mark.parametrize("mode", ["embedded-2x2", "processes-3x2"])
def test_a_cluster_lives_in_s3(s3, tmp_path, mode):
    url, client = s3
    arguments = [*MODES[mode], "--store", f"s3://warehouse/{mode}", "--s3-endpoint", url]
    server = Server(tmp_path / "cluster", tmp_path, arguments, KEYS).start()
    try:
        server.execute("CREATE TABLE t (n INTEGER, note VARCHAR(20)) DISTKEY (n) SORTKEY (n)")
        server.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL)")
        assert server.execute("SELECT * FROM t ORDER BY n") == [(1, "one"), (2, "two"), (3, None)]
        # So few rows stay in the log; those of a query become segments.
        server.execute("CREATE TABLE copied AS SELECT * FROM t")
        server.stop()
        assert not list((server.data / "store").rglob("*.seg"))
        listed = client.list_objects_v2(Bucket="warehouse", Prefix=mode)["Contents"]
        assert any(entry["Key"].endswith(".seg") for entry in listed)
        server.start()
        assert server.execute("SELECT count(*) FROM t") == [(3,)]
        server.stop()
    finally:
        server.close()


@pytest.mark.parametrize("mode", ["embedded-2x2", "processes-3x2"])
def test_copy_from_s3(s3, tmp_path, mode):
    url, client = s3
    for part in range(4):
        body = "".join(f"{n}|row {n}\n" for n in range(part * 1000, part * 1000 + 1000))
        client.put_object(Bucket="landing", Key=f"rows/part-{part}.txt", Body=body.encode())
    manifest = ('{"entries": [{"url": "s3://landing/rows/part-0.txt", "mandatory": true}, '
                '{"url": "s3://landing/rows/part-9.txt", "mandatory": false}]}')
    client.put_object(Bucket="landing", Key="some.manifest", Body=manifest.encode())
    server = Server(tmp_path / "cluster", tmp_path,
                    [*MODES[mode], "--s3-endpoint", url]).start()
    keys = "ACCESS_KEY_ID 'test' SECRET_ACCESS_KEY 'test' REGION 'us-east-1'"
    try:
        server.execute("CREATE TABLE t (n INTEGER, note VARCHAR(20)) DISTKEY (n)")
        server.execute(f"COPY t FROM 's3://landing/rows/' {keys}")
        assert server.execute("SELECT count(*), count(DISTINCT n), max(note) FROM t") == [
            (4000, 4000, "row 999")]
        server.execute(f"COPY t FROM 's3://landing/some.manifest' {keys} MANIFEST")
        assert server.execute("SELECT count(*) FROM t") == [(5000,)]
        with pytest.raises(Exception, match="nothing-here"):
            server.execute(f"COPY t FROM 's3://landing/nothing-here/' {keys}")
        log = server.log.read_text()
        assert "SECRET_ACCESS_KEY 'test'" not in log
        history = server.execute("SELECT query_text FROM sys_query_history")
        assert all("SECRET_ACCESS_KEY 'test'" not in row[0] for row in history)
    finally:
        server.close()
