#!/usr/bin/env bash
# Records what the client libraries of ../tests/clients and Kafka's own tools send, and chooses the seeds in corpus/ from it.
# Takes $CORELOG (target/release/corelog), and about five minutes. What is in corpus/ already stays.
#
#   capture.sh [CLIENT]...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
corelog=${CORELOG:-target/release/corelog}
work=$(mktemp -d)
# shellcheck disable=SC2046
finish() { kill $(jobs -rp) 2> /dev/null || true; wait; rm -rf "$work"; }
trap finish EXIT
trap 'exit 1' INT TERM
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
broker=$(free) proxy=$(free)
"$corelog" --data-dir "$work/data" --listen "127.0.0.1:$broker" -o "advertised.listeners=PLAINTEXT://127.0.0.1:$proxy" \
    -o group.initial.rebalance.delay.ms=0 > "$work/ready" 2> "$work/log" &
python3 "$here/capture.py" listen "127.0.0.1:$broker" "$proxy" "$work/frames" > "$work/proxy" &
until grep -qs ready "$work/ready" && grep -qs recording "$work/proxy"; do sleep 0.1; done
"$here/../tests/clients/run.sh" --peer "127.0.0.1:$proxy" "$@" || echo "a check failed; what was sent is recorded all the same" >&2
python3 "$here/capture.py" select "$here/../tests/golden/requests.txt" "$work/frames"
