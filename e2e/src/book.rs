//! The book's chapters as tests read them: files to be written, commands to be run.

/// A fenced block of a chapter.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// ```` ```LANGUAGE,file=PATH ````: a file that the commands after it find.
    File { path: String, content: String },
    /// ```` ```sh ````: commands that are run.
    Commands { line: usize, script: String },
}

/// The shell steps (`run: |`) of a workflow, each in a shell of its own.
fn steps(at: usize, workflow: &[&str]) -> Vec<Block> {
    let mut steps: Vec<(usize, usize, String)> = Vec::new();
    let mut is_inside = false;
    for (number, line) in workflow.iter().enumerate() {
        let depth = line.len() - line.trim_start().len();
        match steps.last_mut().filter(|(_, key, _)| is_inside && depth > *key) {
            Some((_, key, script)) => *script += &format!("{}\n", line.get(*key + 2..).unwrap_or_default()),
            None => {
                is_inside = line.trim() == "run: |";
                if is_inside {
                    steps.push((at + number + 1, depth, String::new()));
                }
            }
        }
    }
    steps.into_iter().map(|(line, _, script)| Block::Commands { line, script: format!("(\n{script})\n") }).collect()
}

/// The blocks of a chapter that a test has to do with, in order. Commands marked ```` ```sh,elsewhere ```` are not among them, nor are
/// blocks of other languages without a file; of a workflow in ```` ```yaml ```` its shell steps are.
pub fn blocks(chapter: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = chapter.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let content = body.iter().map(|line| format!("{line}\n")).collect();
        if let Some((_, path)) = info.split_once(",file=") {
            blocks.push(Block::File { path: path.to_owned(), content });
        } else if info == "yaml" {
            steps(at + 1, &body).into_iter().for_each(|step| blocks.push(step));
        } else if info == "sh" {
            blocks.push(Block::Commands { line: at + 1, script: content });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_found() {
        let found =
            blocks("a\n```toml,file=o.toml\nx = 1\n```\n```sh,elsewhere\nno\n```\n```toml\nno\n```\n```sh\nyes\nyes\n```\n");
        let file = Block::File { path: "o.toml".into(), content: "x = 1\n".into() };
        assert_eq!(found, [file, Block::Commands { line: 11, script: "yes\nyes\n".into() }]);
        let found = blocks("```yaml\non: x\nsteps:\n  - name: a\n    run: |\n      echo 1 |\n        cat\n  - uses: x\n```\n");
        assert_eq!(found, [Block::Commands { line: 5, script: "(\necho 1 |\n  cat\n)\n".into() }]);
    }
}
