#!/usr/bin/env bash
# Lets Apache Kafka's DumpLogSegments read a partition directory: every batch and record with its checksum, every index
# entry against the log, transaction indexes and producer snapshots. Prints what it prints; exits 1 where it finds
# anything wrong, which it itself does not. Usage: dump.sh DIR
# Needs a JDK of 17 or later and Maven, which keeps what it downloads outside of this tree.
set -euo pipefail
dir=$(cd "$1" && pwd)
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mvn -q -B dependency:build-classpath -Dmdep.outputFile="$work/classpath" > "$work/maven" || { cat "$work/maven" >&2; exit 2; }

# It opens indexes for writing, so it gets copies; a log it only reads.
mkdir "$work/$(basename "$dir")"
cd "$work/$(basename "$dir")"
for file in "$dir"/*; do
  case $file in
    *.log) ln -s "$file" . ;;
    *) cp "$file" . ;;
  esac
done
dump() { java -cp "$(cat "$work/classpath")" kafka.tools.DumpLogSegments "$@" 2>&1 | tee -a "$work/output"; }
files() { find . \( -type f -o -type l \) \( "$@" \) -printf '%P\n' | sort | paste -sd,; }

logs=$(files -name '*.log')
indexes=$(files -name '*.index' -o -name '*.timeindex')
others=$(files -name '*.txnindex' -o -name '*.snapshot')
[ -n "$logs" ] || { echo "$dir has no segment" >&2; exit 2; }
case $(basename "$dir") in
  __cluster_metadata-*) dump --cluster-metadata-decoder --files "$logs" ;;
  *) dump --deep-iteration --print-data-log --files "$logs" ;;
esac
if [ -n "$indexes" ]; then
  dump --index-sanity-check --files "$indexes"
  dump --files "$indexes"
fi
[ -z "$others" ] || dump --files "$others"

# Lines of records hold anything; what it complains about has lines of its own.
if grep -av '^| ' "$work/output" |
  grep -aEi 'isvalid: false|mismatch|exception|invalid bytes|out of order|not found|failed to' > "$work/wrong"; then
  echo "DumpLogSegments found fault with $dir:" >&2
  cut -c1-300 "$work/wrong" >&2
  exit 1
fi
