use std::time::Duration;

use cpu_time::ThreadTime;

/// The CPU time that this thread spends on `work`. Allocations are not counted meanwhile, as
/// counting takes time.
pub(crate) fn cpu_of(work: impl FnOnce()) -> Duration {
    let mut spent = Duration::ZERO;
    uncounted(|| {
        let start = ThreadTime::now();
        work();
        spent = start.elapsed();
    });
    spent
}

/// Does the work with as little heap accounting as possible.
pub(crate) fn uncounted(work: impl FnOnce()) {
    allocation_counter::opt_out(work);
}

/// The heap that this thread uses for `work`: how many allocations, and how many bytes in all.
pub(crate) fn heap_of(work: impl FnOnce()) -> (u64, u64) {
    let info = allocation_counter::measure(work);
    (info.count_total, info.bytes_total)
}

/// The bytes that this thread allocates during `work`, less those that it gives back.
pub(crate) fn heap_left_by(work: impl FnOnce()) -> f64 {
    allocation_counter::measure(work).bytes_current as f64
}
