//! A little SVG: the few shapes that the picture is made of.
//!
//! Knows nothing of what they show. Colours are classes of the picture's style sheet.

use std::fmt::Write as _;

/// A document that grows; lengths are pixels.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

/// Where a text stands relative to its x.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// A filled rectangle with round corners.
    pub(super) fn bar(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), radius: f64) {
        self.line_of(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="{radius}"/>"#
        ));
    }

    /// A straight line.
    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.line_of(format_args!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    /// A disc with a white sign in it, `sign` being a path about its centre.
    pub(super) fn badge(&mut self, class: &str, (x, y): (f64, f64), sign: &str) {
        self.line_of(format_args!(
            r#"<g transform="translate({x:.1} {y:.1})"><circle class="{class}" r="8"/><path class="sign" d="{sign}"/></g>"#
        ));
    }

    /// One line of text, its middle at `y`.
    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        // Renderers disagree on dominant-baseline; a third of the letters' height they all understand.
        let y = y + 4.4;
        self.line_of(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// The whole document, `size` large, with what it says in words for those who do not see it.
    pub(super) fn document(self, (width, height): (f64, f64), style: &str, title: &str, description: &str) -> String {
        let (title, description, shapes) = (escaped(title), escaped(description), self.0);
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img">
<title>{title}</title>
<desc>{description}</desc>
{style}
{shapes}</svg>
"#
        )
    }

    fn line_of(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a string takes everything");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_markup_is_escaped() {
        let mut svg = Svg::default();
        svg.text("note", (0.0, 0.0), Anchor::Start, "a < b & c");
        assert!(svg.0.contains(">a &lt; b &amp; c<"), "{}", svg.0);
    }
}
