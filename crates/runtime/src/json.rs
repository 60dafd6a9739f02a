//! What is wrong with JSON, in words for people.
//!
//! **Invariant.** Every complaint of the parser that reaches a person is said here, with its place. A complaint that has
//! no words here is passed on as the parser made it: a better sentence may be missing, never the reason itself.

use serde_json::Error;

/// What the parser says (how it begins), and how a person would say it.
const WORDS: [(&str, &str); 20] = [
    ("EOF while parsing a string", "it ends in the middle of a text"),
    ("EOF while parsing a list", "it ends in the middle of an array"),
    ("EOF while parsing an object", "it ends in the middle of an object"),
    ("EOF while parsing a value", "it ends where a value should stand"),
    ("expected `:`", "a `:` is missing"),
    ("expected `,` or `}`", "a `,` or `}` is missing"),
    ("expected `,` or `]`", "a `,` or `]` is missing"),
    ("expected ident", "this is no JSON value; texts stand in double quotes"),
    ("expected value", "this is no JSON value; texts stand in double quotes"),
    ("key must be a string", "a name must stand in double quotes"),
    ("trailing characters", "something follows after the end of the value"),
    ("trailing comma", "nothing follows the last `,`"),
    ("invalid escape", "there is no such escape in a JSON text"),
    ("invalid number", "this is no number"),
    ("number out of range", "the number is too large"),
    ("control character", "a control character stands in a text; write it as an escape, \\n for a new line"),
    ("lone leading surrogate", "half of a pair of \\u escapes stands alone"),
    ("unexpected end of hex escape", "half of a pair of \\u escapes stands alone"),
    ("invalid unicode code point", "a \\u escape names no character"),
    ("recursion limit exceeded", "it is nested too deep"),
];

/// Kinds of values, as the parser names them (how that begins) and as a person would.
const KINDS: [(&str, &str); 12] = [
    ("map", "an object"),
    ("a map", "an object"),
    ("struct", "an object"),
    ("sequence", "an array"),
    ("a sequence", "an array"),
    ("string", "a text"),
    ("a string", "a text"),
    ("integer", "a number"),
    ("floating point", "a number"),
    ("boolean", "a truth value"),
    ("u", "a whole number"),
    ("i", "a whole number"),
];

/// What is wrong, and in which line and column, both counted from 1.
pub fn words(error: &Error) -> String {
    place(error, &format!("line {} column {}", error.line(), error.column()))
}

/// What is wrong with JSON that stands on one line, whose number its reader knows better; the column alone.
pub fn words_on_a_line(error: &Error) -> String {
    place(error, &format!("column {}", error.column()))
}

fn place(error: &Error, place: &str) -> String {
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
    let what = on_one_line(&sentence(said));
    // Without a column the parser does not know where it was, or there is nothing at all.
    if error.column() == 0 { what } else { format!("{what}, at {place}") }
}

/// The parser quotes names as they stand there, whatever is in them.
fn on_one_line(text: &str) -> String {
    let written = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(written).collect()
}

fn sentence(said: &str) -> String {
    if let Some((_, words)) = WORDS.iter().find(|(begin, _)| said.starts_with(begin)) {
        return (*words).to_owned();
    }
    if let Some((is, wanted)) = said.strip_prefix("invalid type: ").and_then(|said| said.split_once(", expected ")) {
        return format!("it is {}, not {}", kind(is), kind(wanted));
    }
    // What a structure lacks or has too much of bears its name.
    let named = |begin: &str| said.strip_prefix(begin)?.split('`').next();
    if let Some(name) = named("missing field `") {
        return format!("`{name}` is missing");
    }
    if let Some(name) = named("duplicate field `") {
        return format!("`{name}` stands there twice");
    }
    if let Some(name) = named("unknown field `") {
        let known = said.split_once(", expected ").map_or("", |(_, known)| known);
        let known = known.trim_start_matches("one of ");
        return if known.is_empty() {
            format!("`{name}` is not known")
        } else {
            format!("`{name}` is none of {known}")
        };
    }
    said.to_owned()
}

fn kind(said: &str) -> &str {
    KINDS.iter().find(|(begin, _)| said.starts_with(begin)).map_or(said, |(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::Value;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        #[expect(dead_code, reason = "only read")]
        one: u8,
        #[expect(dead_code, reason = "only read")]
        two: u8,
    }

    #[test]
    fn no_word_of_the_parser_reaches_a_person() {
        for (text, expected) in [
            ("", "it ends where a value should stand"),
            ("[1,\n2", "it ends in the middle of an array, at line 2 column 1"),
            ("{\"a\": 1", "it ends in the middle of an object, at line 1 column 7"),
            ("\"abc", "it ends in the middle of a text, at line 1 column 4"),
            ("abc", "this is no JSON value; texts stand in double quotes, at line 1 column 1"),
            ("nul", "it ends where a value should stand, at line 1 column 3"),
            ("nulx", "this is no JSON value; texts stand in double quotes, at line 1 column 4"),
            ("{'id': 1}", "a name must stand in double quotes, at line 1 column 2"),
            ("{\"a\" 1}", "a `:` is missing, at line 1 column 6"),
            ("{\"a\": 1 \"b\": 2}", "a `,` or `}` is missing, at line 1 column 9"),
            ("[1 2]", "a `,` or `]` is missing, at line 1 column 4"),
            ("[1,]", "nothing follows the last `,`, at line 1 column 4"),
            ("1 2", "something follows after the end of the value, at line 1 column 3"),
            ("\"\\x\"", "there is no such escape in a JSON text, at line 1 column 3"),
            ("-", "it ends where a value should stand, at line 1 column 1"),
            ("01", "this is no number, at line 1 column 2"),
            ("1e999", "the number is too large, at line 1 column 5"),
            (
                "\"\u{1}\"",
                "a control character stands in a text; write it as an escape, \\n for a new line, at line 1 column 2",
            ),
            ("\"\\ud800\"", "half of a pair of \\u escapes stands alone, at line 1 column 8"),
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(words(&error), expected, "{text:?}: {error}");
        }
        for (text, expected) in [
            ("{\"one\": 1}", "`two` is missing, at column 10"),
            ("{\"one\": 1, \"one\": 1}", "`one` stands there twice, at column 16"),
            ("{\"tow\": 1}", "`tow` is none of `one` or `two`, at column 6"),
            ("{\"t\\n\\u001b[31m\": 1}", "`t\\n\\u{1b}[31m` is none of `one` or `two`, at column 16"),
            ("{\"one\": \"x\"}", "it is a text, not a whole number, at column 11"),
            ("7", "it is a number, not an object, at column 1"),
        ] {
            let error = serde_json::from_str::<Pair>(text).unwrap_err();
            assert_eq!(words_on_a_line(&error), expected, "{text:?}: {error}");
        }
        let error = serde_json::from_str::<Vec<u8>>("{}").unwrap_err();
        assert_eq!(words(&error), "it is an object, not an array");
        let deep = "[".repeat(200);
        let error = serde_json::from_str::<Value>(&deep).unwrap_err();
        assert!(words(&error).starts_with("it is nested too deep, at "), "{error}");
    }
}
