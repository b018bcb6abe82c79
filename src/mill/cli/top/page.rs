//! A sample as lines.

use mill_api::nodes::NodeState;
use mill_model::{Bytes, Millicores};

use super::Sort;
use super::rates::{AllocRow, NodeRow, Sample, percent};
use super::screen::Size;
use crate::cli::allocs;
use crate::cli::ui::{Align, Colour, Table, Terminal, cores, count, memory};

/// From here on a part of a limit is worth a look.
const MUCH_PERCENT: u32 = 80;
/// From here on it is nearly all of it.
const ALL_PERCENT: u32 = 95;
/// Nodes that are shown on a terminal; the others are counted.
const NODES_SHOWN: usize = 5;

/// What of a sample is shown, and how.
pub(super) struct View {
    pub(super) sort: Sort,
    /// The first alloc that is shown.
    pub(super) first: usize,
    /// Why the numbers are those from before.
    pub(super) trouble: Option<String>,
}

impl View {
    pub(super) const fn new(sort: Sort) -> Self {
        Self { sort, first: 0, trouble: None }
    }
}

/// All of it, for whom it is printed once.
pub(super) fn whole(sample: &Sample, terminal: &Terminal) -> String {
    let problem = problem(sample, terminal).map(|line| line + "\n").unwrap_or_default();
    let allocs = allocs_table(&sample.allocs, terminal);
    let gap = if allocs.is_empty() { "" } else { "\n" };
    format!("{}{problem}{gap}{allocs}", nodes_table(&sample.nodes, terminal))
}

/// As many lines as a screen has.
pub(super) fn screen(view: &View, sample: &Sample, size: Size, terminal: &Terminal) -> Vec<String> {
    let terminal = &Terminal { width: Some(size.columns), ..terminal.clone() };
    let mut lines: Vec<String> = vec![];
    let nodes = sample.nodes.get(..NODES_SHOWN.min(sample.nodes.len())).unwrap_or_default();
    lines.extend(nodes_table(nodes, terminal).lines().map(str::to_owned));
    if sample.nodes.len() > nodes.len() {
        lines.push(format!("and {}", count(sample.nodes.len() - nodes.len(), "more node")));
    }
    lines.extend(problem(sample, terminal));
    lines.push(String::new());
    // One line is the allocs' heads, one the foot.
    let room = size.rows.saturating_sub(lines.len() + 2);
    let rest = sample.allocs.get(view.first..).unwrap_or_default();
    let shown = rest.get(..room.min(rest.len())).unwrap_or_default();
    match sample.allocs.is_empty() {
        true => lines.push("no alloc lives: `mill deploy -f FILE` makes some".to_owned()),
        false => lines.extend(allocs_table(shown, terminal).lines().map(str::to_owned)),
    }
    let foot = foot(view, sample, shown.len(), terminal);
    lines.truncate(size.rows.saturating_sub(1));
    lines.resize(size.rows.saturating_sub(1), String::new());
    lines.push(foot);
    lines
}

fn problem(sample: &Sample, terminal: &Terminal) -> Option<String> {
    let problem = sample.problem.as_ref()?;
    Some(terminal.paint(Colour::Yellow, &format!("what containers use isn't known: {problem}")).into_owned())
}

fn foot(view: &View, sample: &Sample, shown: usize, terminal: &Terminal) -> String {
    if let Some(trouble) = &view.trouble {
        return terminal.paint(Colour::Red, &format!("{trouble}; trying again")).into_owned();
    }
    let all = sample.allocs.len();
    let which = match shown == all {
        true => count(all, "alloc"),
        false => format!("{}–{} of {}", view.first + 1, view.first + shown, count(all, "alloc")),
    };
    let text = format!("{which} by {}   c m n r sort  j k move  q quit", view.sort.as_str());
    terminal.paint(Colour::Grey, &text).into_owned()
}

fn nodes_table(nodes: &[NodeRow], terminal: &Terminal) -> String {
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("STATE", Align::Left),
        ("ALLOCS", Align::Right),
        ("CPU", Align::Right),
        ("OF", Align::Right),
        ("CPU%", Align::Right),
        ("MEMORY", Align::Right),
        ("OF", Align::Right),
        ("MEM%", Align::Right),
    ])
    .spare(&["OF", "STATE", "ALLOCS"]);
    for node in nodes {
        let state = match node.state {
            NodeState::Ready => Colour::Green,
            NodeState::Draining | NodeState::Suspect => Colour::Yellow,
            NodeState::Down => Colour::Red,
        };
        let cpu = node.cpu.and_then(|cpu| percent(u64::from(cpu.0), u64::from(node.capacity.cpu.0)));
        let used = node.memory.and_then(|memory| percent(memory.0, node.capacity.memory.0));
        table
            .row()
            .cell(node.name.to_string())
            .painted(state, node.state.as_str())
            .cell(node.allocs.to_string());
        amounts(&mut table, (node.cpu, cpu, node.capacity.cpu), (node.memory, used, node.capacity.memory));
    }
    table.render(terminal)
}

fn allocs_table(rows: &[AllocRow], terminal: &Terminal) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        ("ALLOC", Align::Left),
        ("SERVICE", Align::Left),
        ("STATE", Align::Left),
        ("CPU", Align::Right),
        ("OF", Align::Right),
        ("CPU%", Align::Right),
        ("MEMORY", Align::Right),
        ("OF", Align::Right),
        ("MEM%", Align::Right),
        ("RESTARTS", Align::Right),
        ("NODE", Align::Left),
    ])
    .spare(&["NODE", "OF", "SERVICE", "RESTARTS", "STATE"]);
    for row in rows {
        table
            .row()
            .cell(row.id.to_string())
            .cell(row.workload.to_string())
            .painted(allocs::colour(row.phase), row.phase.to_string());
        let (cpu, memory) = (row.cpu_percent, row.memory_percent);
        amounts(&mut table, (row.cpu, cpu, row.limit.cpu), (row.memory, memory, row.limit.memory));
        table.cell(row.restarts.to_string()).cell(row.node.to_string());
    }
    table.render(terminal)
}

type Amount<T> = (Option<T>, Option<u32>, T);

fn amounts(table: &mut Table, cpu: Amount<Millicores>, mem: Amount<Bytes>) {
    part(table.cell(cpu.0.map_or("-".to_owned(), cores)).cell(cpu.2.to_string()), cpu.1);
    part(table.cell(mem.0.map_or("-".to_owned(), memory)).cell(memory(mem.2)), mem.1);
}

fn part(table: &mut Table, percent: Option<u32>) {
    let text = percent.map_or("-".to_owned(), |percent| percent.to_string());
    match percent {
        Some(ALL_PERCENT..) => table.painted(Colour::Red, text),
        Some(MUCH_PERCENT..) => table.painted(Colour::Yellow, text),
        _ => table.cell(text),
    };
}
