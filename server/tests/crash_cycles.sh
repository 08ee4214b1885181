#!/usr/bin/env bash
# Kills the release build under load with SIGKILL, verifies its directory, restarts it and reads what was acknowledged.
#
#   crash_cycles.sh [CYCLES=200]
#
# The broker is $CORELOG (target/release/corelog); CORELOG_CRASH_SEED has an earlier run's load and times again.
set -euo pipefail

corelog=${CORELOG:-target/release/corelog}
[ -x "$corelog" ] || { echo "$corelog is not there: cargo build --release -p corelog-server, or set CORELOG" >&2; exit 2; }
# Cargo runs a test in its package's directory.
CORELOG_BINARY=$(realpath "$corelog") CORELOG_CRASH_CYCLES=${1:-200} \
  exec cargo test -p corelog-server --test crash_cycles -- --nocapture
