//! Jobs by number, in pages: ordered like a map, packed like an array.
//!
//! **Invariant.** `len` counts the jobs, and a number is used once. Numbers come in order, so pages are full; a tree
//! with a node per few jobs would waste half its memory.

use crate::ids::JobId;
use crate::job::Job;
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

const PAGE_JOBS: u64 = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pages: BTreeMap<u64, Box<[Option<Job>]>>,
    len: u64,
}

impl Table {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Job> {
        self.pages.get(&(id.0 / PAGE_JOBS))?[index(id)].as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.pages.get_mut(&(id.0 / PAGE_JOBS))?[index(id)].as_mut()
    }

    /// Adds a job under a number that is free.
    pub(crate) fn insert(&mut self, id: JobId, job: Job) {
        let page = self.pages.entry(id.0 / PAGE_JOBS).or_insert_with(empty_page);
        let old = page[index(id)].replace(job);
        assert!(old.is_none(), "job {} stands in the table twice", id.0);
        self.len += 1;
    }

    /// Takes a job out; a page without jobs is given back.
    pub(crate) fn remove(&mut self, id: JobId) -> Option<Job> {
        let number = id.0 / PAGE_JOBS;
        let page = self.pages.get_mut(&number)?;
        let job = page[index(id)].take()?;
        self.len -= 1;
        if page.iter().all(Option::is_none) {
            self.pages.remove(&number);
        }
        Some(job)
    }

    /// Whether there is a job whose number lies from `from` up to, but not with, `to`.
    pub(crate) fn has_any(&self, from: u64, to: u64) -> bool {
        let pages = self.pages.range(from / PAGE_JOBS..to.div_ceil(PAGE_JOBS));
        let mut numbers = pages.flat_map(|(number, page)| (number * PAGE_JOBS..).zip(page.iter()));
        numbers.any(|(id, job)| job.is_some() && (from..to).contains(&id))
    }

    /// The jobs in order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.from(JobId(0))
    }

    /// The jobs from this number on, in order. To find the first costs no more than to find one.
    pub(crate) fn from(&self, from: JobId) -> impl Iterator<Item = (JobId, &Job)> {
        let pages = self.pages.range(from.0 / PAGE_JOBS..);
        let jobs = pages.flat_map(|(number, page)| {
            let first = number * PAGE_JOBS;
            let numbered = page.iter().enumerate();
            numbered.filter_map(move |(index, job)| job.as_ref().map(|job| (JobId(first + index as u64), job)))
        });
        jobs.skip_while(move |(id, _)| *id < from)
    }
}

fn empty_page() -> Box<[Option<Job>]> {
    (0..PAGE_JOBS).map(|_| None).collect::<Vec<_>>().into_boxed_slice()
}

fn index(id: JobId) -> usize {
    (id.0 % PAGE_JOBS) as usize
}
