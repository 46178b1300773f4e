//! Manifests that come, change, break and go.

use std::fs;

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::pods::testing::{json_pod, uid};

struct Fixture {
    directory: TempDir,
    reports: mpsc::Receiver<(SourceName, Report)>,
    _tasks: tokio::task::JoinSet<Infallible>,
}

impl Fixture {
    fn start(directory: TempDir, below: &str) -> Self {
        let (to, reports) = mpsc::channel(64);
        let source = File::new(directory.path().join(below));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(source.run(Reports { source: SourceName::File, to }));
        Self { directory, reports, _tasks: tasks }
    }

    fn write(&self, name: &str, content: &str) {
        let new = self.directory.path().join(".new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.directory.path().join(name)).unwrap();
    }

    /// Reads reports until one has exactly these pods and a fault if `fault` says so.
    async fn until(&mut self, names: &[&str], fault: bool) -> Option<String> {
        let wait = async {
            loop {
                if let Report::Listed { pods, fault: found, .. } = self.reports.recv().await.unwrap().1 {
                    let same = pods.iter().map(|pod| pod.name.as_str()).eq(names.iter().copied());
                    if same && found.is_some() == fault {
                        return found;
                    }
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("such a report")
    }

    async fn failure(&mut self) -> String {
        let wait = async {
            loop {
                if let Report::Failed { why, .. } = self.reports.recv().await.unwrap().1 {
                    return why;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("a failure")
    }
}

fn manifest(name: &str, n: u8) -> String {
    json_pod("shop", name, &uid(n)).to_string()
}

#[tokio::test]
async fn directory_is_read_again_on_every_change() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), manifest("web", 1)).unwrap();
    fs::write(directory.path().join("notes.txt"), "not a manifest").unwrap();
    let mut fixture = Fixture::start(directory, "");
    fixture.until(&["web"], false).await;
    fixture.write("b.json", &manifest("db", 2));
    fixture.until(&["web", "db"], false).await;
    fixture.write("a.yaml", &manifest("web-2", 1));
    fixture.until(&["web-2", "db"], false).await;
    fs::remove_file(fixture.directory.path().join("b.json")).unwrap();
    fixture.until(&["web-2"], false).await;
}

#[tokio::test]
async fn manifest_that_breaks_is_named_and_its_last_good_pods_stay() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), manifest("web", 1)).unwrap();
    let mut fixture = Fixture::start(directory, "");
    fixture.until(&["web"], false).await;
    fixture.write("a.yaml", "kind: [");
    let fault = fixture.until(&["web"], true).await.unwrap();
    assert!(fault.contains("a.yaml is not a valid manifest: it is neither YAML nor JSON"), "{fault}");
    assert!(fault.ends_with("its last good pods stay"), "{fault}");
    fixture.write("a.yaml", &manifest("web-2", 1));
    fixture.until(&["web-2"], false).await;
}

#[tokio::test]
async fn single_file_is_followed_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pods.yaml"), manifest("web", 1)).unwrap();
    let mut fixture = Fixture::start(directory, "pods.yaml");
    fixture.until(&["web"], false).await;
    fixture.write("other.yaml", "kind: [");
    fixture.write("pods.yaml", &format!("{}\n---\n{}", manifest("web", 1), manifest("db", 2)));
    fixture.until(&["web", "db"], false).await;
}

#[tokio::test]
async fn file_that_vanishes_or_never_was_is_a_failure_until_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::start(directory, "pods.yaml");
    let why = fixture.failure().await;
    assert!(why.contains("pods.yaml cannot be read: No such file"), "{why}");
    fixture.write("pods.yaml", &manifest("web", 1));
    fixture.until(&["web"], false).await;
    fs::remove_file(fixture.directory.path().join("pods.yaml")).unwrap();
    fixture.failure().await;
}
