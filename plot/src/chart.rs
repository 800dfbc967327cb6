//! A chart that was drawn.

use crate::escape::escape;

/// A chart as SVG, to be put on a [`Page`](crate::Page). Only this crate makes one, so it needs no escaping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    title: String,
    svg: String,
}

impl Chart {
    /// `svg` is a whole `<svg>` element without a title of its own.
    pub(crate) fn new(title: &str, svg: &str) -> Self {
        // The title is what is read aloud, and what is shown where the mouse rests.
        let named = format!("<svg role=\"img\" aria-label=\"{}\" ", escape(title));
        Self { title: title.to_owned(), svg: svg.replacen("<svg ", &named, 1) }
    }

    /// What the chart shows.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The `<svg>` element.
    pub fn svg(&self) -> &str {
        &self.svg
    }
}
