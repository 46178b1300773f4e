//! The table, and the one line that remains.
//!
//! Knows nothing of pictures. Times are printed as measured; what they mean for a pod is in the last column.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    case::{Case, End},
    remedy::Remedy,
};

/// Widest line of everything that the demo prints.
const WIDTH: u16 = 100;

/// One row per case.
pub(crate) fn table(cases: &[Case]) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(["app", "remedy", "started", "connect()", "ended", "after ready", "result"]);
    for case in cases {
        table.add_row([
            case.application.to_string(),
            case.remedy.to_string(),
            format!("{:.2} s", case.started),
            format!("{:.2} s", case.connecting),
            format!("{:.2} s", case.ended()),
            case.after_ready().map(duration).unwrap_or_default(),
            result(case),
        ]);
    }
    for column in 2..=5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let resolution = cases.iter().map(|case| case.resolution).fold(0.0, f64::max);
    format!(
        "{table}\n\
         Times since Envoy and the application were started. Ready: the first 200 of Envoy's /ready, asked by a\n\
         thread that knows nothing of conngate, at most {:.2} ms late. Refused: in a cluster the pod restarts.",
        resolution * 1e3
    )
}

fn result(case: &Case) -> String {
    match (case.end, &case.gate) {
        (End::Refused(_), _) => refused(case),
        (End::Connected(_), Some(gate)) if gate.held != 0 => format!("held {}, connected", duration(gate.held_seconds)),
        (End::Connected(_), Some(_) | None) => "connected".to_owned(),
    }
}

/// What a refusal led to.
pub(crate) fn refused(case: &Case) -> String {
    let exit = case.exit.map(|exit| format!("exit {exit}")).unwrap_or_else(|| "killed".to_owned());
    format!("refused, {exit}")
}

/// The story in one line, told of the application that waited longest after Envoy was ready.
pub(crate) fn last_line(cases: &[Case]) -> String {
    let held = cases.iter().filter(|case| case.remedy == Remedy::Conngate);
    let slowest = held.max_by(|a, b| a.after_ready().unwrap_or(0.0).total_cmp(&b.after_ready().unwrap_or(0.0)));
    let Some(case) = slowest else { return String::new() };
    let held_seconds = case.gate.as_ref().map_or(0.0, |gate| gate.held_seconds);
    format!(
        "conngate ({}): connect() at {:.2} s, held {}, connected {} after Envoy was ready; nothing restarted",
        case.application,
        case.connecting,
        duration(held_seconds),
        case.after_ready().map(duration).unwrap_or_default(),
    )
}

/// `seconds` for people.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 0.1 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_in_milliseconds_below_a_tenth_of_a_second() {
        assert_eq!(duration(0.000_64), "0.6 ms");
        assert_eq!(duration(0.956), "0.96 s");
    }
}
