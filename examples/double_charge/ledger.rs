//! The bookings of the payments company: the truth of this example.

use std::collections::HashMap;

/// The bookings, and the answers that were given under idempotency keys.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// How often each customer was charged.
    charges: Vec<u32>,
    receipts: HashMap<String, u32>,
    last_receipt: u32,
}

/// How many customers were charged how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) once: usize,
    pub(crate) twice_or_more: usize,
    pub(crate) never: usize,
}

impl Ledger {
    pub(crate) fn new(customers: u32) -> Self {
        Self {
            charges: vec![0; customers as usize],
            receipts: HashMap::new(),
            last_receipt: 0,
        }
    }

    /// Charges a customer, and returns the number of the receipt. `None` if the customer is
    /// unknown.
    ///
    /// A key that was seen before gets the same receipt as the first time, and no customer is
    /// charged. The ledger is locked meanwhile. So a second request whose key is being booked
    /// waits, and then gets that receipt.
    pub(crate) fn charge(&mut self, customer: u32, key: Option<&str>) -> Option<u32> {
        if let Some(receipt) = key.and_then(|key| self.receipts.get(key)) {
            return Some(*receipt);
        }
        *self.charges.get_mut(customer as usize)? += 1;
        self.last_receipt += 1;
        if let Some(key) = key {
            self.receipts.insert(key.to_owned(), self.last_receipt);
        }
        Some(self.last_receipt)
    }

    pub(crate) fn tally(&self) -> Tally {
        let count = |how_often: fn(u32) -> bool| {
            let charged = self.charges.iter().filter(|&&charges| how_often(charges));
            charged.count()
        };
        Tally {
            once: count(|charges| charges == 1),
            twice_or_more: count(|charges| charges > 1),
            never: count(|charges| charges == 0),
        }
    }
}
