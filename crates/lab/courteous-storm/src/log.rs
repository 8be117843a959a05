use crate::Tick;

/// What happened in a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) calls: Vec<Call>,
    /// Attempts at the last tier, by the second.
    pub(crate) attempts: Vec<u32>,
    /// When a retry was sent, and how long after the previous attempt.
    pub(crate) spacings: Vec<(Tick, Tick)>,
    pub(crate) throttled: u64,
    /// The workers' time: in all, and for answers that were of use.
    pub(crate) work: Tick,
    pub(crate) useful: Tick,
    /// What the stacks still held at the end.
    pub(crate) leaked: u64,
}

/// One logical operation of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) client: u32,
    pub(crate) start: Tick,
    pub(crate) attempts: u32,
    pub(crate) last_attempt: Tick,
    /// When the operation ended, and whether it succeeded.
    pub(crate) end: Option<(Tick, bool)>,
}

impl Log {
    pub(crate) fn start(&mut self, client: usize, now: Tick) -> u32 {
        self.calls.push(Call {
            client: client as u32,
            start: now,
            attempts: 0,
            last_attempt: now,
            end: None,
        });
        (self.calls.len() - 1) as u32
    }

    /// An attempt leaves for the last tier.
    pub(crate) fn sent(&mut self, now: Tick) {
        let second = (now / 1000) as usize;
        if self.attempts.len() <= second {
            self.attempts.resize(second + 1, 0);
        }
        self.attempts[second] += 1;
    }

    /// An attempt of a call leaves the client.
    pub(crate) fn attempted(&mut self, call: u32, now: Tick) {
        let Some(call) = self.calls.get_mut(call as usize) else {
            return;
        };
        if call.attempts > 0 {
            self.spacings.push((now, now - call.last_attempt));
        }
        call.attempts += 1;
        call.last_attempt = now;
    }

    pub(crate) fn end(&mut self, call: u32, now: Tick, well: bool) {
        self.calls[call as usize].end = Some((now, well));
    }
}
