// Shows batches, good and forged, to Apache Kafka as a Produce request would bring them, and writes down what it says:
// the error's name, or the bytes that it stored ("as sent" where only base offset and leader epoch are new). Usage: Verdicts OUTPUT_DIR SCRATCH_DIR

import java.io.*;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.*;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.utils.*;
import org.apache.kafka.storage.internals.log.*;

public final class Verdicts {
    // Places in a batch.
    static final int LENGTH = 8, MAGIC = 16, CRC = 17, ATTRIBUTES = 21, LAST_OFFSET_DELTA = 23, BASE_TIMESTAMP = 27,
        MAX_TIMESTAMP = 35, PRODUCER_ID = 43, RECORD_COUNT = 57, RECORDS = 61;
    static final int EPOCH = 4;
    static final long NOW = Fixture.NOW;

    static final Map<String, String> USUAL = Map.of();
    static final Map<String, String> STAMPED = Map.of("message.timestamp.type", "LogAppendTime");
    static final Map<String, String> COMPACTED = Map.of("cleanup.policy", "compact");
    static final Map<String, String> SMALL = Map.of("max.message.bytes", "150");
    static final Map<String, String> STRICT =
        Map.of("message.timestamp.before.max.ms", "1000", "message.timestamp.after.max.ms", "100");

    static List<String> cases = new ArrayList<>();
    static Path scratch;
    static int logs;

    public static void main(String[] args) throws Exception {
        scratch = Path.of(args[1]);
        for (Compression codec : Segments.CODECS) everyCodec(codec, codec.type().name);
        envelopes();
        headers();
        records();
        timestamps();
        Files.writeString(Path.of(args[0], "verdicts.json"),
            "{\n \"now\": " + NOW + ",\n \"epoch\": " + EPOCH + ",\n \"cases\": " + Fixture.lines(" ", cases) + "\n}\n");
        System.exit(0); // Kafka's scheduler threads
    }

    static void everyCodec(Compression codec, String name) throws Exception {
        byte[] good = good(codec);
        show(name + ": good", USUAL, good);
        show(name + ": good, log append time", STAMPED, good);
        show(name + ": good, compacted", COMPACTED, good);
        show(name + ": good, too large", SMALL, good);
        show(name + ": wrong maximum timestamp", USUAL, forge(good, bytes -> bytes.putLong(MAX_TIMESTAMP, 5)));
        show(name + ": maximum timestamp of the far future", USUAL, forge(good, bytes -> bytes.putLong(MAX_TIMESTAMP, NOW * 2)));
        show(name + ": record out of time", STRICT, batch(codec, record(NOW), record(NOW - 1001)));
        show(name + ": record in time", STRICT, batch(codec, record(NOW + 100), record(NOW - 1000)));
        show(name + ": no key, compacted", COMPACTED, batch(codec, record(NOW),
            new SimpleRecord(NOW, null, "value".getBytes())));
        for (int count : new int[] {1, 2, 4, 1000, Integer.MAX_VALUE}) {
            show(name + ": count " + count, USUAL, forge(good, bytes -> {
                bytes.putInt(RECORD_COUNT, count);
                bytes.putInt(LAST_OFFSET_DELTA, count - 1);
            }));
        }
        if (codec.type() != CompressionType.NONE) {
            show(name + ": first byte of the records changed", USUAL, forge(good, bytes -> bytes.put(RECORDS, (byte) 0)));
            show(name + ": no records but a count", USUAL, cut(good, RECORDS));
            show(name + ": records cut short", USUAL, cut(good, good.length - 3));
        }
        byte[] gap = build(codec, builder -> {
            builder.appendWithOffset(0, record(NOW));
            builder.appendWithOffset(2, record(NOW));
        });
        show(name + ": a gap between offsets, count of the records", USUAL, gap);
        show(name + ": a gap between offsets, last offset delta to match", USUAL,
            forge(gap, bytes -> bytes.putInt(LAST_OFFSET_DELTA, 1)));
    }

    static void envelopes() throws Exception {
        byte[] good = good(Compression.NONE);
        show("nothing", USUAL, new byte[0]);
        for (int size : new int[] {1, 11, 12, 16, 17, 60, 61, good.length - 1}) show("first " + size + " bytes", USUAL, Arrays.copyOf(good, size));
        byte[] two = Arrays.copyOf(good, good.length * 2);
        System.arraycopy(good, 0, two, good.length, good.length);
        show("two batches", USUAL, two);
        show("a batch and a bit", USUAL, Arrays.copyOf(two, good.length + 20));
        show("a batch and a whole header", USUAL, Arrays.copyOf(two, good.length + 61));
        for (int length : new int[] {Integer.MIN_VALUE, -1, 0, 13, 14, 48, 49, 50, Integer.MAX_VALUE})
            show("length " + length, USUAL, forge(good, bytes -> bytes.putInt(LENGTH, length)));
        for (int magic : new int[] {-1, 0, 1, 3, 127})
            show("magic " + magic, USUAL, forge(good, bytes -> bytes.put(MAGIC, (byte) magic)));
        byte[] wrong = good.clone();
        wrong[CRC] ^= 1;
        show("wrong checksum", USUAL, wrong);
        byte[] flipped = good.clone();
        flipped[RECORDS + 10] ^= 1;
        show("flipped bit", USUAL, flipped);
    }

    static void headers() throws Exception {
        byte[] good = good(Compression.NONE);
        show("base offset 7", USUAL, forge(good, bytes -> bytes.putLong(0, 7)));
        show("base offset -1", USUAL, forge(good, bytes -> bytes.putLong(0, -1)));
        show("leader epoch 77", USUAL, forge(good, bytes -> bytes.putInt(12, 77)));
        for (int codec : new int[] {5, 6, 7})
            show("codec " + codec, USUAL, forge(good, bytes -> bytes.putShort(ATTRIBUTES, (short) codec)));
        show("log append time set by the client", USUAL, forge(good, bytes -> bytes.putShort(ATTRIBUTES, (short) 8)));
        show("log append time set by the client, log append time", STAMPED, forge(good, bytes -> bytes.putShort(ATTRIBUTES, (short) 8)));
        show("control batch", USUAL, forge(good, bytes -> bytes.putShort(ATTRIBUTES, (short) 0x20)));
        show("delete horizon", USUAL, forge(good, bytes -> bytes.putShort(ATTRIBUTES, (short) 0x40)));
        show("unused attribute", USUAL, forge(good, bytes -> bytes.putShort(ATTRIBUTES, (short) 0x80)));
        for (int delta : new int[] {-1, 0, 1, 3, Integer.MAX_VALUE, Integer.MIN_VALUE})
            show("last offset delta " + delta, USUAL, forge(good, bytes -> bytes.putInt(LAST_OFFSET_DELTA, delta)));
        for (int count : new int[] {-1, 0, 2, 4, Integer.MIN_VALUE})
            show("count alone " + count, USUAL, forge(good, bytes -> bytes.putInt(RECORD_COUNT, count)));
        show("no records", USUAL, forge(cut(good, RECORDS), bytes -> {
            bytes.putInt(RECORD_COUNT, 0);
            bytes.putInt(LAST_OFFSET_DELTA, -1);
        }));
        show("idempotent", USUAL, Fixture.bytes(MemoryRecords.withIdempotentRecords(Compression.NONE, 9, (short) 0, 0, record(NOW))));
        show("producer without a sequence", USUAL,
            forge(good, bytes -> bytes.putLong(PRODUCER_ID, 9).putShort(PRODUCER_ID + 8, (short) 0)));
    }

    interface Body { void write(ByteArrayOutputStream out, DataOutputStream data) throws IOException; }

    static void varint(DataOutputStream data, int value) throws IOException { ByteUtils.writeVarint(value, data); }

    /** A batch of one record that is made by hand: `stated` is added to its true length. */
    static void record(String name, int stated, Body body) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        body.write(out, new DataOutputStream(out));
        ByteArrayOutputStream whole = new ByteArrayOutputStream();
        varint(new DataOutputStream(whole), out.size() + stated);
        out.writeTo(whole);
        one("record: " + name, whole.toByteArray());
    }

    /** A batch of one record of these bytes, in the plain and compressed. */
    static void one(String name, byte[] record) throws Exception {
        for (Compression codec : new Compression[] {Compression.NONE, Compression.lz4().build()}) {
            byte[] head = Arrays.copyOf(batch(codec, record(NOW)), RECORDS);
            ByteBufferOutputStream payload = new ByteBufferOutputStream(1024);
            try (OutputStream out = codec.wrapForOutput(payload, RecordBatch.MAGIC_VALUE_V2)) { out.write(record); }
            byte[] bytes = Arrays.copyOf(head, RECORDS + payload.position());
            ByteBuffer packed = payload.buffer().flip();
            packed.get(bytes, RECORDS, packed.remaining());
            show(name + ", " + codec.type().name, USUAL, forge(bytes, batch -> batch.putInt(LENGTH, bytes.length - 12)));
        }
    }

    /** Attributes, timestamp delta, offset delta. */
    static void start(DataOutputStream data) throws IOException {
        data.write(0);
        ByteUtils.writeVarlong(0, data);
        varint(data, 0);
    }

    static void records() throws Exception {
        record("plain", 0, (out, data) -> { start(data); varint(data, 1); data.write('k'); varint(data, 1); data.write('v'); varint(data, 0); });
        record("no key, no value", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 0); });
        record("attributes 0x7f", 0, (out, data) -> { data.write(0x7f); varint(data, 0); varint(data, 0); varint(data, -1); varint(data, -1); varint(data, 0); });
        record("offset delta 1", 0, (out, data) -> { data.write(0); varint(data, 0); varint(data, 1); varint(data, -1); varint(data, -1); varint(data, 0); });
        record("offset delta -1", 0, (out, data) -> { data.write(0); varint(data, 0); varint(data, -1); varint(data, -1); varint(data, -1); varint(data, 0); });
        record("key of length -2", 0, (out, data) -> { start(data); varint(data, -2); varint(data, -1); varint(data, 0); });
        record("value of length -2", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -2); varint(data, 0); });
        record("key past the end", 0, (out, data) -> { start(data); varint(data, 100); data.write('k'); varint(data, -1); varint(data, 0); });
        record("value past the end", 0, (out, data) -> { start(data); varint(data, -1); varint(data, Integer.MAX_VALUE); data.write('v'); varint(data, 0); });
        record("header count -1", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, -1); });
        record("header count 1, no header", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 1); });
        record("header count 2^31-1", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, Integer.MAX_VALUE); });
        record("header without a name", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 1); varint(data, -1); varint(data, -1); });
        record("header of no value", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 1); varint(data, 0); varint(data, -1); });
        record("header value of length -2", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 1); varint(data, 0); varint(data, -2); });
        record("header name past the end", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 1); varint(data, 99); varint(data, -1); });
        record("a byte too many in the body", 0, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 0); data.write(0); });
        record("length one more than there is", 1, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 0); });
        record("length one less than there is", -1, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 0); });
        record("length 2^31-1", Integer.MAX_VALUE - 6, (out, data) -> { start(data); varint(data, -1); varint(data, -1); varint(data, 0); });
        record("empty body", 0, (out, data) -> {});
        one("record of length -1", new byte[] {1});
        one("record whose length does not end", new byte[] {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1});
        record("timestamp delta of eleven bytes", 0, (out, data) -> {
            data.write(0);
            for (int place = 0; place < 10; place++) data.write(0x80);
            data.write(0); varint(data, 0); varint(data, -1); varint(data, -1); varint(data, 0);
        });
        one("a byte behind the last record", new byte[] {12, 0, 0, 0, 1, 1, 0, 0});
    }

    static void timestamps() throws Exception {
        long[] edges = {Long.MIN_VALUE, -2, -1, 0, NOW - 1001, NOW - 1000, NOW + 100, NOW + 101, NOW + 3_600_000,
            NOW + 3_600_001, Long.MAX_VALUE};
        for (long timestamp : edges) {
            byte[] bytes = forge(batch(Compression.NONE, record(NOW)), batch -> {
                batch.putLong(BASE_TIMESTAMP, timestamp);
                batch.putLong(MAX_TIMESTAMP, timestamp);
            });
            show("timestamp " + timestamp, USUAL, bytes);
            show("timestamp " + timestamp + ", strict", STRICT, bytes);
            show("timestamp " + timestamp + ", log append time", STAMPED, bytes);
        }
        show("timestamps without and with a time", STRICT, batch(Compression.NONE, record(-1), record(NOW), record(-1)));
        show("timestamps without a time", STRICT, batch(Compression.NONE, record(-1), record(-1)));
        show("timestamps that tie for the maximum", USUAL, batch(Compression.NONE, record(NOW), record(NOW + 5), record(NOW + 5), record(NOW)));
        byte[] wrap = forge(batch(Compression.NONE, record(NOW), record(NOW + 10)), bytes -> bytes.putLong(BASE_TIMESTAMP, Long.MAX_VALUE - 5));
        show("timestamps that overflow", USUAL, wrap);
        show("timestamps that overflow, log append time", STAMPED, wrap);
    }

    static SimpleRecord record(long timestamp) { return new SimpleRecord(timestamp, "key".getBytes(), "value".getBytes()); }

    static byte[] good(Compression codec) {
        return batch(codec,
            new SimpleRecord(NOW - 10, "a".getBytes(), Fixture.value(1, 60)),
            new SimpleRecord(NOW, "b".getBytes(), Fixture.value(2, 60), new RecordHeader[] {new RecordHeader("h", new byte[] {1, 2})}),
            new SimpleRecord(NOW - 5, "c".getBytes(), null));
    }

    static byte[] batch(Compression codec, SimpleRecord... records) {
        return Fixture.bytes(MemoryRecords.withRecords(codec, records));
    }

    interface Fill { void fill(MemoryRecordsBuilder builder); }

    static byte[] build(Compression codec, Fill fill) {
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(4096), codec, TimestampType.CREATE_TIME, 0);
        fill.fill(builder);
        return Fixture.bytes(builder.build());
    }

    interface Change { void change(ByteBuffer bytes); }

    /** The batch with something changed and its checksum made good again. */
    static byte[] forge(byte[] batch, Change change) {
        byte[] forged = batch.clone();
        change.change(ByteBuffer.wrap(forged));
        ByteBuffer.wrap(forged).putInt(CRC, (int) Crc32C.compute(forged, ATTRIBUTES, forged.length - ATTRIBUTES));
        return forged;
    }

    /** The batch with fewer bytes, and a length and checksum that fit them. */
    static byte[] cut(byte[] batch, int size) {
        return forge(Arrays.copyOf(batch, size), bytes -> bytes.putInt(LENGTH, size - 12));
    }

    static void show(String name, Map<String, String> settings, byte[] batch) throws Exception {
        UnifiedLog log = Fixture.log(scratch.resolve("log-" + logs++).toFile(), new Fixture.Clock(), Uuid.ONE_UUID, settings);
        log.assignEpochStartOffset(EPOCH, 0);
        // One record before it, so that the offset that is given out is not 0.
        log.appendAsLeader(MemoryRecords.withRecords(Compression.NONE, record(NOW)), EPOCH);
        String verdict;
        try {
            MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(batch.clone()));
            ProduceRequest.validateRecords((short) 12, records);
            LogAppendInfo info = log.appendAsLeader(records, EPOCH);
            FileRecords file = log.activeSegment().log();
            int start = file.batches().iterator().next().sizeInBytes();
            ByteBuffer stored = ByteBuffer.allocate(file.sizeInBytes() - start);
            file.readInto(stored, start);
            byte[] same = batch.clone();
            ByteBuffer.wrap(same).putLong(0, info.firstOffset()).putInt(12, EPOCH);
            String bytes = Arrays.equals(same, stored.array()) ? "\"as sent\"" : Fixture.hex(stored.array());
            verdict = "\"NONE\",\"base_offset\":" + info.firstOffset() + ",\"stored\":" + bytes;
        } catch (Throwable error) {
            Throwable cause = error instanceof RecordValidationException invalid ? invalid.invalidException() : error;
            verdict = "\"" + Errors.forException(cause).name() + "\",\"why\":\""
                + (cause.getClass().getSimpleName() + ": " + cause.getMessage()).replaceAll("[\"\\\\\n]", "'").replaceAll("/\\S*/log-\\d+", "") + "\"";
            if (error instanceof RecordValidationException invalid && !invalid.recordErrors().isEmpty())
                verdict += ",\"record_index\":" + invalid.recordErrors().get(0).batchIndex;
        }
        List<String> config = new ArrayList<>();
        new TreeMap<>(settings).forEach((key, value) -> config.add("\"" + key + "\":\"" + value + "\""));
        cases.add("{\"name\":\"" + name + "\",\"settings\":{" + String.join(",", config) + "},\"batch\":" + Fixture.hex(batch)
            + ",\"error\":" + verdict + "}");
        log.closeHandlers();
    }
}
