//! Failures of the API server in words that name what is missing and what to do.
//!
//! Knows nothing of who asked. The API server's own words are kept, cut.

use std::error::Error;

use crate::pods::pod::cut;

/// The most bytes of somebody else's words.
const WORDS: usize = 400;

/// What `error` means for somebody who needs `permission`, such as `list and watch on pods`.
pub(in crate::pods) fn explain(error: &kube::Error, permission: &str) -> String {
    let kube::Error::Api(status) = error else { return format!("the API server cannot be reached: {}", chain(error)) };
    let said = words(&status.message);
    match status.code {
        401 => format!("the API server does not accept the token of the service account (401): {said}"),
        403 => format!("{said}: the service account needs {permission}: apply the chart's ClusterRole"),
        code => format!("the API server answered {code}: {said}"),
    }
}

/// An error and its causes; what a cause only repeats is said once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    words(&text)
}

/// The beginning of somebody else's words, on one line and printable.
pub(super) fn words(text: &str) -> String {
    cut(text, WORDS).chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
