//! The timeline of a rollout as a picture: time from left to right, the phases above, below them a lane for each unit.

use super::{Lane, Rollout, Segment, Tone, span};
use maud::{Markup, html};

/// Units of the picture from its left edge to the beginning of time: room for a unit's name.
const LEFT: f64 = 190.0;
/// Units from the beginning of time to its end.
const WIDTH: f64 = 800.0;
/// Units of one lane.
const LANE: f64 = 22.0;
/// Units of the phases and of the scale.
const EDGE: f64 = 26.0;
/// The most lanes that are drawn: more are no picture any more. The list below it names all.
const LANES: usize = 60;
/// Units that one letter takes at most.
const LETTER: f64 = 6.4;
/// The steps of a scale, in milliseconds.
const STEPS: [u64; 14] = [
    100, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000,
    14_400_000,
];
/// The most marks on the scale.
const MARKS: u64 = 8;

/// The picture. `number` tells it from others of the page.
pub(super) fn picture(rollout: &Rollout, number: usize) -> Markup {
    let all = rollout.units.iter().flat_map(|lane| &lane.segments).chain(&rollout.phases);
    let end = all.map(|segment| segment.to).chain([rollout.took, 1]).max().unwrap_or(1);
    let lanes = &rollout.units[..rollout.units.len().min(LANES)];
    let height = EDGE * 2.0 + LANE * float(lanes.len()) + 4.0;
    let (title, total) = (format!("timeline-{number}"), LEFT + WIDTH + 10.0);
    html! {
        div .scrolls {
            svg .timeline viewBox=(format!("0 0 {total} {height}")) role="img" aria-labelledby=(title) {
                title id=(title) { "Timeline of " (rollout.environment) ", " (span(end)) }
                @for mark in marks(end) {
                    @let x = place(mark, end);
                    line .mark x1=(x) y1=(EDGE) x2=(x) y2=(height - EDGE) {}
                    text .scale x=(x) y=(height - 9.0) { (span(mark)) }
                }
                @for phase in &rollout.phases { (bar(phase, 2.0, EDGE - 6.0, end, "phase")) }
                @for (row, lane) in lanes.iter().enumerate() { (drawn(lane, EDGE + LANE * float(row), end)) }
            }
        }
        @if rollout.units.len() > LANES {
            p .note { (rollout.units.len() - LANES) " more units are in report.json." }
        }
    }
}

fn drawn(lane: &Lane, y: f64, end: u64) -> Markup {
    html! {
        text .lane x=(LEFT - 8.0) y=(y + LANE * 0.68) { (lane.name) }
        @for segment in &lane.segments { (bar(segment, y + 2.0, LANE - 4.0, end, "state")) }
    }
}

fn bar(segment: &Segment, y: f64, height: f64, end: u64, class: &str) -> Markup {
    let (from, to) = (place(segment.from, end), place(segment.to, end));
    // What was there for a moment only is still seen.
    let width = (to - from).max(2.0);
    let fits = float(segment.state.chars().count()) * LETTER < width - 4.0;
    let took = span(segment.to.saturating_sub(segment.from));
    html! {
        rect class=(format!("{class} {}", tone(segment.tone))) x=(from) y=(y) width=(width) height=(height) rx="2" {
            title { (segment.state) ", " (took) }
        }
        @if fits {
            text class=(format!("{class}-name")) x=(from + 4.0) y=(y + height * 0.72) { (segment.state) }
        }
    }
}

/// The class of a tone.
pub(super) fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
        Tone::Dim => "dim",
    }
}

fn place(at: u64, end: u64) -> f64 {
    let share = if end == 0 { 0.0 } else { millis(at) / millis(end) };
    ((LEFT + WIDTH * share) * 10.0).round() / 10.0
}

fn marks(end: u64) -> Vec<u64> {
    let longest = STEPS[STEPS.len() - 1];
    let step =
        STEPS.into_iter().find(|step| end / step <= MARKS).unwrap_or(longest * (end / longest / MARKS + 1));
    // The last one would stand where the picture ends.
    (0..=end / step).map(|number| number * step).filter(|mark| mark * 100 <= end * 97).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a picture is far coarser than that")]
fn millis(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "a picture is far coarser than that")]
fn float(value: usize) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_has_few_marks_however_long_it_took() {
        for end in [1, 99, 1_000, 8_499, 61_000, 3_600_000, 86_400_000 * 30] {
            let marks = marks(end);
            assert!((1..=MARKS as usize + 1).contains(&marks.len()), "{end}: {marks:?}");
            assert_eq!(marks[0], 0);
        }
        assert_eq!(marks(9_000), [0, 2_000, 4_000, 6_000, 8_000]);
    }
}
