// What the golden programs share: a clock that stands still, a log of Apache Kafka's in a directory, JSON by hand.

import java.io.File;
import java.nio.ByteBuffer;
import java.util.*;
import java.util.function.Supplier;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.record.*;
import org.apache.kafka.common.utils.*;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.*;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

final class Fixture {
    static final long NOW = 1_750_000_000_000L;

    /** Time that moves only when told, so that the files are the same each time they are made. */
    static final class Clock implements Time {
        long now = NOW;
        public long milliseconds() { return now; }
        public long nanoseconds() { return now * 1_000_000; }
        public void sleep(long ms) { now += ms; }
        public void waitObject(Object object, Supplier<Boolean> condition, long deadlineMs) {}
    }

    static UnifiedLog log(File dir, Clock clock, Uuid id, Map<String, ?> settings) throws Exception {
        if (!dir.mkdirs()) throw new IllegalStateException(dir + " is there already");
        KafkaScheduler scheduler = new KafkaScheduler(1, true);
        scheduler.startup();
        return UnifiedLog.create(dir, new LogConfig(settings), 0L, 0L, scheduler, new BrokerTopicStats(), clock,
            300_000, new ProducerStateManagerConfig(86_400_000, false), 600_000, new LogDirFailureChannel(1), true,
            Optional.of(id));
    }

    static byte[] bytes(MemoryRecords records) {
        ByteBuffer buffer = records.buffer().duplicate();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    static byte[] bytes(ByteBuffer buffer) {
        if (buffer == null) return null;
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }

    static String hex(byte[] bytes) {
        if (bytes == null) return "null";
        return "\"" + HexFormat.of().formatHex(bytes) + "\"";
    }

    static String list(Collection<String> items) { return "[" + String.join(",", items) + "]"; }

    static String lines(String indent, Collection<String> items) {
        return items.isEmpty() ? "[]" : "[\n" + indent + " " + String.join(",\n" + indent + " ", items) + "\n" + indent + "]";
    }

    static long crc(byte[] bytes) { return Crc32C.compute(bytes, 0, bytes.length); }

    /** Bytes that compress a little, the same for the same seed. */
    static byte[] value(int seed, int size) {
        byte[] value = new byte[size];
        long state = seed * 0x9E3779B97F4A7C15L + 1;
        for (int place = 0; place < size; place++) {
            state = state * 6364136223846793005L + 1442695040888963407L;
            value[place] = place % 4 == 0 ? (byte) (state >>> 56) : (byte) ('a' + place % 16);
        }
        return value;
    }
}
