//! The broker as a child process of the harness: started, waited for until it serves, and ended.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long the broker may take until it serves.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to end.
const END_PATIENCE: Duration = Duration::from_secs(120);

/// The first argument that makes this program the broker.
const AS_BROKER: &str = "as-corelog";

/// The broker's arguments, its name first, where this process was started to be one: then it calls
/// `corelog_server::command_line::main` with them and does nothing else.
pub fn as_broker() -> Option<Vec<OsString>> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    (arguments.peek()? == AS_BROKER).then(|| std::iter::once("corelog".into()).chain(arguments.skip(1)).collect())
}

/// A running `corelog serve`, killed when dropped.
#[derive(Debug)]
pub struct BrokerProcess {
    child: Child,
    address: String,
}

impl BrokerProcess {
    /// Starts it on a free port with its data in `data_dir`, and returns once it serves: the binary given, else this
    /// program once more, which is a broker too (see [`as_broker`]).
    pub fn start(binary: Option<&Path>, data_dir: &Path, settings: &[String]) -> Result<BrokerProcess> {
        let mut command = match binary {
            Some(binary) => Command::new(binary),
            None => {
                let mut own = Command::new(std::env::current_exe().context("cannot find this program’s own place")?);
                own.arg(AS_BROKER);
                own
            }
        };
        let program = command.get_program().to_owned();
        let program = program.display();
        command.arg("serve").arg("--data-dir").arg(data_dir).args(["--listen", "127.0.0.1:0"]);
        for setting in settings {
            command.arg("-o").arg(setting);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program))?;
        let output = child.stdout.take().expect("stdout is piped");
        let (sender, receiver) = mpsc::channel();
        // The thread reads on to the end, so that the broker never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("corelog ready on ") {
                    let _ = sender.send(address.trim().to_owned());
                }
            }
        });
        let address = receiver.recv_timeout(PATIENCE);
        let mut broker = BrokerProcess { child, address: String::new() };
        match address {
            Ok(address) => broker.address = address,
            Err(_) => bail!("{} did not say that it serves within {PATIENCE:?}", program),
        }
        Ok(broker)
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it where it stands, and waits.
    pub fn kill(self) {
        drop(self);
    }

    /// Ends it cleanly and waits.
    pub fn stop(mut self) -> Result<()> {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let began = std::time::Instant::now();
        while began.elapsed() < END_PATIENCE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the broker did not end within {END_PATIENCE:?} of SIGTERM")
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
