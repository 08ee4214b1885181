#!/usr/bin/env bash
# Counts the instructions of the parts of the engine that only the processor works on, with callgrind, and compares with
# the counts in instructions.txt: a part that differs by more than 1 % fails. Run with --update to write the counts of
# now; the commit that does so says why they changed. Needs valgrind, which has no AVX-512: checksums are counted as they are
# made without it.
set -euo pipefail
cd "$(dirname "$0")"
known=instructions.txt
calls=100
tolerance_percent=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --quiet --release --workspace --example instructions
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# Each part is a function: the counts begin at its beginning and are written out at its end. (Callgrind keeps one option
# per pattern, so there are two of them.)
valgrind --tool=callgrind --callgrind-out-file="$work/counts" \
  --zero-before='*part_*' --dump-after='instructions::part_*' "$target/release/examples/instructions" \
  > "$work/output" 2>&1 || { cat "$work/output" >&2; exit 1; }

tools="# $(rustc --version | cut -d' ' -f1,2), $(valgrind --version), $(ldd --version | sed -n '1s/.* /libc /p')"
awk -v calls="$calls" '/^desc: Trigger: --dump-after=/ { part = $0; sub(/.*instructions::part_/, "", part); sub(/[^a-z0-9_].*/, "", part) }
  /^(summary|totals):/ && part != "" { printf "%s %d\n", part, $2 / calls; part = "" }' "$work"/counts.* | sort > "$work/now"
[ -s "$work/now" ] || { echo "callgrind counted nothing" >&2; exit 1; }

if [ "${1:-}" = --update ]; then
  { echo "# Instructions per call of each part in engine/examples/instructions.rs; see instructions.sh."; echo "$tools"; cat "$work/now"; } > "$known"
  cat "$known"
  exit
fi
grep -qxF "$tools" "$known" || echo "note: counted with ${tools#\# }, known counts with $(sed -n '2s/^# //p' "$known")"
grep -v '^#' "$known" | sort > "$work/known"
join -a1 -a2 -e missing -o 0,1.2,2.2 "$work/known" "$work/now" |
  awk -v tolerance="$tolerance_percent" '
    { change = ($2 == "missing" || $3 == "missing" || $2 == 0) ? 100 : ($3 - $2) * 100 / $2
      bad = change > tolerance || change < -tolerance
      failed += bad
      printf "%-32s %10s -> %10s  %+7.2f %%%s\n", $1, $2, $3, change, bad ? "  FAILED" : "" }
    END { if (failed) { print failed " parts differ by more than " tolerance " %: if that is meant, run instructions.sh --update"; exit 1 } }'
