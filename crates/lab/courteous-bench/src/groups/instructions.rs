//! The instructions of group 1. They do not depend on what else the machine does.

use std::{collections::HashMap, io};

use super::layers::{Contender, Contenders, runtime};
use crate::{
    contenders::Kind,
    kit::{Shape, Table, count, profile, uncounted},
};

/// The number of calls that are counted.
const CALLS: usize = 128;

/// The argument that tells the program that it runs under callgrind. It is followed by one of
/// these, or by the name of one of our contenders and a shape, as in `throttle@floor`.
const COUNTED: &str = "--counted";
const OURS_ONLY: &str = "ours";
const ALL: &str = "all";

/// The instructions of a call, in each shape: the instructions that a contender adds, or all
/// instructions of the bare transport.
pub(crate) struct Instructions {
    pub(crate) name: String,
    pub(crate) who: &'static str,
    pub(crate) counts: [f64; 2],
}

/// Counts the instructions of all contenders, or only of ours.
pub(crate) fn instructions(ours_only: bool) -> io::Result<Vec<Instructions>> {
    let which = if ours_only { OURS_ONLY } else { ALL };
    let counts = count(&[COUNTED, which])?;
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let contenders = Contenders::new(&runtime, !ours_only);
    if counts.len() != 2 * contenders.all.len() {
        return Err(io::Error::other("a count is missing"));
    }
    let per_call = |index: usize| -> [f64; 2] {
        [0, 1].map(|shape| counts[2 * index + shape] as f64 / CALLS as f64)
    };
    let all = contenders.all.iter().enumerate();
    let instructions = all.map(|(index, contender)| {
        let with = per_call(index);
        let bare = match contender.who.is_bare() {
            true => [0.0, 0.0],
            false => per_call(contenders.bare(contender)),
        };
        Instructions {
            name: contender.name(),
            who: contender.who.name,
            counts: [with[0] - bare[0], with[1] - bare[1]],
        }
    });
    Ok(instructions.collect())
}

/// As a table.
pub(crate) fn instructions_table(instructions: &[Instructions]) -> Table {
    let mut table = Table::new(2, ["layer", "who", "instructions, floor", "realistic"]);
    for instructions in instructions {
        let [floor, realistic] = instructions.counts;
        table.row([
            instructions.name.clone(),
            instructions.who.to_owned(),
            format!("{floor:.0}"),
            format!("{realistic:.0}"),
        ]);
    }
    table
}

/// The functions in which one of our layers adds instructions to those of the bare transport.
pub(crate) fn profile_table(kind: Kind) -> io::Result<String> {
    let (ours, bare) = {
        let runtime = runtime()?;
        let _entered = runtime.enter();
        let contenders = Contenders::new(&runtime, false);
        let is_it = |contender: &&Contender| {
            contender.who.is_ours() && contender.who.kind == kind && contender.who.origins == 0
        };
        let ours = contenders.all.iter().find(is_it);
        let ours = ours.ok_or_else(|| io::Error::other("no such layer"))?;
        (ours.name(), contenders.all[contenders.bare(ours)].name())
    };
    let mut text = String::new();
    for shape in Shape::ALL {
        let of = |name: &str| profile(&[COUNTED, &format!("{name}@{}", shape.name())]);
        let bare: HashMap<_, _> = of(&bare)?
            .into_iter()
            .map(|(count, function)| (function, count))
            .collect();
        let mut added: Vec<_> = of(&ours)?
            .into_iter()
            .map(|(count, function)| {
                let bare = bare.get(&function).copied().unwrap_or(0);
                ((count as f64 - bare as f64) / CALLS as f64, function)
            })
            .filter(|(added, _)| *added >= 1.0)
            .collect();
        added.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let title = format!("{ours}, {}: function", shape.name());
        let mut table = Table::new(1, [title.as_str(), "instructions added"]);
        for (added, function) in added {
            table.row([format!("`{function}`"), format!("{added:.0}")]);
        }
        text += &format!("{table}\n");
    }
    Ok(text)
}

/// Runs what callgrind counts: each contender in each shape, after calls that do not count.
pub(crate) fn run_counted(which: &str) -> io::Result<()> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let only = which.split_once('@');
    for mut contender in Contenders::new(&runtime, which == ALL).all {
        for shape in Shape::ALL {
            if only.is_none_or(|(name, of)| name == contender.name() && of == shape.name()) {
                contender.warm(shape, CALLS);
                uncounted(|| contender.run(shape, CALLS));
            }
        }
    }
    Ok(())
}
