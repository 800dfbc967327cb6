//! The colours. What the charts hold are the light page's; `page.css` names each again for the dark one.

use plotters::style::RGBColor;

/// Text, axes, and what is not one series among others.
pub(crate) const INK: RGBColor = RGBColor(0x26, 0x26, 0x24);
/// The labels of marks.
pub(crate) const MUTED: RGBColor = RGBColor(0x6B, 0x6A, 0x66);
/// Lines at the labelled marks.
pub(crate) const GRID: RGBColor = RGBColor(0xDD, 0xDC, 0xD8);
/// Lines at the other marks.
pub(crate) const FAINT: RGBColor = RGBColor(0xF0, 0xEF, 0xEC);

/// In this order neighbours stay apart for readers who see fewer colours.
const SERIES: [RGBColor; 8] = [
    RGBColor(0x2A, 0x78, 0xD6),
    RGBColor(0xEB, 0x68, 0x34),
    RGBColor(0x1B, 0xAF, 0x7A),
    RGBColor(0xED, 0xA1, 0x00),
    RGBColor(0xE8, 0x7B, 0xA4),
    RGBColor(0x00, 0x83, 0x00),
    RGBColor(0x4A, 0x3A, 0xA7),
    RGBColor(0xE3, 0x49, 0x48),
];

/// How a series looks. Past eight the colours come again, with dashes and hollow marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) colour: RGBColor,
    pub(crate) dashed: bool,
}

impl Look {
    pub(crate) fn of(number: usize) -> Self {
        Self { colour: SERIES[number % SERIES.len()], dashed: number / SERIES.len() % 2 == 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A colour that the style sheet does not know would stay as it is on the dark page.
    #[test]
    fn the_style_sheet_knows_every_colour() {
        let sheet = include_str!("page.css");
        for RGBColor(r, g, b) in SERIES.into_iter().chain([INK, MUTED, GRID, FAINT]) {
            assert!(sheet.contains(&format!("[stroke=\"#{r:02X}{g:02X}{b:02X}\"]")), "{r:02X}{g:02X}{b:02X}");
            assert!(sheet.contains(&format!("[fill=\"#{r:02X}{g:02X}{b:02X}\"]")), "{r:02X}{g:02X}{b:02X}");
        }
    }
}
