//! The guarantees of the queue.

use courteous_limit::{Queue, Ticket};
use proptest::prelude::*;

#[test]
fn the_first_in_is_the_first_out() {
    let mut queue = Queue::new();
    let tickets: Vec<_> = (0..5).map(|i| queue.push_back(i)).collect();
    let order: Vec<_> = std::iter::from_fn(|| queue.take_front().copied()).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
    assert_eq!((queue.len(), queue.tickets()), (0, 5));
    let values: Vec<_> = tickets.into_iter().map(|t| queue.remove(t)).collect();
    assert_eq!(values, [0, 1, 2, 3, 4]);
}

#[test]
fn one_who_was_taken_goes_back_before_all_younger_ones() {
    let mut queue = Queue::new();
    let a = queue.push_back('a');
    let b = queue.push_back('b');
    let _c = queue.push_back('c');
    queue.take_front();
    queue.take_front();
    queue.requeue(&b);
    queue.requeue(&a);
    queue.requeue(&a);
    assert!(queue.is_front(&a));
    let order: String = std::iter::from_fn(|| queue.take_front().copied()).collect();
    assert_eq!(order, "abc");
}

#[test]
fn whoever_is_older_than_the_line_overtakes_nobody() {
    let mut queue = Queue::new();
    let a = queue.push_back('a');
    let b = queue.push_back('b');
    let c = queue.push_back('c');
    assert!(!queue.is_overtaking(&a) && queue.is_overtaking(&b));
    queue.take_front();
    queue.take_front();
    assert!(!queue.is_overtaking(&b));
    queue.requeue(&a);
    assert!(queue.is_overtaking(&b) && queue.is_overtaking(&c));
    queue.take_front();
    queue.take_front();
    assert!(!queue.is_overtaking(&c));
}

#[test]
fn a_reused_place_has_the_age_of_its_new_holder() {
    let mut queue = Queue::new();
    let a = queue.push_back('a');
    let _b = queue.push_back('b');
    queue.remove(a);
    let c = queue.push_back('c');
    queue.take(&c);
    queue.requeue(&c);
    let order: String = std::iter::from_fn(|| queue.take_front().copied()).collect();
    assert_eq!(order, "bc");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    TakeFront,
    Take(usize),
    Requeue(usize),
    Remove(usize),
    Retain(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Push),
        2 => Just(Step::TakeFront),
        1 => any::<usize>().prop_map(Step::Take),
        2 => any::<usize>().prop_map(Step::Requeue),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => (2..5u32).prop_map(Step::Retain),
    ]
}

proptest! {
    /// Compares the queue with a sorted vector of the waiters in the queue.
    #[test]
    fn it_is_always_ordered_by_age(steps in prop::collection::vec(step(), 0..200)) {
        let mut queue = Queue::new();
        let mut tickets: Vec<(u32, Ticket)> = Vec::new();
        let mut model: Vec<u32> = Vec::new();
        let mut next = 0;
        for step in steps {
            let pick = |i: usize| (!tickets.is_empty()).then(|| i % tickets.len());
            match step {
                Step::Push => {
                    tickets.push((next, queue.push_back(next)));
                    model.push(next);
                    next += 1;
                }
                Step::TakeFront => {
                    let expected = (!model.is_empty()).then(|| model.remove(0));
                    prop_assert_eq!(queue.take_front().copied(), expected);
                }
                Step::Take(i) => if let Some(i) = pick(i) {
                    queue.take(&tickets[i].1);
                    model.retain(|&value| value != tickets[i].0);
                },
                Step::Requeue(i) => if let Some(i) = pick(i) {
                    queue.requeue(&tickets[i].1);
                    if !model.contains(&tickets[i].0) {
                        model.push(tickets[i].0);
                        model.sort_unstable();
                    }
                },
                Step::Retain(n) => {
                    let mut seen = Vec::new();
                    queue.retain(|&mut value| {
                        seen.push(value);
                        value % n != 0
                    });
                    prop_assert_eq!(&seen, &model);
                    model.retain(|value| value % n != 0);
                }
                Step::Remove(i) => if let Some(i) = pick(i) {
                    let (value, ticket) = tickets.swap_remove(i);
                    prop_assert_eq!(queue.remove(ticket), value);
                    model.retain(|&other| other != value);
                },
            }
            prop_assert_eq!(queue.len(), model.len());
            prop_assert_eq!(queue.is_empty(), model.is_empty());
            prop_assert_eq!(queue.tickets(), tickets.len());
            prop_assert_eq!(queue.front(), model.first());
            for (value, ticket) in &tickets {
                prop_assert_eq!(queue.get(ticket), value);
                prop_assert_eq!(queue.is_queued(ticket), model.contains(value));
            }
        }
    }
}
