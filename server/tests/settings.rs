//! Settings as an operator gives them: a whole `server.properties`, options, and the mistakes in them.

use std::path::{Path, PathBuf};

use corelog_replication::NodeId;
use corelog_server::config::{Given, Settings};

/// The settings of Kafka 4.1's own `config/server.properties`.
const PLAIN_KAFKA: &str = "
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
#log.flush.interval.messages=10000
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

fn file(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("server.properties");
    std::fs::write(&path, text).expect("written");
    path
}

fn load(text: &str, options: &[&str]) -> Result<Settings, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file(dir.path(), text);
    let given = Given::from_file(&path).and_then(|mut given| {
        for option in options {
            given.push(Given::from_option(option)?);
        }
        Settings::new(&given)
    });
    given.map_err(|error| error.to_string().replace(&path.display().to_string(), "server.properties"))
}

#[test]
fn a_plain_kafkas_file_is_accepted_and_one_warning_names_what_does_nothing() {
    let settings = load(PLAIN_KAFKA, &[]).expect("accepted");
    assert_eq!(settings.broker.node, NodeId(1));
    assert_eq!(settings.broker.listeners.iter().map(ToString::to_string).collect::<Vec<_>>(), ["PLAINTEXT://:9092"]);
    assert_eq!(settings.broker.advertised[0].host.as_deref(), Some("localhost"));
    assert_eq!(settings.engine.dir, PathBuf::from("/tmp/kraft-combined-logs"));
    let [warning] = &settings.warnings[..] else { panic!("one warning: {:?}", settings.warnings) };
    for name in ["num.io.threads", "offsets.topic.replication.factor", "controller.quorum.bootstrap.servers"] {
        assert!(warning.contains(name), "{warning}");
    }
    for name in ["log.retention.hours", "socket.request.max.bytes", "log.flush.interval.messages"] {
        assert!(!warning.contains(name), "{warning}");
    }
}

#[test]
fn nothing_given_is_a_durable_broker_on_the_usual_port() {
    let settings = Settings::new(&[]).expect("defaults");
    assert_eq!(settings.broker.listeners[0].port, 9092);
    assert!(settings.broker.auto_create_topics && settings.broker.delete_topics);
    assert_eq!((settings.engine.cores, settings.engine.direct), (None, true));
    assert_eq!(settings.topics.get("flush.messages"), Some("1"));
    assert!(settings.warnings.is_empty());
}

#[test]
fn an_option_goes_before_the_file_and_a_flag_is_an_option() {
    let text = "num.partitions=3\nlog.flush.interval.messages=10000\ncorelog.cores=1\n";
    let settings = load(text, &["num.partitions=5", " log.retention.minutes = 2 "]).expect("good");
    assert_eq!((settings.broker.partitions, settings.engine.cores), (5, Some(1)));
    let topic = settings.topics.resolve(&Default::default()).expect("good");
    assert_eq!((topic.retention_ms, topic.flush_messages, topic.is_durable()), (Some(120_000), 10_000, false));
    let flags = [
        Given::from_flag("--data-dir", "log.dirs", "/d"),
        Given::from_flag("--listen", "listeners", "PLAINTEXT://h:1"),
    ];
    let settings = Settings::new(&flags).expect("good");
    assert_eq!((settings.engine.dir, settings.broker.listeners[0].port), (PathBuf::from("/d"), 1));
}

#[test]
fn a_mistake_is_named_with_its_place_and_the_remedy() {
    let cases = [
        (
            "a=1\nnum.partition=3",
            "server.properties:1: unknown setting a; see the settings table in docs/operations.md",
        ),
        ("\nnum.partition=3", "server.properties:2: unknown setting num.partition; did you mean num.partitions?"),
        (
            "retention.ms=3",
            "server.properties:1: unknown setting retention.ms; it is a topic's setting; for all topics it is log.retention.ms",
        ),
        (
            "num.partitions=0",
            "server.properties:1: Invalid value 0 for configuration num.partitions: Value must be at least 1",
        ),
        (
            "corelog.journal.bytes=1g",
            "Invalid value 1g for configuration corelog.journal.bytes: Not a number of type LONG",
        ),
        (
            "ssl.key.password=\nnum.io.threads=none",
            "server.properties:2: Invalid value none for configuration num.io.threads",
        ),
        (
            "listeners=SASL_SSL://:9092",
            "server.properties:1: listeners: SASL_SSL://:9092 is SASL_SSL, but only PLAINTEXT is served",
        ),
        ("listeners=9092", "listeners: \"9092\" is not NAME://HOST:PORT"),
        ("advertised.listeners=PLAINTEXT://0.0.0.0:1", "clients cannot connect to every address"),
        ("inter.broker.listener.name=REPL", "inter.broker.listener.name=REPL is not one of listeners"),
        ("log.dirs=/a,/b", "log.dirs names 2 directories"),
        ("process.roles=broker", "this process is broker and controller at once"),
        ("node.id=1\nbroker.id=2", "server.properties:2: broker.id=2 contradicts node.id=1"),
        (
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "authorizer.class.name cannot be honoured",
        ),
        ("default.replication.factor=70000", "Invalid value 70000 for configuration default.replication.factor"),
        (
            "group.consumer.session.timeout.ms=9000",
            "server.properties:1: group.consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            "group.consumer.max.heartbeat.interval.ms=3000",
            "server.properties:1: group.consumer.max.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms",
        ),
        ("log.roll.hours=1\nlog.roll.ms=0", "server.properties:2: log.roll.ms must be greater than or equal to 1"),
        ("log.roll.jitter.ms=-1", "server.properties:1: log.roll.jitter.ms must be greater than or equal to 0"),
        (
            "log.retention.minutes=0",
            "server.properties:1: log.retention.ms must be unlimited (-1) or, greater or equal to 1",
        ),
        ("max.connections.per.ip=0", "max.connections.per.ip can be set to zero only if"),
        ("max.connections.per.ip.overrides=10.0.0.1", "max.connections.per.ip.overrides: it must be a list of hosts"),
        ("a=\\u12", "server.properties: line 1: \\u12 is not four hexadecimal digits"),
    ];
    for (text, expected) in cases {
        let error = load(text, &[]).expect_err(text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    assert!(load("", &["x"]).expect_err("no =").contains("-o x: a setting is given as key=value"));
    assert!(load("", &["num.partitions=x"]).expect_err("wrong").starts_with("-o: Invalid value x"));
    let missing = Given::from_file(Path::new("/nowhere/server.properties")).expect_err("missing").to_string();
    assert!(missing.contains("/nowhere/server.properties"), "{missing}");
}

#[test]
fn an_older_files_broker_id_is_the_node_id_and_plug_ins_settings_do_nothing() {
    let settings =
        load("broker.id=7\nlistener.name.internal.ssl.keystore.location=/k\nzookeeper.connect=z:1", &[]).expect("good");
    assert_eq!(settings.broker.node, NodeId(7));
    assert!(settings.warnings[0].contains("listener.name.internal.ssl.keystore.location"), "{:?}", settings.warnings);
    assert!(settings.warnings[0].contains("Kafka 4.0 removed it"), "{:?}", settings.warnings);
}

#[test]
fn a_secret_is_never_shown() {
    let error = load("ssl.key.password=hush\nnum.partitions=x", &[]).expect_err("wrong");
    assert!(!error.contains("hush"), "{error}");
}
