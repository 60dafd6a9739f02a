//! What goes to standard output: lines, tables, JSON; colour on a terminal only.
//!
//! **Invariant.** Text that came from outside (keys, payloads, file names) reaches a terminal only through [`plain`], which
//! leaves no control character and nothing that changes the direction of writing. Colour says nothing that the words do
//! not say.

use crate::exit::Failure;
use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use rustix::termios::tcgetwinsize;
use serde::Serialize;
use sprag_core::StateName;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// No text in a table is cut shorter, in columns.
const TEXT_COLUMNS_MIN: usize = 12;

/// Standard output.
pub(crate) struct Out {
    stream: BufWriter<AutoStream<StdoutLock<'static>>>,
}

impl Out {
    pub(crate) fn new() -> Out {
        Out { stream: BufWriter::new(AutoStream::auto(io::stdout().lock())) }
    }

    /// Whether a person reads along.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: impl std::fmt::Display) -> Result<(), Failure> {
        writeln!(self.stream, "{line}").map_err(|error| Failure::output(&error))
    }

    /// Writes a table; on a terminal it takes no more than the terminal's width.
    pub(crate) fn table(&mut self, heads: &[&str], rows: Vec<Vec<Cell>>) -> Result<(), Failure> {
        let columns = tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        self.line(table(heads, rows, columns.filter(|_| self.is_terminal())))
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let written = serde_json::to_writer(&mut self.stream, value).map_err(io::Error::from);
        written.and_then(|()| self.stream.write_all(b"\n")).map_err(|error| Failure::output(&error))
    }

    /// Writes bytes that are a line of JSON already.
    pub(crate) fn raw(&mut self, line: &[u8]) -> Result<(), Failure> {
        let written = self.stream.write_all(line);
        written.and_then(|()| self.stream.write_all(b"\n")).map_err(|error| Failure::output(&error))
    }

    /// Writes bytes as they are, whoever reads them.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.flush()?;
        // Past the stream, which takes colours out where no terminal is.
        io::stdout().lock().write_all(bytes).map_err(|error| Failure::output(&error))
    }

    /// Hands everything on to the reader.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stream.flush().and_then(|()| io::stdout().lock().flush()).map_err(|error| Failure::output(&error))
    }
}

/// Text from outside, fit for a terminal.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Text that takes no more than so many columns: a longer one loses its middle.
pub(crate) fn cut(text: &str, columns_max: usize) -> String {
    if text.width() <= columns_max {
        return text.into();
    }
    let end = columns_max / 2;
    let begin: String = fitting(text.chars(), columns_max.saturating_sub(end + 1)).into_iter().collect();
    let end: String = fitting(text.chars().rev(), end).into_iter().rev().collect();
    format!("{begin}\u{2026}{end}")
}

/// As many characters as fit into so many columns.
fn fitting(chars: impl Iterator<Item = char>, columns_max: usize) -> Vec<char> {
    let mut columns = 0;
    let fits = |c: &char| {
        columns += c.width().unwrap_or(0);
        columns <= columns_max
    };
    chars.take_while(fits).collect()
}

/// How a state looks.
pub(crate) fn style_of(state: StateName) -> Style {
    match state {
        StateName::Scheduled | StateName::Ready => Style::new(),
        StateName::Running => AnsiColor::Cyan.on_default(),
        StateName::Unknown => AnsiColor::Yellow.on_default().bold(),
        StateName::Succeeded => AnsiColor::Green.on_default(),
        StateName::Dead => AnsiColor::Red.on_default().bold(),
        StateName::Cancelled => Style::new().dimmed(),
    }
}

/// One field of a table.
pub(crate) struct Cell {
    text: String,
    style: Style,
    right: bool,
    /// Never cut.
    whole: bool,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), style: Style::new(), right: false, whole: false }
    }

    /// Says nothing when it is cut: a moment.
    pub(crate) fn whole(text: impl Into<String>) -> Cell {
        Cell { whole: true, ..Cell::text(text) }
    }

    pub(crate) fn number(number: u64) -> Cell {
        Cell::text(number.to_string()).aligned_right()
    }

    pub(crate) fn signed(number: i64) -> Cell {
        Cell::text(number.to_string()).aligned_right()
    }

    pub(crate) fn aligned_right(self) -> Cell {
        Cell { right: true, whole: true, ..self }
    }

    pub(crate) fn state(state: StateName) -> Cell {
        Cell::text(state.as_str()).styled(style_of(state))
    }

    pub(crate) fn styled(self, style: Style) -> Cell {
        Cell { style, ..self }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

/// Rows with their columns aligned, one line each; the heads stand where their columns do. Where that takes more than
/// `columns_max`, texts lose their middle, the longest first; numbers never do.
fn table(heads: &[&str], rows: Vec<Vec<Cell>>, columns_max: Option<usize>) -> String {
    let right = |column: usize| rows.first().is_some_and(|row| row[column].right);
    let head_style = Style::new().dimmed();
    let head = |(column, head): (usize, &&str)| Cell { right: right(column), ..Cell::text(*head).styled(head_style) };
    let heads: Vec<Cell> = heads.iter().enumerate().map(head).collect();
    let mut rows: Vec<Vec<Cell>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    if let Some(columns_max) = columns_max {
        let texts: Vec<usize> = (0..widths.len()).filter(|column| !rows.iter().any(|row| row[*column].whole)).collect();
        fit(&mut widths, &texts, columns_max);
        for (cell, width) in rows.iter_mut().flat_map(|row| row.iter_mut().zip(&widths)) {
            cell.text = cut(&cell.text, *width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let gap = " ".repeat(width - cell.width());
            let (before, after) = if cell.right { (gap.as_str(), "") } else { ("", gap.as_str()) };
            let _ = write!(line, "{before}{}{}{:#}{after}  ", cell.style, cell.text, cell.style);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// Makes the widest of the columns that may be cut narrower, until all fit or none is left to be cut.
fn fit(widths: &mut [usize], texts: &[usize], columns_max: usize) {
    let gaps = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns_max {
        let widest = texts.iter().copied().max_by_key(|column| widths[*column]);
        match widest.map(|column| &mut widths[column]) {
            Some(width) if *width > TEXT_COLUMNS_MIN => *width -= 1,
            Some(_) | None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_steers_the_terminal() {
        assert_eq!(plain("näive\u{1F600} \"key\" \\"), "näive\u{1F600} \"key\" \\");
        assert_eq!(plain("\u{1b}[2J\n\t\u{7}\u{7f}\u{9b}31m"), "\\u{1b}[2J\\n\\t\\u{7}\\u{7f}\\u{9b}31m");
        assert_eq!(plain("a\u{202e}b\u{2066}c\u{200f}d\u{2028}"), "a\\u{202e}b\\u{2066}c\\u{200f}d\\u{2028}");
    }

    #[test]
    fn a_long_text_loses_its_middle() {
        assert_eq!(cut("äbcdefgh", 8), "äbcdefgh");
        assert_eq!(cut("äbcdefghi", 8), "äbc\u{2026}fghi");
        assert_eq!(cut("abc", usize::MAX), "abc");
    }

    #[test]
    fn wide_characters_take_two_columns_and_a_narrow_terminal_cuts_texts_alone() {
        let row = |id, key: &str, remark: &str| vec![Cell::number(id), Cell::text(key), Cell::text(remark)];
        let rows = || vec![row(1, "\u{6f22}\u{5b57}", "x"), row(2, "abcd", &"long ".repeat(9))];
        let text = |columns_max| {
            anstream::adapter::strip_str(&table(&["id", "key", "remark"], rows(), columns_max)).to_string()
        };
        assert_eq!(text(None).lines().nth(1), Some(" 1  \u{6f22}\u{5b57}  x"));
        let narrow = text(Some(30));
        assert!(narrow.lines().all(|line| line.width() <= 30), "{narrow}");
        assert_eq!(narrow.lines().nth(2), Some(" 2  abcd  long long\u{2026}long long"));
        assert_eq!(text(Some(5)).lines().nth(2), Some(" 2  abcd  long \u{2026} long"), "no shorter than so much");
        assert_eq!(cut("\u{6f22}\u{5b57}\u{6f22}\u{5b57}", 5), "\u{6f22}\u{2026}\u{5b57}");
    }

    #[test]
    fn columns_align_whatever_their_colour() {
        let row = |id, key: &str, state| vec![Cell::number(id), Cell::text(key), Cell::state(state)];
        let rows = vec![
            row(9, "ä", StateName::Ready),
            row(10, "long-key", StateName::Dead),
            row(11, "c", StateName::Succeeded),
        ];
        let coloured = table(&["id", "key", "state"], rows, None);
        assert!(coloured.contains("\u{1b}[1m\u{1b}[31mdead"), "{coloured:?}");
        let text = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(text, "id  key       state\n 9  ä         ready\n10  long-key  dead\n11  c         succeeded");
    }
}
