#!/usr/bin/env bash
# Holds the broker to its cold start: from exec to `corelog ready` on an empty directory, N times (11), the median under 100 ms.
#
#   cold_start.sh [N]
#
# $CORELOG is the binary (target/release/corelog). Prints each time; a time that a busy machine made long shows, and only the
# median decides.
set -euo pipefail

corelog=${CORELOG:-target/release/corelog}
starts=${1:-11}
most_ms=100
[ -x "$corelog" ] || { echo "cold_start.sh: $corelog is not there: cargo build --release -p corelog-server, or set CORELOG" >&2; exit 2; }
work=$(mktemp -d)
broker=''
finish() { [ -z "$broker" ] || kill "$broker" 2> /dev/null || true; rm -rf "$work"; }
trap finish EXIT

times=()
for _ in $(seq "$starts"); do
    began=${EPOCHREALTIME/./}
    exec 3< <(exec "$corelog" --data-dir "$work/data" --listen 127.0.0.1:0 2> "$work/log")
    broker=$!
    read -r -t 60 line <&3 || line=''
    ended=${EPOCHREALTIME/./}
    case $line in
        'corelog ready on '*) ;;
        *) cat "$work/log" >&2; echo "cold_start.sh: it did not start" >&2; exit 1 ;;
    esac
    times+=($(((ended - began) / 100)))
    kill "$broker"
    wait "$broker" || { cat "$work/log" >&2; echo "cold_start.sh: it ended with $?" >&2; exit 1; }
    broker=''
    exec 3<&-
    rm -rf "$work/data"
done
mapfile -t times < <(printf '%s\n' "${times[@]}" | sort -n)
ms() { printf '%s.%s' "$(($1 / 10))" "$(($1 % 10))"; }
printf 'cold start, ms:'
for time in "${times[@]}"; do printf ' %s' "$(ms "$time")"; done
median=${times[$((starts / 2))]}
printf '\nmedian %s ms, at most %s ms\n' "$(ms "$median")" "$most_ms"
[ "$median" -lt $((most_ms * 10)) ] || { echo "cold_start.sh: the median is above $most_ms ms" >&2; exit 1; }
