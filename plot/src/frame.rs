//! What every chart has: the axes with their marks, and the legend beside them, where it hides nothing.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::axis::{Axis, Scale};
use crate::chart::Chart;
use crate::coordinate::Marked;
use crate::error::ChartError;
use crate::palette::{FAINT, GRID, INK, Look, MUTED};
use crate::ticks::Ticks;

/// The library makes pixels of these by dividing by 1.24.
const SMALL: f64 = 15.0;
/// Of the legend's names; the width of a character is a guess, as fonts differ.
const CHARACTER: usize = 7;
const MARGIN: u32 = 8;
/// What the marks of the axis on the left take.
const LEFT: u32 = 76;
const LEGEND_LINE: i32 = 20;
const SWATCH: i32 = 24;

/// What the inside is drawn on, in positions, not values (see [`Scale::position`]).
pub(crate) type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Marked, Marked>>;
pub(crate) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// One direction: its range with the marks, and how they are written.
pub(crate) struct Direction<'a> {
    pub(crate) label: &'a str,
    pub(crate) marked: Marked,
    /// Whether lines go across the plot at the marks.
    pub(crate) grid: Grid,
    pub(crate) write: Box<dyn Fn(f64) -> String + 'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grid {
    Lines,
    None,
}

impl<'a> Direction<'a> {
    /// Of an axis with values between the two.
    pub(crate) fn of(axis: &'a Axis, low: f64, high: f64) -> Self {
        let ticks = Ticks::around(axis.scale, low, high);
        let place = |values: Vec<f64>| values.into_iter().map(|value| axis.scale.position(value)).collect();
        Self {
            label: &axis.label,
            marked: Marked {
                low: axis.scale.position(ticks.low),
                high: axis.scale.position(ticks.high),
                major: place(ticks.major),
                minor: place(ticks.minor),
            },
            grid: Grid::Lines,
            write: Box::new(|position| axis.unit.label(value_at(axis.scale, position))),
        }
    }
}

/// A mark's value back from its position, rid of the rounding.
fn value_at(scale: Scale, position: f64) -> f64 {
    let value = scale.value(position);
    if value.abs() < 1e-300 { 0.0 } else { value }
}

/// One line of the legend.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: Key,
}

/// What stands before the name.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    Line(Look),
    Box(Look),
    Band,
    Rule,
}

/// Draws a chart whose inside is drawn by `inside`.
pub(crate) fn draw(
    title: &str,
    (width, height): (u32, u32),
    legend: &[Entry<'_>],
    x: Direction<'_>,
    y: Direction<'_>,
    inside: impl FnOnce(&mut Plot<'_, '_>) -> Drawn,
) -> Result<Chart, ChartError> {
    let mut svg = String::new();
    let height = height.max(u32::try_from(legend.len()).unwrap_or(0) * LEGEND_LINE as u32 + 40);
    let longest = legend.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
    let aside = u32::try_from(longest * CHARACTER).unwrap_or(0) + SWATCH as u32 + 24;
    let drawing = || -> Drawn {
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        let inside_and_axes = width.saturating_sub(aside).max(width / 2);
        let (left, right) = root.split_horizontally(inside_and_axes);
        let mut builder = ChartBuilder::on(&left);
        builder.margin(MARGIN).margin_right(20).y_label_area_size(LEFT);
        // Marks are written along the axis where all of them have room, and otherwise downwards.
        let widest = x.marked.major.iter().map(|mark| (x.write)(*mark).chars().count() * CHARACTER).max().unwrap_or(0);
        let room = inside_and_axes.saturating_sub(LEFT + MARGIN + 20) as usize / x.marked.major.len().max(1);
        let downwards = widest > room;
        let (marks, floor) = (x.marked.major.clone(), y.marked.low);
        builder.x_label_area_size(if downwards { widest as u32 + 20 } else { 46 });
        let mut plot = builder.build_cartesian_2d(x.marked, y.marked)?;
        let labels = ("sans-serif", SMALL).into_font();
        let mut mesh = plot.configure_mesh();
        if x.grid == Grid::None {
            mesh.disable_x_mesh();
        }
        if y.grid == Grid::None {
            mesh.disable_y_mesh();
        }
        mesh.bold_line_style(GRID)
            .light_line_style(FAINT)
            .axis_style(MUTED)
            .label_style(labels.clone().color(&MUTED))
            .axis_desc_style(labels.clone().color(&INK))
            .x_label_formatter(&|position| if downwards { String::new() } else { (x.write)(*position) })
            .y_label_formatter(&|position| (y.write)(*position))
            .x_desc(x.label)
            .y_desc(y.label)
            .draw()?;
        inside(&mut plot)?;
        if downwards {
            let style = labels.transform(FontTransform::Rotate90).color(&MUTED).pos(Pos::new(HPos::Left, VPos::Center));
            for mark in &marks {
                let (across, bottom) = plot.backend_coord(&(*mark, floor));
                root.draw(&Text::new((x.write)(*mark), (across, bottom + 10), style.clone()))?;
            }
        }
        draw_legend(&right, legend)?;
        root.present()?;
        Ok(())
    };
    match drawing() {
        Ok(()) => Ok(Chart::new(title, &svg)),
        Err(error) => Err(ChartError::Drawing { chart: title.to_owned(), message: error.to_string() }),
    }
}

fn draw_legend(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, legend: &[Entry<'_>]) -> Drawn {
    let text = ("sans-serif", SMALL).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    for (line, entry) in (0i32..).zip(legend) {
        let y = 20 + line * LEGEND_LINE;
        let rule = |colour: RGBAColor, width| PathElement::new(vec![(0, y), (SWATCH, y)], colour.stroke_width(width));
        match entry.key {
            Key::Line(look) if look.dashed => {
                for from in [0, 9, 18] {
                    area.draw(&PathElement::new(vec![(from, y), (from + 6, y)], look.colour.stroke_width(2)))?;
                }
                area.draw(&Circle::new((SWATCH / 2, y), 4, look.colour.stroke_width(2)))?;
            }
            Key::Line(look) => {
                area.draw(&rule(look.colour.into(), 2))?;
                area.draw(&Circle::new((SWATCH / 2, y), 4, look.colour.filled()))?;
            }
            Key::Box(look) => area.draw(&Rectangle::new([(6, y - 6), (18, y + 6)], filling(look)))?,
            Key::Band => area.draw(&rule(band(), 10))?,
            Key::Rule => area.draw(&rule(INK.into(), 1))?,
        }
        area.draw(&Text::new(entry.name, (SWATCH + 8, y), text.clone()))?;
    }
    Ok(())
}

/// How the inside of a bar is filled.
pub(crate) fn filling(look: Look) -> ShapeStyle {
    if look.dashed { look.colour.mix(0.45).filled() } else { look.colour.filled() }
}

/// The envelope lies behind the lines it touches.
pub(crate) fn band() -> RGBAColor {
    INK.mix(0.18)
}
