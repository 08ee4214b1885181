import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Kafka Streams' word count, at least once, over two partitions: {@code WordCount HOST:PORT}. It counts, is ended, loses its
 * local state, restores it from the changelog, and counts on.
 */
public class WordCount {
    static final List<String> WORDS = List.of("append", "batch", "commit", "durable", "epoch", "fetch", "group");
    static final Map<String, Long> expected = new TreeMap<>();
    static String address;

    static KafkaStreams start(Path state) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream("streams-lines")
                .flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word)
                .count(Materialized.as("counts"))
                .toStream()
                .to("streams-counts", Produced.with(Serdes.String(), Serdes.Long()));
        Properties settings = new Properties();
        // Streams does not leave its group when it is closed: its successor waits for the session to end.
        settings.putAll(Map.of("session.timeout.ms", "6000", "heartbeat.interval.ms", "500"));
        settings.putAll(Map.of(StreamsConfig.APPLICATION_ID_CONFIG, "streams-word-count", StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, address,
                StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE, StreamsConfig.STATE_DIR_CONFIG, state.toString(),
                StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2, StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100,
                StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class,
                StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class,
                StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest"));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.start();
        return streams;
    }

    static void produce(int from, int count) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", address, "linger.ms", "5");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int i = from; i < from + count; i++) {
                String line = String.join(" ", WORDS.get(i % 7), WORDS.get(i % 5), WORDS.get(i % 3));
                for (String word : line.split(" ")) {
                    expected.merge(word, 1L, Long::sum);
                }
                producer.send(new ProducerRecord<>("streams-lines", Integer.toString(i), line));
            }
        }
    }

    /** Waits until the last count of each word is the expected one. */
    static void await(String name, KafkaConsumer<String, Long> consumer, Map<String, Long> counts) {
        long began = System.nanoTime();
        while (!counts.equals(expected) && System.nanoTime() - began < 40_000_000_000L) {
            for (ConsumerRecord<String, Long> record : consumer.poll(Duration.ofMillis(100))) {
                counts.put(record.key(), record.value());
            }
        }
        if (!counts.equals(expected)) {
            System.out.println("FAIL streams-" + name + ": " + counts + ", not " + expected);
            System.exit(1);
        }
        System.out.printf("PASS streams-%s (%.1f s)%n", name, (System.nanoTime() - began) / 1e9);
    }

    public static void main(String[] words) throws Exception {
        address = words[0];
        Path state = Files.createTempDirectory("word-count");
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", address))) {
            admin.createTopics(List.of(new NewTopic("streams-lines", 2, (short) 1), new NewTopic("streams-counts", 2, (short) 1)))
                    .all().get(20, TimeUnit.SECONDS);
            Map<String, Object> settings = Map.of("bootstrap.servers", address, "auto.offset.reset", "earliest", "enable.auto.commit", "false");
            try (KafkaConsumer<String, Long> consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new LongDeserializer())) {
                consumer.assign(List.of(new TopicPartition("streams-counts", 0), new TopicPartition("streams-counts", 1)));
                Map<String, Long> counts = new HashMap<>();
                produce(0, 1000);
                KafkaStreams first = start(state);
                await("count", consumer, counts);
                first.close(Duration.ofSeconds(20));
                Utils.delete(new File(state.toString()));
                produce(1000, 1000);
                KafkaStreams second = start(state);
                await("restored-count", consumer, counts);
                second.close(Duration.ofSeconds(20));
            }
            List<String> topics = admin.listTopics().names().get(20, TimeUnit.SECONDS).stream().filter(t -> t.startsWith("streams-")).sorted().toList();
            boolean all = topics.containsAll(List.of("streams-word-count-counts-changelog", "streams-word-count-counts-repartition"));
            System.out.println(all ? "PASS streams-topics" : "FAIL streams-topics: " + topics);
            admin.deleteTopics(topics).all().get(20, TimeUnit.SECONDS);
            Utils.delete(new File(state.toString()));
            System.exit(all ? 0 : 1);
        }
    }
}
