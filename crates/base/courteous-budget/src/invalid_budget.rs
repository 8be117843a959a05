use std::{error::Error, fmt};

/// The settings of a budget contradict its rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InvalidBudget(pub(crate) Rule);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    Deposit(f64),
    Cap(u32, u32),
    Window,
}

impl fmt::Display for InvalidBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rule::Deposit(ratio) => write!(f, "a deposit of {ratio} is not within 0 and 1"),
            Rule::Cap(lowest, highest) => {
                write!(
                    f,
                    "the lower bound of the cap, {lowest}, is above the upper one, {highest}"
                )
            }
            Rule::Window => f.write_str("a window of zero holds no successes"),
        }
    }
}

impl Error for InvalidBudget {}
