//! Graphs of small numbers in plain tables, for what goes over all packages of a plan.

/// No place.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Where each of some packages stands in a list of them.
pub(crate) struct Places {
    of: Vec<u32>,
    listed: Vec<u32>,
}

impl Places {
    /// The places in a list of numbers below `limit`.
    pub fn of(list: &[u32], limit: usize) -> Places {
        let mut places = Places { of: vec![NOWHERE; limit], listed: Vec::new() };
        places.renew(list);
        places
    }

    /// The places in another list.
    pub fn renew(&mut self, list: &[u32]) {
        for number in self.listed.drain(..) {
            self.of[number as usize] = NOWHERE;
        }
        for (at, number) in list.iter().enumerate() {
            self.of[*number as usize] = at as u32;
        }
        self.listed.extend_from_slice(list);
    }

    pub fn find(&self, number: u32) -> Option<u32> {
        Some(self.of[number as usize]).filter(|place| *place != NOWHERE)
    }
}

/// A directed graph: for each node, in a row, the nodes its edges lead to.
pub(crate) struct Net {
    /// The ends of all edges, row by row. Added to directly; then the row is closed.
    pub ends: Vec<u32>,
    /// Where each row starts, and where the last one ends.
    starts: Vec<u32>,
}

impl Default for Net {
    fn default() -> Net {
        Net { ends: Vec::new(), starts: vec![0] }
    }
}

impl Net {
    pub fn close_row(&mut self) {
        self.starts.push(self.ends.len() as u32);
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Where in `ends` a node's row is.
    pub fn range(&self, node: u32) -> std::ops::Range<usize> {
        self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize
    }

    pub fn row(&self, node: u32) -> &[u32] {
        &self.ends[self.range(node)]
    }

    /// The part of the graph that `members` make among themselves, numbered by their places, each edge once.
    pub fn narrowed_to(&self, members: &[u32], places: &Places) -> Net {
        let mut narrow = Net::default();
        let mut last_from = vec![NOWHERE; members.len()];
        for (at, member) in members.iter().enumerate() {
            for end in self.row(*member).iter().filter_map(|end| places.find(*end)) {
                if last_from[end as usize] != at as u32 {
                    last_from[end as usize] = at as u32;
                    narrow.ends.push(end);
                }
            }
            narrow.close_row();
        }
        narrow
    }
}

/// Strongly connected components, those without edges to others first (Tarjan's, without recursion).
pub(crate) fn components(net: &Net) -> Vec<Vec<u32>> {
    let mut index = vec![NOWHERE; net.len()];
    let mut low = vec![NOWHERE; net.len()];
    let mut on_stack = vec![false; net.len()];
    let (mut stack, mut found, mut count) = (Vec::new(), Vec::new(), 0);
    // A node and which of its edges comes next.
    let mut work: Vec<(u32, usize)> = Vec::new();
    for root in 0..net.len() as u32 {
        let mut enter = (index[root as usize] == NOWHERE).then_some(root);
        loop {
            if let Some(node) = enter.take() {
                (index[node as usize], low[node as usize]) = (count, count);
                count += 1;
                stack.push(node);
                on_stack[node as usize] = true;
                work.push((node, net.range(node).start));
            }
            let Some((node, next)) = work.last_mut() else { break };
            let at = *node as usize;
            if *next < net.range(*node).end {
                let child = net.ends[*next];
                *next += 1;
                if index[child as usize] == NOWHERE {
                    enter = Some(child);
                } else if on_stack[child as usize] {
                    low[at] = low[at].min(index[child as usize]);
                }
                continue;
            }
            work.pop();
            if let Some((parent, _)) = work.last() {
                low[*parent as usize] = low[*parent as usize].min(low[at]);
            }
            if low[at] == index[at] {
                let start = stack.iter().rposition(|n| *n as usize == at).unwrap_or(0);
                let members = stack.split_off(start);
                members.iter().for_each(|n| on_stack[*n as usize] = false);
                found.push(members);
            }
        }
    }
    found
}
