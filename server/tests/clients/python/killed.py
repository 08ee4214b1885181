"""librdkafka's idempotent producer while its broker is killed again and again: `killed.py CORELOG [SECONDS [SEED]]`.

The broker is the program's own, on a directory and a port of its own. Whatever the producer was told of is in the log where it was told, and
everything it sent is there once and in order."""

import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition

from checks import Checks, equal, expect

CORELOG = sys.argv[1]
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 8
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else time.time_ns()
TOPIC, PARTITIONS = "killed", 3


class Broker:
    """A broker process that is started again on the same directory and port."""

    def __init__(self, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        self.command = [CORELOG, "--data-dir", directory, "--listen", self.address, "--cores", "1"]
        for setting in ["num.partitions=%d" % PARTITIONS, "log.segment.bytes=1048576", "corelog.checkpoint.interval.ms=300"]:
            self.command += ["-o", setting]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        ready = self.process.stdout.readline()
        expect(ready.startswith("corelog ready"), "the broker does not start again:", ready)

    def end(self, killed):
        self.process.kill() if killed else self.process.terminate()
        self.process.wait()


def read(address, partition):
    """Offset and value of every record of a partition."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "killed", "enable.auto.commit": False})
    _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=20)
    consumer.assign([TopicPartition(TOPIC, partition, 0)])
    records = []
    while len(records) < end:
        some = consumer.consume(min(1000, end - len(records)), timeout=10)
        expect(some, "of", end, "records there came", len(records))
        records += [(record.offset(), int(record.value())) for record in some if not record.error()]
    consumer.close()
    return records


def produce_while_killed(dice, broker):
    producer = Producer({
        "bootstrap.servers": broker.address, "enable.idempotence": True, "linger.ms": 1, "batch.num.messages": 50,
        "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20, "queue.buffering.max.messages": 20000})
    sent, told, failed = [0] * PARTITIONS, [{} for _ in range(PARTITIONS)], []

    def delivered(error, record):
        if error:
            failed.append(str(error))
        else:
            told[record.partition()][record.offset()] = int(record.value())

    done = threading.Event()
    faults = []

    def kill_again_and_again():
        try:
            while not done.wait(dice.uniform(0.2, 1.2)):
                broker.end(killed=dice.random() < 0.8)
                broker.start()
        except Exception as error:
            faults.append(error)

    killer = threading.Thread(target=kill_again_and_again)
    killer.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(100):
            partition = dice.randrange(PARTITIONS)
            try:
                producer.produce(TOPIC, value=str(sent[partition]), partition=partition, on_delivery=delivered)
            except BufferError:
                producer.poll(0.05)
                break
            sent[partition] += 1
        producer.poll(0.005)
    done.set()
    killer.join()
    equal(faults, [], "the broker's restarts")
    equal((producer.flush(60), failed[:3]), (0, []), "records without an acknowledgement")
    for partition in range(PARTITIONS):
        records = read(broker.address, partition)
        expect(dict(records) == told[partition], "partition", partition, "has other records than were acknowledged")
        equal([value for _, value in records], list(range(sent[partition])), f"partition {partition}")
    expect(min(sent) > 0, "nothing was sent")


checks = Checks()
with tempfile.TemporaryDirectory() as directory:
    print(f"seed {SEED}", file=sys.stderr)
    broker = Broker(directory)
    try:
        checks.run("idempotent-killed", lambda: produce_while_killed(random.Random(SEED), broker))
    finally:
        broker.end(killed=True)
checks.end()
