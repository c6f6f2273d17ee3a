"""Log records as docs/internals/commit-log.md describes them, for tests that write their own."""

import json
import struct

import pyarrow

HEADER = struct.Struct("<4sHHIIQQQQI")
SIZE = 56


def _table():
    entries = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        entries.append(value)
    return entries


TABLE = _table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def records(store):
    """The paths of the log's records in order."""
    return sorted((store / "catalog/log").iterdir())


def read(path):
    """A record's header fields and its transactions."""
    data = path.read_bytes()
    header = HEADER.unpack(data[:SIZE - 4])
    assert header[0] == b"BSLG" and struct.unpack("<I", data[SIZE - 4:SIZE])[0] == crc32c(
        data[:SIZE - 4]), f"{path} is not as the document says"
    payload = pyarrow.Codec("zstd").decompress(data[SIZE:], decompressed_size=header[7])
    return header, json.loads(payload.to_pybytes())


def append(store, transactions):
    """Adds a record after the last, of the same epoch."""
    last = records(store)[-1]
    magic, version, flags, epoch, _, position, nonce, *_ = read(last)[0]
    previous = struct.unpack("<I", last.read_bytes()[SIZE - 4:SIZE])[0]
    payload = json.dumps(transactions, separators=(",", ":")).encode()
    packed = pyarrow.Codec("zstd").compress(payload, asbytes=True)
    header = HEADER.pack(magic, version, flags, epoch, previous, position + 1, nonce + 1,
                         len(payload), len(packed), crc32c(packed))
    path = store / "catalog/log" / f"{position + 1:020}"
    path.write_bytes(header + struct.pack("<I", crc32c(header)) + packed)
