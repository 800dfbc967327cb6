//! One HTML file that needs nothing else.

use crate::chart::Chart;
use crate::escape::escape;
use crate::table::Table;

/// A page, put together from the top to the bottom. All text given is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page with this title, which is its first heading as well.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), body: String::new() }
    }

    /// A heading.
    #[must_use]
    pub fn heading(self, text: &str) -> Self {
        self.element("h2", text)
    }

    /// A heading below a heading.
    #[must_use]
    pub fn subheading(self, text: &str) -> Self {
        self.element("h3", text)
    }

    /// A paragraph.
    #[must_use]
    pub fn prose(self, text: &str) -> Self {
        self.element("p", text)
    }

    /// Text kept as it is, lines and columns too.
    #[must_use]
    pub fn preformatted(self, text: &str) -> Self {
        self.element("pre", text)
    }

    /// A table.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.body.push_str(&table.html());
        self
    }

    /// A chart under its title.
    #[must_use]
    pub fn chart(mut self, chart: Chart) -> Self {
        let title = escape(chart.title());
        self.body.push_str(&format!("<figure><figcaption>{title}</figcaption>\n{}</figure>\n", chart.svg()));
        self
    }

    /// The file.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{}</main>\n</body>\n</html>\n",
            include_str!("page.css"),
            self.body
        )
    }

    fn element(mut self, name: &str, text: &str) -> Self {
        self.body.push_str(&format!("<{name}>{}</{name}>\n", escape(text)));
        self
    }
}
