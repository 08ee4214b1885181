#!/usr/bin/env bash
# Apache Kafka's own command-line tools against a broker, each as it is run by hand: that it ends well, and prints what it
# prints against Kafka. Usage: kafka_tools.sh   (CORELOG names the binary). Needs a JDK of 17 or later and Maven, which keeps
# what it downloads outside of this tree.
set -euo pipefail
cd "$(dirname "$0")/../.."
corelog=${CORELOG:-target/release/corelog}
[ -x "$corelog" ] || { echo "kafka_tools.sh: there is no $corelog; build it, or set CORELOG" >&2; exit 2; }
work=$(mktemp -d)
broker=
end() {
  status=$?
  [ -z "$broker" ] || { kill "$broker" 2> /dev/null && wait "$broker"; } || true
  if [ $status -ne 0 ] && [ -f "$work/log" ]; then tail -20 "$work/log" >&2; fi
  rm -rf "$work"
  exit $status
}
trap end EXIT

mvn -q -B -f server/tests/tools/pom.xml dependency:build-classpath -Dmdep.outputFile="$work/classpath" > "$work/maven" ||
  { cat "$work/maven" >&2; exit 2; }
java=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -Xlog:disable -cp "$(cat "$work/classpath")")
# What the first tool has loaded the others share, which halves their start.
share=(-XX:ArchiveClassesAtExit="$work/classes.jsa")

"$corelog" --data-dir "$work/data" --listen 127.0.0.1:0 --cores 2 -o corelog.pin=false -o group.initial.rebalance.delay.ms=100 \
  > "$work/ready" 2> "$work/log" &
broker=$!
for _ in $(seq 100); do
  address=$(sed -n 's/^corelog ready on //p' "$work/ready")
  [ -z "$address" ] || break
  kill -0 "$broker" || exit 1
  sleep 0.1
done
[ -n "$address" ] || { echo "kafka_tools.sh: the broker did not start" >&2; exit 1; }
tools=org.apache.kafka.tools

# check STATUS PATTERN CLASS WORDS...: run a tool on the broker; it has to end with STATUS and print a line like PATTERN.
check() {
  local status=$1 pattern=$2 class=$3 found=0
  shift 3
  timeout 60 "${java[@]}" "${share[@]}" "$class" "$@" < "$work/input" > "$work/output" 2>&1 || found=$?
  if [ "$found" != "$status" ] || { [ -n "$pattern" ] && ! grep -Eq -- "$pattern" "$work/output"; }; then
    echo "$class $*: exit $found and not $status, or no line like: $pattern" >&2
    cat "$work/output" >&2
    exit 1
  fi
  share=(-XX:SharedArchiveFile="$work/classes.jsa")
  printf 'ok %s\n' "${class##*.} $*" | cut -c1-150
}
# on STATUS PATTERN CLASS WORDS...: the same for tools that take --bootstrap-server.
on() { local status=$1 pattern=$2 class=$3; shift 3; check "$status" "$pattern" "$class" --bootstrap-server "$address" "$@"; }
: > "$work/input"

on 0 '^Created topic t\.$' $tools.TopicCommand --create --topic t --partitions 2 --config retention.ms=86400000
on 1 'already exists' $tools.TopicCommand --create --topic t
on 0 'PartitionCount: 2.*Configs: retention.ms=86400000' $tools.TopicCommand --describe --topic t
on 0 '' $tools.TopicCommand --alter --topic t --partitions 3
on 0 '^t$' $tools.TopicCommand --list
on 0 'Partition: 2.*Leader: 1.*Isr: 1.*Elr:' $tools.TopicCommand --describe
seq 1000 > "$work/input"
on 0 '' $tools.ConsoleProducer --topic t --property linger.ms=5
: > "$work/input"
on 0 'Processed a total of 1000 messages' $tools.consumer.ConsoleConsumer --topic t --group tools --from-beginning --max-messages 1000 --timeout-ms 20000
on 0 '^t:[0-2]:[1-9][0-9]*$' $tools.GetOffsetShell --topic t
on 0 '^t:0:0$' $tools.GetOffsetShell --topic t --time earliest
on 0 '^t:[0-2]:[0-9]+$' $tools.GetOffsetShell --topic t --time max-timestamp
on 0 'tools +t +[0-2] +[0-9]+ +[0-9]+ +0 ' $tools.consumer.group.ConsumerGroupCommand --describe --group tools
on 0 '^tools$' $tools.consumer.group.ConsumerGroupCommand --list
on 0 'tools +t +0 +0' $tools.consumer.group.ConsumerGroupCommand --group tools --topic t:0 --reset-offsets --to-earliest --execute
on 0 'Deletion of requested consumer groups' $tools.consumer.group.ConsumerGroupCommand --delete --group tools
echo '{"version":1,"partitions":[{"topic":"t","partition":0,"offset":-1}]}' > "$work/delete.json"
on 0 'partition: t-0[[:space:]]low_watermark: [0-9]+' $tools.DeleteRecordsCommand --offset-json-file "$work/delete.json"
on 0 '"partition":"t-[0-2]","size":[1-9][0-9]*,"offsetLag":0' $tools.LogDirsCommand --describe --topic-list t
on 0 'retention.ms=86400000 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG' kafka.admin.ConfigCommand --describe --topic t
on 0 'Completed updating config for topic t' kafka.admin.ConfigCommand --alter --topic t --add-config 'cleanup.policy=[delete],compression.type=lz4,segment.ms=3600000'
on 0 'segment.ms=3600000' kafka.admin.ConfigCommand --describe --topic t
on 0 'Completed updating config for topic t' kafka.admin.ConfigCommand --alter --topic t --delete-config segment.ms
on 1 'Not a number of type LONG' kafka.admin.ConfigCommand --alter --topic t --add-config retention.ms=soon
on 0 'log.retention.hours=168' kafka.admin.ConfigCommand --describe --broker 1 --all
on 0 'Completed updating default config for brokers' kafka.admin.ConfigCommand --alter --broker-defaults --add-config message.max.bytes=2000000
on 0 'DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=2000000' kafka.admin.ConfigCommand --describe --broker-defaults
on 0 '^  corelog_server.net=INFO sensitive=false' kafka.admin.ConfigCommand --describe --entity-type broker-loggers --entity-name 1
on 0 'Completed updating config for broker-logger 1' kafka.admin.ConfigCommand --alter --entity-type broker-loggers --entity-name 1 --add-config corelog_server.net=DEBUG
on 0 '^  corelog_server.net=DEBUG sensitive=false' kafka.admin.ConfigCommand --describe --broker-logger 1
on 0 'Completed updating config for broker-logger 1' kafka.admin.ConfigCommand --alter --broker-logger 1 --delete-config corelog_server.net
on 1 'Cannot set the log level of root to LOUD' kafka.admin.ConfigCommand --alter --broker-logger 1 --add-config root=LOUD
on 1 'Invalid broker logger\(s\): nobody' kafka.admin.ConfigCommand --alter --broker-logger 1 --add-config nobody=INFO
on 0 'IncrementalAlterConfigs\(44\): 0 to 1 \[usable: 1\]' $tools.BrokerApiVersionsCommand
on 0 'metadata.version.*FinalizedVersionLevel: 4.1-IV1' $tools.FeatureCommand describe
on 0 'group.version was downgraded to 0' $tools.FeatureCommand downgrade --feature group.version=0
on 0 'group.version was upgraded to 1' $tools.FeatureCommand upgrade --feature group.version=1
on 0 '^LeaderId: +1$' $tools.MetadataQuorumCommand describe --status
on 0 '^1 .*Leader' $tools.MetadataQuorumCommand describe --replication
check 0 '^Cluster ID: ' $tools.ClusterTool cluster-id --bootstrap-server "$address"
on 0 'Valid replica already elected for partitions t-0' $tools.LeaderElectionCommand --election-type preferred --topic t --partition 0
on 0 'No partition reassignments found' $tools.reassign.ReassignPartitionsCommand --list
on 1 'No Authorizer is configured' $tools.AclCommand --list
check 0 '^5000 records sent, ' $tools.ProducerPerformance --topic t --num-records 5000 --record-size 200 --throughput -1 \
  --producer-props "bootstrap.servers=$address"
on 0 '^[0-9].*, 5[0-9]{3}, ' $tools.ConsumerPerformance --topic t --messages 5000 --timeout 15000
check 0 '^Percentiles: ' $tools.EndToEndLatency "$address" t 50 1 100
on 0 '"name":"tool_data","sent":10,"acked":10' $tools.VerifiableProducer --topic t --max-messages 10 --throughput 1000
on 0 '"name":"offsets_committed".*"success":true' $tools.VerifiableConsumer --topic t --group-id verifiable --max-messages 10 --reset-policy earliest
on 0 '' $tools.TopicCommand --delete --topic t
kill "$broker"
wait "$broker"
broker=
"$corelog" verify "$work/data"
