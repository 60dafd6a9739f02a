//! A run as one page that needs no server: lanes per actor, causes as arrows, faults marked, a filter.
//!
//! **Invariant.** The page holds every line that was kept, and nothing in it is fetched from anywhere.

use crate::run::Report;
use serde_json::json;

const PAGE: &str = include_str!("page.html");

/// The page of a run; `title` says of which.
pub fn page(report: &Report, title: &str) -> String {
    let lines = report.lines.iter().map(crate::trace::Line::to_json).collect();
    let result = report.failure.as_ref().map_or_else(|| "all is well".to_owned(), ToString::to_string);
    page_of(&format!("{title}: {result}"), report.failure.is_some(), lines)
}

/// The page of any story; the lines are objects as [`crate::trace::Line::to_json`] makes them.
pub fn page_of(title: &str, failed: bool, lines: Vec<serde_json::Value>) -> String {
    let story = json!({ "title": title, "failed": failed, "lines": lines });
    // Inside the element no `</` may stand; in JSON a slash may be escaped.
    PAGE.replacen("STORY", &story.to_string().replace("</", "<\\/"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keep;
    use crate::run::run;

    #[test]
    fn a_page_holds_its_story_and_nothing_from_elsewhere() {
        let report = run(3, Keep::Lines);
        let page = page(&report, "seed 3 </script>");
        let (_, rest) = page.split_once("id=\"story\">").unwrap();
        let (story, after) = rest.split_once("</script>").unwrap();
        let story: serde_json::Value = serde_json::from_str(story).unwrap();
        assert_eq!(story["lines"].as_array().unwrap().len(), report.lines.len());
        assert_eq!(story["title"], "seed 3 </script>: all is well");
        assert!(after.contains("draw();"));
        let elsewhere = ["src=", "href=", "@import", "fetch(", "url("];
        assert!(elsewhere.iter().all(|word| !PAGE.contains(word)));
    }
}
