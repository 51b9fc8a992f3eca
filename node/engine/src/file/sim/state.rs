//! What a simulated disk holds: for each file and folder the durable content, the current one, and the calls that
//! lie between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

pub(super) type NodeId = u64;

/// A call that changes something.
#[derive(Clone, Debug)]
pub(super) enum Op {
    CreateDirAll(PathBuf),
    SyncDir(PathBuf),
    Create(PathBuf),
    Rename(PathBuf, PathBuf),
    HardLink(PathBuf, PathBuf),
    RemoveFile(PathBuf),
    RemoveDirAll(PathBuf),
    Write { node: NodeId, at: u64, bytes: Arc<[u8]> },
    SetLen(NodeId, u64),
    Allocate(NodeId, u64),
    SyncData(NodeId),
}

impl Op {
    /// The length that the call makes a file at least.
    pub(super) fn grows_to(&self) -> Option<(NodeId, u64)> {
        match self {
            Op::Write { node, at, bytes } => Some((*node, at + bytes.len() as u64)),
            Op::SetLen(node, len) | Op::Allocate(node, len) => Some((*node, *len)),
            _ => None,
        }
    }

    pub(super) fn write_len(&self) -> u64 {
        if let Op::Write { bytes, .. } = self { bytes.len() as u64 } else { 0 }
    }

    /// The first bytes of a write.
    pub(super) fn part(&self, len: u64) -> Option<Op> {
        match self {
            Op::Write { node, at, bytes } if len > 0 => {
                let bytes = bytes[..(len as usize).min(bytes.len())].into();
                Some(Op::Write { node: *node, at: *at, bytes })
            }
            _ => None,
        }
    }
}

/// The whole disk. Cheap to clone: contents are shared until they change.
#[derive(Clone)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    /// Numbers pending changes in the order in which they were made.
    pub(super) order: u64,
}

pub(super) const ROOT: NodeId = 0;

#[derive(Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Clone, Default)]
pub(super) struct FileNode {
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) current: Arc<Vec<u8>>,
    pub(super) pending: Vec<(u64, DataOp)>,
    /// A sync failed: what was pending then never becomes durable, though it is still read.
    lost: bool,
}

#[derive(Clone, Debug)]
pub(super) enum DataOp {
    Write { at: u64, bytes: Arc<[u8]> },
    SetLen(u64),
    Grow(u64),
}

#[derive(Clone, Default)]
pub(super) struct DirNode {
    pub(super) durable: BTreeMap<String, NodeId>,
    pub(super) current: BTreeMap<String, NodeId>,
    pub(super) pending: Vec<(u64, DirOp)>,
}

#[derive(Clone, Debug)]
pub(super) enum DirOp {
    Link(String, NodeId),
    Unlink(String, NodeId),
    /// Within one folder, so that it happens as a whole or not at all.
    Rename(String, String, NodeId),
}

impl DataOp {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            DataOp::Write { at, bytes } => {
                let end = *at as usize + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at as usize..end].copy_from_slice(bytes);
            }
            DataOp::SetLen(len) => content.resize(*len as usize, 0),
            DataOp::Grow(len) => content.resize(content.len().max(*len as usize), 0),
        }
    }
}

impl DirOp {
    pub(super) fn apply(&self, entries: &mut BTreeMap<String, NodeId>) {
        let unlink = |entries: &mut BTreeMap<String, NodeId>, name: &String, node: &NodeId| {
            if entries.get(name) == Some(node) {
                entries.remove(name);
            }
        };
        match self {
            DirOp::Link(name, node) => drop(entries.insert(name.clone(), *node)),
            DirOp::Unlink(name, node) => unlink(entries, name, node),
            DirOp::Rename(from, to, node) => {
                unlink(entries, from, node);
                entries.insert(to.clone(), *node);
            }
        }
    }
}

impl Default for State {
    fn default() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]);
        Self { nodes, next: ROOT + 1, order: 0 }
    }
}

impl State {
    /// Puts a disk together where everything is durable.
    pub(super) fn durable(nodes: BTreeMap<NodeId, Node>, next: NodeId) -> Self {
        Self { nodes, next, order: 0 }
    }

    pub(super) fn next_node(&self) -> NodeId {
        self.next
    }

    /// Does a call; with `sync` false, nothing becomes durable by it.
    pub(super) fn apply(&mut self, op: &Op, sync: bool) -> io::Result<()> {
        match op {
            Op::CreateDirAll(dir) => self.create_dir_all(dir, sync),
            Op::SyncDir(dir) => {
                let dir = self.find_dir(dir)?;
                if sync {
                    self.sync_dir(dir);
                }
                Ok(())
            }
            Op::Create(path) => {
                let (dir, name) = self.split(path)?;
                if self.dir(dir).current.contains_key(&name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let node = self.add(Node::File(FileNode::default()));
                self.change_dir(dir, DirOp::Link(name, node));
                Ok(())
            }
            Op::Rename(from, to) => self.rename(from, to),
            Op::HardLink(from, to) => {
                let node = self.find_file(from)?;
                let (dir, name) = self.split(to)?;
                if self.dir(dir).current.contains_key(&name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                self.change_dir(dir, DirOp::Link(name, node));
                Ok(())
            }
            Op::RemoveFile(path) => {
                let node = self.find_file(path)?;
                let (dir, name) = self.split(path)?;
                self.change_dir(dir, DirOp::Unlink(name, node));
                Ok(())
            }
            Op::RemoveDirAll(path) => {
                let node = self.find_dir(path)?;
                let (dir, name) = self.split(path)?;
                self.empty_dir(node);
                self.change_dir(dir, DirOp::Unlink(name, node));
                Ok(())
            }
            Op::Write { node, at, bytes } => {
                self.change_file(*node, DataOp::Write { at: *at, bytes: bytes.clone() });
                Ok(())
            }
            Op::SetLen(node, len) => {
                self.change_file(*node, DataOp::SetLen(*len));
                Ok(())
            }
            Op::Allocate(node, len) => {
                if self.len(*node) < *len {
                    self.change_file(*node, DataOp::Grow(*len));
                }
                Ok(())
            }
            Op::SyncData(node) => {
                if sync {
                    self.sync_file(*node);
                }
                Ok(())
            }
        }
    }

    fn create_dir_all(&mut self, dir: &Path, sync: bool) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(dir) {
            let next = self.dir(at).current.get(&name).copied();
            let next = match next {
                Some(node) if matches!(self.nodes[&node], Node::Dir(_)) => node,
                Some(_) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let node = self.add(Node::Dir(DirNode::default()));
                    self.change_dir(at, DirOp::Link(name, node));
                    if sync {
                        self.sync_dir(at);
                    }
                    node
                }
            };
            at = next;
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let (from_dir, from_name) = self.split(from)?;
        let (to_dir, to_name) = self.split(to)?;
        if let Some(taken) = self.dir(to_dir).current.get(&to_name) {
            match (&self.nodes[taken], &self.nodes[&node]) {
                (Node::File(_), Node::File(_)) => {}
                (Node::Dir(old), Node::Dir(_)) if old.current.is_empty() => {}
                (Node::Dir(_), Node::Dir(_)) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
                _ => return Err(io::ErrorKind::NotADirectory.into()),
            }
        }
        if from_dir == to_dir {
            self.change_dir(from_dir, DirOp::Rename(from_name, to_name, node));
        } else {
            self.change_dir(to_dir, DirOp::Link(to_name, node));
            self.change_dir(from_dir, DirOp::Unlink(from_name, node));
        }
        Ok(())
    }

    fn empty_dir(&mut self, dir: NodeId) {
        for (name, node) in self.dir(dir).current.clone() {
            if matches!(self.nodes[&node], Node::Dir(_)) {
                self.empty_dir(node);
            }
            self.change_dir(dir, DirOp::Unlink(name, node));
        }
    }

    /// A sync failed: the system forgets that the pages were never written.
    pub(super) fn lose_pending(&mut self, node: NodeId) {
        let file = self.file_mut(node);
        file.lost |= !file.pending.is_empty();
        file.pending.clear();
    }

    fn sync_file(&mut self, node: NodeId) {
        let file = self.file_mut(node);
        if file.lost {
            let durable = Arc::make_mut(&mut file.durable);
            file.pending.iter().for_each(|(_, op)| op.apply(durable));
        } else {
            file.durable = file.current.clone();
        }
        file.pending.clear();
    }

    fn sync_dir(&mut self, dir: NodeId) {
        let dir = self.dir_mut(dir);
        dir.durable = dir.current.clone();
        dir.pending.clear();
    }

    fn change_file(&mut self, node: NodeId, op: DataOp) {
        let order = self.next_order();
        let file = self.file_mut(node);
        op.apply(Arc::make_mut(&mut file.current));
        file.pending.push((order, op));
    }

    fn change_dir(&mut self, dir: NodeId, op: DirOp) {
        let order = self.next_order();
        let dir = self.dir_mut(dir);
        op.apply(&mut dir.current);
        dir.pending.push((order, op));
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    /// Changes a file's content, durable and current.
    pub(super) fn damage(&mut self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let node = self.find_file(path).expect("the test names a file that is there");
        let file = self.file_mut(node);
        change(Arc::make_mut(&mut file.current));
        file.durable = file.current.clone();
        file.pending.clear();
    }

    pub(super) fn used(&self) -> u64 {
        let mut seen = BTreeSet::new();
        let mut used = 0;
        self.walk(ROOT, &mut PathBuf::new(), &mut |_, node| {
            if seen.insert(node) {
                used += self.len(node);
            }
        });
        used
    }

    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        self.walk(ROOT, &mut PathBuf::from("/"), &mut |path, node| {
            files.push((path.to_owned(), self.len(node)))
        });
        files
    }

    fn walk(&self, dir: NodeId, path: &mut PathBuf, visit: &mut dyn FnMut(&Path, NodeId)) {
        for (name, &node) in &self.dir(dir).current {
            path.push(name);
            match self.nodes[&node] {
                Node::Dir(_) => self.walk(node, path, visit),
                Node::File(_) => visit(path, node),
            }
            path.pop();
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.dir(self.find_dir(dir)?).current.keys().cloned().collect())
    }

    pub(super) fn len(&self, node: NodeId) -> u64 {
        self.file(node).current.len() as u64
    }

    pub(super) fn content(&self, node: NodeId) -> Arc<Vec<u8>> {
        self.file(node).current.clone()
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.find_dir(path).is_ok()
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for name in names(path) {
            let Node::Dir(dir) = &self.nodes[&at] else { return Err(io::ErrorKind::NotADirectory.into()) };
            at = *dir.current.get(&name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.find(path)?;
        match &self.nodes[&node] {
            Node::File(_) => Ok(node),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn find_dir(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.find(path)?;
        match &self.nodes[&node] {
            Node::Dir(_) => Ok(node),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The folder of a path, and its last name.
    fn split(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        Ok((self.find_dir(path.parent().unwrap_or(Path::new("")))?, name))
    }

    pub(super) fn dir(&self, node: NodeId) -> &DirNode {
        match &self.nodes[&node] {
            Node::Dir(dir) => dir,
            Node::File(_) => unreachable!("callers have looked"),
        }
    }

    fn dir_mut(&mut self, node: NodeId) -> &mut DirNode {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => dir,
            _ => unreachable!("callers have looked"),
        }
    }

    fn file(&self, node: NodeId) -> &FileNode {
        match &self.nodes[&node] {
            Node::File(file) => file,
            Node::Dir(_) => unreachable!("callers have looked"),
        }
    }

    fn file_mut(&mut self, node: NodeId) -> &mut FileNode {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => file,
            _ => unreachable!("callers have looked"),
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = String> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

impl FileNode {
    /// A file whose content is durable.
    pub(super) fn durable(content: Arc<Vec<u8>>) -> Self {
        Self { durable: content.clone(), current: content, pending: Vec::new(), lost: false }
    }
}
