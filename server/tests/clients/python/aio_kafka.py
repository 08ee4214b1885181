"""aiokafka: `aio_kafka.py HOST:PORT`."""

import asyncio
import sys
import threading

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError

from checks import ALL, BATCH, CODECS, Checks, check_records, equal, eventually, expect, group_checks, headers, key, partition, timestamp, value

ADDRESS = sys.argv[1]
RECORDS, GROUP = "aiokafka-records", "aiokafka-group"
checks = Checks()
produced = 0

# The checks are ordinary functions; what they call runs on this loop.
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def run(coroutine, seconds=20):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(seconds)


async def started(client):
    await client.start()
    return client


async def new(kind, *words, **settings):
    return await started(kind(*words, bootstrap_servers=ADDRESS, **settings))


admin = run(new(AIOKafkaAdminClient))


def no_error(response):
    for topic in response.topic_errors:
        equal(topic[1], 0, f"error of {topic[0]}")


def create_topic():
    topic = NewTopic(RECORDS, 2, 1, topic_configs={"retention.ms": "86400000"})
    no_error(run(admin.create_topics([topic, NewTopic(GROUP, 3, 1)])))
    try:
        response = run(admin.create_topics([topic]))
    except TopicAlreadyExistsError:
        return
    equal(response.topic_errors[0][1], TopicAlreadyExistsError.errno, "creating it again")


def partitions_of(topic):
    [found] = run(admin.describe_topics([topic]))
    return found["partitions"]


def describe_topic():
    expect(RECORDS in run(admin.list_topics()), "not in the list")
    equal(sorted(p["partition"] for p in partitions_of(RECORDS)), [0, 1], "partitions")
    expect(all(p["leader"] >= 0 for p in partitions_of(RECORDS)), "a partition has no leader")


def settings():
    [response] = run(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, RECORDS)]))
    [resource] = response.resources
    equal(resource[0], 0, "error")
    # name, value, read only, source (5 is the default, 1 is the topic's own), ...
    return {entry[0]: entry for entry in resource[4]}


def describe_configs():
    found = settings()
    equal(found["retention.ms"][1], "86400000", "retention.ms")
    equal(found["retention.ms"][3], 1, "the source of retention.ms")
    equal(found["cleanup.policy"][1], "delete", "cleanup.policy")
    equal(found["cleanup.policy"][3], 5, "the source of cleanup.policy")


def alter_config():
    # This library has only the call that replaces them all.
    changes = {"retention.ms": "172800000", "segment.bytes": "10485760"}
    [response] = run(admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, RECORDS, changes)]))
    equal(response.resources[0][0], 0, "error")

    def altered():
        found = settings()
        equal((found["retention.ms"][1], found["segment.bytes"][1]), ("172800000", "10485760"), "settings")
    eventually(altered)


def create_partitions():
    no_error(run(admin.create_partitions({RECORDS: NewPartitions(3)})))
    eventually(lambda: equal(len(partitions_of(RECORDS)), 3, "partitions"))


async def produce_async(topic, first, count, settings):
    producer = await new(AIOKafkaProducer, linger_ms=20, **settings)
    sent = [await producer.send(topic, value(i), key(i), partition(i), timestamp(i), headers(i)) for i in range(first, first + count)]
    await producer.flush()
    for future in sent:
        await future
    await producer.stop()


def produce_to(topic, first, count, **settings):
    run(produce_async(topic, first, count, settings))


def produce(**settings):
    global produced
    produce_to(RECORDS, produced, BATCH, **settings)
    produced += BATCH


async def consume_async():
    consumer = await new(AIOKafkaConsumer, auto_offset_reset="none")
    partitions = [TopicPartition(RECORDS, p) for p in ALL]
    consumer.assign(partitions)
    for p in partitions:
        consumer.seek(p, 0)
    found = []
    while len(found) < produced:
        r = await asyncio.wait_for(consumer.getone(), 10)
        found.append((r.partition, r.offset, r.key, r.value, list(r.headers), r.timestamp))
    await consumer.stop()
    return found


def consume():
    check_records(run(consume_async()), produced)


async def offsets_async():
    consumer = await new(AIOKafkaConsumer)
    partitions = [TopicPartition(RECORDS, p) for p in ALL]
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    by_time = await consumer.offsets_for_times({partitions[1]: timestamp(151)})
    to_come = await consumer.offsets_for_times({partitions[1]: timestamp(10**9)})
    await consumer.stop()
    return [first[p] for p in partitions], [end[p] for p in partitions], by_time[partitions[1]].offset, to_come[partitions[1]]


def offsets():
    first, end, by_time, to_come = run(offsets_async())
    equal(first, [0, 0, 0], "first offsets")
    equal(end, [len([i for i in range(produced) if partition(i) == p]) for p in sorted(ALL)], "end offsets")
    equal(by_time, 50, "offset of record 151 by its time")
    equal(to_come, None, "offset by a time to come")


def delete_records():
    place = TopicPartition(RECORDS, 0)
    equal(run(admin.delete_records({place: RecordsToDelete(10)})), {place: 10}, "first offset")


def delete_topic():
    run(admin.delete_topics([RECORDS, GROUP]))
    eventually(lambda: expect(not {RECORDS, GROUP} & set(run(admin.list_topics())), "still in the list"))


class Group:
    """The group checks through this library."""

    group = topic = GROUP

    def open(self):
        return run(new(AIOKafkaConsumer, self.topic, group_id=self.group, auto_offset_reset="earliest", heartbeat_interval_ms=500,
                       session_timeout_ms=10000), 60)

    def poll(self, consumer):
        return [(p.partition, r.value) for p, records in run(consumer.getmany(timeout_ms=100)).items() for r in records]

    def assigned(self, consumer):
        return [p.partition for p in consumer.assignment()]

    def close(self, consumer):
        run(consumer.commit())
        run(consumer.stop())

    def produce(self, first, count):
        produce_to(self.topic, first, count)

    def committed(self):
        return {p.partition: o.offset for p, o in run(admin.list_consumer_group_offsets(self.group)).items()}

    def groups(self):
        return [group[0] for group in run(admin.list_consumer_groups())]

    def describe(self):
        [response] = run(admin.describe_consumer_groups([self.group]))
        [group] = response.groups
        return group[2].lower(), len(group[5])


checks.run("create-topic", create_topic)
checks.run("describe-topic", lambda: eventually(describe_topic))
checks.run("describe-configs", describe_configs)
checks.run("alter-config", alter_config)
checks.run("create-partitions", create_partitions)
for codec in CODECS:
    checks.run(f"produce-{codec}", lambda: produce(compression_type=None if codec == "none" else codec, acks="all"))
checks.run("produce-acks-1", lambda: produce(acks=1))
checks.run("produce-acks-0", lambda: produce(acks=0))
checks.run("produce-idempotent", lambda: produce(enable_idempotence=True))
checks.run("consume", consume)
checks.run("offsets", offsets)
checks.run("delete-records", delete_records)
group_checks(checks, "", Group())
checks.run("delete-topic", delete_topic)
checks.end()
