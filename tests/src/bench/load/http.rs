//! As much of HTTP/1.1 as a load needs: a request that is ready as bytes, an answer with its length or in chunks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// An answer that takes longer is an error.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A server's address, from `http://host:port` or `host:port`.
pub fn address(server: &str) -> Result<SocketAddr> {
    let host = server.trim_start_matches("http://").trim_end_matches('/');
    host.to_socket_addrs()
        .with_context(|| format!("looking up {host}"))?
        .next()
        .with_context(|| format!("no address of {host}"))
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, body: &[u8], keep_alive: bool, key: Option<&str>) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    )
    .into_bytes();
    if let Some(key) = key {
        bytes.extend_from_slice(format!("api-key: {key}\r\n").as_bytes());
    }
    if !keep_alive {
        bytes.extend_from_slice(b"connection: close\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// A client that keeps its connection, or opens one for each request.
pub struct Client {
    server: SocketAddr,
    keep_alive: bool,
    open: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(server: SocketAddr, keep_alive: bool) -> Self {
        Self { server, keep_alive, open: None, buffer: Vec::new() }
    }

    /// Sends a request; gives the status and the body.
    pub fn send(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.server).context("connecting")?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream
            }
        };
        stream.write_all(request).context("sending")?;
        let (status, start, end) = answer(&mut stream, &mut self.buffer)?;
        if self.keep_alive {
            self.open = Some(stream);
        }
        Ok((status, &self.buffer[start..end]))
    }
}

/// Reads one answer; gives its status and where the body is in the buffer.
fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(u16, usize, usize)> {
    buffer.clear();
    let head = loop {
        more(stream, buffer)?;
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = std::str::from_utf8(&buffer[..head])?;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).context("a status line")?;
    let header = |name: &str| {
        let lines = text.split("\r\n").filter_map(|l| l.split_once(':'));
        lines.filter(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned()).next()
    };
    if let Some(length) = header("content-length") {
        let end = head + length.parse::<usize>()?;
        while buffer.len() < end {
            more(stream, buffer)?;
        }
        return Ok((status, head, end));
    }
    ensure!(header("transfer-encoding").is_some(), "an answer without a length");
    let end = unchunk(stream, buffer, head)?;
    Ok((status, head, end))
}

/// Puts the parts of a body in chunks side by side.
fn unchunk(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: usize) -> Result<usize> {
    let (mut from, mut to) = (head, head);
    loop {
        let line = loop {
            match buffer[from..].windows(2).position(|w| w == b"\r\n") {
                Some(at) => break at,
                None => more(stream, buffer)?,
            }
        };
        let size = std::str::from_utf8(&buffer[from..from + line])?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        from += line + 2;
        while buffer.len() < from + size + 2 {
            more(stream, buffer)?;
        }
        if size == 0 {
            return Ok(to);
        }
        buffer.copy_within(from..from + size, to);
        (from, to) = (from + size + 2, to + size);
    }
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    let mut part = [0u8; 16 << 10];
    match stream.read(&mut part).context("receiving")? {
        0 => bail!("the server closed the connection before it had answered"),
        n => buffer.extend_from_slice(&part[..n]),
    }
    Ok(())
}
