//! Charts as inline SVG, and the self-contained HTML page that holds them.
//!
//! Two kinds of chart, [`Lines`] and [`Bars`], drawn by `plotters`; a [`Table`]; and a [`Page`] that puts them in a row between
//! headings and prose. The page needs no script, font or file from elsewhere, and is light or dark as the reader's system is.
//!
//! ```
//! use tierup_plot::{Axis, Lines, Page, Table, Unit};
//!
//! # fn main() -> Result<(), tierup_plot::ChartError> {
//! let chart = Lines::new("Time against work", Axis::log("work", Unit::Seconds), Axis::log("time", Unit::Seconds))
//!     .line("one", [(1e-3, 2e-3), (1e-2, 1.2e-2)])
//!     .line("two", [(1e-3, 1e-3), (1e-2, 3e-2)])
//!     .envelope("best", [(1e-3, 1e-3), (1e-2, 1.2e-2)])
//!     .draw()?;
//! let page = Page::new("Report")
//!     .prose("What was measured, and where.")
//!     .chart(chart)
//!     .table(Table::new(["engine", "time"]).row(["one", "12 ms"]));
//! assert!(page.html().contains("<svg"));
//! # Ok(())
//! # }
//! ```

mod axis;
mod bars;
mod chart;
mod coordinate;
mod error;
mod escape;
mod extent;
mod frame;
mod lines;
mod page;
mod palette;
mod table;
mod ticks;
mod unit;

pub use axis::{Axis, Scale};
pub use bars::{Bar, Bars};
pub use chart::Chart;
pub use error::ChartError;
pub use lines::Lines;
pub use page::Page;
pub use table::Table;
pub use unit::Unit;
