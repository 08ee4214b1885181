"""kafka-python: `kafka_python.py HOST:PORT`."""

import sys

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetSpec, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from checks import ALL, BATCH, CODECS, Checks, check_records, equal, eventually, expect, group_checks, headers, key, partition, timestamp, value

ADDRESS = sys.argv[1]
RECORDS, GROUP = "kafka-python-records", "kafka-python-group"
admin = KafkaAdminClient(bootstrap_servers=ADDRESS)
checks = Checks()
produced = 0


def settings(**changes):
    if changes:
        resource = ConfigResource(ConfigResourceType.TOPIC, RECORDS, {name.replace("_", "."): text for name, text in changes.items()})
        equal(admin.alter_configs([resource], incremental=True), {"topic": {RECORDS: "OK"}}, "altering")
    return admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, RECORDS)], config_filter="all")["topic"][RECORDS]


def create_topic():
    topic = {RECORDS: {"num_partitions": 2, "replication_factor": 1, "configs": {"retention.ms": "86400000"}}}
    admin.create_topics(topic, wait_for_metadata=True)
    admin.create_topics({GROUP: {"num_partitions": 3, "replication_factor": 1}}, wait_for_metadata=True)
    try:
        admin.create_topics(topic)
    except TopicAlreadyExistsError:
        return
    raise AssertionError("a topic was created twice")


def describe_topic():
    expect(RECORDS in admin.list_topics(), "not in the list")
    [topic] = admin.describe_topics([RECORDS])
    equal(sorted(p["partition_index"] for p in topic["partitions"]), [0, 1], "partitions")
    expect(all(p["leader_id"] >= 0 for p in topic["partitions"]), "a partition has no leader")


def describe_configs():
    found = settings()
    equal(found["retention.ms"]["value"], "86400000", "retention.ms")
    equal(str(found["retention.ms"]["config_source"]).upper().replace("-", "_"), "DYNAMIC_TOPIC_CONFIG", "the source of retention.ms")
    equal(found["cleanup.policy"]["value"], "delete", "cleanup.policy")
    equal(str(found["cleanup.policy"]["config_source"]).upper().replace("-", "_"), "DEFAULT_CONFIG", "the source of cleanup.policy")


def alter_config():
    settings(retention_ms="172800000")
    settings(segment_bytes="10485760")

    def altered():
        found = settings()
        equal((found["retention.ms"]["value"], found["segment.bytes"]["value"]), ("172800000", "10485760"), "settings")
    eventually(altered)


def create_partitions():
    admin.create_partitions({RECORDS: 3})
    eventually(lambda: equal(len(admin.describe_topics([RECORDS])[0]["partitions"]), 3, "partitions"))


def produce_to(topic, first, count, **settings):
    producer = KafkaProducer(bootstrap_servers=ADDRESS, linger_ms=20, **settings)
    sent = [producer.send(topic, value(i), key(i), headers(i), partition(i), timestamp(i)) for i in range(first, first + count)]
    producer.flush(20)
    for future in sent:
        future.get(20)
    producer.close()


def produce(**settings):
    global produced
    produce_to(RECORDS, produced, BATCH, **settings)
    produced += BATCH


def consume():
    consumer = KafkaConsumer(bootstrap_servers=ADDRESS, consumer_timeout_ms=5000, auto_offset_reset="none", group_id=None)
    partitions = [TopicPartition(RECORDS, p) for p in ALL]
    consumer.assign(partitions)
    for p in partitions:
        consumer.seek(p, 0)
    found = []
    for r in consumer:
        found.append((r.partition, r.offset, r.key, r.value, [tuple(header) for header in r.headers], r.timestamp))
        if len(found) == produced:
            break
    consumer.close()
    check_records(found, produced)


def ask(p, spec):
    place = TopicPartition(RECORDS, p)
    return admin.list_partition_offsets({place: spec})[place].offset


def offsets():
    for p in ALL:
        equal(ask(p, OffsetSpec.EARLIEST), 0, "first offset")
        equal(ask(p, OffsetSpec.LATEST), len([i for i in range(produced) if partition(i) == p]), "end offset")
    equal(ask(1, timestamp(151)), 50, "offset of record 151 by its time")
    equal(ask(1, timestamp(10**9)), -1, "offset by a time to come")


def delete_records():
    admin.delete_records({TopicPartition(RECORDS, 0): 10})
    equal(ask(0, OffsetSpec.EARLIEST), 10, "first offset")


def delete_topic():
    admin.delete_topics([RECORDS, GROUP])
    eventually(lambda: expect(not {RECORDS, GROUP} & set(admin.list_topics()), "still in the list"))


class NotDeleted(Exception):
    pass


class Group:
    """The group checks through this library."""

    group = topic = GROUP

    def open(self):
        consumer = KafkaConsumer(bootstrap_servers=ADDRESS, group_id=self.group, auto_offset_reset="earliest",
                                 heartbeat_interval_ms=500, session_timeout_ms=10000)
        consumer.subscribe([self.topic])
        return consumer

    def poll(self, consumer):
        return [(p.partition, r.value) for p, records in consumer.poll(100).items() for r in records]

    def assigned(self, consumer):
        return [p.partition for p in consumer.assignment()]

    def close(self, consumer):
        consumer.commit()
        consumer.close()

    def produce(self, first, count):
        produce_to(self.topic, first, count)

    def committed(self):
        return {p.partition: o.offset for p, o in admin.list_group_offsets(self.group)[self.group].items()}

    def groups(self):
        return [group["group_id"] for group in admin.list_groups()]

    def describe(self):
        group = admin.describe_groups([self.group])[self.group]
        return group["group_state"].lower(), len(group["members"])

    def delete(self):
        outcome = admin.delete_groups([self.group])[self.group]
        if outcome != "OK":
            raise NotDeleted(outcome)

    def not_empty(self, error):
        return isinstance(error, NotDeleted) and error.args[0] == "NonEmptyGroupError"


checks.run("create-topic", create_topic)
checks.run("describe-topic", describe_topic)
checks.run("describe-configs", describe_configs)
checks.run("alter-config", alter_config)
checks.run("create-partitions", create_partitions)
for codec in CODECS:
    checks.run(f"produce-{codec}", lambda: produce(compression_type=None if codec == "none" else codec, acks="all"))
checks.run("produce-acks-1", lambda: produce(acks=1, enable_idempotence=False))
checks.run("produce-acks-0", lambda: produce(acks=0, enable_idempotence=False))
checks.run("produce-idempotent", lambda: produce(enable_idempotence=True))
checks.run("consume", consume)
checks.run("offsets", offsets)
checks.run("delete-records", delete_records)
group_checks(checks, "", Group())
checks.run("delete-topic", delete_topic)
checks.end()
