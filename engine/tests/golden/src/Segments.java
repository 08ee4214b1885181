// Writes partition directories as a broker of Apache Kafka would, and what Kafka itself finds in them when it looks.
// Usage: Segments OUTPUT_DIR

import java.io.*;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.*;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.storage.internals.log.*;

public final class Segments {
    static final Compression[] CODECS = {
        Compression.NONE, Compression.gzip().build(), Compression.snappy().build(), Compression.lz4().build(),
        Compression.zstd().build(),
    };

    static UnifiedLog log;
    static Uuid id;
    static Fixture.Clock clock = new Fixture.Clock();
    static int epoch;
    static int seed;

    public static void main(String[] args) throws Exception {
        Path out = Path.of(args[0]);
        StringBuilder json = new StringBuilder("{\n");
        json.append(" \"kafka\": \"").append(org.apache.kafka.common.utils.AppInfoParser.getVersion()).append("\",\n");
        json.append(" \"partitions\": [\n");
        json.append(golden(out.resolve("golden-0").toFile())).append(",\n");
        json.append(stamped(out.resolve("stamped-0").toFile())).append("\n ]\n}\n");
        Files.writeString(out.resolve("segments.json"), json.toString());
        System.exit(0); // Kafka's scheduler threads
    }

    /** Three segments: index entries, every codec and flag, an open end. */
    static String golden(File dir) throws Exception {
        id = new Uuid(0x0123456789abcdefL, 0x0fedcba987654321L);
        log = Fixture.log(dir, clock, id, Map.of("index.interval.bytes", "1024"));
        epoch = 0;
        log.assignEpochStartOffset(epoch, 0);
        // Timestamps that mostly rise, with batches that fall back.
        for (int batch = 0; batch < 24; batch++) {
            long base = Fixture.NOW - 1_000_000 + batch * 1_000L - (batch % 5 == 3 ? 7_000 : 0);
            plain(CODECS[0], base, 8, 90);
        }
        log.roll();
        epoch = 3;
        log.assignEpochStartOffset(epoch, log.logEndOffset());
        for (Compression codec : CODECS) {
            plain(codec, Fixture.NOW - 900_000 + seed, 12, 200);
            odd(codec);
            plain(codec, Fixture.NOW - 890_000 + seed, 1, 9_000);
        }
        idempotent(CODECS[0], 1000, 0, 0, 3);
        idempotent(CODECS[4], 1000, 0, 3, 2);
        transaction(CODECS[3], 2000, ControlRecordType.COMMIT);
        transaction(CODECS[0], 2001, ControlRecordType.ABORT);
        log.roll();
        epoch = 5;
        log.assignEpochStartOffset(epoch, log.logEndOffset());
        transaction(CODECS[2], 2002, ControlRecordType.ABORT);
        for (int batch = 0; batch < 6; batch++) plain(CODECS[4], Fixture.NOW - 500_000 + batch, 40, 100);
        return describe(dir);
    }

    /** A topic of LogAppendTime. */
    static String stamped(File dir) throws Exception {
        id = new Uuid(0x7777777777777777L, 0x1234123412341234L);
        log = Fixture.log(dir, clock, id, Map.of("message.timestamp.type", "LogAppendTime", "index.interval.bytes", "1024"));
        epoch = 1;
        log.assignEpochStartOffset(epoch, 0);
        for (Compression codec : CODECS) {
            clock.now += 1_000;
            plain(codec, 5, 4, 300);
            clock.now += 1_000;
            plain(codec, 77, 4, 300);
        }
        return describe(dir);
    }

    static void append(MemoryRecords records) throws Exception { log.appendAsLeader(records, epoch); }

    static void plain(Compression codec, long timestamp, int count, int size) throws Exception {
        SimpleRecord[] records = new SimpleRecord[count];
        for (int record = 0; record < count; record++) {
            seed++;
            records[record] = new SimpleRecord(timestamp + (record * 37) % 100, ("key-" + seed).getBytes(StandardCharsets.UTF_8),
                Fixture.value(seed, size));
        }
        append(MemoryRecords.withRecords(codec, records));
    }

    /** Records without key, value or time, with headers of every shape. */
    static void odd(Compression codec) throws Exception {
        Header[] headers = {
            new RecordHeader("name", "value".getBytes(StandardCharsets.UTF_8)), new RecordHeader("", new byte[0]),
            new RecordHeader("nothing", (byte[]) null), new RecordHeader("h\u00e9", Fixture.value(seed, 300)),
        };
        append(MemoryRecords.withRecords(codec,
            new SimpleRecord(Fixture.NOW - 850_000, (byte[]) null, (byte[]) null, Record.EMPTY_HEADERS),
            new SimpleRecord(RecordBatch.NO_TIMESTAMP, new byte[0], new byte[0], Record.EMPTY_HEADERS),
            new SimpleRecord(Fixture.NOW - 850_000 + 1, "k".getBytes(), null, headers),
            new SimpleRecord(1, null, Fixture.value(7, 3_000), Arrays.copyOf(headers, 1))));
    }

    static void idempotent(Compression codec, long producer, int producerEpoch, int sequence, int count) throws Exception {
        SimpleRecord[] records = new SimpleRecord[count];
        for (int record = 0; record < count; record++) records[record] = new SimpleRecord(Fixture.NOW - 800_000, Fixture.value(++seed, 50));
        append(MemoryRecords.withIdempotentRecords(codec, producer, (short) producerEpoch, sequence, records));
    }

    static void transaction(Compression codec, long producer, ControlRecordType end) throws Exception {
        SimpleRecord[] records = new SimpleRecord[4];
        for (int record = 0; record < records.length; record++)
            records[record] = new SimpleRecord(Fixture.NOW - 700_000, ("t" + record).getBytes(), Fixture.value(++seed, 60));
        append(MemoryRecords.withTransactionalRecords(codec, producer, (short) 0, 0, records));
        log.updateHighWatermark(log.logEndOffset());
        log.appendAsLeader(MemoryRecords.withEndTransactionMarker(Fixture.NOW - 600_000, producer, (short) 0,
            new EndTransactionMarker(end, 8)), epoch, AppendOrigin.COORDINATOR);
        log.updateHighWatermark(log.logEndOffset());
    }

    /** Everything Kafka says about the log, then closes it, which brings the files to their final form. */
    static String describe(File dir) throws Exception {
        log.updateHighWatermark(log.logEndOffset());
        StringBuilder json = new StringBuilder("  {\n   \"dir\": \"" + dir.getName() + "\",\n");
        json.append("   \"topic_id\": \"").append(id).append("\",\n");
        json.append("   \"end_offset\": ").append(log.logEndOffset()).append(",\n");
        List<String> epochs = new ArrayList<>();
        log.leaderEpochCache().epochEntries().forEach(entry -> epochs.add("[" + entry.epoch + "," + entry.startOffset + "]"));
        json.append("   \"epochs\": ").append(Fixture.list(epochs)).append(",\n");
        List<String> epochEnds = new ArrayList<>();
        for (int asked = -1; asked <= epoch + 1; asked++) {
            var end = log.leaderEpochCache().endOffsetFor(asked, log.logEndOffset());
            epochEnds.add("[" + asked + "," + end.getKey() + "," + end.getValue() + "]");
        }
        json.append("   \"epoch_ends\": ").append(Fixture.list(epochEnds)).append(",\n");
        json.append("   \"offsets_for_times\": ").append(Fixture.list(times())).append(",\n");
        List<LogSegment> segments = new ArrayList<>(log.logSegments());
        List<Long> bases = new ArrayList<>();
        for (LogSegment segment : segments) bases.add(segment.baseOffset());
        log.close();
        List<String> described = new ArrayList<>();
        for (long base : bases) described.add(segment(dir, base));
        json.append("   \"segments\": [\n").append(String.join(",\n", described)).append("\n   ]\n  }");
        return json.toString();
    }

    /** Look-ups by time, the special ones too: [timestamp asked, offset, its timestamp, its epoch], or [timestamp asked]. */
    static List<String> times() throws Exception {
        TreeSet<Long> asked = new TreeSet<>(List.of(-3L, -2L, -1L, 0L, 1L, 2L, 5L, 77L, 78L, Long.MAX_VALUE));
        for (LogSegment segment : log.logSegments())
            for (RecordBatch batch : segment.log().batches())
                asked.addAll(List.of(batch.maxTimestamp() - 1, batch.maxTimestamp(), batch.maxTimestamp() + 1));
        List<String> found = new ArrayList<>();
        for (long timestamp : asked) {
            var result = log.fetchOffsetByTimestamp(timestamp, Optional.empty()).timestampAndOffsetOpt();
            found.add(result.map(at -> "[" + timestamp + "," + at.offset + "," + at.timestamp + "," + at.leaderEpoch.orElse(-1) + "]")
                .orElse("[" + timestamp + "]"));
        }
        return found;
    }

    static String segment(File dir, long base) throws Exception {
        StringBuilder json = new StringBuilder("    {\n     \"base_offset\": " + base + ",\n");
        OffsetIndex offsets = new OffsetIndex(LogFileUtils.offsetIndexFile(dir, base, ""), base, -1, false);
        TimeIndex times = new TimeIndex(LogFileUtils.timeIndexFile(dir, base, ""), base, -1, false);
        List<String> entries = new ArrayList<>();
        for (int entry = 0; entry < offsets.entries(); entry++)
            entries.add("[" + offsets.entry(entry).offset + "," + offsets.entry(entry).position + "]");
        json.append("     \"offset_index\": ").append(Fixture.list(entries)).append(",\n");
        entries.clear();
        for (int entry = 0; entry < times.entries(); entry++)
            entries.add("[" + times.entry(entry).timestamp + "," + times.entry(entry).offset + "]");
        json.append("     \"time_index\": ").append(Fixture.list(entries)).append(",\n");
        FileRecords file = FileRecords.open(LogFileUtils.logFile(dir, base), false);
        List<String> batches = new ArrayList<>();
        TreeSet<Long> asked = new TreeSet<>();
        TreeSet<Long> askedTimes = new TreeSet<>();
        int position = 0;
        for (RecordBatch batch : file.batches()) {
            batches.add(batch(batch, position));
            position += batch.sizeInBytes();
            asked.addAll(List.of(batch.baseOffset(), batch.lastOffset()));
            askedTimes.addAll(List.of(batch.maxTimestamp() - 1, batch.maxTimestamp(), batch.maxTimestamp() + 1));
        }
        List<String> floors = new ArrayList<>();
        for (long offset : asked) {
            OffsetPosition at = offsets.lookup(offset);
            floors.add("[" + offset + "," + at.offset + "," + at.position + "]");
        }
        json.append("     \"offset_floors\": ").append(Fixture.list(floors)).append(",\n");
        floors.clear();
        for (long timestamp : askedTimes) {
            TimestampOffset at = times.lookup(timestamp);
            floors.add("[" + timestamp + "," + at.timestamp + "," + at.offset + "]");
        }
        json.append("     \"time_floors\": ").append(Fixture.list(floors)).append(",\n");
        List<String> aborted = new ArrayList<>();
        TransactionIndex transactions = new TransactionIndex(base, LogFileUtils.transactionIndexFile(dir, base, ""));
        for (AbortedTxn transaction : transactions.allAbortedTxns())
            aborted.add("[" + transaction.producerId() + "," + transaction.firstOffset() + "," + transaction.lastOffset() + ","
                + transaction.lastStableOffset() + "]");
        json.append("     \"aborted\": ").append(Fixture.list(aborted)).append(",\n");
        json.append("     \"batches\": ").append(Fixture.lines("     ", batches)).append("\n    }");
        return json.toString();
    }

    static String batch(RecordBatch batch, int position) {
        List<String> records = new ArrayList<>();
        for (Record record : batch) records.add(record(record));
        return "{\"position\":" + position + ",\"bytes\":" + batch.sizeInBytes() + ",\"base_offset\":" + batch.baseOffset()
            + ",\"last_offset\":" + batch.lastOffset() + ",\"epoch\":" + batch.partitionLeaderEpoch() + ",\"crc\":" + batch.checksum()
            + ",\"codec\":\"" + batch.compressionType().name + "\",\"timestamp_type\":\"" + batch.timestampType().name
            + "\",\"max_timestamp\":" + batch.maxTimestamp() + ",\"producer_id\":" + batch.producerId() + ",\"producer_epoch\":"
            + batch.producerEpoch() + ",\"base_sequence\":" + batch.baseSequence() + ",\"transactional\":" + batch.isTransactional()
            + ",\"control\":" + batch.isControlBatch() + ",\"records\":" + Fixture.lines("      ", records) + "}";
    }

    /** [offset, timestamp, key, bytes of the value or -1, its CRC-32C, [name, value, ...]], keys, names and values in hex. */
    static String record(Record record) {
        byte[] value = Fixture.bytes(record.value());
        List<String> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            headers.add(Fixture.hex(header.key().getBytes(StandardCharsets.UTF_8)));
            headers.add(Fixture.hex(header.value()));
        }
        return "[" + record.offset() + "," + record.timestamp() + "," + Fixture.hex(Fixture.bytes(record.key())) + ","
            + (value == null ? "-1,0" : value.length + "," + Fixture.crc(value)) + "," + Fixture.list(headers) + "]";
    }
}
