"""Each fault is a clear error with its SQLSTATE, and the server goes on."""

import socket
import struct

import psycopg
import pytest

from conftest import PASSWORD


def alive(server):
    assert server.execute("SELECT 1") == [(1,)]


def fails(server, text, state, *parts):
    with server.connect() as connection:
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(text)
        error = caught.value
        said = " ".join(filter(None, (error.diag.message_primary, error.diag.message_detail,
                                      error.diag.message_hint)))
        assert error.sqlstate == state, (error.sqlstate, said)
        for part in parts:
            assert part in said, said
        assert connection.execute("SELECT 1").fetchone() == (1,)
        return error.diag


def test_wrong_password(server):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        server.connect(password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=server.port, user="nobody", dbname="dev",
                        password=PASSWORD)
    alive(server)


def test_unknown_names_come_with_a_suggestion_and_a_position(server):
    diag = fails(server, "SELECT *\nFROM lineitme", "42P01", "lineitme", "lineitem")
    assert diag.statement_position == "15"
    diag = fails(server, "SELECT l_orderke FROM lineitem", "42703", "l_orderke", "l_orderkey")
    assert diag.statement_position == "8"
    fails(server, "SELECT no_such_function(1)", "42883", "no_such_function")
    fails(server, "SELEC 1", "42601", "SELEC")


def test_a_bad_copy_file_names_line_column_and_value(server, tpch_files):
    (tpch_files / "bad").mkdir(exist_ok=True)
    (tpch_files / "bad" / "one.csv").write_text("1,ok\n2,ok\nx3,bad\n4,ok\n")
    server.execute("DROP TABLE IF EXISTS bad_target")
    server.execute("CREATE TABLE bad_target (id INTEGER, note VARCHAR(10))")
    copy = f"COPY bad_target FROM '{tpch_files}/bad/one.csv' CSV"
    fails(server, copy, "22P04", "one.csv", "3", "id", "x3")
    assert server.execute("SELECT count(*) FROM bad_target") == [(0,)]
    row = server.execute("SELECT line_number, trim(colname), trim(raw_field_value) "
                         "FROM stl_load_errors ORDER BY starttime DESC LIMIT 1")
    assert row == [(3, "id", "x3")]
    server.execute(copy + " MAXERROR 2")
    assert server.execute("SELECT count(*) FROM bad_target") == [(3,)]


def test_files_outside_of_the_load_directory_are_refused(server, tpch_files):
    server.execute("DROP TABLE IF EXISTS bad_target")
    server.execute("CREATE TABLE bad_target (id INTEGER, note VARCHAR(10))")
    fails(server, "COPY bad_target FROM '/etc/passwd' CSV", "42501")
    fails(server, f"COPY bad_target FROM '{tpch_files}/../../../etc/passwd' CSV", "42501")


def test_an_endpoint_that_is_down(server):
    server.execute("DROP TABLE IF EXISTS bad_target")
    server.execute("CREATE TABLE bad_target (id INTEGER, note VARCHAR(10))")
    with server.connect() as connection:
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("COPY bad_target FROM 's3://nowhere/x' ACCESS_KEY_ID 'a' "
                               "SECRET_ACCESS_KEY 'b' REGION 'us-east-1' CSV")
        assert caught.value.sqlstate in ("08006", "58030", "42501", "28000")
        assert "secret" not in str(caught.value).lower()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_statement_with_100_000_terms(server):
    terms = " OR ".join(f"l_orderkey = {n}" for n in range(100_000))
    fails(server, f"SELECT count(*) FROM lineitem WHERE {terms}", "54001")
    deep = "(" * 100_000 + "1" + ")" * 100_000
    fails(server, f"SELECT {deep}", "54001")
    fails(server, "SELECT " + "+".join(["1"] * 100_000), "54001")
    alive(server)


def test_a_literal_of_2_gb_is_refused_without_reading_it_into_memory(server):
    before = server.resident_kb()
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        body = b"user\0awsuser\0database\0dev\0\0"
        raw.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        authenticate(raw)
        size = 2_000_000_000
        raw.sendall(b"Q" + struct.pack("!i", 4 + size))
        raw.sendall(b"SELECT '")
        chunk = b"x" * (1 << 20)
        left = size - 8
        try:
            while left > 0:
                left -= raw.send(chunk[:min(left, len(chunk))])
        except (BrokenPipeError, ConnectionResetError):
            pass
        kind, payload = read_message(raw)
        assert kind == b"E" and b"54000" in payload, payload
    assert server.resident_kb() < before + 200_000
    alive(server)


def authenticate(raw):
    """SCRAM-SHA-256 by hand."""
    import base64
    import hashlib
    import hmac
    kind, payload = read_message(raw)
    assert kind == b"R" and struct.unpack("!i", payload[:4])[0] == 10
    first = "n=,r=clientnonce"
    message = b"SCRAM-SHA-256\0" + struct.pack("!i", len(first) + 3) + b"n,," + first.encode()
    raw.sendall(b"p" + struct.pack("!i", len(message) + 4) + message)
    kind, payload = read_message(raw)
    server_first = payload[4:].decode()
    parts = dict(item.split("=", 1) for item in server_first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(parts["s"]),
                                 int(parts["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client_key).digest()
    final = f"c=biws,r={parts['r']}"
    auth = f"{first},{server_first},{final}".encode()
    proof = bytes(a ^ b for a, b in zip(client_key, hmac.digest(stored, auth, "sha256")))
    message = f"{final},p={base64.b64encode(proof).decode()}".encode()
    raw.sendall(b"p" + struct.pack("!i", len(message) + 4) + message)
    while read_message(raw)[0] != b"Z":
        pass


def read_message(raw):
    head = read_exactly(raw, 5)
    return head[:1], read_exactly(raw, struct.unpack("!i", head[1:])[0] - 4)


def read_exactly(raw, size):
    out = b""
    while len(out) < size:
        part = raw.recv(size - len(out))
        assert part, "the server closed the connection"
        out += part
    return out


def test_bytes_behind_an_ssl_request_are_refused(server):
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        body = b"user\0awsuser\0\0"
        raw.sendall(struct.pack("!ii", 8, 80877103)
                    + struct.pack("!ii", len(body) + 8, 196608) + body)
        raw.settimeout(10)
        assert raw.recv(1) in (b"", b"E")
    alive(server)


def test_values_that_do_not_fit(server):
    server.execute("DROP TABLE IF EXISTS narrow")
    server.execute("CREATE TABLE narrow (a SMALLINT NOT NULL, b VARCHAR(3), d DECIMAL(4, 1))")
    fails(server, "INSERT INTO narrow VALUES (1, 'abcd', 1)", "22001", "character varying(3)")
    fails(server, "INSERT INTO narrow VALUES (NULL, 'a', 1)", "23502", "a")
    fails(server, "INSERT INTO narrow VALUES (40000, 'a', 1)", "22003")
    fails(server, "INSERT INTO narrow VALUES (1, 'a', 1234.5)", "22003")
    fails(server, "INSERT INTO narrow VALUES ('x', 'a', 1)", "22P02")
    fails(server, "SELECT 1 / 0", "22012")
    assert server.execute("SELECT count(*) FROM narrow") == [(0,)]
