#!/usr/bin/env bash
# Writes a text file through the broker with kcat and reads it back: byte for byte the same, for each codec.
#
#   kcat_round_trip.sh FILE [CODEC]...
#
# FILE is made, of at least 200 MB of deterministic text, where it is missing. CODECs: none gzip snappy lz4 zstd; all of
# them where none is named. The broker is $CORELOG (target/release/corelog), on a data directory of its own under $TMPDIR.
set -euo pipefail

file=${1:?usage: kcat_round_trip.sh FILE [CODEC]...}
shift
codecs=("$@")
[ ${#codecs[@]} -gt 0 ] || codecs=(none gzip snappy lz4 zstd)
corelog=${CORELOG:-target/release/corelog}
command -v kcat >/dev/null || { echo "kcat is needed: apt-get install kcat" >&2; exit 2; }
[ -x "$corelog" ] || { echo "$corelog is not there: cargo build --release -p corelog-server, or set CORELOG" >&2; exit 2; }

if [ ! -s "$file" ]; then
    # Numbered lines of words from a fixed generator: the same on every machine, and neither trivial nor impossible to compress.
    awk 'BEGIN {
        n = split("append batch commit durable epoch fetch group header index journal key leader offset partition " \
                  "quorum record segment shard tail topic watermark", word, " ")
        seed = 42
        for (line = 1; bytes < 210000000; line++) {
            text = line
            seed = (seed * 69069 + 1) % 4294967296
            count = 3 + int(seed / 65536) % 12
            for (i = 0; i < count; i++) {
                seed = (seed * 69069 + 1) % 4294967296
                text = text " " word[1 + int(seed / 65536) % n] int(seed / 256) % 1000
            }
            print text
            bytes += length(text) + 1
        }
    }' > "$file"
fi

dir=$(mktemp -d)
"$corelog" --data-dir "$dir/data" --listen 127.0.0.1:0 > "$dir/ready" 2> "$dir/log" &
broker=$!
trap 'kill "$broker" 2>/dev/null || true; wait "$broker" 2>/dev/null || true; rm -rf "$dir"' EXIT
for _ in $(seq 100); do
    [ -s "$dir/ready" ] && break
    kill -0 "$broker" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
    sleep 0.1
done
read -r _ _ _ address < "$dir/ready"

wanted=$(sha256sum < "$file")
for codec in "${codecs[@]}"; do
    # One partition, so that the order is the file's. Lines are records, as -l has it.
    start=$(date +%s%N)
    kcat -P -b "$address" -t "text-$codec" -p 0 -z "$codec" -X queue.buffering.max.kbytes=200000 -l "$file"
    middle=$(date +%s%N)
    found=$(kcat -C -q -b "$address" -t "text-$codec" -p 0 -o beginning -e -X check.crcs=true | sha256sum)
    end=$(date +%s%N)
    if [ "$found" != "$wanted" ]; then
        echo "$codec: what came back differs" >&2
        tail -5 "$dir/log" >&2
        exit 1
    fi
    mb=$(( $(stat -c %s "$file") / 1000000 ))
    echo "$codec: $mb MB the same; written in $(( (middle - start) / 1000000 )) ms, read in $(( (end - middle) / 1000000 )) ms"
done
if grep -E "ERROR|panicked" "$dir/log"; then
    exit 1
fi
