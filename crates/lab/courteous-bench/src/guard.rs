//! The guard against layers that grow slower: it compares their instructions with committed ones.

use std::{collections::HashMap, fs, io};

use crate::{
    contenders::OURS,
    groups::instructions::{Instructions, instructions},
    kit::{RUSTC, is_available},
};

/// The first line names the compiler. Each other line names a layer and its instructions at the
/// floor and in the realistic case.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.txt");

/// How much more still counts as the same.
const TOLERANCE: f64 = 0.1;

/// Compares the instructions that our layers add with the committed ones.
///
/// Without valgrind, or under a compiler other than the baseline's, it passes and says so.
pub(crate) fn check() -> io::Result<()> {
    if !is_available() {
        println!("NOT CHECKED: valgrind is not installed");
        return Ok(());
    }
    let baseline = fs::read_to_string(BASELINE)?;
    let (rustc, baseline) = baseline.split_once('\n').unwrap_or_default();
    let baseline = parse(baseline);
    let mut worse = Vec::new();
    for Instructions { name, counts, .. } in ours()? {
        for (now, shape) in counts.iter().zip([0, 1]) {
            let known = baseline.get(name.as_str()).map(|counts| counts[shape]);
            let shape = ["floor", "realistic"][shape];
            let Some(known) = known else {
                println!("{name}, {shape}: {now:.0} instructions, and none in the baseline");
                worse.push(format!("{name} is not in the baseline"));
                continue;
            };
            let percent = 100.0 * (now / known - 1.0);
            println!("{name}, {shape}: {now:.0} instructions, {percent:+.1} %");
            if percent > 100.0 * TOLERANCE {
                worse.push(format!("{name}, {shape}: {percent:+.1} %"));
            } else if percent < -100.0 * TOLERANCE {
                println!("    much less: `--write-baseline` makes that the new baseline");
            }
        }
    }
    if worse.is_empty() {
        return Ok(());
    }
    let worse = worse.join("\n");
    if rustc != RUSTC {
        println!(
            "NOT CHECKED: the baseline is of {rustc}, this is {RUSTC}; else this would fail:\n{worse}"
        );
        return Ok(());
    }
    Err(io::Error::other(format!(
        "more instructions than in the baseline; if that is wanted, `--write-baseline`:\n{worse}"
    )))
}

/// Writes the current measurements as the baseline.
pub(crate) fn write() -> io::Result<()> {
    let mut text = format!("{RUSTC}\n");
    for Instructions { name, counts, .. } in ours()? {
        let [floor, realistic] = counts;
        text += &format!("{name}\t{floor:.0}\t{realistic:.0}\n");
    }
    fs::write(BASELINE, &text)?;
    print!("{text}");
    Ok(())
}

fn ours() -> io::Result<impl Iterator<Item = Instructions>> {
    let all = instructions(true)?.into_iter();
    Ok(all.filter(|instructions| instructions.who == OURS))
}

fn parse(baseline: &str) -> HashMap<&str, [f64; 2]> {
    fn line(line: &str) -> Option<(&str, [f64; 2])> {
        let mut cells = line.split('\t');
        let name = cells.next()?;
        let mut count = || cells.next()?.parse().ok();
        Some((name, [count()?, count()?]))
    }
    baseline.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_baseline_is_read() {
        let baseline = parse("throttle\t10\t20\nretry, budget\t1\t2\n");
        assert_eq!(baseline["throttle"], [10.0, 20.0]);
        assert_eq!(baseline["retry, budget"], [1.0, 2.0]);
    }
}
