#!/usr/bin/env bash
# Makes the golden files again with Apache Kafka's own classes: partition directories, what Kafka finds in them
# (segments.json), and what Kafka says to good and forged batches (verdicts.json). Needs a JDK of 17 or later and Maven,
# which keeps what it downloads outside of this tree. The files are the same each time: a difference is news.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mvn -q -B dependency:build-classpath -Dmdep.outputFile="$work/classpath"
classpath=$(cat "$work/classpath")
javac -nowarn -cp "$classpath" -d "$work/classes" src/*.java
mkdir "$work/out"
java -cp "$work/classes:$classpath" Segments "$work/out"
java -cp "$work/classes:$classpath" Verdicts "$work/out" "$work/scratch"
rm -rf golden-0 stamped-0
cp -r "$work/out/." .
rm -rf "$work"
du -sh --apparent-size golden-0 stamped-0 segments.json verdicts.json
