#!/usr/bin/env bash
# Prints the class path of Apache Kafka's own broker, Connect and Streams, from Maven Central; kept in CACHE.
#
#   classpath.sh CACHE
set -euo pipefail
cache=${1:?usage: classpath.sh CACHE}
here=$(cd "$(dirname "$0")" && pwd)
file=$cache/kafka-classpath
mkdir -p "$cache"
# Made again where the versions have changed, or the repository of jars is gone.
if [ ! -s "$file" ] || [ "$here/pom.xml" -nt "$file" ] || ! tr : '\n' < "$file" | xargs ls > /dev/null 2>&1; then
    mvn -q -B -f "$here/pom.xml" dependency:build-classpath -Dmdep.outputFile="$file.new" > "$file.log" 2>&1 \
        || { cat "$file.log" >&2; exit 2; }
    mv "$file.new" "$file"
fi
cat "$file"
