//! One HTTP/1.1 request on a connection of its own, blocking. It knows what the node answers with: a length, chunks, or the
//! end of the connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::Value;

/// A response that came in whole.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} {}", self.code, String::from_utf8_lossy(&self.body)))
    }
}

/// Sends one request to a port of this machine and reads the whole answer.
pub fn request(port: u16, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.set_nodelay(true)?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw)?;
    parse(&raw)
}

fn parse(raw: &[u8]) -> anyhow::Result<Answer> {
    let end = raw
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or_else(|| anyhow!("the connection ended within the head"))?;
    let head = std::str::from_utf8(&raw[..end])?.to_ascii_lowercase();
    let code = head.split(' ').nth(1).ok_or_else(|| anyhow!("no status line"))?.parse()?;
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let rest = &raw[end + 4..];
    let body = if field("transfer-encoding:") == Some("chunked") {
        chunks(rest)?
    } else if let Some(length) = field("content-length:") {
        rest.get(..length.parse()?).ok_or_else(|| anyhow!("the connection ended within the body"))?.to_vec()
    } else {
        rest.to_vec()
    };
    Ok(Answer { code, body })
}

fn chunks(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest
            .windows(2)
            .position(|w| w == b"\r\n")
            .ok_or_else(|| anyhow!("the connection ended within a chunk"))?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line])?.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = rest
            .get(line + 2..line + 2 + size)
            .ok_or_else(|| anyhow!("the connection ended within a chunk"))?;
        body.extend_from_slice(chunk);
        rest = rest.get(line + 4 + size..).unwrap_or_default();
    }
}
