//! Pods from manifests: one file, or a directory of them, read again on every change, or about every second without inotify.
//!
//! Knows nothing of Kubernetes' servers. A directory is watched and not its files, so that replacing a file, or the symbolic
//! links of a mounted ConfigMap, is seen. A manifest that is wrong is reported once per change, and its last good pods stay.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
};

use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use kube::runtime::watcher::DefaultBackoff;

use super::{
    SourceName,
    explain::chain,
    manifest::{ManifestError, parse},
    report::{Report, Reports, Source},
};
use crate::pods::pod::Pod;

/// The most manifests of a directory, and the largest.
const MAX_FILES: usize = 1024;
const MAX_BYTES: u64 = 16 << 20;

/// Names of manifests in a directory end so.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Why a manifest gives no pods.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than {} MiB", path.display(), MAX_BYTES >> 20)]
    Large { path: PathBuf },
    #[error("{} holds more than {MAX_FILES} manifests", path.display())]
    Many { path: PathBuf },
    #[error("{} is not a valid manifest", path.display())]
    Manifest { path: PathBuf, source: ManifestError },
}

#[derive(Clone)]
pub(super) struct File {
    path: PathBuf,
    /// The last good pods of each manifest.
    good: BTreeMap<PathBuf, Vec<Pod>>,
}

impl Source for File {
    const NAME: SourceName = SourceName::File;

    async fn run(mut self, reports: Reports) -> Infallible {
        let mut backoff = DefaultBackoff::default();
        loop {
            let mut changes = self.watch();
            loop {
                let report = match self.read() {
                    Ok(report) => report,
                    Err(error) => {
                        reports.send(Report::Failed { why: chain(&error) }).await;
                        break;
                    }
                };
                backoff = DefaultBackoff::default();
                reports.send(report).await;
                let Ok(changes) = &mut changes else { break };
                // Whatever changed: everything is read again. A watch that ended has lost its directory.
                match changes.next().await {
                    Some(Ok(event)) if !event.mask.contains(inotify::EventMask::IGNORED) => {}
                    _ => break,
                }
            }
            if let Some(delay) = backoff.next() {
                tokio::time::sleep(delay).await;
            }
        }
    }
}

impl File {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, good: BTreeMap::new() }
    }

    fn watch(&self) -> io::Result<EventStream<[u8; 4096]>> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let path = if self.path.is_dir() { &self.path } else { parent };
        let mask = WatchMask::CLOSE_WRITE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE;
        let mask = mask | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
        let inotify = Inotify::init()?;
        inotify.watches().add(path, mask)?;
        inotify.into_event_stream([0; 4096])
    }

    /// All pods of all manifests.
    fn read(&mut self) -> Result<Report, FileError> {
        let mut faults = Vec::new();
        let paths = manifests(&self.path)?;
        self.good.retain(|path, _| paths.contains(path));
        for path in paths {
            match pods(&path) {
                Ok(pods) => {
                    self.good.insert(path, pods);
                }
                Err(error) => faults.push(chain(&error)),
            }
        }
        let fault = (!faults.is_empty()).then(|| format!("{}; its last good pods stay", faults.join("; ")));
        Ok(Report::Listed { pods: self.good.values().flatten().cloned().collect(), asked: Vec::new(), fault })
    }
}

/// The manifests at `path`, in order; hidden files are none (a ConfigMap's data lies behind them).
fn manifests(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let fault = |source| FileError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(fault)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(fault)? {
        let file = entry.map_err(fault)?.path();
        let ends = file.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if ends && !hidden && file.is_file() {
            if found.len() >= MAX_FILES {
                return Err(FileError::Many { path: path.to_owned() });
            }
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

fn pods(path: &Path) -> Result<Vec<Pod>, FileError> {
    let fault = |source| FileError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(fault)?.len() > MAX_BYTES {
        return Err(FileError::Large { path: path.to_owned() });
    }
    parse(&fs::read(path).map_err(fault)?).map_err(|source| FileError::Manifest { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
