#!/usr/bin/env python3
"""Records what clients send to a broker, and chooses the seeds of the fuzz targets from it.

  capture.py listen BROKER_HOST:PORT PORT DIR   a proxy at 127.0.0.1:PORT; each new kind of frame becomes a file in DIR
  capture.py select DIR... [HEX_FILE...]        writes corpus/ beside this file, from DIRs and files with a frame a line

A frame is stored without its length. A broker behind the proxy has to advertise the proxy's address: see capture.sh.
"""
import asyncio
import hashlib
import pathlib
import re
import struct
import sys

FRAME_BYTES_MAX = 8 << 10
BATCH_BYTES_MAX = 4 << 10
HEADER_BYTES = 61
PRODUCE = 0

CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def facts(frame):
    """Key, version, and the client's name without what differs from run to run."""
    key, version, _, length = struct.unpack(">hhih", frame[:10])
    return key, version, re.sub(rb"[^a-z]+", b"-", frame[10 : 10 + max(length, 0)].lower())


def name(frame):
    key, version, _ = facts(frame)
    return f"{key:02}-v{version:02}-{hashlib.sha1(frame).hexdigest()[:8]}"


async def proxy(broker, port, directory):
    host, broker_port = broker.rsplit(":", 1)
    directory.mkdir(parents=True, exist_ok=True)
    seen = {}

    def keep(frame):
        kind = (*facts(frame), len(frame).bit_length())
        if len(frame) <= FRAME_BYTES_MAX and seen.get(kind, 0) < 4:
            seen[kind] = seen.get(kind, 0) + 1
            (directory / name(frame)).write_bytes(frame)

    async def requests(reader, writer):
        while True:
            prefix = await reader.readexactly(4)
            frame = await reader.readexactly(int.from_bytes(prefix, "big"))
            keep(frame)
            writer.write(prefix + frame)
            await writer.drain()

    async def answers(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def serve(reader, writer):
        back_reader, back_writer = await asyncio.open_connection(host, int(broker_port))
        ways = [requests(reader, back_writer), answers(back_reader, writer)]
        done, pending = await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        for way in pending:
            way.cancel()
        await asyncio.gather(*done, *pending, return_exceptions=True)
        writer.close()
        back_writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    print(f"recording at 127.0.0.1:{port}", flush=True)
    await server.serve_forever()


def batches(frame):
    """The record batches in a Produce, found by what every batch has, whatever the version around them."""
    for found in re.finditer(rb"(?=\0{8}(.{4})(?:\xff{4}|\0{4})\x02(.{4}))", frame, re.S):
        start, end = found.start(), found.start() + 12 + int.from_bytes(found[1], "big")
        if start + HEADER_BYTES <= end <= len(frame):
            if crc32c(frame[start + 21 : end]) == int.from_bytes(found[2], "big"):
                yield frame[start:end]


def smallest(kinds, kind, data, count):
    """Of each kind the `count` smallest."""
    kinds.setdefault(kind, set()).add(data)
    kinds[kind] = set(sorted(kinds[kind], key=lambda data: (len(data), data))[:count])


def select(sources):
    frames = []
    for source in map(pathlib.Path, sources):
        if source.is_dir():
            frames += [path.read_bytes() for path in sorted(source.iterdir())]
        else:
            frames += [bytes.fromhex(line) for line in source.read_text().splitlines() if not line.startswith("#")]
    requests, records = {}, {}
    for frame in frames:
        key, version, client = facts(frame)
        if len(frame) <= BATCH_BYTES_MAX:
            smallest(requests, (key, version, client if key != PRODUCE else b"", len(frame).bit_length() // 2), frame, 1)
        if key == PRODUCE:
            for batch in batches(frame):
                if len(batch) <= BATCH_BYTES_MAX:
                    attributes, producer = batch[22], batch[43:51] != b"\xff" * 8
                    smallest(records, (client, attributes, producer, len(batch).bit_length() // 3), batch, 1)
    corpus = pathlib.Path(__file__).parent / "corpus"
    write(corpus / "requests", requests, name)
    write(corpus / "batches", records, lambda batch: f"codec-{batch[22] & 7}-{hashlib.sha1(batch).hexdigest()[:8]}")


def write(directory, kinds, name):
    directory.mkdir(parents=True, exist_ok=True)
    kept = {data for kind in kinds.values() for data in kind}
    for data in kept:
        (directory / name(data)).write_bytes(data)
    print(f"{directory}: {len(kept)} of {len(kinds)} kinds, {sum(map(len, kept))} bytes")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["listen", broker, port, directory]:
            asyncio.run(proxy(broker, int(port), pathlib.Path(directory)))
        case ["select", *sources] if sources:
            select(sources)
        case _:
            sys.exit(__doc__)
