use crate::NoRandomBytes;

/// `N` random bytes, drawn from the operating system by this very call.
///
/// For everything that must be unique or secret: idempotency keys, ids, nonces. Nothing is kept between two calls. A generator
/// in memory is copied by `fork` and by a snapshot of the machine, and then two processes draw the same numbers.
///
/// A clone of a virtual machine has its own bytes only as far as its kernel notices that it is a clone, such as by a
/// generation id (`vmgenid`). A forked process always has its own.
///
/// It is a system call, or nearly one: wait times and the like are drawn from [`Dice`](crate::Dice).
///
/// # Errors
///
/// If the operating system has no random bytes to give. There is nothing to fall back on: what needs them must fail before
/// it sends or writes anything.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomBytes> {
    #[cfg(feature = "test-util")]
    crate::test_util::count_draw()?;
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomBytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_draws_are_alike_and_each_bit_is_drawn() {
        let mut seen = std::collections::HashSet::new();
        let (mut ones, mut zeros) = (0_u128, 0_u128);
        for _ in 0..1000 {
            let bits = u128::from_be_bytes(random_bytes().unwrap());
            assert!(seen.insert(bits));
            ones |= bits;
            zeros |= !bits;
        }
        assert_eq!(ones & zeros, u128::MAX);
    }
}
