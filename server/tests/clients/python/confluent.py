"""librdkafka, through confluent-kafka for Python: `confluent.py HOST:PORT`."""

import itertools
import sys

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourceType)
from confluent_kafka import TopicCollection

from checks import (ALL, BATCH, CODECS, Checks, check_records, equal, eventually, expect, group_checks, headers, key, partition, timestamp, value)

ADDRESS = sys.argv[1]
RECORDS = "librdkafka-records"
GROUPS = GROUP, COOPERATIVE, KIP848, MIXED = "librdkafka-group", "librdkafka-cooperative", "librdkafka-kip848", "librdkafka-mixed"
admin = AdminClient({"bootstrap.servers": ADDRESS})
checks = Checks()
produced = 0


def result(futures):
    return [future.result(20) for future in futures.values()]


def resource(**settings):
    return ConfigResource(ResourceType.TOPIC, RECORDS, **settings)


def create_topic():
    topic = NewTopic(RECORDS, 2, 1, config={"retention.ms": "86400000"})
    result(admin.create_topics([topic]))
    result(admin.create_topics([NewTopic(group, 3, 1) for group in GROUPS]))
    try:
        result(admin.create_topics([topic]))
    except KafkaException as error:
        equal(error.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS, "creating it again")
    else:
        raise AssertionError("a topic was created twice")


def describe_topic():
    expect(RECORDS in admin.list_topics(timeout=10).topics, "not in the list")
    [topic] = result(admin.describe_topics(TopicCollection([RECORDS])))
    equal([p.id for p in topic.partitions], [0, 1], "partitions")
    expect(all(p.leader is not None for p in topic.partitions), "a partition has no leader")


def describe_configs():
    [configs] = result(admin.describe_configs([resource()]))
    equal(configs["retention.ms"].value, "86400000", "retention.ms")
    equal(configs["retention.ms"].source, ConfigSource.DYNAMIC_TOPIC_CONFIG.value, "the source of retention.ms")
    equal(configs["cleanup.policy"].value, "delete", "cleanup.policy")
    expect(configs["cleanup.policy"].is_default, "cleanup.policy is not a default")


def alter_config():
    for name, text in [("retention.ms", "172800000"), ("segment.bytes", "10485760")]:
        entry = ConfigEntry(name, text, incremental_operation=AlterConfigOpType.SET)
        result(admin.incremental_alter_configs([resource(incremental_configs=[entry])]))

    def altered():
        [configs] = result(admin.describe_configs([resource()]))
        equal((configs["retention.ms"].value, configs["segment.bytes"].value), ("172800000", "10485760"), "settings")
    eventually(altered)


def create_partitions():
    result(admin.create_partitions([NewPartitions(RECORDS, 3)]))
    eventually(lambda: equal(len(admin.list_topics(RECORDS, timeout=10).topics[RECORDS].partitions), 3, "partitions"))


def produce_to(topic, first, count, settings):
    producer = Producer({"bootstrap.servers": ADDRESS, "linger.ms": 20, **settings})
    errors = []
    for i in range(first, first + count):
        producer.produce(topic, value(i), key(i), partition(i), timestamp=timestamp(i), headers=headers(i),
                         on_delivery=lambda error, _: error and errors.append(error))
    equal(producer.flush(20), 0, "records still waiting")
    equal(errors, [], "errors")


def produce(**settings):
    global produced
    produce_to(RECORDS, produced, BATCH, {name.replace("_", "."): setting for name, setting in settings.items()})
    produced += BATCH


def consume():
    consumer = Consumer({"bootstrap.servers": ADDRESS, "group.id": "librdkafka-unused", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "check.crcs": True, "enable.partition.eof": True})
    consumer.assign([TopicPartition(RECORDS, p, 0) for p in ALL])
    found, ended = [], set()
    while ended != ALL:
        message = consumer.poll(20)
        expect(message is not None, "no record came within 20 s")
        if message.error():
            equal(message.error().code(), KafkaError._PARTITION_EOF, "error")
            ended.add(message.partition())
        else:
            found.append((message.partition(), message.offset(), message.key(), message.value(), message.headers(), message.timestamp()[1]))
    consumer.close()
    check_records(found, produced)


def offsets():
    def ask(spec, p):
        [answer] = result(admin.list_offsets({TopicPartition(RECORDS, p): spec}))
        return answer.offset
    for p in ALL:
        equal(ask(OffsetSpec.earliest(), p), 0, "first offset")
        equal(ask(OffsetSpec.latest(), p), len([i for i in range(produced) if partition(i) == p]), "end offset")
    equal(ask(OffsetSpec.for_timestamp(timestamp(151)), 1), 50, "offset of record 151 by its time")
    equal(ask(OffsetSpec.for_timestamp(timestamp(10**9)), 1), -1, "offset by a time to come")


def delete_records():
    result(admin.delete_records([TopicPartition(RECORDS, 0, 10)]))
    [answer] = result(admin.list_offsets({TopicPartition(RECORDS, 0): OffsetSpec.earliest()}))
    equal(answer.offset, 10, "first offset")


def delete_topic():
    result(admin.delete_topics([RECORDS, *GROUPS]))
    eventually(lambda: expect(not {RECORDS, *GROUPS} & set(admin.list_topics(timeout=10).topics), "still in the list"))


class Group:
    """The group checks through this library. Its members have the settings given in turn."""

    def __init__(self, name, *settings, subscription=None):
        self.group, self.topic, self.subscription = name, name, subscription or name
        self.settings = itertools.cycle(settings)

    def open(self):
        consumer = Consumer({"bootstrap.servers": ADDRESS, "group.id": self.group, "auto.offset.reset": "earliest", **next(self.settings)})
        consumer.subscribe([self.subscription])
        return consumer

    def poll(self, consumer):
        message = consumer.poll(0.1)
        if message is None:
            return []
        if message.error():
            raise KafkaException(message.error())
        return [(message.partition(), message.value())]

    def assigned(self, consumer):
        return [p.partition for p in consumer.assignment()]

    def close(self, consumer):
        if consumer.assignment():
            consumer.commit(offsets=consumer.position(consumer.assignment()), asynchronous=False)
        consumer.close()

    def produce(self, first, count):
        produce_to(self.topic, first, count, {})

    def committed(self):
        [answer] = result(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self.group)]))
        return {p.partition: p.offset for p in answer.topic_partitions}

    def groups(self):
        return [group.group_id for group in admin.list_consumer_groups().result(20).valid]

    def describe(self):
        [group] = result(admin.describe_consumer_groups([self.group]))
        return group.state.name.lower(), len(group.members)

    def delete(self):
        result(admin.delete_consumer_groups([self.group]))

    def not_empty(self, error):
        return error.args[0].code() == KafkaError.NON_EMPTY_GROUP


checks.run("create-topic", create_topic)
checks.run("describe-topic", lambda: eventually(describe_topic))
checks.run("describe-configs", describe_configs)
checks.run("alter-config", alter_config)
checks.run("create-partitions", create_partitions)
for codec in CODECS:
    checks.run(f"produce-{codec}", lambda: produce(compression_type=codec))
checks.run("produce-acks-1", lambda: produce(acks="1"))
checks.run("produce-acks-0", lambda: produce(acks="0"))
checks.run("produce-idempotent", lambda: produce(enable_idempotence="true"))
checks.run("consume", consume)
checks.run("offsets", offsets)
checks.run("delete-records", delete_records)
EAGER = {"heartbeat.interval.ms": 500, "session.timeout.ms": 10000}
LAZY = {"partition.assignment.strategy": "cooperative-sticky", **EAGER}
NEXT = {"group.protocol": "consumer"}
group_checks(checks, "", Group(GROUP, EAGER))
group_checks(checks, "cooperative-", Group(COOPERATIVE, LAZY))
# By a regular expression, which the broker resolves in this protocol.
group_checks(checks, "kip848-", Group(KIP848, NEXT, subscription=f"^{KIP848[:-1]}.$"))
# A member of each protocol in one group: what it is while it is moved from one to the other.
group_checks(checks, "migrating-", Group(MIXED, LAZY, NEXT))
checks.run("delete-topic", delete_topic)
checks.end()
