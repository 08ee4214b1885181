#!/usr/bin/env bash
# Fuzzes from the seeds in corpus/, all targets at a time: README.md beside this file says what they check.
#
#   run.sh [--seconds N] [TARGET]...    targets: requests batches broker; N: 60
#
# What it finds on the way is kept in $CORELOG_FUZZ ($TMPDIR/corelog-fuzz), and is where the next run begins.
set -euo pipefail
cd "$(dirname "$0")"

seconds=60 targets=()
die() { printf 'run.sh: %s\n' "$*" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
        requests | batches | broker) targets+=("$1"); shift ;;
        *) die "there is no target $1" ;;
    esac
done
[ ${#targets[@]} -gt 0 ] || targets=(requests batches broker)
found=${CORELOG_FUZZ:-${TMPDIR:-/tmp}/corelog-fuzz}

# What replaces the flags of .cargo/config.toml would take the coverage with it.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
cargo build --quiet --release --locked --bins
built=$(cargo metadata --format-version 1 --no-deps --locked | sed -E 's/.*"target_directory":"([^"]+)".*/\1/')
built=$built/$(rustc -vV | sed -n 's/^host: //p')/release

pids=()
# The data of the broker: in memory where there is room to, since what is fuzzed is not the disk.
data=$(mktemp -d -p /dev/shm 2> /dev/null || mktemp -d)
finish() {
    kill "${pids[@]}" 2> /dev/null || true
    wait
    rm -rf "$data"
}
trap finish EXIT
trap 'exit 1' INT TERM
for target in "${targets[@]}"; do
    mkdir -p "$found/$target"
    # The broker takes what `requests` takes.
    seeds=corpus/$target timeout=10
    [ "$target" != broker ] || seeds=corpus/requests timeout=60
    TMPDIR=$data "$built/$target" "$found/$target" "$seeds" -max_total_time="$seconds" -timeout="$timeout" -rss_limit_mb=2048 \
        -artifact_prefix="$found/$target-" -print_final_stats=1 -verbosity=1 > "$found/$target.log" 2>&1 < /dev/null &
    pids+=($!)
done
failed=0
for place in "${!targets[@]}"; do
    target=${targets[$place]} log=$found/${targets[$place]}.log
    status=0
    wait "${pids[$place]}" || status=$?
    if [ "$status" -eq 0 ]; then
        # Without its counters it would run blindly and find nothing.
        grep -q 'INFO: Loaded 1 modules' "$log" || { echo "$target was built without coverage" >&2; failed=1; }
        printf '%s: %s executions, %s\n' "$target" "$(sed -n 's/stat::number_of_executed_units: *//p' "$log")" \
            "$(grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | tail -1)"
    else
        failed=1
        reproducer=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
        tail -40 "$log" >&2
        printf '\n%s failed with exit code %s; its whole log: %s\n' "$target" "$status" "$log" >&2
        [ "$status" -le 128 ] || printf 'it was ended by signal %s, not by an input that libFuzzer saw\n' "$((status - 128))" >&2
        printf 'the input: %s\nreplay: (cd server/fuzz && cargo run --release --bin %s -- %s)\n' "$reproducer" "$target" "$reproducer" >&2
    fi
done
exit "$failed"
