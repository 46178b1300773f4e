//! The answers of several agents: asked side by side, in the order of their nodes, with the errors at the end.
//!
//! Knows nothing of what they say.

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use conngate_view::{VERSION, printable::printable};

use crate::{
    ask::Failure,
    cluster::{Agent, Cluster},
    exit::Exit,
    progress::Progress,
};

/// What an agent has said.
pub(crate) struct Answer<T> {
    pub(crate) agent: Agent,
    pub(crate) said: Result<T, Failure>,
}

/// The answers as one JSON object.
#[derive(Serialize)]
pub(crate) struct Merged<'a, T> {
    version: u32,
    nodes: Vec<OfNode<'a, T>>,
}

#[derive(Serialize)]
struct OfNode<'a, T> {
    node: &'a str,
    agent: String,
    answer: Option<&'a T>,
    error: Option<String>,
}

/// Asks each of `agents`, a bounded number at a time.
pub(crate) async fn each<'a, T, F>(cluster: &'a Cluster, agents: Vec<Agent>, ask: F) -> Vec<Answer<T>>
where
    F: AsyncFn(&Agent) -> Result<T, Failure> + 'a,
{
    let progress = Progress::of(agents.len());
    let (ask, progress_) = (&ask, &progress);
    let asking = stream::iter(agents).map(|agent| async move {
        let said = ask(&agent).await;
        progress_.one_more();
        Answer { agent, said }
    });
    let mut answers: Vec<_> = asking.buffer_unordered(cluster.access.parallel.get()).collect().await;
    progress.end();
    answers.sort_by(|one, other| one.agent.cmp(&other.agent));
    answers
}

/// The answers as one object.
pub(crate) fn merged<T>(answers: &[Answer<T>]) -> Merged<'_, T> {
    Merged { version: VERSION, nodes: answers.iter().map(of_one).collect() }
}

fn of_one<T>(Answer { agent, said }: &Answer<T>) -> OfNode<'_, T> {
    OfNode {
        node: &agent.node,
        agent: agent.path(),
        answer: said.as_ref().ok(),
        error: said.as_ref().err().map(ToString::to_string),
    }
}

/// Says on stderr who gave no answer, and why; how the command is to end, where the answers say `exit`.
pub(crate) fn end<T>(answers: &[Answer<T>], exit: Exit) -> Exit {
    let mut exit = exit;
    for Answer { agent, said } in answers {
        let Err(failure) = said else { continue };
        eprintln!("{} ({}): {}", printable(&agent.node, 253), agent.path(), printable(&failure.to_string(), 1000));
        exit = exit.max(match failure {
            Failure::Refused(_) => Exit::No,
            Failure::Unreachable(_) => Exit::Partly,
        });
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(node: &str, said: Result<u8, Failure>) -> Answer<u8> {
        let agent = Agent { node: node.to_owned(), namespace: "n".to_owned(), pod: "p".to_owned(), down: None };
        Answer { agent, said }
    }

    #[test]
    fn merged_has_each_answer_or_its_error() {
        let answers = [answer("a", Ok(7)), answer("b", Err(Failure::Refused("no".to_owned())))];
        assert_eq!(
            serde_json::to_value(merged(&answers)).unwrap(),
            serde_json::json!({ "version": 1, "nodes": [
                { "node": "a", "agent": "n/p", "answer": 7, "error": null },
                { "node": "b", "agent": "n/p", "answer": null, "error": "no" },
            ]})
        );
    }

    #[test]
    fn end_with_an_agent_that_could_not_be_asked_is_partly_whatever_the_others_say() {
        let refused = || answer("b", Err(Failure::Refused("no".to_owned())));
        let away = || answer("c", Err(Failure::Unreachable("away".to_owned())));
        assert_eq!(end(&[answer("a", Ok(1))], Exit::Success), Exit::Success);
        assert_eq!(end(&[answer("a", Ok(1)), refused()], Exit::Success), Exit::No);
        assert_eq!(end(&[away(), refused()], Exit::No), Exit::Partly);
    }
}
