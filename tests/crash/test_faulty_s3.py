"""The S3 server that the tests stand on: conditional writes, faults, and what outlives a kill."""

import concurrent.futures
import threading

import botocore.exceptions
import pytest

from faulty_s3 import BUCKET, FaultyS3

RACERS = 64
PART_BYTES = 5 << 20


@pytest.fixture
def s3(tmp_path):
    server = FaultyS3(tmp_path / "s3").start()
    yield server
    server.close()


def code_of(call, **arguments):
    """The error code of a call, or None."""
    try:
        call(Bucket=BUCKET, **arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]


def read(client, key, **arguments):
    return client.get_object(Bucket=BUCKET, Key=key, **arguments)["Body"].read()


def race(client, key, **condition):
    """All racers put at once; gives those that won."""
    barrier = threading.Barrier(RACERS)

    def put(number):
        barrier.wait()
        code = code_of(client.put_object, Key=key, Body=f"{condition} {number}", **condition)
        assert code in (None, "PreconditionFailed"), code
        return code is None

    with concurrent.futures.ThreadPoolExecutor(RACERS) as pool:
        return [number for number, won in enumerate(pool.map(put, range(RACERS))) if won]


def test_one_of_many_conditional_puts_wins(s3):
    client = s3.client()
    for round_number in range(5):
        key = f"races/{round_number}"
        condition = {"IfNoneMatch": "*"}
        winners = race(client, key, **condition)
        assert len(winners) == 1
        assert read(client, key).decode() == f"{condition} {winners[0]}"
        condition = {"IfMatch": client.head_object(Bucket=BUCKET, Key=key)["ETag"]}
        winners = race(client, key, **condition)
        assert len(winners) == 1
        assert read(client, key).decode() == f"{condition} {winners[0]}"
    taken = [request for request in s3.requests()
             if request["operation"] == "put_object" and request["effect"] == 200]
    assert len(taken) == 10


def test_objects_are_read_listed_copied_and_deleted(s3):
    client = s3.client()
    keys = sorted(["a b+c%", "dir/", *(f"dir/{number:04}" for number in range(1_100))])
    for key in keys:
        client.put_object(Bucket=BUCKET, Key=key, Body=key.encode(), Metadata={"of": "test"})
    found, token = [], {}
    while True:
        page = client.list_objects_v2(Bucket=BUCKET, Prefix="dir/", **token)
        found += [entry["Key"] for entry in page["Contents"]]
        if not page["IsTruncated"]:
            break
        token = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == [key for key in keys if key.startswith("dir/")]
    page = client.list_objects_v2(Bucket=BUCKET, Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["dir/"]
    assert read(client, "a b+c%") == b"a b+c%"
    assert read(client, "dir/0042", Range="bytes=4-6") == b"004"
    assert read(client, "dir/0042", Range="bytes=-2") == b"42"
    assert code_of(client.get_object, Key="dir/0042", Range="bytes=99-") == "InvalidRange"
    assert code_of(client.get_object, Key="none") == "NoSuchKey"
    tag = client.head_object(Bucket=BUCKET, Key="dir/0042")["ETag"]
    assert code_of(client.get_object, Key="dir/0042", IfMatch='"x"') == "PreconditionFailed"
    assert code_of(client.get_object, Key="dir/0042", IfNoneMatch=tag) == "304"
    client.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "dir/0042"})
    copy = client.get_object(Bucket=BUCKET, Key="copy")
    assert (copy["Body"].read(), copy["ETag"], copy["Metadata"]) == (b"dir/0042", tag,
                                                                     {"of": "test"})
    client.delete_object(Bucket=BUCKET, Key="copy")
    assert code_of(client.get_object, Key="copy") == "NoSuchKey"
    client.delete_objects(Bucket=BUCKET, Delete={
        "Objects": [{"Key": key} for key in keys[:1_000]]})
    page = client.list_objects_v2(Bucket=BUCKET)
    assert page["Contents"][0]["Key"] == keys[1_000]


def test_uploads_in_parts(s3):
    client = s3.client()

    def upload(key, bodies):
        to = {"Bucket": BUCKET, "Key": key}
        to["UploadId"] = client.create_multipart_upload(**to)["UploadId"]
        parts = [{"PartNumber": number, "ETag": client.upload_part(
            **to, PartNumber=number, Body=body)["ETag"]}
            for number, body in enumerate(bodies, start=1)]
        return {"Key": key, "UploadId": to["UploadId"], "MultipartUpload": {"Parts": parts}}

    bodies = [b"x" * PART_BYTES, b"y" * 10]
    whole = upload("whole", bodies)
    assert code_of(client.complete_multipart_upload, **whole, IfNoneMatch="*") is None
    assert read(client, "whole") == b"".join(bodies)
    assert code_of(client.complete_multipart_upload, **whole) == "NoSuchUpload"
    second = upload("whole", [b"z"])
    assert code_of(client.complete_multipart_upload, **second,
                   IfNoneMatch="*") == "PreconditionFailed"
    assert code_of(client.abort_multipart_upload, Key="whole", UploadId=second["UploadId"]) is None
    small = upload("small", [b"x", b"y"])
    assert code_of(client.complete_multipart_upload, **small) == "EntityTooSmall"
    assert read(client, "whole")[-1:] == b"y"


def test_faults_are_what_they_say(s3):
    client = s3.client()
    body = bytes(range(256)) * 40
    client.put_object(Bucket=BUCKET, Key="k", Body=body)

    def put(key):
        return code_of(client.put_object, Key=key, Body=b"new", IfNoneMatch="*")

    def exists(key):
        return code_of(client.head_object, Key=key) is None

    s3.faults({"fault": "error", "operations": ["put_object"], "status": 503})
    assert (put("a"), exists("a")) == ("SlowDown", False)
    s3.faults({"fault": "error_after", "operations": ["put_object"], "status": 500})
    assert (put("b"), exists("b")) == ("InternalError", True)
    lost = (botocore.exceptions.ConnectionClosedError, botocore.exceptions.HTTPClientError,
            botocore.exceptions.ResponseStreamingError)
    for fault, key, effect in (("reset", "c", False), ("reset_after", "d", True)):
        s3.faults({"fault": fault, "operations": ["put_object"]})
        with pytest.raises(lost):
            put(key)
        assert exists(key) is effect
    s3.faults({"fault": "late", "operations": ["put_object"], "delay_ms": 300})
    with pytest.raises(lost):
        put("e")
    assert not exists("e")
    threading.Event().wait(0.6)
    assert exists("e")
    s3.faults({"fault": "cut_body", "operations": ["get_object"]})
    with pytest.raises(lost):
        read(client, "k")
    s3.faults({"fault": "truncate_body", "operations": ["get_object"]})
    short = read(client, "k")
    assert len(short) < len(body) and body.startswith(short)
    s3.faults({"fault": "flip_bit", "operations": ["get_object"], "key": "k", "times": 1})
    spoiled = read(client, "k")
    assert sum((old ^ new).bit_count() for old, new in zip(body, spoiled, strict=True)) == 1
    assert read(client, "k") == body
    assert s3.counts() == [{"matched": 2, "fired": 1}]
    last = s3.requests()[-1]
    assert (last["operation"], last["key"], last["effect"], last["status"], last["sent_bytes"],
            last["fault"]) == ("get_object", "k", 200, 200, len(body), None)


def test_objects_outlive_a_kill(s3):
    client = s3.client()
    for number in range(20):
        client.put_object(Bucket=BUCKET, Key=f"k/{number}", Body=str(number))
    s3.kill()
    s3.start()
    assert [int(read(client, f"k/{number}")) for number in range(20)] == list(range(20))
    assert len(s3.requests()) == 40
