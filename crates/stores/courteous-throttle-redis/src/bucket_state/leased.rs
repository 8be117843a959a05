use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::script::Reply;

/// Slots that are given back count as one group if they expire this close to each other.
const CLOSE: Duration = Duration::from_millis(1);

/// The slots that a worker holds and has not set aside yet, in the order of the schedule.
#[derive(Debug, Default)]
pub(crate) struct LeasedSlots {
    ranges: VecDeque<SlotRange>,
}

/// Consecutive slots of one reservation.
#[derive(Clone, Copy, Debug)]
struct SlotRange {
    /// The first slot's offset, and the distance to the next slot's offset, in nanoseconds.
    offset: i64,
    spacing: i64,
    left: u32,
    /// The instants from which the offset counts. A slot's opening counts from the receipt of the
    /// answer. Its end counts from a lease after the call was about to be sent. So both lie on the
    /// safe side of the script's run. A past offset counts as 0.
    opens: Instant,
    expires: Instant,
}

/// Slots that are set aside for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetAside {
    pub(crate) count: u32,
    pub(crate) expires: Instant,
}

impl SlotRange {
    const fn offset(&self, index: u32) -> u64 {
        let offset = self
            .offset
            .saturating_add(self.spacing.saturating_mul(index as i64));
        if offset > 0 { offset.unsigned_abs() } else { 0 }
    }

    fn opens(&self, index: u32) -> Instant {
        self.opens + Duration::from_nanos(self.offset(index))
    }

    fn expires(&self, index: u32) -> Instant {
        self.expires + Duration::from_nanos(self.offset(index))
    }

    fn skip(&mut self, count: u32) {
        self.offset = self
            .offset
            .saturating_add(self.spacing.saturating_mul(i64::from(count)));
        self.left -= count;
    }

    /// How many of the first slots have an offset of `offset` at most.
    fn up_to(&self, offset: u64) -> u32 {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        if self.offset.max(0) > offset {
            return 0;
        }
        if self.spacing == 0 {
            return self.left;
        }
        let more = offset.saturating_sub(self.offset) / self.spacing;
        u32::try_from(more)
            .unwrap_or(u32::MAX)
            .saturating_add(1)
            .min(self.left)
    }

    /// How many of the first slots are over at `now`.
    fn expired(&self, now: Instant) -> u32 {
        match now.checked_duration_since(self.expires) {
            Some(late) => self.up_to(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX)),
            None => 0,
        }
    }

    /// How many of the first slots open before `at`.
    fn opening_before(&self, at: Instant) -> u32 {
        match at.checked_duration_since(self.opens) {
            Some(time) if !time.is_zero() => {
                self.up_to(u64::try_from(time.as_nanos() - 1).unwrap_or(u64::MAX))
            }
            _ => 0,
        }
    }
}

impl LeasedSlots {
    /// Adds the slots of an answer to a call that was about to be sent at `before`. Returns how
    /// many slots are of use: none if the first `need` slots are not all open at one time.
    pub(crate) fn add(
        &mut self,
        reply: &Reply,
        need: u32,
        before: Instant,
        received: Instant,
    ) -> u32 {
        let range = SlotRange {
            offset: reply.first,
            spacing: i64::try_from(reply.terms.spacing()).unwrap_or(i64::MAX),
            left: reply.granted,
            opens: received,
            expires: before + reply.terms.lease_time(),
        };
        // Whatever the offset is, no slot would ever be open.
        if range.left == 0 || range.expires <= range.opens {
            return 0;
        }
        if need > 0 && range.opens(need - 1) >= range.expires(0) {
            return 0;
        }
        self.ranges.push_back(range);
        range.left
    }

    /// Takes back slots that were set aside.
    pub(crate) fn give_back(&mut self, slots: SetAside, now: Instant) {
        if slots.expires <= now || slots.count == 0 {
            return;
        }
        if let Some(range) = self.ranges.front_mut()
            && range.spacing == 0
        {
            let (early, late) = (
                range.expires.min(slots.expires),
                range.expires.max(slots.expires),
            );
            if late - early <= CLOSE {
                range.expires = early;
                range.left = range.left.saturating_add(slots.count);
                return;
            }
        }
        self.ranges.push_front(SlotRange {
            offset: 0,
            spacing: 0,
            left: slots.count,
            opens: now,
            expires: slots.expires,
        });
    }

    /// Drops slots that have expired.
    pub(crate) fn purge(&mut self, now: Instant) {
        self.ranges.retain_mut(|range| {
            range.skip(range.expired(now));
            range.left > 0
        });
    }

    /// Drops slots that open before `at`.
    pub(crate) fn void_before(&mut self, at: Instant) {
        self.ranges.retain_mut(|range| {
            range.skip(range.opening_before(at));
            range.left > 0
        });
    }

    /// Sets aside `count` slots that are all open. The caller must have dropped expired slots.
    pub(crate) fn take(&mut self, count: u32, now: Instant) -> Option<SetAside> {
        if self.opens_at(count)? > now {
            return None;
        }
        let mut expires: Option<Instant> = None;
        let mut missing = count;
        while missing > 0 {
            let range = self.ranges.front_mut()?;
            let taken = range.left.min(missing);
            let ends = range.expires(0);
            expires = Some(expires.map_or(ends, |earlier| earlier.min(ends)));
            range.skip(taken);
            missing -= taken;
            if range.left == 0 {
                self.ranges.pop_front();
            }
        }
        expires.map(|expires| SetAside { count, expires })
    }

    /// When the first `count` slots are open. `None` if there are fewer slots.
    pub(crate) fn opens_at(&self, count: u32) -> Option<Instant> {
        let mut missing = count;
        let mut at: Option<Instant> = None;
        for range in &self.ranges {
            let last = range.left.min(missing);
            if last > 0 {
                at = at.max(Some(range.opens(last - 1)));
            }
            missing -= last;
            if missing == 0 {
                return at;
            }
        }
        None
    }

    /// How many slots there are, open or not.
    pub(crate) fn len(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.left)).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// When the last slot opens, and when it expires.
    pub(crate) fn last(&self) -> Option<(Instant, Instant)> {
        let range = self.ranges.back()?;
        let last = range.left.checked_sub(1)?;
        Some((range.opens(last), range.expires(last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Terms;

    const MS: i64 = 1_000_000;

    /// Slots at 100/s: 10 ms apart, good for a lease of 100 ms.
    fn reply(first: i64, granted: u32) -> Reply {
        Reply {
            granted,
            first,
            ends: 0,
            wait: Duration::ZERO,
            workers: 1,
            rates: 1,
            terms: Terms::new(10_000_000, 20),
            closed_for: Duration::ZERO,
            now: 0,
            skew: 0,
            run: 0,
            cold: false,
            born: 0,
        }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_slot_opens_after_the_receipt_and_ends_a_lease_after_the_call() {
        let before = Instant::now();
        let received = before + ms(30);
        let mut leased = LeasedSlots::default();
        assert_eq!(leased.add(&reply(5 * MS, 2), 1, before, received), 2);
        assert_eq!(leased.opens_at(1), Some(received + ms(5)));
        assert_eq!(leased.take(1, received + ms(4)), None);
        let slots = leased.take(1, received + ms(5)).unwrap();
        assert_eq!(slots.expires, before + ms(105));
        leased.purge(before + ms(114));
        assert_eq!(leased.len(), 1);
        leased.purge(before + ms(115));
        assert_eq!(leased.len(), 0);
    }

    #[test]
    fn a_past_offset_counts_as_none() {
        let before = Instant::now();
        let mut leased = LeasedSlots::default();
        leased.add(&reply(-25 * MS, 4), 1, before, before);
        assert_eq!(leased.opens_at(3), Some(before));
        assert_eq!(leased.opens_at(4), Some(before + ms(5)));
        leased.purge(before + ms(99));
        assert_eq!(leased.len(), 4);
        leased.purge(before + ms(100));
        assert_eq!(leased.len(), 1);
    }

    #[test]
    fn an_answer_that_took_a_lease_is_of_no_use() {
        let before = Instant::now();
        let mut leased = LeasedSlots::default();
        assert_eq!(
            leased.add(&reply(500 * MS, 2), 1, before, before + ms(100)),
            0
        );
        assert!(leased.is_empty());
    }

    #[test]
    fn slots_that_are_never_open_together_are_of_no_use_to_one_request() {
        let before = Instant::now();
        let mut leased = LeasedSlots::default();
        // The first and the last slot are 70 ms apart, in a lease of 100 ms.
        assert_eq!(leased.add(&reply(0, 8), 8, before, before + ms(30)), 0);
        assert!(leased.is_empty());
        assert_eq!(leased.add(&reply(0, 8), 8, before, before + ms(29)), 8);
        assert!(leased.take(8, before + ms(99)).is_some());
    }

    #[test]
    fn slots_of_one_request_all_have_to_be_open_and_none_over() {
        let before = Instant::now();
        let mut leased = LeasedSlots::default();
        leased.add(&reply(0, 3), 1, before, before);
        leased.add(&reply(30 * MS, 3), 1, before, before);
        assert_eq!(leased.take(5, before + ms(39)), None);
        let slots = leased.take(5, before + ms(40)).unwrap();
        assert_eq!((slots.count, slots.expires), (5, before + ms(100)));
        assert_eq!(leased.len(), 1);
        leased.give_back(slots, before + ms(50));
        assert_eq!(leased.opens_at(5), Some(before + ms(50)));
        leased.purge(before + ms(100));
        assert_eq!(leased.len(), 1, "they still end when they did");
    }

    #[test]
    fn what_opens_before_a_hold_ends_is_void() {
        let before = Instant::now();
        let mut leased = LeasedSlots::default();
        leased.add(&reply(0, 10), 1, before, before);
        leased.void_before(before + ms(30));
        assert_eq!(
            (leased.len(), leased.opens_at(1)),
            (7, Some(before + ms(30)))
        );
    }

    #[test]
    fn many_slots_that_come_back_are_few_groups() {
        let before = Instant::now();
        let mut leased = LeasedSlots::default();
        for micros in 0..1_000 {
            let expires = before + ms(50) + Duration::from_micros(micros);
            leased.give_back(SetAside { count: 1, expires }, before);
        }
        assert_eq!((leased.len(), leased.ranges.len()), (1_000, 1));
        leased.purge(before + ms(50));
        assert!(
            leased.is_empty(),
            "none is kept for longer than it was good"
        );
    }
}
