use std::{error::Error, fs, io, path::Path};

use plotters::{
    chart::{ChartBuilder, ChartContext, LabelAreaPosition, SeriesLabelPosition},
    coord::{Shift, cartesian::Cartesian2d, types::RangedCoordf64},
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, PathElement},
    prelude::{IntoLogRange, SVGBackend},
    series::LineSeries,
    style::{BLACK, Color, RGBColor, ShapeStyle, WHITE},
};

use crate::{Report, Results, Stack, Tick};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Lines<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn Error>>;

/// The most retries of a stack that are drawn, evenly chosen.
const POINTS: usize = 400;

impl Results {
    /// Draws each scenario into its own file in `folder`, which is created if it does not exist:
    /// goodput, attempts in each second, and how long after the previous attempt each retry came. If
    /// S1 was run with a hundred clients, `spike.svg` has what was served in each second by Tower's
    /// defaults, by the AWS SDKs' rules, by this project's stack and by the oracle.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn draw(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let same = |a: &Report, b: &Report| {
            (a.scenario().id(), a.scenario().clients())
                == (b.scenario().id(), b.scenario().clients())
        };
        for reports in self.reports().chunk_by(same) {
            if let Some(first) = reports.first() {
                let at = first.scenario();
                let file = format!("{}-{}.svg", at.id().replace('%', ""), at.clients());
                let drawn = draw(reports, first, &folder.join(file));
                drawn.map_err(|error| io::Error::other(error.to_string()))?;
            }
        }
        let stacks = [Stack::Tower, Stack::Aws, Stack::SHIPPED];
        let spike = stacks.map(|stack| self.find("S1", 100, stack));
        if let [Some(tower), Some(aws), Some(ours)] = spike {
            let lines = [
                ("offered", ours.offered(), (GREY, 1)),
                ("the AWS SDKs' rules", aws.successes(), (ORANGE, 4)),
                ("tower's defaults", tower.successes(), (RED, 2)),
                ("courteous", ours.successes(), (GREEN, 3)),
                ("oracle", ours.successes_of_oracle(), (BLACK, 1)),
            ];
            let drawn = draw_spike(&lines, &folder.join("spike.svg"));
            drawn.map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(())
    }
}

const GREY: RGBColor = RGBColor(170, 170, 170);
const RED: RGBColor = RGBColor(214, 39, 40);
const ORANGE: RGBColor = RGBColor(255, 127, 14);
const GREEN: RGBColor = RGBColor(44, 160, 44);

/// What was served in each second of S1, from 10 s before the spike to a minute after it.
fn draw_spike(lines: &[(&str, Vec<u32>, (RGBColor, u32))], file: &Path) -> Drawn {
    let (from, to) = (30, 110);
    let root = SVGBackend::new(file, (900, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .set_label_area_size(LabelAreaPosition::Left, 60)
        .set_label_area_size(LabelAreaPosition::Bottom, 40)
        .build_cartesian_2d(f64::from(from)..f64::from(to), 0.0..2_300.0)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_label_formatter(&|calls| format!("{calls:.0}"))
        .x_desc("seconds; three times the calls from 40 s to 50 s")
        .y_desc("calls served per second")
        .draw()?;
    for (name, line, (colour, width)) in lines {
        let style = colour.stroke_width(*width);
        let seconds = (from..to).map(|second| {
            let served = line.get(second as usize).copied().unwrap_or(0);
            (f64::from(second) + 0.5, f64::from(served))
        });
        add_line(&mut chart, name, style, seconds)?;
    }
    add_names(&mut chart)?;
    root.present()?;
    Ok(())
}

fn draw(reports: &[Report], first: &Report, file: &Path) -> Drawn {
    let root = SVGBackend::new(file, (1000, 1100)).into_drawing_area();
    root.fill(&WHITE)?;
    let at = first.scenario();
    let title = format!("{}  {}; {} clients", at.id(), at.title(), at.clients());
    let panels = root
        .titled(&title, ("sans-serif", 22))?
        .split_evenly((3, 1));
    let last = reports
        .iter()
        .map(Report::seconds)
        .max()
        .unwrap_or(1)
        .max(1) as f64;
    if let [goodput, attempts, spacing] = &panels[..] {
        let lines: Vec<_> = reports
            .iter()
            .map(|it| (it.stack(), it.successes()))
            .collect();
        let offered = (!at.is_batch()).then(|| ("calls", first.offered()));
        lines_in(
            goodput,
            "successes per second",
            last,
            offered.into_iter().chain(lines),
        )?;
        let lines = reports
            .iter()
            .map(|it| (it.stack(), it.attempts_per_second().to_vec()));
        lines_in(attempts, "attempts per second", last, lines)?;
        points_in(spacing, last, reports)?;
    }
    root.present()?;
    Ok(())
}

fn lines_in<'a>(
    area: &Area<'_>,
    what: &str,
    last: f64,
    lines: impl IntoIterator<Item = (&'a str, Vec<u32>)>,
) -> Drawn {
    let lines: Vec<_> = lines.into_iter().collect();
    // A stack with extreme values must not flatten the others: values above the range are drawn at
    // the edge.
    let mut peaks: Vec<_> = (lines.iter().filter_map(|(_, line)| line.iter().max())).collect();
    peaks.sort_unstable();
    let median = peaks.get(peaks.len() / 2).map_or(1, |peak| **peak);
    let highest = peaks.last().map_or(1, |peak| **peak).min(median * 5);
    let highest = f64::from(highest.max(1)) * 1.05;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 60)
        .set_label_area_size(LabelAreaPosition::Bottom, 35)
        .build_cartesian_2d(0.0..last, 0.0..highest)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc(what)
        .draw()?;
    for (name, line) in lines {
        let style = style(name);
        let points = line.iter().enumerate();
        let points = points.map(|(second, n)| (second as f64, f64::from(*n).min(highest)));
        add_line(&mut chart, name, style, points)?;
    }
    add_names(&mut chart)
}

fn add_line(
    chart: &mut Lines<'_, '_>,
    name: &str,
    style: ShapeStyle,
    points: impl IntoIterator<Item = (f64, f64)>,
) -> Drawn {
    chart
        .draw_series(LineSeries::new(points, style))?
        .label(name)
        .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 15, y)], style));
    Ok(())
}

/// Names the lines, in a corner.
fn add_names<'a, 'b: 'a>(chart: &mut Lines<'a, 'b>) -> Drawn {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

fn points_in(area: &Area<'_>, last: f64, reports: &[Report]) -> Drawn {
    let longest = reports
        .iter()
        .flat_map(|it| it.spacings())
        .map(|(_, after)| *after);
    let longest = longest.max().unwrap_or(10).max(10) as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 60)
        .set_label_area_size(LabelAreaPosition::Bottom, 35)
        .build_cartesian_2d(0.0..last, (1.0..longest * 1.2).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("ms from the last attempt to a retry")
        .draw()?;
    for report in reports {
        let style = style(report.stack()).filled();
        let step = (report.spacings().len() / POINTS).max(1);
        let chosen = report.spacings().iter().step_by(step);
        // Log scales have no zero: an immediate retry is drawn at a millisecond.
        let point = |&(at, after): &(Tick, Tick)| (at as f64 / 1000.0, after.max(1) as f64);
        chart.draw_series(chosen.map(|it| Circle::new(point(it), 2, style)))?;
    }
    Ok(())
}

/// The same style for a stack in all charts.
fn style(name: &str) -> ShapeStyle {
    const COLOURS: [RGBColor; 12] = [
        RGBColor(120, 120, 120),
        RGBColor(214, 39, 40),
        RGBColor(255, 127, 14),
        RGBColor(140, 86, 75),
        RGBColor(227, 119, 194),
        RGBColor(148, 103, 189),
        RGBColor(188, 189, 34),
        RGBColor(31, 119, 180),
        RGBColor(23, 190, 207),
        RGBColor(44, 160, 44),
        RGBColor(0, 100, 0),
        RGBColor(57, 59, 121),
    ];
    let place = Stack::ALL.iter().position(|stack| stack.name() == name);
    let width = if name == Stack::Courteous.name() {
        3
    } else {
        1
    };
    place
        .map_or(BLACK, |place| COLOURS[place % COLOURS.len()])
        .stroke_width(width)
}
