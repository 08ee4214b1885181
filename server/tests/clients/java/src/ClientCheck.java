import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client, of the version on the class path: {@code ClientCheck NAME HOST:PORT [kip848]}. */
public class ClientCheck {
    static final int BATCH = 100;
    static final Set<Integer> ALL = Set.of(0, 1, 2);
    static final long BASE = System.currentTimeMillis() - 3_600_000;

    static String address;
    static Admin admin;
    static String records;
    static int produced;
    static int failed;

    interface Check {
        void run() throws Exception;
    }

    static void check(String name, Check check) {
        long began = System.nanoTime();
        try {
            check.run();
            System.out.printf("PASS %s (%.1f s)%n", name, (System.nanoTime() - began) / 1e9);
        } catch (Throwable error) {
            failed++;
            System.out.println("FAIL " + name + ": " + error.toString().replace('\n', ' '));
            error.printStackTrace();
        }
    }

    static void expect(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object found, Object wanted, String what) {
        expect(found.equals(wanted), what + ": " + found + ", not " + wanted);
    }

    static void waitFor(String what, int seconds, BooleanSupplier condition) throws InterruptedException {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.getAsBoolean()) {
            expect(System.nanoTime() < end, "not within " + seconds + " s: " + what);
            Thread.sleep(20);
        }
    }

    /** The check, again for some seconds where it fails: what a controller decided, a broker learns later. */
    static void eventually(Check check) throws Exception {
        for (long end = System.nanoTime() + 10_000_000_000L; ; Thread.sleep(100)) {
            try {
                check.run();
                return;
            } catch (Exception | AssertionError error) {
                if (System.nanoTime() > end) {
                    throw error;
                }
            }
        }
    }

    static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(20, TimeUnit.SECONDS);
    }

    /** The error with which a call is refused. */
    static Throwable refusal(KafkaFuture<?> future) throws Exception {
        try {
            get(future);
        } catch (ExecutionException error) {
            return error.getCause();
        }
        throw new AssertionError("it was not refused");
    }

    static byte[] key(int i) {
        return ("key-" + i % 17).getBytes(StandardCharsets.UTF_8);
    }

    static byte[] value(int i) {
        return ("value-" + i + ".".repeat(100)).getBytes(StandardCharsets.UTF_8);
    }

    static int index(byte[] value) {
        String text = new String(value, StandardCharsets.UTF_8);
        return Integer.parseInt(text.substring(text.indexOf('-') + 1, text.indexOf('.')));
    }

    static ConfigResource resource() {
        return new ConfigResource(ConfigResource.Type.TOPIC, records);
    }

    static Config config() throws Exception {
        return get(admin.describeConfigs(List.of(resource())).all()).get(resource());
    }

    static void createTopic() throws Exception {
        List<NewTopic> topic = List.of(new NewTopic(records, 2, (short) 1).configs(Map.of("retention.ms", "86400000")));
        get(admin.createTopics(topic).all());
        Throwable error = refusal(admin.createTopics(topic).all());
        expect(error instanceof TopicExistsException, "creating it again: " + error);
    }

    static TopicDescription described() throws Exception {
        return get(admin.describeTopics(List.of(records)).allTopicNames()).get(records);
    }

    static void describeTopic() throws Exception {
        expect(get(admin.listTopics().names()).contains(records), "not in the list");
        equal(described().partitions().stream().map(p -> p.partition()).toList(), List.of(0, 1), "partitions");
        expect(described().partitions().stream().allMatch(p -> p.leader() != null), "a partition has no leader");
    }

    static void describeConfigs() throws Exception {
        equal(config().get("retention.ms").value(), "86400000", "retention.ms");
        equal(config().get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "its source");
        equal(config().get("cleanup.policy").value(), "delete", "cleanup.policy");
        expect(config().get("cleanup.policy").isDefault(), "cleanup.policy is not a default");
    }

    static void alterConfig() throws Exception {
        for (ConfigEntry entry : List.of(new ConfigEntry("retention.ms", "172800000"), new ConfigEntry("segment.bytes", "10485760"))) {
            get(admin.incrementalAlterConfigs(Map.of(resource(), List.of(new AlterConfigOp(entry, AlterConfigOp.OpType.SET)))).all());
        }
        eventually(() -> equal(config().get("retention.ms").value(), "172800000", "retention.ms"));
        eventually(() -> equal(config().get("segment.bytes").value(), "10485760", "segment.bytes"));
    }

    static void createPartitions() throws Exception {
        get(admin.createPartitions(Map.of(records, NewPartitions.increaseTo(3))).all());
        eventually(() -> equal(described().partitions().size(), 3, "partitions"));
    }

    static void produceTo(String topic, int first, int count, String... settings) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", address);
        properties.put("linger.ms", "20");
        for (int i = 0; i < settings.length; i += 2) {
            properties.put(settings[i], settings[i + 1]);
        }
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = first; i < first + count; i++) {
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, i % 3, BASE + i, key(i), value(i));
                record.headers().add("index", Integer.toString(i).getBytes(StandardCharsets.UTF_8)).add("empty", new byte[0]);
                sent.add(producer.send(record));
            }
            producer.flush();
            for (Future<RecordMetadata> future : sent) {
                future.get(20, TimeUnit.SECONDS);
            }
        }
    }

    static void produce(String... settings) throws Exception {
        produceTo(records, produced, BATCH, settings);
        produced += BATCH;
    }

    static KafkaConsumer<byte[], byte[]> consumer(String... settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", address);
        for (int i = 0; i < settings.length; i += 2) {
            properties.put(settings[i], settings[i + 1]);
        }
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static int recordsOf(int partition) {
        return (int) IntStream.range(0, produced).filter(i -> i % 3 == partition).count();
    }

    static void consume() {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("auto.offset.reset", "none", "enable.auto.commit", "false")) {
            consumer.assign(ALL.stream().map(p -> new TopicPartition(records, p)).toList());
            ALL.forEach(p -> consumer.seek(new TopicPartition(records, p), 0));
            int[] next = new int[3];
            long end = System.nanoTime() + 20_000_000_000L;
            for (int found = 0; found < produced; ) {
                expect(System.nanoTime() < end, found + " records came within 20 s, not " + produced);
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    int i = next[r.partition()] * 3 + r.partition();
                    equal(r.offset(), (long) next[r.partition()]++, "offset of record " + i);
                    expect(Arrays.equals(r.key(), key(i)) && Arrays.equals(r.value(), value(i)), "record " + i + " differs");
                    equal(r.timestamp(), BASE + i, "timestamp of record " + i);
                    Header[] headers = r.headers().toArray();
                    expect(headers.length == 2 && headers[0].key().equals("index") && headers[1].key().equals("empty")
                            && new String(headers[0].value(), StandardCharsets.UTF_8).equals(Integer.toString(i))
                            && headers[1].value().length == 0, "headers of record " + i);
                    found++;
                }
            }
            expect(consumer.poll(Duration.ofMillis(300)).isEmpty(), "a record too many");
        }
    }

    static long ask(int partition, OffsetSpec spec) throws Exception {
        TopicPartition place = new TopicPartition(records, partition);
        return get(admin.listOffsets(Map.of(place, spec)).all()).get(place).offset();
    }

    static void offsets() throws Exception {
        for (int p : ALL) {
            equal(ask(p, OffsetSpec.earliest()), 0L, "first offset");
            equal(ask(p, OffsetSpec.latest()), (long) recordsOf(p), "end offset");
        }
        equal(ask(1, OffsetSpec.forTimestamp(BASE + 151)), 50L, "offset of record 151 by its time");
        equal(ask(1, OffsetSpec.forTimestamp(BASE + 1_000_000_000)), -1L, "offset by a time to come");
        equal(ask(1, OffsetSpec.maxTimestamp()), (long) recordsOf(1) - 1, "offset of the largest time");
    }

    static void deleteRecords() throws Exception {
        get(admin.deleteRecords(Map.of(new TopicPartition(records, 0), RecordsToDelete.beforeOffset(10))).all());
        equal(ask(0, OffsetSpec.earliest()), 10L, "first offset");
    }

    /** One member of a group, on a thread of its own. */
    static class Member extends Thread {
        final String group;
        final String[] settings;
        final Set<Integer> seen = new ConcurrentSkipListSet<>();
        volatile int count;
        volatile Set<Integer> partitions = Set.of();
        volatile boolean stopping;
        volatile Throwable error;

        Member(String group, String... settings) {
            this.group = group;
            this.settings = settings;
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(settings)) {
                consumer.subscribe(List.of(group));
                while (!stopping) {
                    for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(100))) {
                        count++;
                        seen.add(index(r.value()));
                    }
                    partitions = consumer.assignment().stream().map(TopicPartition::partition).collect(Collectors.toSet());
                }
                consumer.commitSync();
            } catch (Throwable error) {
                this.error = error;
            }
        }

        void end() throws Exception {
            stopping = true;
            join(20_000);
            expect(!isAlive(), "a member did not end within 20 s");
            if (error != null) {
                throw new Exception(error);
            }
        }
    }

    static Set<Integer> range(int from, int to) {
        return IntStream.range(from, to).boxed().collect(Collectors.toCollection(TreeSet::new));
    }

    static void waitSeen(List<Member> members, int count) throws Exception {
        Set<Integer> seen = new TreeSet<>();
        waitFor(count + " records seen", 30, () -> {
            members.forEach(member -> seen.addAll(member.seen));
            return seen.size() >= count || members.stream().anyMatch(member -> member.error != null);
        });
        for (Member member : members) {
            if (member.error != null) {
                throw new Exception(member.error);
            }
        }
        equal(seen, range(0, count), "records seen");
    }

    static boolean listed(String group) throws Exception {
        @SuppressWarnings({"deprecation", "removal"}) // Its successor is not in 3.9.
        boolean found = get(admin.listConsumerGroups().all()).stream().anyMatch(listing -> listing.groupId().equals(group));
        return found;
    }

    static void groups(String prefix, String group, String... protocol) throws Exception {
        get(admin.createTopics(List.of(new NewTopic(group, 3, (short) 1))).all());
        List<String> all = new ArrayList<>(List.of("group.id", group, "auto.offset.reset", "earliest"));
        all.addAll(List.of(protocol));
        String[] settings = all.toArray(String[]::new);
        List<Member> members = new ArrayList<>();
        check(prefix + "group-join", () -> {
            produceTo(group, 0, 150);
            members.add(new Member(group, settings));
            waitFor("all partitions to the only member", 30, () -> members.get(0).error != null || members.get(0).partitions.equals(ALL));
            waitSeen(members, 150);
        });
        check(prefix + "group-rebalance", () -> {
            members.add(new Member(group, settings));
            Member a = members.get(0), b = members.get(1);
            waitFor("both have partitions", 40, () -> {
                Collection<Integer> both = new TreeSet<>(a.partitions);
                both.addAll(b.partitions);
                int sum = a.partitions.size() + b.partitions.size();
                return !a.partitions.isEmpty() && !b.partitions.isEmpty() && both.size() == 3 && sum == 3;
            });
            produceTo(group, 150, 150);
            waitSeen(members, 300);
        });
        check(prefix + "list-groups", () -> expect(listed(group), "the group is not in the list"));
        check(prefix + "describe-group", () -> {
            ConsumerGroupDescription found = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
            @SuppressWarnings({"deprecation", "removal"}) // Its successor is not in 3.9.
            String state = found.state().toString();
            equal(state + " " + found.members().size(), "Stable 2", "state and members");
        });
        check(prefix + "group-leave", () -> {
            members.get(1).end();
            waitFor("all partitions to the one that is left", 40, () -> members.get(0).partitions.equals(ALL));
            produceTo(group, 300, 150);
            waitSeen(members, 450);
        });
        check(prefix + "commit", () -> {
            members.get(0).end();
            Map<Integer, Long> found = new TreeMap<>();
            get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata())
                    .forEach((place, offset) -> found.put(place.partition(), offset.offset()));
            equal(found, new TreeMap<>(Map.of(0, 150L, 1, 150L, 2, 150L)), "committed offsets");
        });
        check(prefix + "resume", () -> {
            produceTo(group, 450, 50);
            Member member = new Member(group, settings);
            try {
                waitFor("50 records", 30, () -> member.error != null || member.count >= 50);
                equal(member.seen, range(450, 500), "records after the commit");
                Throwable error = refusal(admin.deleteConsumerGroups(List.of(group)).all());
                expect(error instanceof GroupNotEmptyException, "deleting a group with a member: " + error);
            } finally {
                member.end();
            }
        });
        check(prefix + "delete-group", () -> {
            get(admin.deleteConsumerGroups(List.of(group)).all());
            expect(!listed(group), "the group is still in the list");
        });
    }

    public static void main(String[] words) throws Exception {
        String name = words[0];
        address = words[1];
        boolean kip848 = words.length > 2 && words[2].equals("kip848");
        records = name + "-records";
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", address));
        admin = Admin.create(settings);
        check("create-topic", ClientCheck::createTopic);
        check("describe-topic", () -> eventually(ClientCheck::describeTopic));
        check("describe-configs", ClientCheck::describeConfigs);
        check("alter-config", ClientCheck::alterConfig);
        check("create-partitions", ClientCheck::createPartitions);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            check("produce-" + codec, () -> produce("compression.type", codec, "enable.idempotence", "false", "acks", "all"));
        }
        check("produce-acks-1", () -> produce("acks", "1", "enable.idempotence", "false"));
        check("produce-acks-0", () -> produce("acks", "0", "enable.idempotence", "false"));
        check("produce-idempotent", () -> produce());
        check("consume", ClientCheck::consume);
        check("offsets", ClientCheck::offsets);
        check("delete-records", ClientCheck::deleteRecords);
        groups("", name + "-group", "heartbeat.interval.ms", "500", "session.timeout.ms", "10000");
        List<String> topics = new ArrayList<>(List.of(records, name + "-group"));
        if (kip848) {
            groups("kip848-", name + "-kip848", "group.protocol", "consumer");
            topics.add(name + "-kip848");
        }
        check("delete-topic", () -> {
            get(admin.deleteTopics(topics).all());
            eventually(() -> expect(get(admin.listTopics().names()).stream().noneMatch(topics::contains), "still in the list"));
        });
        admin.close(Duration.ofSeconds(5));
        System.exit(failed == 0 ? 0 : 1);
    }
}
