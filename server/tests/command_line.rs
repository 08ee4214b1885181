//! The binary: what it prints, what it is told, and how it ends.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corelog_server::protocol::delete_records::{
    DeleteRecords, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use corelog_server::protocol::describe_configs::{DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResource};
use corelog_server::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
};
use corelog_server::protocol::produce::Produce;
use corelog_server::protocol::{ErrorCode, Text, decode_response, encode_request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{BY_NAME, Client, batch, produce_request, values};

fn corelog() -> Command {
    Command::new(env!("CARGO_BIN_EXE_corelog"))
}

/// A broker process, and where it listens.
fn start(dir: &Path, args: &[&str]) -> (Child, SocketAddr) {
    let mut child = corelog()
        .args(["--data-dir", dir.to_str().expect("text"), "--listen", "127.0.0.1:0", "--cores", "2"])
        .args(["-o", "corelog.arena.bytes=16777216", "-o", "corelog.cache.bytes=8388608"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    let addr = line.strip_prefix("corelog ready on ").unwrap_or_else(|| panic!("{line:?}"));
    let addr = addr.trim_end().parse().expect("an address");
    (child, addr)
}

fn end(mut child: Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
    let status = child.wait().expect("it ends");
    let mut rest = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut rest).expect("text");
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""), "{signal}");
}

fn said(output: Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn it_serves_until_it_is_told_to_end_and_serves_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    for (round, signal) in [(0, Signal::SIGTERM), (1, Signal::SIGINT)] {
        let (child, addr) = start(&data, &[]);
        let mut client = Client::connect(addr);
        if round == 0 {
            client.create("t", 1, &[]);
        }
        let answer = client.produce("t", 0, batch(&["x"]));
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, round));
        end(child, signal);
    }
    let verified = corelog().arg("verify").arg(&data).output().expect("it runs");
    let report = String::from_utf8(verified.stdout).expect("text");
    assert!(verified.status.success() && report.contains("all is well"), "{report}");
    let dumped =
        corelog().args(["dump", "--json"]).arg(data.join("t-0/00000000000000000000.log")).output().expect("it runs");
    let lines = String::from_utf8(dumped.stdout).expect("text");
    assert!(dumped.status.success() && lines.lines().all(|line| line.starts_with('{')), "{lines}");
}

#[test]
fn the_levels_of_its_logs_are_told_and_set_while_it_runs() {
    const LOGGERS: i8 = 8;
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    let mut child = corelog()
        .args([
            "--data-dir",
            dir.path().join("data").to_str().expect("text"),
            "--listen",
            "127.0.0.1:0",
            "--cores",
            "1",
        ])
        .args(["-o", "corelog.arena.bytes=16777216", "-o", "corelog.cache.bytes=8388608"])
        .env("RUST_LOG", "warn,corelog_engine=error")
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    let addr: SocketAddr = line.trim_end().rsplit(' ').next().expect("a word").parse().expect("an address");
    let mut client = Client::connect(addr);
    let mut set = |name: &str, config_operation, value: Option<&str>| {
        let configs = vec![AlterableConfig { name: name.into(), config_operation, value: value.map(Text::from) }];
        let resource = AlterConfigsResource { resource_type: LOGGERS, resource_name: "1".into(), configs };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let response = client.call::<IncrementalAlterConfigs>(1, &request).responses.remove(0);
        assert_eq!(response.error_code, ErrorCode::NONE, "{:?}", response.error_message);
    };
    let level = |name: &str| {
        let resource =
            DescribeConfigsResource { resource_type: LOGGERS, resource_name: "1".into(), configuration_keys: None };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let configs = Client::connect(addr).call::<DescribeConfigs>(4, &request).results.remove(0).configs;
        let found = configs.iter().find(|config| config.name.as_str() == name).expect("it is there");
        assert_eq!((found.config_source, found.read_only, configs.len() > 10), (6, false, true));
        found.value.as_ref().expect("a level").to_string()
    };
    let logged = |what: &str| std::fs::read_to_string(&log).expect("text").matches(what).count();
    assert_eq!(["root", "corelog_engine.shard", "corelog_server.net"].map(level), ["WARN", "ERROR", "WARN"]);
    assert_eq!(logged("connection closed"), 0);

    set("corelog_server.net", 0, Some("DEBUG"));
    assert_eq!(level("corelog_server.net"), "DEBUG");
    support::until("an end of a connection is logged", || {
        drop(Client::connect(addr));
        logged("connection closed") > 0
    });
    set("corelog_server.net", 1, None);
    set("root", 0, Some("INFO"));
    assert_eq!(["root", "corelog_engine.shard", "corelog_server.net"].map(level), ["INFO", "ERROR", "INFO"]);
    end(child, Signal::SIGTERM);
    assert!(logged("INFO") > 0, "the end is logged");
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut expected = 0;
    for _ in 0..3 {
        let (mut child, addr) = start(&data, &[]);
        let mut client = Client::connect(addr);
        if expected == 0 {
            client.create("t", 3, &[]);
        }
        for partition in 0..3 {
            assert_eq!(values(&client.fetch("t", partition, 0)).len(), expected, "partition {partition}");
            for record in 0..20 {
                assert_eq!(client.produce("t", partition, batch(&[&record.to_string()])).error_code, ErrorCode::NONE);
            }
        }
        expected += 20;
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let verified = corelog().arg("verify").arg(&data).output().expect("it runs");
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
}

#[test]
fn a_start_that_cannot_be_is_one_line_and_exit_code_1() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let (child, _) = start(&data, &[]);
    let data_dir = data.to_str().expect("text");
    let file = dir.path().join("server.properties");
    std::fs::write(&file, "num.partitions=2\nnum.partitons=3\n").expect("written");
    let missing = dir.path().join("missing.properties");
    for (args, words) in [
        (vec!["--data-dir", data_dir], "in use by another process"),
        (vec!["--config", file.to_str().expect("text")], "num.partitions"),
        (vec!["--config", missing.to_str().expect("text")], "missing.properties"),
        (vec!["-o", "log.segment.bytes=1"], "log.segment.bytes"),
        (vec!["-o", "nonsense"], "key=value"),
        (vec!["--listen", "127.0.0.1"], "127.0.0.1"),
        (vec!["--data-dir", "/sys/corelog/data"], "give this user the right to write in /sys, or choose another"),
        (vec!["verify", "/no/such/directory"], "/no/such/directory"),
        (vec!["verify", data_dir], "in use"),
        (vec!["dump", "/no/such/file"], "/no/such/file"),
    ] {
        let (code, error) = said(corelog().current_dir(dir.path()).args(&args).output().expect("it runs"));
        assert_eq!((code, error.lines().count()), (Some(1), 1), "{args:?}: {error}");
        assert!(error.starts_with("corelog: ") && error.contains(words), "{args:?}: {error}");
    }
    end(child, Signal::SIGTERM);
}

#[test]
fn damage_stops_the_start_with_its_place_and_what_to_do_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let (child, addr) = start(&data, &[]);
    Client::connect(addr).create("t", 2, &[]);
    // As `timeout` does: to the process, and at once to its group. That is one wish. It is stopped meanwhile: both come at once also
    // from a machine that stands still in between.
    let process = Pid::from_raw(child.id() as i32);
    for signal in [Signal::SIGSTOP, Signal::SIGINT, Signal::SIGTERM] {
        kill(process, signal).expect("it runs");
    }
    end(child, Signal::SIGCONT);
    let path = data.join("corelog-checkpoint-0");
    let mut bytes = std::fs::read(&path).expect("it is there");
    bytes[20] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let (code, error) = said(corelog().arg("--data-dir").arg(&data).output().expect("it runs"));
    let told = error.contains("corelog-checkpoint-0 at byte 0 is damaged") && error.contains("corelog verify");
    assert!(code == Some(1) && told, "{error}");
    assert_eq!(std::fs::read(&path).expect("it is there"), bytes);
}

#[test]
fn what_was_created_and_deleted_is_so_after_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let kill = |mut child: Child| {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    };
    let (child, addr) = start(&data, &[]);
    let mut client = Client::connect(addr);
    let id = client.create("new", 3, &[("retention.ms", "77000000")]);
    kill(child);

    let (child, addr) = start(&data, &[]);
    let mut client = Client::connect(addr);
    let found = client.metadata("new");
    assert_eq!((found.error_code, found.topic_id, found.partitions.len()), (ErrorCode::NONE, id, 3));
    for _ in 0..5 {
        client.produce("new", 1, batch(&["x", "y"]));
    }
    let partitions = vec![DeleteRecordsPartition { partition_index: 1, offset: 7 }];
    let topics = vec![DeleteRecordsTopic { name: "new".into(), partitions }];
    let deleted = client.call::<DeleteRecords>(2, &DeleteRecordsRequest { topics, timeout_ms: 1000 });
    assert_eq!(deleted.topics[0].partitions[0].low_watermark, 7);
    kill(child);

    let (child, addr) = start(&data, &[]);
    let mut client = Client::connect(addr);
    assert_eq!(client.fetch("new", 1, 6).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    let data = client.fetch("new", 1, 7);
    assert_eq!((data.error_code, data.log_start_offset, data.high_watermark), (ErrorCode::NONE, 7, 10));
    assert_eq!(client.produce("new", 1, batch(&["z"])).base_offset, 10);
    end(child, Signal::SIGTERM);
}

/// Produces until the broker is gone; what was acknowledged, with its offset.
fn produce_to_the_end(addr: SocketAddr, partition: i32, count: &AtomicUsize) -> Vec<(i64, String)> {
    const IN_FLIGHT: usize = 20;
    let mut client = Client::connect(addr);
    let (mut sent, mut acknowledged) = (0, Vec::new());
    let mut waiting = VecDeque::new();
    loop {
        while waiting.len() < IN_FLIGHT {
            let value = format!("{partition}-{sent}");
            let request = produce_request("t", partition, batch(&[&value]), -1);
            let frame = encode_request::<Produce>(sent, "test", BY_NAME, &request).to_bytes();
            if client.stream.write_all(&frame).is_err() {
                break;
            }
            sent += 1;
            waiting.push_back(value);
        }
        let Ok(frame) = client.receive_frame() else { return acknowledged };
        let (_, response) = decode_response::<Produce>(frame, BY_NAME).expect("a good answer");
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, ErrorCode::NONE, "what cannot be done any more is not answered");
        acknowledged.push((answer.base_offset, waiting.pop_front().expect("it was sent")));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_clean_end_under_load_loses_no_acknowledged_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut acknowledged: Vec<Vec<(i64, String)>> = vec![Vec::new(); 4];
    for round in 0..3 {
        let (child, addr) = start(&data, &["-o", "log.segment.bytes=1048576"]);
        if round == 0 {
            Client::connect(addr).create("t", 4, &[]);
        }
        let counts: Arc<[AtomicUsize; 4]> = Arc::default();
        let producer = |partition: usize| {
            let counts = counts.clone();
            std::thread::spawn(move || produce_to_the_end(addr, partition as i32, &counts[partition]))
        };
        let producers: Vec<_> = (0..4).map(producer).collect();
        std::thread::sleep(Duration::from_millis(400));
        support::until("there is load", || counts.iter().all(|count| count.load(Ordering::Relaxed) > 20));
        end(child, Signal::SIGTERM);
        for (all, producer) in acknowledged.iter_mut().zip(producers) {
            all.extend(producer.join().expect("no panic"));
        }
    }
    let (child, addr) = start(&data, &[]);
    let mut client = Client::connect(addr);
    for (partition, acknowledged) in (0..).zip(acknowledged) {
        let mut there = BTreeMap::new();
        loop {
            let found = values(&client.fetch("t", partition, there.len() as i64));
            if found.is_empty() {
                break;
            }
            there.extend(found);
        }
        for (offset, value) in acknowledged {
            assert_eq!(there.get(&offset), Some(&value), "partition {partition} at {offset}");
        }
    }
    end(child, Signal::SIGTERM);
}

#[test]
fn a_directory_whose_identity_is_lost_is_not_given_another_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let (child, addr) = start(&data, &[]);
    let mut client = Client::connect(addr);
    client.create("t", 1, &[]);
    client.produce("t", 0, batch(&["kept"]));
    end(child, Signal::SIGTERM);
    let path = data.join("meta.properties");
    std::fs::remove_file(&path).expect("it is there");
    let (code, error) = said(corelog().arg("--data-dir").arg(&data).output().expect("it runs"));
    let told = error.lines().last().expect("a line");
    assert!(code == Some(1) && told.starts_with("corelog: ") && told.contains("no meta.properties"), "{error}");
    assert!(!path.exists(), "nothing was made anew");

    // What it says can be done works.
    let command = error.split_once("printf ").expect("a command").1;
    let written = Command::new("sh").args(["-c", &format!("printf {command}")]).status().expect("it runs");
    assert!(written.success(), "{error}");
    let (child, addr) = start(&data, &[]);
    assert_eq!(values(&Client::connect(addr).fetch("t", 0, 0)), [(0, "kept".to_string())]);
    end(child, Signal::SIGTERM);
}
