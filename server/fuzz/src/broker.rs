//! A frame as a client sends it, to a broker in this process: whatever it asks for, the broker goes on serving.
//!
//! A panic on any of its threads ends the process, which is how it is found. The state goes on from frame to frame, so
//! that one input alone may not be enough to see it again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use corelog_server::config::{Given, Settings};
use corelog_server::protocol::{Api, api_versions, encode_request};
use corelog_server::{Running, serve};
use nix::sys::signal::{SigHandler, Signal, signal};

/// How long an answer is waited for; some requests ask for one that comes late.
const ANSWER_WAIT: Duration = Duration::from_millis(10);
/// How long a broker may take for an answer that it owes at once.
const PATIENCE: Duration = Duration::from_secs(8);
/// A broker gets a fresh directory after so many frames.
const FRAMES_MAX: usize = 2000;

struct Served {
    running: Running,
    dir: std::path::PathBuf,
    frames: usize,
    stream: Option<TcpStream>,
}

static SERVED: Mutex<Option<Served>> = Mutex::new(None);

/// Sends `frame`, takes what answer there is, and asks whether the broker still serves.
pub fn check(frame: &[u8]) {
    let mut served = SERVED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(old) = served.take_if(|served| served.frames >= FRAMES_MAX) {
        old.running.shutdown().expect("a clean end");
        let _ = std::fs::remove_dir_all(&old.dir);
    }
    let served = served.get_or_insert_with(start);
    served.frames += 1;
    let mut stream = served.stream.take().unwrap_or_else(|| connect(&served.running));
    let sent = stream.write_all(&(frame.len() as u32).to_be_bytes()).and_then(|()| stream.write_all(frame));
    let answered = sent.is_ok() && answer(&mut stream, ANSWER_WAIT).is_ok();
    if answered && !served.frames.is_multiple_of(16) {
        served.stream = Some(stream);
        return;
    }
    drop(stream);
    let mut stream = connect(&served.running);
    let request =
        api_versions::ApiVersionsRequest { client_software_name: "fuzz".into(), client_software_version: "1".into() };
    let asked =
        encode_request::<api_versions::ApiVersions>(1, "fuzz", api_versions::ApiVersions::FACTS.version_max, &request);
    stream.write_all(&asked.to_bytes()).expect("it serves");
    answer(&mut stream, PATIENCE).expect("it serves");
    served.stream = Some(stream);
}

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.addr()).expect("it listens");
    stream.set_nodelay(true).expect("no delay");
    stream
}

fn answer(stream: &mut TcpStream, wait: Duration) -> std::io::Result<()> {
    stream.set_read_timeout(Some(wait))?;
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut left = u32::from_be_bytes(prefix) as usize;
    let mut buffer = [0; 16 << 10];
    while left > 0 {
        let most = left.min(buffer.len());
        left -= stream.read(&mut buffer[..most])?.max(1);
    }
    Ok(())
}

fn start() -> Served {
    // What Rust's own `main` does before anything else; libFuzzer's does not, and an answer to a connection that is gone
    // already would end the process.
    //
    // SAFETY: no handler of ours runs in a signal.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.expect("SIGPIPE can be ignored");
    let dir = std::env::temp_dir().join(format!("corelog-fuzz-broker-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let options = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", dir.to_str().expect("a name in UTF-8")),
        ("corelog.cores", "2"),
        ("corelog.pin", "false"),
        ("corelog.arena.bytes", "16777216"),
        ("corelog.cache.bytes", "8388608"),
        ("corelog.journal.bytes", "8388608"),
        ("offsets.topic.num.partitions", "2"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let given: Vec<Given> = options.iter().map(|(key, value)| Given::from_flag("fuzz", key, *value)).collect();
    let running = serve(Settings::new(&given).expect("good settings")).expect("the broker starts");
    Served { running, dir, frames: 0, stream: None }
}
