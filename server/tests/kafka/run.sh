#!/usr/bin/env bash
# Holds the broker to Kafka Connect (file source and sink, distributed mode) and to a Kafka Streams word count, unmodified.
#
#   run.sh [--peer HOST:PORT] [connect] [streams]
#
# Both where none is named. The broker is $CORELOG (target/release/corelog) on a fresh directory, or the one at --peer, which
# may be Apache Kafka's (kafka.sh). The jars are Maven Central's; their class path is kept in $CORELOG_CLIENTS
# ($TMPDIR/corelog-clients).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${CORELOG_CLIENTS:-${TMPDIR:-/tmp}/corelog-clients}
corelog=${CORELOG:-target/release/corelog}
peer='' parts=()
die() { printf 'kafka/run.sh: %s\n' "$*" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --peer) peer=${2:?--peer needs HOST:PORT}; shift 2 ;;
        connect | streams) parts+=("$1"); shift ;;
        *) die "there is no part $1" ;;
    esac
done
[ ${#parts[@]} -gt 0 ] || parts=(connect streams)
command -v javac > /dev/null || die "javac is missing: apt-get install default-jdk-headless"
command -v mvn > /dev/null || die "mvn is missing: apt-get install maven"
command -v curl > /dev/null || die "curl is missing: apt-get install curl"
[ -n "$peer" ] || [ -x "$corelog" ] || die "$corelog is not there: cargo build --release -p corelog-server, or set CORELOG"
classpath=$("$here/classpath.sh" "$cache")
java=(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)

work=$(mktemp -d)
broker='' workers=()
finish() {
    for pid in "${workers[@]}" $broker; do kill "$pid" 2> /dev/null || true; done
    for pid in "${workers[@]}" $broker; do wait "$pid" 2> /dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT
address=$peer
if [ -z "$peer" ]; then
    "$corelog" --data-dir "$work/data" --listen 127.0.0.1:0 -o group.initial.rebalance.delay.ms=0 > "$work/ready" 2> "$work/log" &
    broker=$!
    for _ in $(seq 200); do
        grep -qs '^corelog ready' "$work/ready" && break
        kill -0 "$broker" 2> /dev/null || { cat "$work/log" >&2; die "the broker did not start"; }
        sleep 0.1
    done
    address=$(sed -n 's/^corelog ready on //p' "$work/ready")
fi

pass() { echo "PASS $1"; }
fail() {
    echo "FAIL $1: $2"
    for file in "$work"/worker-*.log "$work/log"; do
        [ ! -s "$file" ] || { echo "-- the last lines of ${file##*/}:"; tail -20 "$file" | cut -c 1-300; }
    done
    exit 1
}

# within SECONDS COMMAND...: that it succeeds within the time.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

# worker NUMBER PORT: a Connect worker with its REST interface there.
worker() {
    cat > "$work/worker-$1.properties" <<EOF
bootstrap.servers=$address
group.id=connect-check
listeners=http://127.0.0.1:$2
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
config.storage.topic=connect-configs
config.storage.replication.factor=1
offset.storage.topic=connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=2
status.storage.topic=connect-status
status.storage.replication.factor=1
status.storage.partitions=2
offset.flush.interval.ms=500
heartbeat.interval.ms=500
session.timeout.ms=10000
scheduled.rebalance.max.delay.ms=0
plugin.discovery=service_load
EOF
    "${java[@]}" -cp "$classpath" org.apache.kafka.connect.cli.ConnectDistributed "$work/worker-$1.properties" > "$work/worker-$1.log" 2>&1 &
    workers+=($!)
}

# rest PORT PATH WORDS...: ask a worker.
rest() {
    local at=http://127.0.0.1:$1/$2
    shift 2
    curl --silent --show-error --fail --max-time 10 -H 'Content-Type: application/json' "$at" "$@"
}
running() { [ "$(rest "$1" "connectors/$2/status" | grep -o RUNNING | wc -l)" -ge 2 ]; }
none_left() { [ "$(rest "$1" connectors)" = '[]' ]; }
# arrived COUNT: every line up to that one is in the sink's file.
arrived() { [ "$(sort -u "$work/sink.txt" | wc -l)" -ge "$1" ] && diff <(sort -u "$work/sink.txt") <(sort "$work/source.txt"); }

connect() {
    # Below those that the kernel gives to whoever asks for any.
    local one=$((20000 + RANDOM % 12000)) began=$SECONDS
    local two=$((one + 1))
    seq -f 'line %05g' 1000 > "$work/source.txt"
    worker 1 "$one"
    within 60 rest "$one" connectors || fail connect-start "the first worker does not answer"
    # A worker that is in a rebalance answers 409: ask again.
    within 20 rest "$one" connectors/source/config -X PUT -d '{"connector.class":"FileStreamSource","tasks.max":"1","topic":"connect-lines",
        "file":"'"$work/source.txt"'"}' || fail connect-source "it was refused"
    within 20 rest "$one" connectors/sink/config -X PUT -d '{"connector.class":"FileStreamSink","tasks.max":"2","topics":"connect-lines",
        "file":"'"$work/sink.txt"'","consumer.override.metadata.max.age.ms":"1000"}' || fail connect-sink "it was refused"
    within 40 arrived 1000 || fail connect-lines "not every line arrived"
    pass "connect-lines ($((SECONDS - began)) s)"
    rest "$one" connectors/sink/offsets | grep -q '"kafka_topic":"connect-lines"' || within 10 running "$one" sink || fail connect-status "the sink does not run"
    # A second worker joins, the first leaves: the second has to take up where the first was.
    worker 2 "$two"
    within 60 rest "$two" connectors || fail connect-join "the second worker does not answer"
    within 40 running "$two" source || fail connect-join "the source does not run with two workers"
    pass "connect-join ($((SECONDS - began)) s)"
    kill "${workers[0]}"
    wait "${workers[0]}" 2> /dev/null || true
    seq -f 'line %05g' 1001 2000 >> "$work/source.txt"
    within 60 arrived 2000 || fail connect-leave "not every line arrived after the first worker left"
    pass "connect-leave ($((SECONDS - began)) s)"
    within 20 rest "$two" connectors/source -X DELETE || fail connect-delete "a connector cannot be deleted"
    within 20 rest "$two" connectors/sink -X DELETE || fail connect-delete "a connector cannot be deleted"
    within 20 none_left "$two" || fail connect-delete "they are still there"
    kill "${workers[1]}"
    wait "${workers[1]}" 2> /dev/null || true
    workers=()
    pass "connect-delete ($((SECONDS - began)) s)"
}

streams() {
    mkdir -p "$work/classes"
    javac -nowarn -d "$work/classes" -cp "$classpath" "$here/src/WordCount.java"
    timeout 150 "${java[@]}" -cp "$work/classes:$classpath" WordCount "$address" 2> "$work/worker-streams.log" || fail streams "see above"
}

for part in "${parts[@]}"; do "$part"; done
if [ -n "$broker" ] && grep -E 'ERROR|panicked|malformed' "$work/log"; then
    fail broker "it complained"
fi
