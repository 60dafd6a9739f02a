//! Chance as a function of (seed, actor, site, index).
//!
//! **Invariant.** Every choice in the simulator passes through `Chance::draw`. A choice depends on nothing but the seed,
//! who makes it, where, and how often they made one there before, so a new choice elsewhere moves no other. A draw of 0
//! always means that nothing goes wrong and nothing takes longer than it must; choices that say otherwise are kept.

use std::collections::BTreeMap;

/// Who chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// Clocks, disk space, what the seed's world is like.
    World,
    /// The program under test: how long its calls take, what fails, when it dies.
    Sprag,
    /// The kernel's file system at a power cut.
    Disk,
    /// The kernel's change events.
    Watch,
    /// Whoever writes a source; by the source's place.
    Producer(u8),
    /// The script that works on an item: (source, item).
    Item(u8, u16),
}

/// Where a choice is made. The numbers are part of what a seed means: never change one, never use one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after the questions they answer")]
pub enum Site {
    Rate = 1,
    Hazard = 2,
    Pipeline = 3,
    Identity = 4,
    CallTime = 10,
    SyncTime = 11,
    TaskDelay = 12,
    AnswerDelay = 13,
    JournalDelay = 14,
    HandleTime = 15,
    TickLate = 16,
    CallError = 20,
    ShortWrite = 21,
    KillBytes = 22,
    LifeEnd = 23,
    LifeSteps = 24,
    RestartDelay = 25,
    HealAt = 26,
    PowerCutImage = 27,
    WallStep = 30,
    Sleep = 32,
    DiskFull = 31,
    EventDelay = 40,
    ProducerKind = 50,
    Revisions = 51,
    NewItems = 52,
    Order = 53,
    Layout = 54,
    Pieces = 55,
    ProducerStep = 56,
    ProducerRest = 57,
    Character = 60,
    Failure = 61,
    Manner = 62,
    WorkSteps = 63,
    WorkTime = 64,
    Grandchild = 65,
    DyingTime = 66,
}

/// What can go wrong, each at a rate that is drawn for the seed: off in half of all seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hazard {
    /// A file system call of sprag fails.
    CallFails,
    /// A write takes less than it was given.
    WriteIsShort,
    /// A sync fails and drops what was to be written.
    SyncIsLost,
    /// A change event never comes.
    EventIsLost,
    /// A change event comes seconds late.
    EventIsLate,
    /// The kernel's queue of events overflows: everything may have changed.
    EventsOverflow,
    /// A path cannot be watched.
    WatchIsRefused,
    /// The system has no process to spare.
    SpawnIsRefused,
    /// The processes cannot be looked through.
    SweepFails,
    /// A process that was killed does not die for a while.
    DyingTakesLong,
    /// A task, an answer or the journal thread waits a thousand times longer.
    Stall,
}

impl Hazard {
    /// All of them. The place in here is part of what a seed means: add at the end.
    pub const ALL: [Hazard; 11] = [
        Hazard::CallFails,
        Hazard::WriteIsShort,
        Hazard::SyncIsLost,
        Hazard::EventIsLost,
        Hazard::EventIsLate,
        Hazard::EventsOverflow,
        Hazard::WatchIsRefused,
        Hazard::SpawnIsRefused,
        Hazard::SweepFails,
        Hazard::DyingTakesLong,
        Hazard::Stall,
    ];

    /// Strikes per million opportunities, at most.
    fn ppm_max(self) -> u64 {
        match self {
            Hazard::CallFails => 10_000,
            Hazard::WriteIsShort => 200_000,
            Hazard::SyncIsLost => 60_000,
            Hazard::EventIsLost => 900_000,
            Hazard::EventIsLate => 500_000,
            Hazard::EventsOverflow => 100_000,
            Hazard::WatchIsRefused => 500_000,
            Hazard::SpawnIsRefused => 300_000,
            Hazard::SweepFails => 300_000,
            Hazard::DyingTakesLong => 500_000,
            Hazard::Stall => 3_000,
        }
    }
}

/// A choice that deviates from "nothing goes wrong".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Who chose.
    pub actor: Actor,
    /// What struck.
    pub hazard: Hazard,
    /// How often they were asked this before.
    pub index: u64,
}

/// All chance of one run.
#[derive(Debug)]
pub struct Chance {
    seed: u64,
    asked: BTreeMap<u64, u64>,
    rates_ppm: [u64; Hazard::ALL.len()],
    choices: Vec<Choice>,
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit given.
pub fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Actor {
    fn code(self) -> u64 {
        match self {
            Actor::World => 1 << 32,
            Actor::Sprag => 2 << 32,
            Actor::Disk => 3 << 32,
            Actor::Watch => 4 << 32,
            Actor::Producer(source) => 5 << 32 | u64::from(source),
            Actor::Item(source, item) => 6 << 32 | u64::from(source) << 16 | u64::from(item),
        }
    }
}

impl Chance {
    /// The chance of a seed, with the rates of its hazards.
    pub fn new(seed: u64) -> Chance {
        let mut chance =
            Chance { seed, asked: BTreeMap::new(), rates_ppm: [0; Hazard::ALL.len()], choices: Vec::new() };
        for hazard in Hazard::ALL {
            let (on, rate) = (chance.draw(Actor::World, Site::Rate), chance.draw(Actor::World, Site::Rate));
            // Squared, so that most rates are small: a world in which everything fails gets nowhere.
            let (part, max) = (rate % 1001, hazard.ppm_max());
            chance.rates_ppm[hazard as usize] = if on % 2 == 0 { 0 } else { max * part * part / 1_000_000 };
        }
        chance
    }

    fn draw(&mut self, actor: Actor, site: Site) -> u64 {
        self.draw_part(actor, site, 0).0
    }

    fn draw_part(&mut self, actor: Actor, site: Site, part: u64) -> (u64, u64) {
        let place = actor.code() << 16 | (site as u64) << 8 | part;
        let asked = self.asked.entry(place).or_insert(0);
        let index = *asked;
        *asked += 1;
        (mix(mix(mix(self.seed) ^ place) ^ index), index)
    }

    /// A number below `n`.
    pub fn below(&mut self, actor: Actor, site: Site, n: u64) -> u64 {
        self.draw(actor, site) % n
    }

    /// One in `n`, for what belongs to the workload.
    pub fn one_in(&mut self, actor: Actor, site: Site, n: u64) -> bool {
        self.below(actor, site, n) == n - 1
    }

    /// A duration of at least `from`, at most `to`; each doubling of it is as likely as any other.
    pub fn span(&mut self, actor: Actor, site: Site, from: u64, to: u64) -> u64 {
        let draw = self.draw(actor, site);
        let doublings = u64::from((to / from).max(1).ilog2()) + 1;
        let low = from << (draw % doublings);
        (low + (draw >> 8) % low).min(to)
    }

    /// Whether something goes wrong.
    pub fn strikes(&mut self, actor: Actor, hazard: Hazard) -> bool {
        let rate_ppm = self.rates_ppm[hazard as usize];
        if rate_ppm == 0 {
            return false;
        }
        let (draw, index) = self.draw_part(actor, Site::Hazard, hazard as u64 + 1);
        let struck = draw % 1_000_000 >= 1_000_000 - rate_ppm;
        if struck {
            self.choices.push(Choice { actor, hazard, index });
        }
        struck
    }

    /// From here on this does not happen.
    pub fn rule_out(&mut self, hazard: Hazard) {
        self.rates_ppm[hazard as usize] = 0;
    }

    /// From here on nothing goes wrong.
    pub fn heal(&mut self) {
        self.rates_ppm = [0; Hazard::ALL.len()];
    }

    /// The rates that are not zero, per million.
    pub fn rates_ppm(&self) -> impl Iterator<Item = (Hazard, u64)> {
        Hazard::ALL.into_iter().zip(self.rates_ppm).filter(|(_, rate_ppm)| *rate_ppm > 0)
    }

    /// What went wrong so far, by choice.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} #{}", self.actor, self.hazard, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_elsewhere_moves_no_other() {
        let (mut alone, mut beside) = (Chance::new(7), Chance::new(7));
        let mut drawn = Vec::new();
        for n in 0..100 {
            let here = alone.below(Actor::Producer(1), Site::Pieces, 1000);
            if n % 3 == 0 {
                beside.below(Actor::Producer(2), Site::Pieces, 1000);
                beside.below(Actor::Producer(1), Site::Order, 1000);
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
        let mut chance = Chance::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| chance.span(Actor::World, Site::CallTime, 10, 10_000)).collect();
        assert!(drawn.iter().all(|span| (10..=10_000).contains(span)));
        assert!(drawn.iter().filter(|span| **span < 20).count() > 50);
        assert!(drawn.iter().filter(|span| **span > 5_000).count() > 50);
        assert_eq!(chance.span(Actor::World, Site::CallTime, 5, 5), 5);
    }

    #[test]
    fn a_healed_world_has_no_hazards_and_a_hazard_that_is_on_strikes_at_its_rate() {
        let seed = (0..).find(|seed| Chance::new(*seed).rates_ppm[Hazard::EventIsLost as usize] > 500_000).unwrap();
        let mut chance = Chance::new(seed);
        let struck = (0..1000).filter(|_| chance.strikes(Actor::Watch, Hazard::EventIsLost)).count();
        assert!(struck > 400, "{struck}");
        assert_eq!(chance.choices().len(), struck);
        chance.heal();
        assert!((0..1000).all(|_| !chance.strikes(Actor::Watch, Hazard::EventIsLost)));
    }
}
