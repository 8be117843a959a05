//! A queue of waiting tasks whose places keep their age.
//!
//! ```text
//! push_back --> in the queue -- take_front --> apart -- remove --> gone
//!                ^      |                       |
//!                |      +------ remove ---------|--> gone
//!                +------- requeue --------------+
//! ```
//!
//! The invariant: the queue is sorted by age, from the oldest at its front. A place that is apart
//! is in no list, and keeps its value and its age.
//!
//! An example: A, B and C join, with the ages 0, 1 and 2. A and B are taken from the front and
//! woken. D joins: age 3. B was woken for nothing, and is requeued: it goes before C, as 1 < 2. The
//! queue is B, C, D.
//!
//! Why one vector with links: a waiter costs no allocation of its own, a place in the middle is
//! removed in constant time, and no pointer needs `unsafe`.

use std::fmt;

/// The end of a list of slots.
const NIL: u32 = u32::MAX;
/// The `prev` of a slot that is in use, but not in the queue.
const APART: u32 = u32::MAX - 1;
/// How many slots the vector keeps at most when the last ticket is gone.
const KEPT: usize = 64;

/// A first-in, first-out queue of waiting tasks.
///
/// A [`Ticket`] holds a task's place. A task's value stays stored until [`remove`](Queue::remove)
/// takes its ticket back, even after the task was taken out of the queue. Until then, the task can
/// be put back into the queue, at the place that its age gives it.
///
/// All operations take constant time, apart from [`requeue`](Queue::requeue). The values lie in one
/// vector. Its memory is given back to the allocator when the last ticket is given back.
pub struct Queue<T> {
    slots: Vec<Slot<T>>,
    /// The first and the last slot in the queue.
    head: u32,
    tail: u32,
    /// The slot that was put back into the queue last. The next slot to be put back often belongs
    /// right behind it.
    hint: u32,
    /// The first unused slot. Each unused slot has the index of the next one in its `next`.
    free: u32,
    /// How many slots are in the queue, and how many are in use.
    queued: u32,
    used: u32,
    /// The age that the next ticket gets.
    age: u64,
}

struct Slot<T> {
    value: Option<T>,
    age: u64,
    prev: u32,
    next: u32,
}

/// A place in a [`Queue`].
///
/// Each place has exactly one ticket. [`Queue::remove`] takes the ticket back, so no ticket can
/// outlive its place. A ticket must be used with the queue that gave it. If a ticket is merely
/// dropped, its place stays in use.
#[derive(Debug)]
#[must_use = "the place stays in use until the ticket is given back"]
pub struct Ticket(u32);

impl<T> Queue<T> {
    /// An empty queue. It has not allocated anything.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            head: NIL,
            tail: NIL,
            hint: NIL,
            free: NIL,
            queued: 0,
            used: 0,
            age: 0,
        }
    }

    /// How many waiters are in the queue.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.queued as usize
    }

    /// Whether the queue is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// How many tickets are out: of waiters in the queue, and of waiters that were taken out of it.
    #[must_use]
    pub const fn tickets(&self) -> usize {
        self.used as usize
    }

    /// Adds a waiter at the end of the queue.
    ///
    /// # Panics
    ///
    /// If 4,294,967,294 tickets are out.
    pub fn push_back(&mut self, value: T) -> Ticket {
        let age = self.age;
        self.age += 1;
        let slot = Slot {
            value: Some(value),
            age,
            prev: APART,
            next: NIL,
        };
        let index = if self.free == NIL {
            let index = u32::try_from(self.slots.len()).unwrap_or(NIL);
            assert!(index < APART, "too many tickets");
            self.slots.push(slot);
            index
        } else {
            let index = self.free;
            let place = self.slot_mut(index);
            let next_free = place.next;
            *place = slot;
            self.free = next_free;
            index
        };
        self.used += 1;
        self.link_before(NIL, index);
        Ticket(index)
    }

    /// The value at the front of the queue.
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.slots.get(self.head as usize)?.value.as_ref()
    }

    /// The value at the front of the queue, as a mutable reference.
    #[must_use]
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.slots.get_mut(self.head as usize)?.value.as_mut()
    }

    /// Takes the waiter at the front out of the queue. Its value stays until its ticket is given
    /// back.
    pub fn take_front(&mut self) -> Option<&mut T> {
        let head = self.head;
        if head == NIL {
            return None;
        }
        self.unlink(head);
        self.slots.get_mut(head as usize)?.value.as_mut()
    }

    /// Takes the waiter at the end out of the queue, as [`take_front`](Self::take_front) does with
    /// the first one: for limits that serve the newest waiter first.
    pub fn take_back(&mut self) -> Option<&mut T> {
        let tail = self.tail;
        if tail == NIL {
            return None;
        }
        self.unlink(tail);
        self.slots.get_mut(tail as usize)?.value.as_mut()
    }

    /// Whether the ticket's waiter is in the queue.
    #[must_use]
    pub fn is_queued(&self, ticket: &Ticket) -> bool {
        self.slot(ticket.0).prev != APART
    }

    /// Whether the ticket's waiter is at the front of the queue.
    #[must_use]
    pub const fn is_front(&self, ticket: &Ticket) -> bool {
        self.head == ticket.0
    }

    /// Whether the queue has a waiter that joined before the ticket's waiter.
    #[must_use]
    pub fn is_overtaking(&self, ticket: &Ticket) -> bool {
        let front = self.slots.get(self.head as usize);
        front.is_some_and(|front| front.age < self.slot(ticket.0).age)
    }

    /// The age of the ticket's waiter. It is less than the age of all waiters that joined later.
    #[must_use]
    pub fn age(&self, ticket: &Ticket) -> u64 {
        self.slot(ticket.0).age
    }

    /// The age of the waiter at the front of the queue.
    #[must_use]
    pub fn front_age(&self) -> Option<u64> {
        Some(self.slots.get(self.head as usize)?.age)
    }

    /// The value of the ticket's waiter.
    ///
    /// # Panics
    ///
    /// May panic if the ticket belongs to another queue.
    #[must_use]
    pub fn get(&self, ticket: &Ticket) -> &T {
        match &self.slot(ticket.0).value {
            Some(value) => value,
            None => foreign(),
        }
    }

    /// The value of the ticket's waiter, as a mutable reference.
    ///
    /// # Panics
    ///
    /// May panic if the ticket belongs to another queue.
    #[must_use]
    pub fn get_mut(&mut self, ticket: &Ticket) -> &mut T {
        match &mut self.slot_mut(ticket.0).value {
            Some(value) => value,
            None => foreign(),
        }
    }

    /// Takes the ticket's waiter out of the queue, if it is there, as if its turn had come.
    pub fn take(&mut self, ticket: &Ticket) {
        if self.is_queued(ticket) {
            self.unlink(ticket.0);
        }
    }

    /// Goes through the queue from the front, and takes out each waiter for which `keep` returns
    /// `false`.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let mut index = self.head;
        while index != NIL {
            let slot = self.slot_mut(index);
            let next = slot.next;
            if !slot.value.as_mut().is_none_or(&mut keep) {
                self.unlink(index);
            }
            index = next;
        }
    }

    /// Puts a waiter that was taken out back into the queue, before all that joined later. Changes
    /// nothing if the waiter is in the queue.
    ///
    /// The search starts at the waiter that was put back last, if that one is older, and otherwise
    /// at the front. So a crowd that is put back in its old order costs one step for each waiter.
    pub fn requeue(&mut self, ticket: &Ticket) {
        if self.is_queued(ticket) {
            return;
        }
        let age = self.slot(ticket.0).age;
        let mut younger = match self.hint {
            NIL => self.head,
            hint if self.slot(hint).age > age => self.head,
            hint => hint,
        };
        while younger != NIL && self.slot(younger).age < age {
            younger = self.slot(younger).next;
        }
        self.link_before(younger, ticket.0);
        self.hint = ticket.0;
    }

    /// Takes a ticket back, and returns its value. If the waiter is still in the queue, it leaves
    /// the queue.
    ///
    /// # Panics
    ///
    /// May panic if the ticket belongs to another queue.
    pub fn remove(&mut self, ticket: Ticket) -> T {
        self.take(&ticket);
        let free = self.free;
        let slot = self.slot_mut(ticket.0);
        slot.next = free;
        let Some(value) = slot.value.take() else {
            foreign()
        };
        self.free = ticket.0;
        self.used -= 1;
        if self.used == 0 {
            self.free = NIL;
            self.slots.clear();
            self.slots.shrink_to(KEPT);
        }
        value
    }

    /// The values of all tickets, in no particular order, whether their waiters are in the queue or
    /// not.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    fn slot(&self, index: u32) -> &Slot<T> {
        &self.slots[index as usize]
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot<T> {
        &mut self.slots[index as usize]
    }

    /// Puts the slot `index` into the queue before `next`, or at the end if `next` is `NIL`.
    fn link_before(&mut self, next: u32, index: u32) {
        let prev = match next {
            NIL => self.tail,
            next => self.slot(next).prev,
        };
        let slot = self.slot_mut(index);
        slot.prev = prev;
        slot.next = next;
        self.join(prev, index);
        self.join(index, next);
        self.queued += 1;
    }

    fn unlink(&mut self, index: u32) {
        let slot = self.slot_mut(index);
        let prev = std::mem::replace(&mut slot.prev, APART);
        let next = std::mem::replace(&mut slot.next, NIL);
        self.join(prev, next);
        self.queued -= 1;
        if self.hint == index {
            self.hint = prev;
        }
    }

    /// Makes `prev` and `next` neighbours. `NIL` stands for the end of the queue on either side.
    fn join(&mut self, prev: u32, next: u32) {
        match prev {
            NIL => self.head = next,
            prev => self.slot_mut(prev).next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => self.slot_mut(next).prev = prev,
        }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("queued", &self.queued)
            .field("tickets", &self.used)
            .finish_non_exhaustive()
    }
}

#[cold]
fn foreign() -> ! {
    panic!("a ticket was used with a queue that did not give it")
}
