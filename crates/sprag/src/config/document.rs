//! Reading a TOML document strictly: sections whose keys are all known, entries that know their place.
//!
//! **Invariant.** A [`Section`] exists only when every key in it is known; every refusal carries the line and column of
//! the very thing that is refused.

use super::{TABLES_MAX, duration, size};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Names of queues and services are at most so long, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// A duration is at most so long: 400 days, the Machine's longest delay.
const DURATION_MS_MAX: u64 = 400 * 24 * 3_600_000;

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    file: PathBuf,
    /// Line and column, from 1; the column counts characters.
    place: Option<(usize, usize)>,
    what: String,
    mend: Option<String>,
}

impl ConfigError {
    /// An error of the file as a whole.
    pub(super) fn file(file: impl Into<PathBuf>, what: impl ToString) -> ConfigError {
        ConfigError { file: file.into(), place: None, what: what.to_string(), mend: None }
    }

    /// Says what to do about it.
    pub(super) fn mend(self, mend: impl Into<String>) -> ConfigError {
        ConfigError { mend: Some(mend.into()), ..self }
    }

    /// What to do about it, if there is something to say.
    pub(crate) fn how_to_mend(&self) -> Option<&str> {
        self.mend.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// A file's text, and what errors call it.
pub(super) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a Path, bytes: &'a [u8]) -> Result<Document<'a>, ConfigError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Document { file, text }),
            Err(error) => {
                let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let at = good.len();
                let good = Document { file, text: &good };
                Err(good.error(at..at, "it is not UTF-8 here").mend("save the file as UTF-8"))
            }
        }
    }

    pub(super) fn parse(&self) -> Result<DeTable<'a>, ConfigError> {
        match DeTable::parse(self.text) {
            Ok(table) => Ok(table.into_inner()),
            Err(error) => {
                let what = error.message().trim().replace('\n', ", ");
                Err(self.error(error.span().unwrap_or(0..0), format!("it is not TOML: {what}")))
            }
        }
    }

    pub(super) fn error(&self, span: Range<usize>, what: impl Into<String>) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        ConfigError { file: self.file.to_owned(), place: Some((line, column)), what: what.into(), mend: None }
    }
}

/// A table all of whose keys are known.
pub(super) struct Section<'a> {
    doc: &'a Document<'a>,
    /// As users write it: `[queue.implement]`; empty for the document.
    name: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
}

/// A table under its name.
pub(super) struct Named<'a> {
    pub(super) name: String,
    /// Where the name stands.
    pub(super) span: Range<usize>,
    pub(super) table: &'a DeTable<'a>,
}

/// The value of a key.
pub(super) struct Entry<'a> {
    doc: &'a Document<'a>,
    /// As users find it: `` `command` in [queue.implement] ``.
    path: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        doc: &'a Document<'a>,
        name: String,
        span: Range<usize>,
        table: &'a DeTable<'a>,
        known: &[&str],
    ) -> Result<Section<'a>, ConfigError> {
        let unknown = table.keys().filter(|key| !known.contains(&&**key.get_ref())).min_by_key(|key| key.span().start);
        if let Some(key) = unknown {
            let place = if name.is_empty() { String::new() } else { format!(" in {name}") };
            let meant = did_you_mean(key.get_ref(), known.iter().copied());
            let what = format!("unknown key `{}`{place}{meant}", key.get_ref());
            let keys = if name.is_empty() { "tables" } else { "keys" };
            return Err(doc.error(key.span(), what).mend(format!("{keys} known here: {}", known.join(", "))));
        }
        Ok(Section { doc, name, span, table })
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry<'a>> {
        let value = self.table.get(key)?;
        let path = if self.name.is_empty() { format!("`{key}`") } else { format!("`{key}` in {}", self.name) };
        Some(Entry { doc: self.doc, path, value })
    }

    /// The entry of a key that must be there; `example` shows a user how.
    pub(super) fn need(&self, key: &str, example: &str) -> Result<Entry<'a>, ConfigError> {
        self.get(key).ok_or_else(|| {
            self.doc.error(self.span.clone(), format!("{} lacks `{key}`", self.name)).mend(format!("add {example}"))
        })
    }

    /// The tables `[key.NAME]`, in the order of the file.
    pub(super) fn named_tables(&self, key: &str) -> Result<Vec<Named<'a>>, ConfigError> {
        let Some(entry) = self.get(key) else { return Ok(Vec::new()) };
        let form = format!("[{key}.NAME]");
        let mut tables = Vec::new();
        for (name, value) in entry.table(&form)?.1 {
            if !is_name(name.get_ref()) {
                let what = format!("{:?} is no name for a {key}", name.get_ref());
                let mend = format!("use 1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`");
                return Err(self.doc.error(name.span(), what).mend(mend));
            }
            let inner = Entry { doc: self.doc, path: format!("`{}` in [{key}]", name.get_ref()), value };
            let table = inner.table(&form)?.1;
            tables.push(Named { name: name.get_ref().to_string(), span: name.span(), table });
        }
        entry.few_enough(tables.len())?;
        tables.sort_by_key(|named| named.span.start);
        Ok(tables)
    }

    /// The tables `[[key]]`, in the order of the file.
    pub(super) fn listed_tables(&self, key: &str) -> Result<Vec<(Range<usize>, &'a DeTable<'a>)>, ConfigError> {
        let Some(entry) = self.get(key) else { return Ok(Vec::new()) };
        let form = format!("[[{key}]]");
        let DeValue::Array(list) = entry.value.get_ref() else {
            return Err(entry.wrong(&format!("a list of tables, each written {form}")));
        };
        entry.few_enough(list.len())?;
        list.iter().map(|value| Entry { doc: self.doc, path: format!("`{key}`"), value }.table(&form)).collect()
    }
}

impl<'a> Entry<'a> {
    pub(super) fn doc(&self) -> &'a Document<'a> {
        self.doc
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn error(&self, what: impl Into<String>) -> ConfigError {
        self.doc.error(self.value.span(), what)
    }

    fn wrong(&self, wanted: &str) -> ConfigError {
        self.error(format!("{} is {}, it must be {wanted}", self.path, shown(self.value.get_ref())))
    }

    fn few_enough(&self, count: usize) -> Result<(), ConfigError> {
        if count > TABLES_MAX {
            return Err(self.error(format!("{} holds {count} tables, more than {TABLES_MAX}", self.path)));
        }
        Ok(())
    }

    pub(super) fn table(&self, form: &str) -> Result<(Range<usize>, &'a DeTable<'a>), ConfigError> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok((self.value.span(), table)),
            _ => Err(self.wrong(&format!("a table, written {form}"))),
        }
    }

    pub(super) fn string(&self) -> Result<String, ConfigError> {
        match self.value.get_ref() {
            DeValue::String(text) if text.contains('\0') => Err(self.error(format!("{} holds a NUL", self.path))),
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.wrong("a string")),
        }
    }

    pub(super) fn bool(&self) -> Result<bool, ConfigError> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong("`true` or `false`")),
        }
    }

    pub(super) fn filled_string(&self) -> Result<String, ConfigError> {
        match self.string()? {
            text if text.is_empty() => Err(self.error(format!("{} is empty", self.path))),
            text => Ok(text),
        }
    }

    fn array(&self, wanted: &str) -> Result<&'a DeArray<'a>, ConfigError> {
        self.value.get_ref().as_array().ok_or_else(|| self.wrong(wanted))
    }

    fn elements(&self, wanted: &str) -> Result<impl Iterator<Item = Entry<'a>> + use<'a>, ConfigError> {
        let (doc, path) = (self.doc, self.path.clone());
        let array = self.array(wanted)?;
        Ok((1..).zip(array.iter()).map(move |(n, value)| Entry { doc, path: format!("element {n} of {path}"), value }))
    }

    /// A list of strings, each with its place.
    pub(super) fn strings(&self) -> Result<Vec<(Range<usize>, String)>, ConfigError> {
        self.elements("a list of strings")?.map(|entry| Ok((entry.value.span(), entry.string()?))).collect()
    }

    /// Program and arguments.
    pub(super) fn command(&self) -> Result<Vec<String>, ConfigError> {
        if let DeValue::String(text) = self.value.get_ref() {
            let mend = format!("write command = [\"sh\", \"-c\", {text:?}] if a shell is to read it");
            return Err(self.wrong("a list: the program and its arguments").mend(mend));
        }
        let command: Vec<String> = self.strings()?.into_iter().map(|(_, text)| text).collect();
        if command.first().is_none_or(String::is_empty) {
            return Err(self.error(format!("{} names no program", self.path)));
        }
        Ok(command)
    }

    /// A whole number from `min` to `max`.
    pub(super) fn number(&self, min: u64, max: u64) -> Result<u64, ConfigError> {
        let range = if max == u64::from(u32::MAX) { format!("at least {min}") } else { format!("from {min} to {max}") };
        let DeValue::Integer(text) = self.value.get_ref() else { return Err(self.wrong("a whole number")) };
        u64::from_str_radix(text.as_str(), text.radix())
            .ok()
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| self.wrong(&range))
    }

    /// A whole number from `min` to `max`, in the type it is kept in.
    pub(super) fn small<T: TryFrom<u64>>(&self, min: u64, max: u64) -> Result<T, ConfigError> {
        let number = self.number(min, max)?;
        T::try_from(number).map_err(|_| panic!("{max} does not fit the type that {} is kept in", self.path))
    }

    /// Whole numbers from `min` to `max`.
    pub(super) fn smalls<T: TryFrom<u64>>(&self, min: u64, max: u64) -> Result<Vec<T>, ConfigError> {
        self.elements("a list of whole numbers")?.map(|entry| entry.small(min, max)).collect()
    }

    /// A number from `min` to `max`, in parts per million.
    pub(super) fn ppm(&self, min: u32, max: u32) -> Result<u64, ConfigError> {
        let text = match self.value.get_ref() {
            DeValue::Float(text) => text.as_str(),
            DeValue::Integer(text) if text.radix() == 10 => text.as_str(),
            _ => return Err(self.wrong("a number")),
        };
        let value: f64 = text.parse().map_err(|_| self.wrong("a number"))?;
        if !(f64::from(min)..=f64::from(max)).contains(&value) {
            return Err(self.wrong(&format!("from {min} to {max}")));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 to 2^32 * 10^6")]
        let ppm = (value * 1e6).round() as u64;
        Ok(ppm)
    }

    /// A duration in milliseconds.
    pub(super) fn duration_ms(&self) -> Result<u64, ConfigError> {
        let DeValue::String(text) = self.value.get_ref() else {
            let error = self.wrong("a duration in quotes, such as \"10s\" or \"1h30m\"");
            return Err(match self.value.get_ref() {
                DeValue::Integer(n) => error.mend(format!("write \"{}s\" for seconds", n.as_str())),
                _ => error,
            });
        };
        match duration::parse_ms(text) {
            Ok(ms) if ms <= DURATION_MS_MAX => Ok(ms),
            Ok(_) => Err(self.wrong("400 days at most")),
            Err(why) => Err(self.error(format!("{} is {text:?}, which is no duration: {why}", self.path))),
        }
    }

    /// A number of bytes.
    pub(super) fn bytes(&self) -> Result<u64, ConfigError> {
        let DeValue::String(text) = self.value.get_ref() else {
            return Err(self.wrong("a size in quotes, such as \"64MiB\" or \"0B\""));
        };
        size::parse_bytes(text).map_err(|why| self.error(format!("{} is {text:?}, which is no size: {why}", self.path)))
    }

    /// One of the given words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.string()?;
        let known = || words.iter().map(|(word, _)| *word);
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let quoted: Vec<String> = known().map(|word| format!("\"{word}\"")).collect();
            let what = format!("{} is unknown: {text:?}{}", self.path, did_you_mean(&text, known()));
            self.error(what).mend(format!("it can be {}", quoted.join(" or ")))
        })
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// A value as it is called in an error: short ones as they were written.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("the string {text:?}"),
        DeValue::String(_) => "a string".into(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// The known word that `word` most likely stands for.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.6;
    known
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// ``, did you mean `x`?``, or nothing when no known word is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!(", did you mean `{near}`?"))
}
