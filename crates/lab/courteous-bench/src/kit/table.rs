use std::fmt;

/// A markdown table. Columns after the first `names` are numbers, and so are right-aligned.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<String>,
    names: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<'a>(names: usize, columns: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            columns: columns.into_iter().map(str::to_owned).collect(),
            names,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |", self.columns.join(" | "))?;
        for index in 0..self.columns.len() {
            let side = if index < self.names { "---" } else { "---:" };
            write!(f, "|{side}")?;
        }
        writeln!(f, "|")?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}
