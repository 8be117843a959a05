use std::fmt;

/// The end of a list of slots.
const NIL: u32 = u32::MAX;
/// As `prev` of a slot: used, but not in the line.
const APART: u32 = u32::MAX - 1;
/// The largest slab that is kept when the last ticket is gone.
const KEPT: usize = 64;

/// A first-in, first-out line of waiting tasks.
///
/// A place in the line is held by a [`Ticket`]. A task's value stays in the queue until its ticket is given back with
/// [`remove`](Queue::remove), also after the task was taken out of the line: in between it can be put back where its age
/// says.
///
/// All operations take constant time, apart from [`requeue`](Queue::requeue). The values lie in one vector, which is
/// given back to the allocator when the last ticket is.
pub struct Queue<T> {
    slots: Vec<Slot<T>>,
    /// The first and the last slot in the line.
    head: u32,
    tail: u32,
    /// The slot in the line that was put back last: the next one to be put back is often right behind it.
    hint: u32,
    /// The first unused slot; the next one is in its `next`.
    free: u32,
    /// How many slots are in the line, and how many are in use.
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
/// There is one ticket to a place, and [`Queue::remove`] takes it back, so that none can outlive its place. It must be
/// used with the queue that gave it. A ticket that is merely dropped leaves its place in use.
#[derive(Debug)]
#[must_use = "the place stays in use until the ticket is given back"]
pub struct Ticket(u32);

impl<T> Queue<T> {
    /// An empty queue, which has not allocated.
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

    /// How many are in the line.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.queued as usize
    }

    /// Whether nobody is in the line.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// How many tickets are out: those in the line, and those that were taken out of it.
    #[must_use]
    pub const fn tickets(&self) -> usize {
        self.used as usize
    }

    /// Joins the line at its end.
    ///
    /// # Panics
    ///
    /// With 4,294,967,294 tickets out.
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

    /// The value at the front of the line.
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.slots.get(self.head as usize)?.value.as_ref()
    }

    /// The value at the front of the line, to be changed.
    #[must_use]
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.slots.get_mut(self.head as usize)?.value.as_mut()
    }

    /// Takes the front out of the line. Its value stays until its ticket is given back.
    pub fn take_front(&mut self) -> Option<&mut T> {
        let head = self.head;
        if head == NIL {
            return None;
        }
        self.unlink(head);
        self.slots.get_mut(head as usize)?.value.as_mut()
    }

    /// Whether the ticket's holder is in the line.
    #[must_use]
    pub fn is_queued(&self, ticket: &Ticket) -> bool {
        self.slot(ticket.0).prev != APART
    }

    /// Whether the ticket's holder is at the front of the line.
    #[must_use]
    pub const fn is_front(&self, ticket: &Ticket) -> bool {
        self.head == ticket.0
    }

    /// Whether somebody who joined before the ticket's holder is in the line.
    #[must_use]
    pub fn is_overtaking(&self, ticket: &Ticket) -> bool {
        let front = self.slots.get(self.head as usize);
        front.is_some_and(|front| front.age < self.slot(ticket.0).age)
    }

    /// The age of the ticket's holder: less than that of all who joined later.
    #[must_use]
    pub fn age(&self, ticket: &Ticket) -> u64 {
        self.slot(ticket.0).age
    }

    /// The age of the front of the line.
    #[must_use]
    pub fn front_age(&self) -> Option<u64> {
        Some(self.slots.get(self.head as usize)?.age)
    }

    /// The value of the ticket's holder.
    ///
    /// # Panics
    ///
    /// May panic if the ticket is of another queue.
    #[must_use]
    pub fn get(&self, ticket: &Ticket) -> &T {
        match &self.slot(ticket.0).value {
            Some(value) => value,
            None => foreign(),
        }
    }

    /// The value of the ticket's holder, to be changed.
    ///
    /// # Panics
    ///
    /// May panic if the ticket is of another queue.
    #[must_use]
    pub fn get_mut(&mut self, ticket: &Ticket) -> &mut T {
        match &mut self.slot_mut(ticket.0).value {
            Some(value) => value,
            None => foreign(),
        }
    }

    /// Takes the ticket's holder out of the line, if it is there, as if its turn had come.
    pub fn take(&mut self, ticket: &Ticket) {
        if self.is_queued(ticket) {
            self.unlink(ticket.0);
        }
    }

    /// Goes through the line from the front, and takes those out of it for whom `keep` says `false`.
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

    /// Puts a holder who was taken out back into the line, before all who joined later. Changes nothing for a holder who
    /// is in the line.
    ///
    /// Looks from the one on that was put back last, if that is older, else from the front: so it costs one step for each
    /// of a crowd that is put back in its old order.
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

    /// Gives a ticket back: its holder leaves the line, if it is there, and takes its value along.
    ///
    /// # Panics
    ///
    /// May panic if the ticket is of another queue.
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

    /// The values of all ticket holders, in the line or not, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    fn slot(&self, index: u32) -> &Slot<T> {
        &self.slots[index as usize]
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot<T> {
        &mut self.slots[index as usize]
    }

    /// Puts the slot `index` into the line before `next`; at the end if that is `NIL`.
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

    /// Makes `prev` and `next` neighbours; `NIL` is the end on either side.
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
