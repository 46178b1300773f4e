//! The timeline as a picture, target/demo/timeline.svg: drawn as `conngate report` draws its timelines.
//!
//! Knows nothing of the text bars, which show the same.

use conngate::report::{
    Outcome, Tone,
    picture::{self, Group, Picture},
};

use crate::{
    case::{Case, End},
    remedy::Remedy,
    report::{duration, refused},
    together::together,
};

/// The picture of `cases`, of which there is at least one.
pub(crate) fn draw(cases: &[Case]) -> String {
    let cases = together(cases);
    let groups = cases.chunk_by(|a, b| a.application == b.application).filter_map(|cases| {
        let name = cases.first()?.application.to_string();
        Some(Group { name, lanes: cases.iter().map(lane).collect() })
    });
    let picture = Picture {
        title: "An application that connects before its Envoy is ready".to_owned(),
        subtitle:
            "Measured by cargo xtask demo: a real Envoy, fresh for each lane, whose control plane takes its time. Both \
                   start at 0 s."
                .to_owned(),
        ready: cases.first().map_or(0.0, |case| case.ready),
        proxy: "Envoy".to_owned(),
        groups: groups.collect(),
    };
    picture.draw()
}

fn lane(case: &Case) -> picture::Application {
    let (outcome, tone) = match (case.end, case.remedy) {
        (End::Refused(_), _) => (Outcome::Refused, Tone::Bad),
        (End::Connected(_), Remedy::WaitLoop) => (Outcome::Established, Tone::Plain),
        (End::Connected(_), Remedy::Nothing | Remedy::Conngate) => (Outcome::Established, Tone::Good),
    };
    let held = case.gate.as_ref().map(|gate| format!("held inside connect(): {}", duration(gate.held_seconds)));
    picture::Application {
        name: case.remedy.to_string(),
        started: case.started,
        connecting: case.connecting,
        ended: case.ended(),
        outcome,
        inside: held.unwrap_or_else(|| "inside connect()".to_owned()),
        note: case.after_ready().map_or_else(|| refused(case), |seconds| format!("{} after ready", duration(seconds))),
        tone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::together::tests::connected;

    #[test]
    fn draw_cases_of_each_end_are_told() {
        let refused = Case { remedy: Remedy::Nothing, end: End::Refused(0.0002), exit: Some(1), ..connected(3.0) };
        let picture = draw(&[refused, connected(3.0)]);
        assert!(picture.contains(" bash, without conngate: refused, exit 1. bash, conngate run: 0.50 s after ready."));
    }
}
