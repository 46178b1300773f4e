//! The timeline as a picture, target/demo/timeline.svg: self-contained, in the reader's light or dark colours.
//!
//! Knows nothing of the text bars, which show the same. Envoy's lane is the first, then one for each case.

use super::{
    case::{Case, End},
    lane::{Axis, Kind},
    remedy::Remedy,
    report::{duration, refused},
    svg::{Anchor, Svg},
};

const STYLE: &str = include_str!("picture-style.svg");
const TITLE: &str = "An application that connects before its Envoy is ready";

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 28.0;
/// Where the remedies' names end and the lanes begin.
const LABELS: f64 = 208.0;
const LEFT: f64 = 222.0;
/// Where the axis ends; right of it is room for a last note.
const RIGHT: f64 = 790.0;
const TOP: f64 = 92.0;
const LANE: f64 = 30.0;
const BAR: f64 = 20.0;
/// Between two applications.
const GAP: f64 = 16.0;

const CHECK: &str = "M-3.6 0.2 L-1 2.9 L3.8 -2.7";
const CROSS: &str = "M-3 -3 L3 3 M3 -3 L-3 3";

/// The picture of `cases`, of which there is at least one.
pub(super) fn draw(cases: &[Case]) -> String {
    let axis = Axis::of(cases);
    let lanes = places(cases);
    let bottom = lanes.last().copied().unwrap_or(TOP) + LANE * 0.5 + 6.0;
    let height = bottom + 88.0;

    let mut svg = Svg::default();
    svg.bar("card", (0.5, 0.5), (WIDTH - 1.0, height - 1.0), 10.0);
    svg.text("title", (MARGIN, 32.0), Anchor::Start, TITLE);
    svg.text(
        "muted",
        (MARGIN, 55.0),
        Anchor::Start,
        "Measured by `cargo xtask demo`: a real Envoy, fresh for each lane, whose control plane takes its time. \
         Both start at 0 s.",
    );
    scale(&mut svg, &axis, bottom);
    envoy(&mut svg, &axis);
    svg.line("ready-line", (x(&axis, axis.ready), TOP + BAR * 0.5), (x(&axis, axis.ready), bottom));
    let mut drawn = None;
    for (case, y) in cases.iter().zip(lanes) {
        if drawn != Some(case.application) {
            drawn = Some(case.application);
            svg.text("strong", (MARGIN, y), Anchor::Start, &case.application.to_string());
        }
        let class = if case.remedy == Remedy::Conngate { "strong" } else { "plain" };
        svg.text(class, (LABELS, y), Anchor::End, &case.remedy.to_string());
        lane(&mut svg, &axis, case, y);
    }
    legend(&mut svg, bottom + 62.0);
    svg.document((WIDTH, height), STYLE.trim_end(), TITLE, &description(cases))
}

/// The middle of each case's lane.
fn places(cases: &[Case]) -> Vec<f64> {
    let mut y = TOP + LANE + GAP;
    let mut places = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        if index > 0 {
            y += LANE + if cases[index - 1].application == case.application { 0.0 } else { GAP };
        }
        places.push(y);
    }
    places
}

fn scale(svg: &mut Svg, axis: &Axis, bottom: f64) {
    for tick in axis.ticks() {
        let x = x(axis, f64::from(tick));
        svg.line("grid", (x, TOP - BAR * 0.5), (x, bottom));
        svg.text("muted", (x, bottom + 14.0), Anchor::Middle, &format!("{tick} s"));
    }
}

fn envoy(svg: &mut Svg, axis: &Axis) {
    let (begin, ready, end) = (x(axis, 0.0), x(axis, axis.ready), x(axis, axis.end));
    let y = TOP - BAR * 0.5;
    svg.text("strong", (MARGIN, TOP), Anchor::Start, "Envoy");
    svg.bar("starting", (begin, y), (ready - begin, BAR), 3.0);
    svg.text("strong", (begin.midpoint(ready), TOP), Anchor::Middle, "starting: waits for its listeners");
    svg.bar("ready", (ready, y), (end - ready, BAR), 3.0);
    svg.text("inside", (ready.midpoint(end), TOP), Anchor::Middle, "ready");
}

fn lane(svg: &mut Svg, axis: &Axis, case: &Case, y: f64) {
    let held = duration(case.gate.as_ref().map_or(case.ended() - case.connecting, |gate| gate.held_seconds));
    for span in axis.spans(case) {
        let (from, to) = (x(axis, span.from), x(axis, span.to));
        if to - from < 2.0 {
            continue;
        }
        let (class, words_class, words) = match span.kind {
            Kind::NotStarted => ("waiting", "muted halo", vec!["not started yet".to_owned()]),
            Kind::Starting => ("starting", "strong", vec!["starts".to_owned()]),
            Kind::Connecting => {
                ("held", "inside", vec![format!("held inside connect(): {held}"), format!("held: {held}")])
            }
        };
        svg.bar(class, (from, y - BAR * 0.5), (to - from, BAR), 3.0);
        if let Some(words) = words.iter().find(|words| room(words) < to - from) {
            svg.text(words_class, (from.midpoint(to), y), Anchor::Middle, words);
        }
    }
    let at = x(axis, axis.place(case, case.ended()));
    let (class, sign, note_class) = match (case.end, case.remedy) {
        (End::Refused(_), _) => ("refused", CROSS, "bad halo"),
        (End::Connected(_), Remedy::WaitLoop) => ("late", CHECK, "meh halo"),
        (End::Connected(_), Remedy::Nothing | Remedy::Conngate) => ("connected", CHECK, "good halo"),
    };
    svg.badge(class, (at, y), sign);
    svg.text(note_class, (at + 14.0, y), Anchor::Start, &note(case));
}

fn note(case: &Case) -> String {
    match case.after_ready() {
        Some(seconds) => format!("{} after ready", duration(seconds)),
        None => refused(case),
    }
}

fn legend(svg: &mut Svg, y: f64) {
    let mut x = MARGIN + 40.0;
    let swatches =
        [("waiting", "application not started yet"), ("starting", "starts"), ("held", "held inside connect()")];
    for (class, words) in swatches {
        svg.bar(class, (x, y - 6.0), (22.0, 12.0), 2.0);
        svg.text("muted", (x + 29.0, y), Anchor::Start, words);
        x += 29.0 + room(words);
    }
    for (class, sign, words) in [("refused", CROSS, "refused: the pod restarts"), ("connected", CHECK, "connected")] {
        svg.badge(class, (x + 8.0, y), sign);
        svg.text("muted", (x + 22.0, y), Anchor::Start, words);
        x += 22.0 + room(words);
    }
}

/// About what `words` need with some air around them.
fn room(words: &str) -> f64 {
    let letters = u32::try_from(words.len()).unwrap_or(u32::MAX);
    f64::from(letters) * 7.0 + 16.0
}

/// The pixel of a time on the axis.
fn x(axis: &Axis, at: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * at / axis.end
}

fn description(cases: &[Case]) -> String {
    let sentences = cases.iter().map(|case| format!("{}, {}: {}.", case.application, case.remedy, note(case)));
    sentences.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::lane::tests::connected;

    #[test]
    fn draw_cases_of_each_end_are_shown_and_told() {
        let refused = Case { remedy: Remedy::Nothing, end: End::Refused(0.0002), exit: Some(1), ..connected(3.0) };
        let picture = draw(&[refused, connected(3.0)]);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("bash, without conngate: refused, exit 1."), "{picture}");
        assert!(picture.contains("0.50 s after ready"), "{picture}");
        assert_eq!(picture.matches(CROSS).count(), 2, "one in a lane, one in the legend");
    }
}
