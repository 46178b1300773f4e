//! Asks one agent: runs conngate in its container, as `kubectl exec` does.
//!
//! Knows nothing of what is asked. Time is bounded, but for what is followed.

use std::fmt;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

use crate::cluster::{Agent, CONTAINER, Cluster};

/// The binary in the agent's image.
const BINARY: &str = "/conngate";

/// Bytes that are on their way at a time.
const BUFFER: usize = 64 << 10;

/// Why an agent gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It says no.
    Refused(String),
    /// It could not be asked, or has not answered.
    Unreachable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) | Self::Unreachable(why) => f.write_str(why),
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Said {
    /// Stdout as the JSON that it is for any code that has an answer; otherwise what stderr says.
    fn parsed<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        match serde_json::from_slice(&self.stdout) {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.failure().unwrap_or_else(|| {
                Failure::Unreachable(format!("its answer does not have this version's format: {error}"))
            })),
        }
    }

    /// What kept it from an answer; `None`: nothing.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let words = self.stderr.trim().trim_start_matches("conngate: ").to_owned();
        match self.code {
            0 => None,
            1 => Some(Failure::Refused(words)),
            code if words.is_empty() => Some(Failure::Unreachable(format!("conngate ended with {code}"))),
            _ => Some(Failure::Unreachable(words)),
        }
    }
}

impl Cluster {
    /// The answer of `conngate ARGUMENTS -o json`.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, agent: &Agent, arguments: &[&str]) -> Result<T, Failure> {
        self.run(agent, &[arguments, &["-o", "json"]].concat()).await?.parsed()
    }

    /// What `conngate ARGUMENTS` says.
    pub(crate) async fn run(&self, agent: &Agent, arguments: &[&str]) -> Result<Said, Failure> {
        let patience = self.access.timeout;
        let asking = async {
            let mut process = self.start(agent, arguments).await?;
            let status = process.take_status();
            let (stdout, stderr) = tokio::join!(whole(process.stdout()), whole(process.stderr()));
            let status = match status {
                Some(status) => status.await,
                None => None,
            };
            let stderr = String::from_utf8_lossy(&stderr).into_owned();
            Ok(Said { code: code(status.as_ref()).map_err(Failure::Unreachable)?, stdout, stderr })
        };
        let late = |_| Failure::Unreachable(format!("no answer within {}", humantime::format_duration(patience)));
        timeout(patience, asking).await.map_err(late)?
    }

    /// Starts `conngate ARGUMENTS` in the agent's container.
    pub(crate) async fn start(&self, agent: &Agent, arguments: &[&str]) -> Result<AttachedProcess, Failure> {
        if let Some(down) = &agent.down {
            return Err(Failure::Unreachable(down.clone()));
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &agent.namespace);
        let attach = AttachParams::default().container(CONTAINER).max_stdout_buf_size(BUFFER);
        let command = [BINARY].into_iter().chain(arguments.iter().copied());
        let command: Vec<_> = command.collect();
        api.exec(&agent.pod, command, &attach).await.map_err(|error| Failure::Unreachable(chain(&error)))
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    // Some errors' words have their causes' already.
    causes.fold(error.to_string(), |said, cause| if said.contains(&cause) { said } else { format!("{said}: {cause}") })
}

async fn whole(reader: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut read = Vec::new();
    if let Some(mut reader) = reader {
        // What came before it broke is all there is; the status says that it broke.
        let _ = reader.read_to_end(&mut read).await;
    }
    read
}

/// The exit code in what the API server says at the end.
fn code(status: Option<&Status>) -> Result<i32, String> {
    let status = status.ok_or("the connection broke before the end")?;
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .find_map(|cause| cause.message.as_ref()?.parse().ok());
    code.ok_or_else(|| status.message.clone().unwrap_or_else(|| "it could not be started".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: serde_json::Value) -> Status {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn code_of_every_end_is_read_from_the_status() {
        assert_eq!(code(Some(&status(serde_json::json!({ "status": "Success" })))), Ok(0));
        let no = serde_json::json!({ "status": "Failure", "reason": "NonZeroExitCode", "message": "exit code 1",
            "details": { "causes": [{ "reason": "ExitCode", "message": "1" }] } });
        assert_eq!(code(Some(&status(no))), Ok(1));
        let gone = serde_json::json!({ "status": "Failure", "message": "container not found" });
        assert_eq!(code(Some(&status(gone))), Err("container not found".to_owned()));
        assert!(code(None).unwrap_err().contains("broke"));
    }

    #[test]
    fn parsed_answer_counts_whatever_the_code_and_words_tell_refusals_from_failures() {
        let said = |code, stdout: &str, stderr: &str| Said {
            code,
            stdout: stdout.as_bytes().to_vec(),
            stderr: stderr.to_owned(),
        };
        assert_eq!(said(1, "[7]", "").parsed::<Vec<u8>>(), Ok(vec![7]), "not ready is an answer");
        assert_eq!(
            said(1, "", "conngate: no pod `x` on this node\n").parsed::<Vec<u8>>(),
            Err(Failure::Refused("no pod `x` on this node".to_owned()))
        );
        assert_eq!(
            said(125, "", "conngate: no agent can be reached\n").parsed::<Vec<u8>>(),
            Err(Failure::Unreachable("no agent can be reached".to_owned()))
        );
        assert!(
            matches!(said(0, "{", "").parsed::<Vec<u8>>(), Err(Failure::Unreachable(why)) if why.contains("format"))
        );
    }
}
