//! Every row of R9 to R29, in the original's design and with polling: explored to the end, and what can come of it is what was
//! measured.

use sprag_races::Design;
use sprag_races::steps::scenarios;

#[test]
fn what_can_come_of_each_is_what_was_measured() {
    let mut wrong = Vec::new();
    for scenario in scenarios() {
        let explored = scenario.explore();
        let harms: Vec<_> = explored.harms.keys().collect();
        let (id, design, variant) = (scenario.id, scenario.design, scenario.variant);
        let line = format!("{id} {design:?} {variant}: {harms:?}, {} states, {} ends", explored.states, explored.ends);
        println!("{line}");
        let expected = scenario.expected.is_none_or(|harm| explored.harms.contains_key(&harm));
        if !expected || scenario.expected.is_none() && !harms.is_empty() || explored.ends == 0 {
            wrong.push(format!("{line}, expected {:?}\n{explored:#?}", scenario.expected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_of_r9_to_r29_is_there_with_polling_and_each_that_is_older_without() {
    for number in 9..=29 {
        let id = format!("R{number}");
        let has = |design| scenarios().iter().any(|row| row.id == id && row.design == design);
        assert!(has(Design::Polling), "{id}");
        // These two are about how a poller compares.
        assert_eq!(has(Design::Original), ![20, 21].contains(&number), "{id}");
    }
}
