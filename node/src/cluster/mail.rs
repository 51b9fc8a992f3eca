//! Messages between copies, on their way to other nodes. One queue for each node: what came together since the last request
//! goes out in the next one. Messages may be lost; the protocol sends again what matters.
//!
//! ```text
//! body of POST /internal/replicas: (u32 length, little-endian | message as in `replica::wire`) …
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use parking_lot::Mutex;
use quiver_engine::wal;
use quiver_replica::message::Envelope;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::lead::Addresses;
use super::tls::PeerClient;
use crate::replica::wire;

/// Bytes that may wait for one node; what goes beyond them is lost.
const WAITING_BYTES: usize = 64 << 20;
/// Bytes of one request, but for a message that is larger by itself.
const REQUEST_BYTES: usize = 8 << 20;
/// A request that isn't answered for so long is lost, and all that waited for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// A large one gets more time: it is taken that a network carries so many bytes in a second.
const BYTES_PER_SECOND: usize = 4 << 20;
/// A node that can't be reached is tried again after this.
const PAUSE: Duration = Duration::from_millis(200);

/// All queues of this node.
pub struct Mail {
    client: Arc<PeerClient>,
    addresses: Addresses,
    boxes: Mutex<BTreeMap<String, Postbox>>,
    runtime: Handle,
}

#[derive(Clone)]
struct Postbox {
    sender: UnboundedSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

impl Mail {
    /// Has to be called within a runtime, on which requests are sent.
    pub fn new(client: Arc<PeerClient>, addresses: Addresses) -> Self {
        Self { client, addresses, boxes: Mutex::default(), runtime: Handle::current() }
    }

    /// Takes a message for a pod. Never waits.
    pub fn post(&self, pod: &str, message: Vec<u8>) {
        let Some(postbox) = self.postbox(pod) else { return };
        let bytes = message.len();
        if postbox.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES
            || postbox.sender.send(message).is_err()
        {
            postbox.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn postbox(&self, pod: &str) -> Option<Postbox> {
        let mut boxes = self.boxes.lock();
        if let Some(postbox) = boxes.get(pod) {
            return Some(postbox.clone());
        }
        let address = self.addresses.of(pod)?;
        let (sender, messages) = unbounded_channel();
        let postbox = Postbox { sender, waiting: Arc::default() };
        boxes.insert(pod.to_owned(), postbox.clone());
        let carrying = carry(self.client.clone(), address, messages, postbox.waiting.clone());
        self.runtime.spawn(carrying);
        Some(postbox)
    }
}

/// Sends what comes, one request after the other, until the queue's sender is gone.
async fn carry(
    client: Arc<PeerClient>,
    address: String,
    mut messages: UnboundedReceiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
) {
    let mut reached = true;
    while let Some(first) = messages.recv().await {
        let mut body = Vec::with_capacity(first.len() + 4);
        frame(&mut body, &waiting, &first);
        while body.len() < REQUEST_BYTES
            && let Ok(next) = messages.try_recv()
        {
            frame(&mut body, &waiting, &next);
        }
        let allowed = PATIENCE + Duration::from_secs((body.len() / BYTES_PER_SECOND) as u64);
        let url = client.url(&address, "/internal/replicas");
        let sent = client.client().post(url).timeout(allowed).body(body).send().await;
        match sent.and_then(reqwest::Response::error_for_status) {
            Ok(_) => reached = true,
            Err(e) => {
                if std::mem::replace(&mut reached, false) {
                    tracing::warn!("messages to {address} are lost: {e}");
                }
                // What waits is as old as what was lost.
                while let Ok(lost) = messages.try_recv() {
                    waiting.fetch_sub(lost.len(), Ordering::Relaxed);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn frame(body: &mut Vec<u8>, waiting: &AtomicUsize, message: &[u8]) {
    waiting.fetch_sub(message.len(), Ordering::Relaxed);
    body.extend(u32::try_from(message.len()).expect("messages are smaller").to_le_bytes());
    body.extend(message);
}

/// The messages of one request.
///
/// # Errors
/// A sentence that says what is wrong; nothing of such a request is used.
pub fn open(body: &Bytes) -> Result<Vec<(Envelope, Vec<wal::Record>)>, String> {
    let mut rest: &[u8] = body;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let (len, after) = rest.split_first_chunk::<4>().ok_or("the request is cut off")?;
        let (message, after) =
            after.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or("a message is cut off")?;
        messages.push(wire::decode(message)?);
        rest = after;
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use quiver_replica::message::Message;
    use quiver_replica::record::CopyId;

    use super::*;

    fn check(body: Vec<u8>, expected: Result<usize, &str>) {
        let found = open(&Bytes::from(body)).map(|m| m.len());
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|e| *e));
    }

    #[test]
    fn a_request_holds_whole_messages() {
        let envelope =
            Envelope { from: CopyId(1), to: CopyId(2), message: Message::Open { term: 3, session: 1 } };
        let message = wire::encode(&envelope, &[]);
        let mut body = Vec::new();
        for _ in 0..3 {
            frame(&mut body, &AtomicUsize::new(message.len()), &message);
        }
        let len = body.len();
        check(body[..len - 1].to_vec(), Err("a message is cut off"));
        check([&body[..], &[1, 0]].concat(), Err("the request is cut off"));
        check(body, Ok(3));
        check(Vec::new(), Ok(0));
    }
}
