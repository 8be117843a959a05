use courteous_core::snapshot;
use courteous_limit::{Busiest, Labels, WITHOUT_ROOM};

snapshot! {
    /// What is in force at a concurrency limit, at one instant.
    #[derive(Default)]
    pub struct LimitSnapshot {
        /// How many calls may be in flight at a time, for each key separately.
        pub limit: usize,
        /// How many keys have their own permits; none if all calls share the same permits.
        pub keys: Option<usize>,
        /// How many calls are in flight, for all keys.
        pub in_flight: usize,
        /// How many calls wait, for all keys.
        pub waiting: usize,
        /// How many partitions have no permit left.
        pub full: usize,
        /// The busiest keys: first the keys where calls wait, then the keys with the most calls in
        /// flight. At most [`MAX_PARTITIONS`](LimitSnapshot::MAX_PARTITIONS), and none without a
        /// call. Empty if all calls share the same permits.
        pub partitions: Vec<PartitionSnapshot>,
    }
}

snapshot! {
    /// The permits of one key, at one instant.
    #[derive(Default)]
    pub struct PartitionSnapshot {
        /// The key that has the permits. Origins are shown; all other keys only with [`Labels`], as
        /// they may be credentials.
        pub key: Option<String>,
        /// How many calls are in flight.
        pub in_flight: usize,
        /// How many calls wait.
        pub waiting: usize,
    }
}

impl LimitSnapshot {
    /// How many keys are shown.
    pub const MAX_PARTITIONS: usize = 10;

    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Counts one more limiter.
    pub(crate) const fn count(&mut self, in_flight: usize, waiting: usize) {
        self.in_flight += in_flight;
        self.waiting += waiting;
        if in_flight >= self.limit || waiting > 0 {
            self.full += 1;
        }
    }

    /// Adds the limiters of `keys` that have their own, and then the limiters that further keys
    /// share. Returns which ones are shown.
    pub(crate) fn add(
        &mut self,
        keys: usize,
        limiters: impl IntoIterator<Item = (usize, usize)>,
    ) -> Vec<usize> {
        self.keys = Some(keys);
        let mut busiest = Busiest::new(Self::MAX_PARTITIONS);
        for (in_flight, waiting) in limiters {
            self.count(in_flight, waiting);
            match (in_flight, waiting) {
                (0, 0) => busiest.skip(),
                calls => busiest.add((waiting, in_flight), calls),
            }
        }
        let mut places = Vec::new();
        for (place, (in_flight, waiting)) in busiest {
            places.push(place);
            self.partitions.push(PartitionSnapshot {
                key: (place >= keys).then(|| WITHOUT_ROOM.to_owned()),
                in_flight,
                waiting,
            });
        }
        places
    }

    /// Sets the keys of the shown partitions, by their places among the shown partitions.
    pub(crate) fn label<K>(&mut self, labels: Option<Labels<K>>, keys: Vec<(usize, K)>) {
        for (place, key) in keys {
            if let (Some(labels), Some(partition)) = (labels, self.partitions.get_mut(place)) {
                partition.key = Some(labels.of(&key));
            }
        }
    }
}
