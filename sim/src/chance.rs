//! Chance: from a seed or from a tape.
//!
//! **Invariant.** Every choice in the simulator passes through `Chance::draw`. From a seed it is a function of (seed, actor,
//! place, how often they were asked there before), so a new choice elsewhere moves no other. A draw of 0 always means that
//! nothing goes wrong and nothing takes longer than it must; what differs from 0 is kept, and makes the same run again.

use crate::places::{Actor, Hazard, Site, What};
use crate::tape::{Choice, Tape, place};
use std::collections::{BTreeMap, BTreeSet};

/// What a run is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// Chance.
    Seed(u64),
    /// Chance, in tier 2.
    Networked(u64),
    /// Choices that were made before.
    Tape(Tape),
}

impl Script {
    /// Whether it is one of tier 2.
    pub fn is_networked(&self) -> bool {
        match self {
            Script::Seed(_) => false,
            Script::Networked(_) => true,
            Script::Tape(tape) => tape.at(place(Actor::World, What::Is(Site::Tier)), 0, 2).is_some(),
        }
    }
}

impl From<u64> for Script {
    fn from(seed: u64) -> Script {
        Script::Seed(seed)
    }
}

impl From<Tape> for Script {
    fn from(tape: Tape) -> Script {
        Script::Tape(tape)
    }
}

/// All chance of one run.
#[derive(Debug)]
pub struct Chance {
    script: Script,
    /// How often each place was asked: of the lasting actors, and of the others.
    asked: Vec<u32>,
    asked_more: BTreeMap<u64, u32>,
    rates_ppm: [u64; Hazard::ALL.len()],
    choices: Vec<Choice>,
    /// Choices on the tape that were drawn as they stand there.
    met: BTreeSet<(u64, u32)>,
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit given.
pub fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The rate of a hazard in a seed. Squared, so that most rates are small: a world in which everything fails gets nowhere.
fn rate_ppm(seed: u64, hazard: Hazard) -> u64 {
    let draw = mix(mix(seed) ^ u64::MAX ^ hazard as u64);
    let (on, part) = (draw % 2 == 1, (draw >> 8) % 1001);
    if on { hazard.ppm_max() * part * part / 1_000_000 } else { 0 }
}

impl Chance {
    /// The chance of a seed or of a tape.
    pub fn new(script: Script) -> Chance {
        let rates_ppm = Hazard::ALL.map(|hazard| match script {
            Script::Seed(seed) | Script::Networked(seed) => rate_ppm(seed, hazard),
            // What strikes stands on the tape.
            Script::Tape(_) => 1,
        });
        let networked = matches!(script, Script::Networked(_));
        let mut chance = Chance {
            script,
            asked: vec![0; (Actor::LASTING * What::NUMBERS) as usize],
            asked_more: BTreeMap::new(),
            rates_ppm,
            choices: Vec::new(),
            met: BTreeSet::new(),
        };
        // A choice like any other: so a tape knows where it belongs.
        chance.draw(Actor::World, What::Is(Site::Tier), 2, |_| u64::from(networked));
        chance
    }

    /// A number below `n`; `of_hash` makes one out of a hash.
    fn draw(&mut self, actor: Actor, what: What, n: u64, of_hash: impl FnOnce(u64) -> u64) -> u64 {
        let place = place(actor, what);
        let code = actor.code();
        let asked = if code < Actor::LASTING {
            &mut self.asked[(code * What::NUMBERS + what.number()) as usize]
        } else {
            self.asked_more.entry(place).or_insert(0)
        };
        let index = *asked;
        *asked += 1;
        let value = match &self.script {
            Script::Seed(seed) | Script::Networked(seed) => of_hash(mix(mix(mix(*seed) ^ place) ^ u64::from(index))),
            Script::Tape(tape) => match tape.at(place, index, n) {
                None => 0,
                Some((value, cut)) => {
                    if !cut {
                        self.met.insert((place, index));
                    }
                    value
                }
            },
        };
        if value != 0 {
            self.choices.push(Choice { actor, what, index, value });
        }
        value
    }

    /// A number below `n`.
    pub fn below(&mut self, actor: Actor, site: Site, n: u64) -> u64 {
        self.draw(actor, What::Is(site), n, |hash| hash % n)
    }

    /// One in `n`, for what belongs to the workload.
    pub fn one_in(&mut self, actor: Actor, site: Site, n: u64) -> bool {
        self.draw(actor, What::Is(site), 2, |hash| u64::from(hash % n == n - 1)) == 1
    }

    /// A duration of at least `from`, at most `to`; each doubling of it is as likely as any other.
    pub fn span(&mut self, actor: Actor, site: Site, from: u64, to: u64) -> u64 {
        from + self.draw(actor, What::Is(site), to - from + 1, |hash| {
            let doublings = u64::from((to / from).max(1).ilog2()) + 1;
            let low = from << (hash % doublings);
            (low + (hash >> 8) % low).min(to) - from
        })
    }

    /// Whether something goes wrong.
    pub fn strikes(&mut self, actor: Actor, hazard: Hazard) -> bool {
        let rate_ppm = self.rates_ppm[hazard as usize];
        let strikes = |hash: u64| u64::from(hash % 1_000_000 >= 1_000_000 - rate_ppm);
        rate_ppm > 0 && self.draw(actor, What::Strikes(hazard), 2, strikes) == 1
    }

    /// From here on this does not happen.
    pub fn rule_out(&mut self, hazard: Hazard) {
        self.rates_ppm[hazard as usize] = 0;
    }

    /// From here on nothing goes wrong.
    pub fn heal(&mut self) {
        self.rates_ppm = [0; Hazard::ALL.len()];
    }

    /// The choices so far, in the order in which they were made.
    pub fn take_choices(&mut self) -> Vec<Choice> {
        std::mem::take(&mut self.choices)
    }

    /// The choices of the tape that were not drawn, or not as they stand there.
    pub fn unmet(&self) -> Vec<Choice> {
        match &self.script {
            Script::Seed(_) | Script::Networked(_) => Vec::new(),
            Script::Tape(tape) => {
                let met = |choice: &&Choice| self.met.contains(&(place(choice.actor, choice.what), choice.index));
                tape.choices().filter(|choice| !met(choice)).copied().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_elsewhere_moves_no_other() {
        let (mut alone, mut beside) = (Chance::new(7.into()), Chance::new(7.into()));
        let mut drawn = Vec::new();
        for n in 0..100 {
            let here = alone.below(Actor::Producer(1), Site::Pieces, 1000);
            if n % 3 == 0 {
                beside.below(Actor::Producer(2), Site::Pieces, 1000);
                beside.below(Actor::Producer(1), Site::Order, 1000);
                beside.below(Actor::Item(0, 3), Site::Pieces, 1000);
                beside.strikes(Actor::Sprag, Hazard::CallFails);
            }
            assert_eq!(here, beside.below(Actor::Producer(1), Site::Pieces, 1000));
            drawn.push(here);
        }
        drawn.sort_unstable();
        drawn.dedup();
        assert!(drawn.len() > 80, "{} different draws of 100", drawn.len());
    }

    #[test]
    fn a_span_reaches_all_doublings_and_keeps_its_bounds() {
        let mut chance = Chance::new(1.into());
        let drawn: Vec<u64> = (0..1000).map(|_| chance.span(Actor::World, Site::CallTime, 10, 10_000)).collect();
        assert!(drawn.iter().all(|span| (10..=10_000).contains(span)));
        assert!(drawn.iter().filter(|span| **span < 20).count() > 50);
        assert!(drawn.iter().filter(|span| **span > 5_000).count() > 50);
        assert_eq!(chance.span(Actor::World, Site::CallTime, 5, 5), 5);
    }

    #[test]
    fn a_healed_world_has_no_hazards_and_a_hazard_that_is_on_strikes_at_its_rate() {
        let seed = (0..).find(|seed| rate_ppm(*seed, Hazard::EventIsLost) > 500_000).unwrap();
        let mut chance = Chance::new(seed.into());
        let struck = (0..1000).filter(|_| chance.strikes(Actor::Watch, Hazard::EventIsLost)).count();
        assert!(struck > 400, "{struck}");
        chance.heal();
        assert!((0..1000).all(|_| !chance.strikes(Actor::Watch, Hazard::EventIsLost)));
        assert_eq!(chance.take_choices().len(), struck);
    }

    /// Draws of every kind, as a run makes them.
    fn some(chance: &mut Chance) -> Vec<u64> {
        let drawn = (0..200).flat_map(|n| {
            let actor = [Actor::World, Actor::Sprag, Actor::Item(1, 3)][n % 3];
            let one = u64::from(chance.one_in(actor, Site::Manner, 3));
            let strikes = u64::from(chance.strikes(actor, Hazard::EventIsLost));
            [chance.below(actor, Site::Order, 9), chance.span(actor, Site::CallTime, 3, 500), one, strikes]
        });
        drawn.collect()
    }

    #[test]
    fn a_tape_draws_what_the_seed_drew() {
        for seed in 0..50 {
            let mut first = Chance::new(seed.into());
            let drawn = some(&mut first);
            let tape: Tape = first.take_choices().into_iter().collect();
            let mut second = Chance::new(tape.clone().into());
            assert_eq!(some(&mut second), drawn, "seed {seed}");
            assert_eq!(second.take_choices().into_iter().collect::<Tape>(), tape);
            assert_eq!(second.unmet(), []);
        }
    }

    #[test]
    fn what_a_run_does_not_draw_is_told() {
        let choice = |index, value| Choice { actor: Actor::World, what: What::Is(Site::Order), index, value };
        let tape: Tape = [choice(0, 3), choice(1, 9), choice(2, 1)].into_iter().collect();
        let mut chance = Chance::new(tape.into());
        assert_eq!(chance.below(Actor::World, Site::Order, 5), 3);
        assert_eq!(chance.below(Actor::World, Site::Order, 5), 4, "cut to its bound");
        assert_eq!(chance.unmet(), [choice(1, 9), choice(2, 1)]);
    }

    #[test]
    fn bytes_make_a_tape() {
        let byte = |what: What| what.number() as u8;
        let (order, lost) = (byte(What::Is(Site::Order)), byte(What::Strikes(Hazard::EventIsLost)));
        let bytes = [order, 6, 2, 0, 7, 0, lost, 3, 0, 0, 1, 0, 99];
        let mut chance = Chance::new(Tape::from_bytes(&bytes).into());
        assert_eq!([0; 3].map(|_| chance.below(Actor::Producer(1), Site::Order, 5)), [0, 0, 7 % 5]);
        assert!(chance.strikes(Actor::Watch, Hazard::EventIsLost));
        assert_eq!(chance.unmet(), []);
    }
}
