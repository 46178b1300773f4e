//! The timeline as text, one row per case, at most 100 columns wide.
//!
//! Knows nothing of the picture, which shows the same. What happens after Envoy was ready is drawn right of its mark,
//! however soon it was: the order of events is the point.

use conngate::report::Axis;

use crate::{
    case::Case,
    report::duration,
    together::{axis, together},
};

/// Columns of the bars; labels before and durations after them make 100.
const WIDTH: usize = 62;
const READY: char = '│';
const LEGEND: &str =
    "░ not started yet   ─ starts   █ held inside connect()   ✗ refused   ✓ connected   │ Envoy is ready";

/// The rows, with Envoy's above, the seconds and a legend below.
pub(crate) fn chart(cases: &[Case]) -> String {
    let cases = together(cases);
    let axis = axis(&cases);
    let ready = cases.first().map_or(0, |case| column(&axis, case.ready));
    let mut rows = vec![label("Envoy", "", &envoy(ready))];
    for (index, case) in cases.iter().enumerate() {
        if index > 0 && cases[index - 1].application != case.application {
            rows.push(label("", "", &blank(ready)));
        }
        rows.push(label(&case.application.to_string(), &case.remedy.to_string(), &row(&axis, case)));
    }
    rows.push(label("", "", &seconds(&axis)));
    rows.push(format!("\n{LEGEND}"));
    rows.join("\n")
}

fn label(application: &str, remedy: &str, bar: &str) -> String {
    format!("{application:<7} {remedy:<16} {bar}").trim_end().to_owned()
}

fn row(axis: &Axis, case: &Case) -> String {
    let [ready, started, connecting, end] =
        [case.ready, case.started, case.connecting, case.ended()].map(|at| column(axis, at));
    let mut cells: Vec<char> = blank(ready).chars().collect();
    cells[..started].fill('░');
    cells[started..connecting].fill('─');
    cells[connecting..end].fill('█');
    cells[ready] = READY;
    let (mark, note) = match case.after_ready() {
        None => ('✗', "refused".to_owned()),
        Some(after) => ('✓', format!("+{}", duration(after))),
    };
    let is_after = case.ended() >= case.answered;
    cells[if is_after { end.max(ready + 1) } else { end.min(ready.saturating_sub(1)) }] = mark;
    format!("{} {note}", cells.into_iter().collect::<String>())
}

fn envoy(ready: usize) -> String {
    let word = " starting ";
    let before = ready.saturating_sub(word.len()) / 2;
    let after = ready.saturating_sub(word.len() + before);
    format!("{}{word}{}{READY} ready", "┄".repeat(before), "┄".repeat(after))
}

fn blank(ready: usize) -> String {
    (0..WIDTH).map(|at| if at == ready { READY } else { ' ' }).collect()
}

fn seconds(axis: &Axis) -> String {
    let mut cells = vec![' '; WIDTH];
    for tick in axis.ticks() {
        let text = axis.label(tick);
        let at = column(axis, tick);
        if at + text.len() <= WIDTH {
            cells.splice(at..at + text.len(), text.chars());
        }
    }
    cells.into_iter().collect()
}

/// The column of a time on the axis; the last one but one is the axis' end.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the columns")]
fn column(axis: &Axis, at: f64) -> usize {
    let last = f64::from(u32::try_from(WIDTH - 2).unwrap_or(0));
    (axis.x(at) / 100.0 * last).clamp(0.0, last) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::End;
    use crate::together::tests::connected;

    #[test]
    fn row_connected_a_moment_after_ready_is_right_of_its_mark() {
        let case = Case { end: End::Connected(3.001), ..connected(3.0) };
        let row = row(&axis(std::slice::from_ref(&case)), &case);
        assert!(row.contains("██│✓"), "{row}");
        assert!(row.ends_with("+1.0 ms"), "{row}");
    }

    #[test]
    fn row_refused_at_once_begins_with_the_mark() {
        let case = Case { end: End::Refused(0.001), ..connected(3.0) };
        let row = row(&axis(std::slice::from_ref(&case)), &case);
        assert!(row.starts_with('✗') && row.contains(READY) && row.ends_with("refused"), "{row}");
    }

    #[test]
    fn chart_any_delay_fits_in_a_hundred_columns() {
        for ready in [0.5, 3.0, 30.0] {
            for line in chart(&[connected(ready), connected(ready)]).lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
        }
    }
}
