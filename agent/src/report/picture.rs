//! Applications beside a proxy that becomes ready, as a picture: one SVG file that needs nothing else, in the reader's light or
//! dark colours.
//!
//! Knows nothing of reports. The drawings are those of the page; names stand on their left and notes on their right.

use maud::{Markup, PreEscaped, html};

use super::{
    axis::Axis,
    svg::{self, Bars, Lane, Mark, Part},
    words::{Outcome, Tone},
};

const STYLE: &str = concat!(include_str!("drawings.css"), include_str!("picture.css"));

/// How wide the picture is, in pixels; all else is as long.
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 28.0;
/// Where the lanes' names end, and the axis begins.
const NAMES: f64 = 208.0;
const LEFT: f64 = 222.0;
/// How wide the axis is; right of it is room for a note.
const PLOT: f64 = 578.0;
const TOP: f64 = 72.0;
const LANE: f64 = 30.0;
const BARS: Bars = Bars { middle: LANE / 2.0, height: 18.0 };
/// Between two groups.
const GAP: f64 = 14.0;
/// Below the last lane.
const LEGEND: f64 = 54.0;
/// The radius of a sign with some air around it.
const SIGN: f64 = 12.0;

/// What is drawn. Times are seconds from the start of proxy and application.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The heading.
    pub title: String,
    /// The line below it.
    pub subtitle: String,
    /// When the proxy was ready.
    pub ready: f64,
    /// Which proxy: `Envoy`.
    pub proxy: String,
    /// The lanes, of one application after the other.
    pub groups: Vec<Group>,
}

/// The lanes of one application.
#[derive(Clone, Debug)]
pub struct Group {
    /// The application.
    pub name: String,
    /// From the top down.
    pub lanes: Vec<Application>,
}

/// An application that makes one connection.
#[derive(Clone, Debug)]
pub struct Application {
    /// What distinguishes it from others of its group.
    pub name: String,
    /// When it was started.
    pub started: f64,
    /// When it called connect().
    pub connecting: f64,
    /// When connect() returned.
    pub ended: f64,
    /// How that was.
    pub outcome: Outcome,
    /// Words for the time inside connect(), shown where they have room.
    pub inside: String,
    /// What became of it, in a few words.
    pub note: String,
    /// What to think of that.
    pub tone: Tone,
}

impl Picture {
    /// The SVG file.
    #[must_use]
    pub fn draw(&self) -> String {
        let lanes = self.groups.iter().flat_map(|group| &group.lanes);
        let axis = Axis::new(0.0, lanes.map(|lane| lane.ended).fold(self.ready, f64::max));
        let ready = axis.x(self.ready);
        let words = format!("{} is ready, {}", self.proxy, axis.moment(self.ready));
        let marks = [Mark { x: ready, class: Tone::Good.class(), words }];
        let first = TOP + svg::height(marks.len());
        let bottom = self.groups.iter().fold(first, |y, group| y + group.height());
        let height = bottom + LEGEND;
        let tops = self.groups.iter().scan(first, |y, group| Some(std::mem::replace(y, *y + group.height())));
        let picture = html! {
            svg.picture xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH)
                height=(height) role="img" {
                title { (self.title) }
                desc { (self.description()) }
                style { (PreEscaped(STYLE)) }
                (svg::signs())
                rect.card x="0.5" y="0.5" width=(WIDTH - 1.0) height=(height - 1.0) rx="10" {}
                (text("title", MARGIN, 36.0, &self.title))
                (text("subtitle", MARGIN, 58.0, &self.subtitle))
                "\n"
                (placed(TOP, svg::height(marks.len()), svg::axis(0, &axis, (0.0, ready), &marks)))
                // Once for all: between lanes there is a gap, and none that rounding makes.
                (placed(first, bottom - first, html! { use href="#grid-0" {} }))
                @for (group, y) in self.groups.iter().zip(tops) { (group.draw(&axis, y)) }
                "\n"
                (legend(bottom + LEGEND / 2.0))
            }
        };
        picture.into_string() + "\n"
    }

    fn description(&self) -> String {
        let of = |group: &Group| -> String {
            group.lanes.iter().map(|lane| format!(" {}, {}: {}.", group.name, lane.name, lane.note)).collect()
        };
        format!("{}.{}", self.title, self.groups.iter().map(of).collect::<String>())
    }
}

impl Group {
    fn height(&self) -> f64 {
        self.lanes.iter().map(|_| LANE).sum::<f64>() + GAP
    }

    fn draw(&self, axis: &Axis, top: f64) -> Markup {
        let tops = std::iter::successors(Some(top), |y| Some(y + LANE));
        html! {
            "\n"
            (text("group", MARGIN, top + BARS.middle, &self.name))
            @for (lane, y) in self.lanes.iter().zip(tops) { "\n" (lane.draw(axis, y)) }
        }
    }
}

impl Application {
    fn draw(&self, axis: &Axis, top: f64) -> Markup {
        let [started, from, to] = [self.started, self.connecting, self.ended].map(|at| axis.x(at));
        let before =
            [Part { class: "absent", from: 0.0, to: started }, Part { class: "starting", from: started, to: from }];
        let words = format!("{}: {}", self.name, self.note);
        let lane = Lane { before: &before, from, to, outcome: self.outcome, words: &words };
        let spans = [("not started yet", 0.0, started), ("starts", started, from), (&*self.inside, from, to)];
        let y = top + BARS.middle;
        html! {
            text.name x=(NAMES) y=(y) dy="0.35em" text-anchor="end" { (self.name) }
            (placed(top, LANE, svg::lane(0, lane, BARS)))
            @for (words, from, to) in spans {
                @if room(words) < (to - from) / 100.0 * PLOT {
                    text.inside x=(pixel(from.midpoint(to))) y=(y) dy="0.35em" text-anchor="middle" { (words) }
                }
            }
            (text(&format!("note {}", self.tone.class()), pixel(to) + SIGN, y, &self.note))
        }
    }
}

/// `drawing` where the axis is, `top` down, `height` high.
fn placed(top: f64, height: f64, drawing: Markup) -> Markup {
    html! { svg x=(LEFT) y=(top) width=(PLOT) height=(height) overflow="visible" { (drawing) } }
}

/// The pixel of a place on the axis.
fn pixel(x: f64) -> f64 {
    ((LEFT + PLOT * x / 100.0) * 10.0).round() / 10.0
}

fn text(class: &str, x: f64, middle: f64, words: &str) -> Markup {
    html! { text class=(class) x=(x) y=(middle) dy="0.35em" { (words) } }
}

/// About what `words` need, with some air around them.
fn room(words: &str) -> f64 {
    let letters = u32::try_from(words.chars().count()).unwrap_or(u32::MAX);
    f64::from(letters) * 6.5 + 24.0
}

fn legend(middle: f64) -> Markup {
    let entries = [
        (svg::sample_part("absent"), "not started yet"),
        (svg::sample_part("starting"), "starts"),
        (svg::sample(Outcome::Established), "inside connect(), which succeeds"),
        (svg::sample(Outcome::Refused), "refused: the pod restarts"),
    ];
    let places = entries.iter().scan(LEFT, |x, (_, words)| Some(std::mem::replace(x, *x + 36.0 + room(words) - 8.0)));
    html! {
        @for (x, (sample, words)) in places.collect::<Vec<_>>().into_iter().zip(&entries) {
            svg x=(x) y=(middle - 8.0) width="30" height="16" overflow="visible" { (sample) }
            (text("legend", x + 36.0, middle, words))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application(name: &str, ended: f64, outcome: Outcome) -> Application {
        Application {
            name: name.to_owned(),
            started: 0.1,
            connecting: 0.2,
            ended,
            outcome,
            inside: "held inside connect(): 2.8 s".to_owned(),
            note: format!("{} at {ended} s", outcome.word()),
            tone: Tone::Plain,
        }
    }

    fn picture(lanes: Vec<Application>) -> String {
        let groups = vec![Group { name: "a < b".to_owned(), lanes }];
        Picture { title: "Title".to_owned(), subtitle: String::new(), ready: 3.0, proxy: "Envoy".to_owned(), groups }
            .draw()
    }

    #[test]
    fn draw_lanes_of_each_end_are_shown_and_told() {
        let picture = picture(vec![
            application("without", 0.2, Outcome::Refused),
            application("with", 3.0, Outcome::Established),
        ]);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(
            picture.contains("<desc>Title. a &lt; b, without: refused at 0.2 s. a &lt; b, with: established at 3 s.")
        );
        assert!(picture.contains(">Envoy is ready, 3.00 s<"), "{picture}");
        assert_eq!(picture.matches("href=\"#end-refused\"").count(), 2, "one in a lane, one in the legend");
        assert_eq!(picture.matches("href=\"#end-established\"").count(), 2);
    }

    #[test]
    fn draw_words_inside_a_bar_need_room() {
        let long = picture(vec![application("with", 3.0, Outcome::Established)]);
        let short = picture(vec![application("without", 0.3, Outcome::Refused)]);
        assert!(long.contains(">held inside connect(): 2.8 s<") && !short.contains(">held inside connect()"));
    }
}
