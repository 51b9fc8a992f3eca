//! A storage node as a process of its own: started on a free port, waited for, killed.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{Answer, request, wait_until};

/// One `quiver-node`; killed when it is dropped.
pub struct Node {
    folder: PathBuf,
    pub port: u16,
    child: Option<Child>,
}

impl Node {
    /// A node with its data under `folder`, not started yet.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        Ok(Self { folder: folder.to_path_buf(), port, child: None })
    }

    /// The program: what QUIVER_NODE names, or the one built beside this test.
    fn program() -> anyhow::Result<PathBuf> {
        let beside = std::env::current_exe()?.parent().and_then(Path::parent).map(|p| p.join("quiver-node"));
        let program = std::env::var_os("QUIVER_NODE")
            .map(PathBuf::from)
            .or(beside)
            .context("no place to look for quiver-node")?;
        ensure!(
            program.exists(),
            "{} is not there: build it (cargo build --release) or set QUIVER_NODE",
            program.display()
        );
        Ok(program)
    }

    /// Starts the process and waits until it is ready.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = Command::new(Self::program()?)
            .current_dir(&self.folder)
            .env("QUIVER__SERVICE__HOST", "127.0.0.1")
            .env("QUIVER__SERVICE__HTTP_PORT", self.port.to_string())
            .env("QUIVER__STORAGE__STORAGE_PATH", self.folder.join("storage"))
            .env("QUIVER__STORAGE__SNAPSHOTS_PATH", self.folder.join("snapshots"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let child = self.child.insert(child);
        let port = self.port;
        let log = self.folder.join("node.log");
        wait_until(60, "the node is ready", || {
            if let Some(status) = child.try_wait()? {
                let told = std::fs::read_to_string(&log)?;
                bail!("the node ended with {status}:\n{}", &told[told.len().saturating_sub(3000)..]);
            }
            Ok(request(port, "GET", "/readyz", None).ok().filter(|a| a.code == 200).map(|_| ()))
        })
    }

    /// What the process has printed.
    pub fn log(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    /// SIGKILL, and waits for the process to be gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// A request whatever the answer's code is.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        request(self.port, method, path, body)
    }

    /// The `result` of a request that must succeed.
    pub fn result(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let answer = self.request(method, path, body)?;
        ensure!(
            answer.code == 200,
            "{method} {path}: {} {}",
            answer.code,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer.json()?["result"].take())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nobody is left to tell if the process is gone already.
        let _ = self.kill();
    }
}
