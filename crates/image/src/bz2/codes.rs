//! Symbols by several tables of prefix codes, of which each fifty use the one that suits them.

use std::array;

use super::bits::BitWriter;
use super::ranks::Symbols;

/// Symbols that use one table.
const GROUP: usize = 50;
const MOST_TABLES: usize = 6;
const MOST_SYMBOLS: usize = 258;
/// Tables are made to suit the groups that chose them, and groups choose anew, this many times.
const ROUNDS: usize = 4;
/// The format allows 20. libbz2 ends at 17, which costs next to nothing.
const LONGEST_CODE: u8 = 17;
/// Bits that a symbol is first thought to take where its table is not made for it.
const NOT_MINE: u16 = 15;

/// Bits of each symbol by each table: beside each other, so that one addition counts a symbol for all tables. The last two are
/// not used.
type Lengths = [[u16; 8]; MOST_SYMBOLS];

/// Writes the tables, what groups use them, and the symbols.
pub(super) fn write(symbols: &Symbols, bits: &mut BitWriter) {
    let count = table_count(symbols.list.len());
    let mut lengths = first_lengths(&symbols.counts, count);
    let mut chosen = Vec::new();
    for _ in 0..ROUNDS {
        let counts = choose(&symbols.list, &lengths, count, &mut chosen);
        for (table, counts) in counts.iter().enumerate().take(count) {
            let made = code_lengths(counts.get(..symbols.counts.len()).unwrap_or_default());
            lengths.iter_mut().zip(made).for_each(|(lengths, made)| lengths[table] = u16::from(made));
        }
    }
    write_choices(&chosen, count, bits);
    let tables: Vec<Vec<(u32, u32)>> = (0..count)
        .map(|table| {
            let lengths: Vec<u32> = lengths.iter().take(symbols.counts.len()).map(|lengths| u32::from(lengths[table])).collect();
            write_lengths(&lengths, bits);
            codes(&lengths)
        })
        .collect();
    for (group, table) in symbols.list.chunks(GROUP).zip(&chosen) {
        let Some(table) = tables.get(usize::from(*table)) else { continue };
        for (code, length) in group.iter().filter_map(|symbol| table.get(usize::from(*symbol))) {
            bits.put(*code, *length);
        }
    }
}

/// How many tables pay for themselves, as libbz2 has it.
fn table_count(symbols: usize) -> usize {
    match symbols {
        0..200 => 2,
        200..600 => 3,
        600..1200 => 4,
        1200..2400 => 5,
        _ => MOST_TABLES,
    }
}

/// To begin with, each table is for a range of symbols that occur about as often as those of each other.
fn first_lengths(counts: &[u32], tables: usize) -> Lengths {
    let mut lengths = [[NOT_MINE; 8]; MOST_SYMBOLS];
    let mut rest: u32 = counts.iter().sum();
    let mut symbol = 0;
    for table in 0..tables {
        let left = tables - table;
        let share = rest / left as u32;
        let mut mine = 0;
        let first = symbol;
        while symbol < counts.len() && (mine < share || left == 1) {
            mine += counts[symbol];
            symbol += 1;
        }
        // The symbol that goes beyond the share is every second time left to the next table.
        if symbol > first + 1 && table != 0 && left != 1 && table % 2 == 1 {
            symbol -= 1;
            mine -= counts[symbol];
        }
        lengths.iter_mut().take(symbol).skip(first).for_each(|lengths| lengths[table] = 0);
        rest -= mine;
    }
    lengths
}

/// Lets each group choose the table that takes the fewest bits, the first of equals, and gives how often each symbol is now in
/// each table.
fn choose(symbols: &[u16], lengths: &Lengths, tables: usize, chosen: &mut Vec<u8>) -> [[u32; MOST_SYMBOLS]; MOST_TABLES] {
    let mut counts = [[0; MOST_SYMBOLS]; MOST_TABLES];
    chosen.clear();
    for group in symbols.chunks(GROUP) {
        let mut cost = [0u16; 8];
        for lengths in group.iter().filter_map(|symbol| lengths.get(usize::from(*symbol))) {
            cost = array::from_fn(|table| cost[table] + lengths[table]);
        }
        let best = (0..tables).min_by_key(|table| cost[*table]).unwrap_or(0);
        chosen.push(best as u8);
        let counts = &mut counts[best];
        for symbol in group {
            if let Some(count) = counts.get_mut(usize::from(*symbol)) {
                *count += 1;
            }
        }
    }
    counts
}

/// The lengths of Huffman's codes for symbols that occur so often, none longer than [`LONGEST_CODE`].
fn code_lengths(counts: &[u32]) -> Vec<u8> {
    // A symbol that this table has not seen may still have to be told by it.
    let mut weights: Vec<u64> = counts.iter().map(|count| u64::from(*count).max(1) << 8).collect();
    loop {
        let lengths = huffman(&weights);
        if lengths.iter().all(|length| *length <= LONGEST_CODE) {
            return lengths;
        }
        // Weights nearer to each other make a flatter tree.
        weights.iter_mut().for_each(|weight| *weight = (1 + (*weight >> 8) / 2) << 8);
    }
}

/// The depth of each weight in Huffman's tree.
fn huffman(weights: &[u64]) -> Vec<u8> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|symbol| weights[*symbol]);
    // Leaves by weight, then the inner nodes, which come into being by weight as well: the two least are at the fronts of both.
    let leaves = order.len();
    let mut nodes: Vec<u64> = order.iter().map(|symbol| weights[*symbol]).collect();
    let mut parents = vec![0usize; 2 * leaves];
    let (mut leaf, mut inner) = (0, leaves);
    while nodes.len() + 1 < 2 * leaves {
        let mut sum = 0;
        for _ in 0..2 {
            let least =
                if leaf < leaves && (inner >= nodes.len() || nodes[leaf] <= nodes[inner]) { &mut leaf } else { &mut inner };
            sum += nodes[*least];
            parents[*least] = nodes.len();
            *least += 1;
        }
        nodes.push(sum);
    }
    let mut depths = vec![0u8; nodes.len()];
    for node in (0..nodes.len().saturating_sub(1)).rev() {
        depths[node] = depths[parents[node]].saturating_add(1);
    }
    let mut lengths = vec![0; leaves];
    order.iter().zip(depths).for_each(|(symbol, depth)| lengths[*symbol] = depth);
    lengths
}

/// The number of tables, and which each group uses: as how many others were used since it last was, in ones with a 0 after them.
fn write_choices(chosen: &[u8], tables: usize, bits: &mut BitWriter) {
    bits.put(tables as u32, 3);
    bits.put(chosen.len() as u32, 15);
    let mut recent: [u8; MOST_TABLES] = array::from_fn(|table| table as u8);
    for table in chosen {
        let place = recent.iter().position(|other| other == table).unwrap_or(0);
        recent[..=place].rotate_right(1);
        bits.put((1 << (place + 1)) - 2, place as u32 + 1);
    }
}

/// The lengths of a table's codes: the first, then for each symbol the steps from the one before, `10` up and `11` down, and a 0.
fn write_lengths(lengths: &[u32], bits: &mut BitWriter) {
    let mut now = lengths.first().copied().unwrap_or(1);
    bits.put(now, 5);
    for length in lengths {
        let step = if *length > now { 0b10 } else { 0b11 };
        (0..length.abs_diff(now)).for_each(|_| bits.put(step, 2));
        bits.put(0, 1);
        now = *length;
    }
}

/// The codes by their lengths: those of one length count up with the symbols, and begin behind the last that is shorter.
fn codes(lengths: &[u32]) -> Vec<(u32, u32)> {
    let mut codes: Vec<(u32, u32)> = lengths.iter().map(|length| (0, *length)).collect();
    let mut next = 0;
    for of_length in 1..=u32::from(LONGEST_CODE) {
        for (code, _) in codes.iter_mut().filter(|(_, length)| *length == of_length) {
            *code = next;
            next += 1;
        }
        next <<= 1;
    }
    codes
}
