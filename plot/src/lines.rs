//! Lines through points, one per series, and the envelope behind them.

use plotters::prelude::*;

use crate::axis::Axis;
use crate::chart::Chart;
use crate::error::ChartError;
use crate::extent::Extent;
use crate::frame::{self, Direction, Entry, Key};
use crate::palette::Look;

const SIZE: (u32, u32) = (960, 460);
/// Lines with more points than this have no mark at each.
const MARKED: usize = 24;

/// A line chart.
#[derive(Clone, Debug)]
pub struct Lines {
    title: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    look: Option<Look>,
}

impl Lines {
    /// A chart without lines.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { title: title.into(), x, y, series: Vec::new() }
    }

    /// Adds a line through these points, in the next colour.
    #[must_use]
    pub fn line(self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let next = self.series.iter().filter(|series| series.look.is_some()).count();
        self.line_in(next, name, points)
    }

    /// Adds a line in the colour of this number, so that something looks the same in every chart of a page.
    #[must_use]
    pub fn line_in(mut self, colour: usize, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let look = Some(Look::of(colour));
        self.series.push(Series { name: name.into(), points: points.into_iter().collect(), look });
        self
    }

    /// Adds a broad band behind the lines, through these points: the best of all, say.
    #[must_use]
    pub fn envelope(mut self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.series.push(Series { name: name.into(), points: points.into_iter().collect(), look: None });
        self
    }

    /// Draws the chart.
    ///
    /// # Errors
    ///
    /// There is no series, one is empty, or one has a value that its axis cannot show.
    pub fn draw(&self) -> Result<Chart, ChartError> {
        if self.series.is_empty() {
            return Err(ChartError::NoSeries { chart: self.title.clone() });
        }
        let (mut x, mut y) = (Extent::default(), Extent::default());
        for series in &self.series {
            if series.points.is_empty() {
                return Err(ChartError::EmptySeries { chart: self.title.clone(), series: series.name.clone() });
            }
            for &(at, value) in &series.points {
                x.include(&self.title, &series.name, &self.x, at)?;
                y.include(&self.title, &series.name, &self.y, value)?;
            }
        }
        let legend: Vec<Entry<'_>> = self
            .series
            .iter()
            .map(|series| Entry { name: &series.name, key: series.look.map_or(Key::Band, Key::Line) })
            .collect();
        let (across, up) = (Direction::of(&self.x, x.low, x.high), Direction::of(&self.y, y.low, y.high));
        frame::draw(&self.title, SIZE, &legend, across, up, |plot| {
            let place = |&(x, y): &(f64, f64)| (self.x.scale.position(x), self.y.scale.position(y));
            // Behind the lines, whenever it was added.
            for band in self.series.iter().filter(|series| series.look.is_none()) {
                let style = frame::band().stroke_width(10);
                plot.draw_series([PathElement::new(band.points.iter().map(place).collect::<Vec<_>>(), style)])?;
            }
            for series in &self.series {
                let Some(look) = series.look else { continue };
                let points: Vec<(f64, f64)> = series.points.iter().map(place).collect();
                let style = look.colour.stroke_width(2);
                if look.dashed {
                    plot.draw_series(DashedLineSeries::new(points.clone(), 6, 4, style))?;
                } else {
                    plot.draw_series([PathElement::new(points.clone(), style)])?;
                }
                if points.len() <= MARKED {
                    let mark = if look.dashed { style } else { look.colour.filled() };
                    plot.draw_series(points.iter().map(|&point| Circle::new(point, 4, mark)))?;
                }
            }
            Ok(())
        })
    }
}
