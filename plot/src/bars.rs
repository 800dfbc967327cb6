//! Bars in groups, with the spread of what they stand for.

use plotters::prelude::*;

use crate::axis::{Axis, Scale};
use crate::chart::Chart;
use crate::coordinate::Marked;
use crate::error::ChartError;
use crate::extent::Extent;
use crate::frame::{self, Direction, Entry, Grid, Key};
use crate::palette::{INK, Look};

const SIZE: (u32, u32) = (960, 400);
/// The part of a group's width that is empty, so that groups stay apart.
const BETWEEN_GROUPS: f64 = 0.2;
/// The part of a bar's width that is empty.
const BETWEEN_BARS: f64 = 0.12;

/// One bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// Its height.
    pub value: f64,
    /// The ends of the error bar.
    pub spread: Option<(f64, f64)>,
}

impl Bar {
    /// A bar without an error bar.
    pub fn new(value: f64) -> Self {
        Self { value, spread: None }
    }

    /// A bar with an error bar from `low` to `high`.
    pub fn between(value: f64, low: f64, high: f64) -> Self {
        Self { value, spread: Some((low, high)) }
    }
}

/// A bar chart: groups along the axis, in each a bar of every series.
///
/// On a logarithmic axis bars start at the lowest mark: their lengths mean nothing, their ends do.
#[derive(Clone, Debug)]
pub struct Bars {
    title: String,
    groups: Vec<String>,
    y: Axis,
    series: Vec<Series>,
    reference: Option<(f64, String)>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    look: Look,
    bars: Vec<Option<Bar>>,
}

impl Bars {
    /// A chart without bars; `groups` are the names under the axis.
    pub fn new<S: Into<String>>(title: impl Into<String>, groups: impl IntoIterator<Item = S>, y: Axis) -> Self {
        let groups = groups.into_iter().map(Into::into).collect();
        Self { title: title.into(), groups, y, series: Vec::new(), reference: None }
    }

    /// Adds a bar to each group, in the next colour; `None` leaves its place empty.
    #[must_use]
    pub fn series(self, name: impl Into<String>, bars: impl IntoIterator<Item = Option<Bar>>) -> Self {
        let next = self.series.len();
        self.series_in(next, name, bars)
    }

    /// Adds a bar to each group in the colour of this number, so that something looks the same in every chart of a page.
    #[must_use]
    pub fn series_in(mut self, colour: usize, name: impl Into<String>, bars: impl IntoIterator<Item = Option<Bar>>) -> Self {
        self.series.push(Series { name: name.into(), look: Look::of(colour), bars: bars.into_iter().collect() });
        self
    }

    /// Draws a line across all groups at this value.
    #[must_use]
    pub fn reference(mut self, name: impl Into<String>, value: f64) -> Self {
        self.reference = Some((value, name.into()));
        self
    }

    /// Draws the chart.
    ///
    /// # Errors
    ///
    /// There is no series, one is empty or has another number of bars than there are groups, or a value cannot be shown.
    pub fn draw(&self) -> Result<Chart, ChartError> {
        let extent = self.extent()?;
        let mut legend: Vec<Entry<'_>> =
            self.series.iter().map(|series| Entry { name: &series.name, key: Key::Box(series.look) }).collect();
        legend.extend(self.reference.iter().map(|(_, name)| Entry { name, key: Key::Rule }));
        let up = Direction::of(&self.y, extent.low, extent.high);
        let floor = match self.y.scale {
            Scale::Linear => 0.0,
            Scale::Log => up.marked.low,
        };
        frame::draw(&self.title, SIZE, &legend, self.across(), up, |plot| {
            let place = |value: f64| self.y.scale.position(value);
            let width = (1.0 - BETWEEN_GROUPS) / self.series.len() as f64;
            for (number, series) in self.series.iter().enumerate() {
                for (group, bar) in series.bars.iter().enumerate() {
                    let Some(bar) = bar else { continue };
                    let left = group as f64 + BETWEEN_GROUPS / 2.0 + width * (number as f64 + BETWEEN_BARS / 2.0);
                    let right = left + width * (1.0 - BETWEEN_BARS);
                    let corners = [(left, place(bar.value)), (right, floor)];
                    plot.draw_series([Rectangle::new(corners, frame::filling(series.look))])?;
                    if let Some((low, high)) = bar.spread {
                        let (middle, tip) = (f64::midpoint(left, right), (right - left) * 0.25);
                        let (low, high) = (place(low), place(high));
                        let across = |at| vec![(middle - tip, at), (middle + tip, at)];
                        let strokes = [vec![(middle, low), (middle, high)], across(low), across(high)];
                        plot.draw_series(strokes.map(|stroke| PathElement::new(stroke, INK.stroke_width(1))))?;
                    }
                }
            }
            if let Some((value, _)) = &self.reference {
                let line = vec![(0.0, place(*value)), (self.groups.len() as f64, place(*value))];
                plot.draw_series([PathElement::new(line, INK.stroke_width(1))])?;
            }
            Ok(())
        })
    }

    fn extent(&self) -> Result<Extent, ChartError> {
        if self.series.is_empty() || self.groups.is_empty() {
            return Err(ChartError::NoSeries { chart: self.title.clone() });
        }
        let mut extent = Extent::default();
        for Series { name, bars, .. } in &self.series {
            let (chart, series) = (self.title.clone(), name.clone());
            if bars.iter().all(Option::is_none) {
                return Err(ChartError::EmptySeries { chart, series });
            }
            if bars.len() != self.groups.len() {
                return Err(ChartError::Uneven { chart, series, bars: bars.len(), groups: self.groups.len() });
            }
            for bar in bars.iter().flatten() {
                let (low, high) = bar.spread.unwrap_or((bar.value, bar.value));
                for value in [bar.value, low, high] {
                    extent.include(&self.title, name, &self.y, value)?;
                }
            }
        }
        if let Some((value, name)) = &self.reference {
            extent.include(&self.title, name, &self.y, *value)?;
        }
        Ok(extent)
    }

    /// One unit of length per group, its name in the middle.
    fn across(&self) -> Direction<'_> {
        Direction {
            label: "",
            marked: Marked {
                low: 0.0,
                high: self.groups.len() as f64,
                major: (0..self.groups.len()).map(|group| group as f64 + 0.5).collect(),
                minor: Vec::new(),
            },
            grid: Grid::None,
            write: Box::new(|position| self.groups.get(position as usize).cloned().unwrap_or_default()),
        }
    }
}
