#!/usr/bin/env bash
# Apache Kafka's own broker, one node with KRaft, until it is killed: what the checks are held to.
#
#   kafka.sh CACHE DIR PORT [SETTING=VALUE]...
#
# CACHE as for classpath.sh; DIR is made, and holds its data and log; PORT and PORT + 1 on the loopback address.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${1:?usage: kafka.sh CACHE DIR PORT [SETTING=VALUE]...} dir=${2:?} port=${3:?}
shift 3
classpath=$("$here/classpath.sh" "$cache")
mkdir -p "$dir"
{
    cat <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$dir/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
EOF
    printf '%s\n' "$@"
} > "$dir/server.properties"
java=(java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$classpath")
[ -e "$dir/data/meta.properties" ] || "${java[@]}" kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ -c "$dir/server.properties"
exec "${java[@]}" kafka.Kafka "$dir/server.properties"
