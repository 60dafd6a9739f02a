//! Every state that steps can reach, nearest first; and whether from each of them all comes to rest.
//!
//! **Invariant.** States are told apart by [`World::essence`] alone. The way to a finding is the shortest one. A world comes to
//! rest if every *duty* that stays open is done some day (weak fairness), and nothing else has to happen: from each state
//! duties alone lead to rest, and no circle of duties leads around it for ever.

use super::{Finding, Progress, Search, or_panic};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A world that can be searched to its end.
pub trait World: Clone {
    /// What may happen.
    type Step: Copy + fmt::Debug;

    /// What may happen now.
    fn steps(&self) -> Vec<Self::Step>;
    /// What must happen some day if it can be done from some moment on: a number for each such thing. None for what may as
    /// well never happen.
    fn duty(step: Self::Step) -> Option<u8>;
    /// Does it. Panics if what comes of it is wrong.
    fn apply(&mut self, step: Self::Step);
    /// What tells this state from others.
    fn essence(&self) -> u128;
    /// Nothing is left to do.
    fn is_settled(&self) -> bool;
    /// Checks that are too slow to be done for every step: done once for each state. Panics if something is wrong.
    fn look(&self);
    /// A step in words, and what came of it.
    fn tell(&self, step: Self::Step) -> String;
}

/// A step between two states.
#[derive(Clone, Copy)]
struct Edge {
    from: u32,
    to: u32,
    duty: u8,
}

struct Graph<W: World> {
    start: W,
    /// From where each state was reached first, and how.
    parents: Vec<Option<(u32, W::Step)>>,
    settled: Vec<bool>,
    /// Duties alone.
    edges: Vec<Edge>,
}

impl<W: World> Graph<W> {
    /// What happens on the shortest way to a state, and one step further.
    fn story(&self, to: u32, last: Option<W::Step>) -> Vec<String> {
        let mut steps: Vec<W::Step> = last.into_iter().collect();
        let mut at = to;
        while let Some((from, step)) = self.parents[at as usize] {
            steps.push(step);
            at = from;
        }
        let mut world = self.start.clone();
        let tell = |step: &W::Step| {
            // What is wrong with the last one is told apart.
            let _ = or_panic(|| world.apply(*step));
            world.tell(*step)
        };
        steps.iter().rev().map(tell).collect()
    }

    /// A state from which all does not come to rest.
    fn restless(&self) -> Option<Finding> {
        self.stuck().or_else(|| self.circle())
    }

    /// The nearest state from which duties do not lead to rest.
    fn stuck(&self) -> Option<Finding> {
        let mut back: Vec<Edge> = self.edges.clone();
        back.sort_unstable_by_key(|edge| edge.to);
        let mut leads: Vec<bool> = self.settled.clone();
        let mut open: Vec<u32> = (0..leads.len() as u32).filter(|at| leads[*at as usize]).collect();
        while let Some(at) = open.pop() {
            let first = back.partition_point(|edge| edge.to < at);
            for edge in back[first..].iter().take_while(|edge| edge.to == at) {
                if !leads[edge.from as usize] {
                    leads[edge.from as usize] = true;
                    open.push(edge.from);
                }
            }
        }
        let at = leads.iter().position(|leads| !leads)? as u32;
        let what = "from here on, whatever everybody does, not all comes to an end".to_owned();
        Some(Finding { what, story: self.story(at, None) })
    }

    /// The nearest of the states that can follow each other for ever without rest, though every duty is done that stays
    /// open.
    fn circle(&self) -> Option<Finding> {
        let restless = |edge: &&Edge| !self.settled[edge.from as usize] && !self.settled[edge.to as usize];
        let inner: Vec<Edge> = self.edges.iter().filter(restless).copied().collect();
        let part = components(self.parents.len(), &inner);
        let within = |edge: &Edge| part[edge.from as usize] == part[edge.to as usize];
        // Of each part that has a circle: what is done inside it, and what could be done in every one of its states.
        let mut done: BTreeMap<u32, BTreeSet<u8>> = BTreeMap::new();
        for edge in inner.iter().filter(|edge| within(edge)) {
            done.entry(part[edge.from as usize]).or_default().insert(edge.duty);
        }
        let mut open: Vec<BTreeSet<u8>> = vec![BTreeSet::new(); self.parents.len()];
        for edge in self.edges.iter().filter(|edge| done.contains_key(&part[edge.from as usize])) {
            open[edge.from as usize].insert(edge.duty);
        }
        let mut always: BTreeMap<u32, BTreeSet<u8>> = BTreeMap::new();
        for (at, open) in open.iter().enumerate().filter(|(at, _)| done.contains_key(&part[*at])) {
            always
                .entry(part[at])
                .and_modify(|always| always.retain(|duty| open.contains(duty)))
                .or_insert(open.clone());
        }
        // A run may stay in a part for ever if every duty that is open all over it is done inside it. This is exact: a
        // duty that is open all over a part and never done inside is so in each circle of that part too.
        let may_stay = |part: &u32| always[part].is_subset(&done[part]);
        let at = part.iter().position(|part| done.contains_key(part) && may_stay(part))? as u32;
        let turns: Vec<String> =
            inner.iter().filter(|edge| within(edge) && edge.from == at).map(|e| e.to.to_string()).collect();
        let what = format!("from here on things can go round for ever (to state {})", turns.join(", "));
        Some(Finding { what, story: self.story(at, None) })
    }
}

/// Visits every state; no more than `states_max`, and says so if there are.
pub fn search<W: World>(name: &str, start: W, states_max: usize, progress: Progress<'_>) -> Search {
    let mut search = Search { name: name.into(), visited: 0, depth: 0, notes: Vec::new(), cut: None, finding: None };
    let mut graph = Graph { start: start.clone(), parents: vec![None], settled: Vec::new(), edges: Vec::new() };
    let mut numbers = BTreeMap::from([(start.essence(), 0)]);
    let mut front = vec![(0, start)];
    let mut steps = 0;
    while !front.is_empty() && search.finding.is_none() && search.cut.is_none() {
        let mut next = Vec::new();
        for (at, world) in front {
            graph.settled.push(world.is_settled());
            for step in world.steps() {
                steps += 1;
                let mut after = world.clone();
                let reached = or_panic(|| {
                    after.apply(step);
                    after.essence()
                });
                let known = graph.parents.len() as u32;
                let to = match reached {
                    Ok(essence) => *numbers.entry(essence).or_insert(known),
                    Err(what) => {
                        search.finding.get_or_insert(Finding { what, story: graph.story(at, Some(step)) });
                        break;
                    }
                };
                graph.edges.extend(W::duty(step).map(|duty| Edge { from: at, to, duty }));
                if to == known {
                    graph.parents.push(Some((at, step)));
                    if let Err(what) = or_panic(|| after.look()) {
                        search.finding.get_or_insert(Finding { what, story: graph.story(to, None) });
                    }
                    next.push((to, after));
                }
            }
            if search.finding.is_some() {
                break;
            }
            if graph.parents.len() > states_max {
                search.cut = Some(format!("there are more than {states_max} states"));
                break;
            }
            if at % 1024 == 0 {
                progress(graph.settled.len(), graph.parents.len());
            }
        }
        search.depth += usize::from(!next.is_empty());
        front = next;
    }
    if search.is_well() {
        search.finding = graph.restless();
    }
    search.visited = graph.parents.len();
    let at_rest = graph.settled.iter().filter(|settled| **settled).count();
    search.notes = vec![("steps", steps), ("at rest", at_rest as u64)];
    search
}

/// The number of the part of each state: in one part are those that lead to each other (Tarjan 1972, without recursion).
fn components(states: usize, edges: &[Edge]) -> Vec<u32> {
    const NEW: u32 = u32::MAX;
    let mut edges: Vec<Edge> = edges.to_vec();
    edges.sort_unstable_by_key(|edge| edge.from);
    let mut first: Vec<u32> = vec![0; states + 1];
    for edge in &edges {
        first[edge.from as usize + 1] += 1;
    }
    for at in 0..states {
        first[at + 1] += first[at];
    }
    let (mut index, mut low, mut part) = (vec![NEW; states], vec![NEW; states], vec![NEW; states]);
    let (mut stack, mut path, mut count) = (Vec::new(), Vec::new(), 0);
    for root in 0..states {
        if index[root] != NEW {
            continue;
        }
        path.push((root, first[root]));
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            if index[at] == NEW {
                (index[at], low[at]) = (count, count);
                count += 1;
                stack.push(at);
            }
            if *next < first[at + 1] {
                let to = edges[*next as usize].to as usize;
                *next += 1;
                if index[to] == NEW {
                    path.push((to, first[to]));
                } else if part[to] == NEW {
                    low[at] = low[at].min(index[to]);
                }
                continue;
            }
            path.pop();
            if let Some((above, _)) = path.last() {
                low[*above] = low[*above].min(low[at]);
            }
            if low[at] == index[at] {
                while let Some(member) = stack.pop() {
                    part[member] = index[at];
                    if member == at {
                        break;
                    }
                }
            }
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world that is drawn: from where, to where, and the duty if it is one. State 9 is wrong, state 0 the beginning.
    #[derive(Clone)]
    struct Drawn {
        at: u8,
        settled: &'static [u8],
        edges: &'static [(u8, u8, Option<u8>)],
    }

    impl World for Drawn {
        type Step = (u8, u8, Option<u8>);

        fn steps(&self) -> Vec<Self::Step> {
            self.edges.iter().filter(|(from, ..)| *from == self.at).copied().collect()
        }

        fn duty((.., duty): Self::Step) -> Option<u8> {
            duty
        }

        fn apply(&mut self, (_, to, _): Self::Step) {
            assert_ne!(to, 9, "nine");
            self.at = to;
        }

        fn essence(&self) -> u128 {
            self.at.into()
        }

        fn is_settled(&self) -> bool {
            self.settled.contains(&self.at)
        }

        fn look(&self) {
            assert_ne!(self.at, 8, "eight");
        }

        fn tell(&self, (from, to, _): Self::Step) -> String {
            format!("{from} to {to}")
        }
    }

    fn of(settled: &'static [u8], edges: &'static [(u8, u8, Option<u8>)]) -> Search {
        search("drawn", Drawn { at: 0, settled, edges }, 6, &mut |_, _| {})
    }

    fn found(search: &Search) -> (&str, Vec<&str>) {
        let finding = search.finding.as_ref().unwrap();
        (&finding.what, finding.story.iter().map(String::as_str).collect())
    }

    #[test]
    fn the_shortest_way_to_what_is_wrong() {
        let long = of(&[2], &[(0, 1, Some(1)), (1, 2, Some(1)), (2, 9, None), (0, 3, None), (3, 9, None)]);
        assert!(found(&long).0.contains("nine"));
        assert_eq!(found(&long).1, ["0 to 3", "3 to 9"]);
        let looked = of(&[1], &[(0, 1, Some(1)), (1, 8, None)]);
        assert!(found(&looked).0.contains("eight"));
        assert_eq!(found(&looked).1, ["0 to 1", "1 to 8"]);
    }

    #[test]
    fn a_search_that_was_cut_says_so() {
        let edges =
            &[(0, 1, Some(1)), (0, 2, None), (0, 3, None), (0, 4, None), (0, 5, None), (0, 6, None), (0, 7, None)];
        let cut = of(&[1], edges);
        assert!(!cut.is_well() && cut.finding.is_none() && cut.cut.unwrap().contains("more than 6"));
    }

    #[test]
    fn duties_alone_must_lead_to_rest() {
        assert!(of(&[2], &[(0, 1, None), (0, 2, Some(1)), (1, 2, Some(1))]).is_well());
        let stuck = of(&[2], &[(0, 1, None), (0, 2, Some(1)), (1, 2, None)]);
        assert_eq!(found(&stuck).1, ["0 to 1"]);
        assert!(found(&stuck).0.contains("not all comes to an end"));
    }

    #[test]
    fn going_round_is_wrong_only_if_every_open_duty_is_done_on_the_way() {
        // Duty 2 is open all over the circle and leads out of it: it is done some day.
        let left = &[(0, 1, Some(1)), (1, 0, Some(1)), (0, 2, Some(2)), (1, 2, Some(2))];
        let left = of(&[2], left);
        assert_eq!(left.finding, None);
        assert_eq!((left.visited, left.depth), (3, 1));
        // It is open in one state alone: whoever goes round never has to do it.
        let round = of(&[2], &[(0, 1, Some(1)), (1, 0, Some(1)), (0, 2, Some(2))]);
        assert!(found(&round).0.contains("round for ever"));
        // It is done inside too.
        let inside = &[(0, 1, Some(1)), (1, 0, Some(2)), (0, 2, Some(2)), (1, 1, Some(1))];
        assert!(found(&of(&[2], inside)).0.contains("round for ever"));
        // Around rest anything may go round.
        assert!(of(&[0], &[(0, 1, Some(1)), (1, 0, Some(1))]).is_well());
        // What is no duty goes round at nobody's expense.
        assert!(of(&[2], &[(0, 1, None), (1, 0, None), (0, 2, Some(2)), (1, 2, Some(2))]).is_well());
    }
}
