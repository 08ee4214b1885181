//! One socket to a broker: a request and its answer, or frames for the loops.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::wire::{API_VERSIONS, Api, CORRELATION_AT, Reader, Writer, check};

/// How long a broker may take for one answer outside the loops.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is believed.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection to one broker.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: String,
    correlation: i32,
    input: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// Connects to `HOST:PORT`.
    pub fn open(address: &str) -> Result<Connection> {
        let mut addresses = address.to_socket_addrs().with_context(|| format!("{address:?} is not HOST:PORT"))?;
        let first = addresses.next().with_context(|| format!("{address} has no address"))?;
        let stream = TcpStream::connect_timeout(&first, Duration::from_secs(5))
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Connection { stream, address: address.to_owned(), correlation: 0, input: vec![0; 64 << 10], filled: 0 })
    }

    /// Where it goes.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and waits for its answer, without the header.
    pub fn call(&mut self, api: Api, request: Writer) -> Result<Vec<u8>> {
        let mut frame = request.frame();
        let correlation = self.next_correlation();
        frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
        let context = || format!("{} to {} failed", api.name, self.address);
        self.stream.write_all(&frame).with_context(context)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).with_context(context)?;
        let length = frame_length(length)?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).with_context(context)?;
        let answered = Reader::new(&answer).i32()?;
        ensure!(answered == correlation, "{} was answered with id {answered}, not {correlation}", api.name);
        Ok(answer.split_off(4))
    }

    /// Makes sure that the broker speaks these versions.
    pub fn require(&mut self, apis: &[Api]) -> Result<()> {
        let answer = self.call(API_VERSIONS, Writer::request(API_VERSIONS))?;
        let mut reader = Reader::new(&answer);
        check(reader.i16()?, "ApiVersions")?;
        let mut ranges = Vec::new();
        for _ in 0..reader.count()? {
            ranges.push((reader.i16()?, reader.i16()?, reader.i16()?));
        }
        for api in apis {
            let range = ranges.iter().find(|range| range.0 == api.key);
            let Some((_, min, max)) = range else { bail!("{} does not speak {}", self.address, api.name) };
            ensure!(
                (*min..=*max).contains(&api.version),
                "{} speaks {} {min} to {max}, not {}",
                self.address,
                api.name,
                api.version
            );
        }
        Ok(())
    }

    /// From now on reads and writes do not block.
    pub fn into_loop(self) -> Result<Connection> {
        self.stream.set_nonblocking(true)?;
        Ok(self)
    }

    /// The socket, for `ppoll`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// A correlation id that no request in flight has.
    pub fn next_correlation(&mut self) -> i32 {
        self.correlation = self.correlation.wrapping_add(1);
        self.correlation
    }

    /// Writes as much of the two parts as the socket takes, from byte `from` of both together; returns how much.
    pub fn write_some(&mut self, head: &[u8], tail: &[u8], from: usize) -> Result<usize> {
        let head_left = &head[from.min(head.len())..];
        let tail_left = &tail[from.saturating_sub(head.len()).min(tail.len())..];
        let parts = [std::io::IoSlice::new(head_left), std::io::IoSlice::new(tail_left)];
        match self.stream.write_vectored(&parts) {
            Ok(0) => bail!("{} closed the connection", self.address),
            Ok(written) => Ok(written),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(error) => Err(error).with_context(|| format!("cannot write to {}", self.address)),
        }
    }

    /// Reads what the socket has and hands every whole answer, correlation id first, to `take`.
    pub fn read_frames(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => bail!("{} closed the connection", self.address),
            Ok(read) => self.filled += read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot read from {}", self.address)),
        }
        let mut begin = 0;
        let mut needed = 0;
        while let Some(prefix) = self.input[begin..self.filled].first_chunk::<4>() {
            let length = frame_length(*prefix)?;
            if self.filled - begin < 4 + length {
                needed = 4 + length;
                break;
            }
            take(&self.input[begin + 4..begin + 4 + length])?;
            begin += 4 + length;
        }
        self.input.copy_within(begin..self.filled, 0);
        self.filled -= begin;
        if needed > self.input.len() {
            self.input.resize(needed.next_power_of_two(), 0);
        }
        Ok(())
    }
}

/// The length that a frame claims, where it is one that can be.
pub(super) fn frame_length(prefix: [u8; 4]) -> Result<usize> {
    let length = i32::from_be_bytes(prefix);
    let legal = usize::try_from(length).ok().filter(|length| (4..=ANSWER_BYTES_MAX).contains(length));
    legal.with_context(|| format!("the broker announces an answer of {length} bytes"))
}
