#!/usr/bin/env bash
# Holds the broker to what ordinary Kafka clients do with it: README.md beside this file says what each program checks.
#
#   run.sh [--peer HOST:PORT] [--jobs N] [CLIENT]...
#
# CLIENTs: librdkafka kafka-python aiokafka kafkajs java-3.9 java-4 franz-go sarama rust-rdkafka; all of them where none is
# named. The libraries come from the package registries, once, into $CORELOG_CLIENTS ($TMPDIR/corelog-clients). Each client
# gets a broker of its own, $CORELOG (target/release/corelog) on a fresh directory; with --peer all use the broker there,
# which may be Apache Kafka's (../kafka/kafka.sh). N clients at a time: 3.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${CORELOG_CLIENTS:-${TMPDIR:-/tmp}/corelog-clients}
corelog=${CORELOG:-target/release/corelog}
java_3=3.9.2
java_4=4.3.1
peer='' jobs=3 clients=()
die() { printf 'run.sh: %s\n' "$*" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --peer) peer=${2:?--peer needs HOST:PORT}; shift 2 ;;
        --jobs) jobs=${2:?--jobs needs a number}; shift 2 ;;
        librdkafka | kafka-python | aiokafka | kafkajs | java-3.9 | java-4 | franz-go | sarama | rust-rdkafka) clients+=("$1"); shift ;;
        *) die "there is no client $1" ;;
    esac
done
[ ${#clients[@]} -gt 0 ] || clients=(librdkafka kafka-python aiokafka kafkajs java-3.9 java-4 franz-go sarama rust-rdkafka)
[ -n "$peer" ] || [ -x "$corelog" ] || die "$corelog is not there: cargo build --release -p corelog-server, or set CORELOG"
mkdir -p "$cache"
work=$(mktemp -d)
# shellcheck disable=SC2046
finish() { kill $(jobs -rp) 2> /dev/null || true; wait; rm -rf "$work"; }
trap finish EXIT
trap 'exit 1' INT TERM

# has COMMAND HINT: that a tool is there.
has() { command -v "$1" > /dev/null || { echo "$1 is missing: $2" >&2; return 1; }; }

# What each library takes to be installed. Each does nothing where its files are as they were.
install_python() {
    has python3 "apt-get install python3 python3-venv" || return
    cmp -s "$here/python/requirements.txt" "$cache/python/requirements" && return
    rm -rf "$cache/python"
    python3 -m venv "$cache/python" && "$cache/python/bin/pip" install --quiet -r "$here/python/requirements.txt" \
        && cp "$here/python/requirements.txt" "$cache/python/requirements"
}
install_node() {
    has node "apt-get install nodejs" && has npm "apt-get install npm" || return
    cmp -s "$here/node/package.json" "$cache/node/package" && return
    rm -rf "$cache/node" && mkdir -p "$cache/node" && cp "$here/node/package.json" "$cache/node/"
    (cd "$cache/node" && npm install --no-audit --no-fund --no-package-lock --silent) && cp "$here/node/package.json" "$cache/node/package"
}
install_java() { # VERSION
    has javac "apt-get install default-jdk-headless" && has mvn "apt-get install maven" || return
    local classes=$cache/java-$1
    if [ ! -s "$classes/classpath" ] || [ "$here/java/pom.xml" -nt "$classes/classpath" ]; then
        mkdir -p "$classes"
        mvn -q -B -f "$here/java/pom.xml" -Dkafka.version="$1" dependency:build-classpath -Dmdep.outputFile="$classes/classpath" || return
    fi
    javac -nowarn -Xlint:-options -d "$classes" -cp "$(cat "$classes/classpath")" "$here/java/src/ClientCheck.java" 2>&1
}
install_go() {
    has go "install Go 1.26 or later; Debian's golang-go is older" || return
    (cd "$here/go" && go build -o "$cache/go/" ./franz ./sarama)
}
install_rust() {
    has cargo "install Rust with rustup" && has cmake "apt-get install cmake" || return
    cargo build --quiet --locked --manifest-path "$here/rust/Cargo.toml" --target-dir "$cache/rust"
}

declare -A installs=([librdkafka]=python [kafka-python]=python [aiokafka]=python [kafkajs]=node [java-3.9]="java $java_3"
    [java-4]="java $java_4" [franz-go]=go [sarama]=go [rust-rdkafka]=rust)
wanted=$(for client in "${clients[@]}"; do echo "${installs[$client]}"; done | sort -u)
pids=()
while read -r library; do
    # shellcheck disable=SC2086
    install_$library > "$work/install ${library}" 2>&1 < /dev/null &
    pids+=("$!:$library")
done <<< "$wanted"
began=$SECONDS
for pid in "${pids[@]}"; do
    wait "${pid%%:*}" || { cat "$work/install ${pid#*:}" >&2; die "the libraries for ${pid#*:} could not be installed"; }
done
echo "libraries there after $((SECONDS - began)) s"

# check CLIENT ADDRESS: run its program.
check() {
    local java=(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error)
    case $1 in
        librdkafka)
            "$cache/python/bin/python" "$here/python/confluent.py" "$2" || return
            # A peer is not ours to kill.
            [ -n "$peer" ] || "$cache/python/bin/python" "$here/python/killed.py" "$corelog" ;;
        kafka-python) "$cache/python/bin/python" "$here/python/kafka_python.py" "$2" ;;
        aiokafka) "$cache/python/bin/python" "$here/python/aio_kafka.py" "$2" ;;
        kafkajs) NODE_PATH=$cache/node/node_modules node "$here/node/kafkajs_check.js" "$2" ;;
        java-3.9) "${java[@]}" -cp "$cache/java-$java_3:$(cat "$cache/java-$java_3/classpath")" ClientCheck "$1" "$2" ;;
        java-4) "${java[@]}" -cp "$cache/java-$java_4:$(cat "$cache/java-$java_4/classpath")" ClientCheck "$1" "$2" kip848 ;;
        franz-go) "$cache/go/franz" "$2" ;;
        sarama) "$cache/go/sarama" "$2" ;;
        rust-rdkafka) "$cache/rust/debug/rust-rdkafka-check" "$2" ;;
    esac
}
export -f check
export here cache java_3 java_4 corelog peer

# client NAME: its program against a broker of its own; what it said is in $work/NAME.
client() {
    local name=$1 dir=$work/$1.d address=$peer broker='' program='' status=0
    # shellcheck disable=SC2086
    trap 'kill $program $broker 2> /dev/null; exit 1' TERM
    mkdir "$dir"
    if [ -z "$peer" ]; then
        "$corelog" --data-dir "$dir/data" --listen 127.0.0.1:0 -o group.initial.rebalance.delay.ms=0 > "$dir/ready" 2> "$dir/log" &
        broker=$!
        for _ in $(seq 200); do
            grep -qs '^corelog ready' "$dir/ready" && break
            kill -0 "$broker" 2> /dev/null || break
            sleep 0.1
        done
        address=$(sed -n 's/^corelog ready on //p' "$dir/ready")
    fi
    if [ -n "$address" ]; then
        timeout 180 bash -c 'check "$@"' check "$name" "$address" > "$work/$name" 2> "$dir/errors" < /dev/null &
        program=$!
        wait "$program" || status=$?
    else
        echo "FAIL broker: it did not start" > "$work/$name"
    fi
    [ "$status" -le 1 ] || echo "FAIL program: it ended with $status" >> "$work/$name"
    if [ -n "$broker" ]; then
        kill "$broker" 2> /dev/null || true
        wait "$broker" || echo "FAIL broker: it ended with $?" >> "$work/$name"
        ! grep -E 'ERROR|panicked|malformed' "$dir/log" > "$dir/complaints" || echo "FAIL broker: $(head -1 "$dir/complaints")" >> "$work/$name"
    fi
    grep -q ^FAIL "$work/$name" || rm -rf "$dir"
}

for name in "${clients[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    client "$name" &
done
wait

# The table: a row for each check, in the order in which they came.
(cd "$work" && awk '
    FNR == 1 { names[++columns] = FILENAME; width = width > length(FILENAME) ? width : length(FILENAME) }
    /^(PASS|FAIL|SKIP) / {
        check = $2; sub(/:$/, "", check)
        if (!(check in seen)) { seen[check] = 1; checks[++rows] = check; longest = longest > length(check) ? longest : length(check) }
        cell[check, FILENAME] = $1 == "PASS" ? "ok" : $1 == "SKIP" ? "-" : "FAIL"
    }
    END {
        printf "%-*s", longest, ""
        for (c = 1; c <= columns; c++) printf "  %-*s", length(names[c]), names[c]
        print ""
        for (r = 1; r <= rows; r++) {
            printf "%-*s", longest, checks[r]
            for (c = 1; c <= columns; c++) printf "  %-*s", length(names[c]), cell[checks[r], names[c]]
            print ""
        }
    }' "${clients[@]}")
for name in "${clients[@]}"; do
    grep -q ^FAIL "$work/$name" || continue
    printf '\n%s:\n' "$name"
    grep ^FAIL "$work/$name" | cut -c 1-600
    for file in errors log; do
        [ -s "$work/$name.d/$file" ] && { echo "-- the last lines of its $file:"; tail -15 "$work/$name.d/$file" | cut -c 1-400; }
    done
done
cd "$work"
count() { cat "${clients[@]}" | grep -c "^$1 " || true; }
printf '\nclients: %s passed, %s failed, %s skipped\n' "$(count PASS)" "$(count FAIL)" "$(count SKIP)"
[ "$(count FAIL)" = 0 ]
